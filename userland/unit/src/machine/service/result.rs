//! How a service's run went, and whether Restart= has it run again: systemd.service(5)'s table.

use serde::{Deserialize, Serialize};

use crate::ExitStatus;
use crate::load::{signal_name, status_name};
use crate::settings::{ExitSet, Restart, ServiceSettings, ServiceType};

/// The first thing that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ServiceResult {
    Success,
    Resources,
    Protocol,
    Timeout,
    ExitCode,
    Signal,
    CoreDump,
    Watchdog,
    StartLimitHit,
    SkipCondition,
    OomKill,
}

impl ServiceResult {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ServiceResult::Success => "success",
            ServiceResult::Resources => "resources",
            ServiceResult::Protocol => "protocol",
            ServiceResult::Timeout => "timeout",
            ServiceResult::ExitCode => "exit-code",
            ServiceResult::Signal => "signal",
            ServiceResult::CoreDump => "core-dump",
            ServiceResult::Watchdog => "watchdog",
            ServiceResult::StartLimitHit => "start-limit-hit",
            ServiceResult::SkipCondition => "exec-condition",
            ServiceResult::OomKill => "oom-kill",
        }
    }

    /// What an exit means. A daemon may also end by the signals that ask it to.
    pub(super) fn of(status: ExitStatus, daemon: bool, success: &ExitSet) -> ServiceResult {
        if success.contains(status) {
            return ServiceResult::Success;
        }
        match status {
            ExitStatus::Code(0) => ServiceResult::Success,
            ExitStatus::Code(_) => ServiceResult::ExitCode,
            // SIGHUP, SIGINT, SIGPIPE, SIGTERM
            ExitStatus::Signal { signal: 1 | 2 | 13 | 15, .. } if daemon => ServiceResult::Success,
            ExitStatus::Signal { core: true, .. } => ServiceResult::CoreDump,
            ExitStatus::Signal { .. } => ServiceResult::Signal,
        }
    }
}

/// `exited`, `1/FAILURE` as systemd prints and passes them on.
pub(super) fn words(status: ExitStatus) -> (&'static str, String) {
    match status {
        ExitStatus::Code(code) => ("exited", code.to_string()),
        ExitStatus::Signal { signal, core } => {
            let code = if core { "dumped" } else { "killed" };
            (code, signal_name(signal).map_or_else(|| signal.to_string(), str::to_string))
        }
    }
}

/// `code=exited, status=1/FAILURE`
pub(crate) fn describe(status: ExitStatus) -> String {
    let (code, word) = words(status);
    match status {
        ExitStatus::Code(number) => match status_name(number) {
            Some(name) => format!("code={code}, status={number}/{name}"),
            None => format!("code={code}, status={number}/n/a"),
        },
        ExitStatus::Signal { signal, .. } => format!("code={code}, status={signal}/{word}"),
    }
}

/// Whether the service starts again by itself.
pub(super) fn restarts(settings: &ServiceSettings, result: ServiceResult, main: Option<ExitStatus>) -> bool {
    use ServiceResult::{CoreDump, ExitCode, Signal, SkipCondition, Success, Watchdog};
    if main.is_some_and(|status| settings.restart_prevent.contains(status)) {
        return false;
    }
    if main.is_some_and(|status| settings.restart_force.contains(status)) {
        return true;
    }
    match settings.restart {
        Restart::No => false,
        Restart::Always => result != SkipCondition,
        Restart::OnSuccess => result == Success,
        Restart::OnFailure => !matches!(result, Success | SkipCondition),
        Restart::OnAbnormal => !matches!(result, Success | SkipCondition | ExitCode),
        Restart::OnWatchdog => result == Watchdog,
        Restart::OnAbort => matches!(result, Signal | CoreDump),
    }
}

/// Whether signals that ask a process to end are a clean end for it.
pub(super) fn is_daemon(settings: &ServiceSettings) -> bool {
    settings.kind != ServiceType::Oneshot
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of systemd.service(5), a column for each policy.
    #[test]
    fn the_restart_table() {
        use Restart::*;
        use ServiceResult::*;
        let policies = [No, Always, OnSuccess, OnFailure, OnAbnormal, OnAbort, OnWatchdog];
        for (result, expected) in [
            (Success, [false, true, true, false, false, false, false]),
            (ExitCode, [false, true, false, true, false, false, false]),
            (Signal, [false, true, false, true, true, true, false]),
            (CoreDump, [false, true, false, true, true, true, false]),
            (Timeout, [false, true, false, true, true, false, false]),
            (ServiceResult::Watchdog, [false, true, false, true, true, false, true]),
            (OomKill, [false, true, false, true, true, false, false]),
            (SkipCondition, [false; 7]),
        ] {
            for (restart, expected) in policies.into_iter().zip(expected) {
                let settings = ServiceSettings { restart, ..ServiceSettings::default() };
                assert_eq!(restarts(&settings, result, None), expected, "{restart:?} {result:?}");
            }
        }
    }

    #[test]
    fn prevent_beats_force_beats_policy() {
        let codes = |codes: &[i32]| ExitSet { codes: codes.iter().copied().collect(), ..ExitSet::default() };
        let settings = ServiceSettings {
            restart: Restart::OnSuccess,
            restart_prevent: codes(&[0, 7]),
            restart_force: codes(&[7, 8]),
            ..ServiceSettings::default()
        };
        let restarts = |code| {
            let result = if code == 0 { ServiceResult::Success } else { ServiceResult::ExitCode };
            restarts(&settings, result, Some(ExitStatus::Code(code)))
        };
        assert_eq!([restarts(0), restarts(7), restarts(8), restarts(9)], [false, false, true, false]);
    }
}
