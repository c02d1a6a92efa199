//! Ending a unit's processes, systemd.kill(5).

use super::{Stage, process::Process};
use crate::settings::KillMode;
use crate::{Action, Pid, Target};

const SIGHUP: i32 = 1;
const SIGCONT: i32 = 18;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// KillSignal=
    Ask,
    /// RestartKillSignal=, if there is one
    AskForRestart,
    /// WatchdogSignal=
    Watchdog,
    /// FinalKillSignal=
    Kill,
}

impl Stage<'_> {
    pub(crate) fn signal(&mut self, target: Target, signal: i32) {
        let unit = self.name();
        self.fx.actions.push(Action::Signal { unit, target, signal });
    }

    /// Signals what KillMode= says. Returns whether there is something to wait for.
    pub(crate) fn kill(&mut self, force: Force, main: Option<&Process>, control: Option<&Process>) -> bool {
        let settings = self.base.unit.kill.clone();
        if settings.mode == KillMode::None {
            return false;
        }
        let signal = match force {
            Force::Ask => settings.signal,
            Force::AskForRestart => settings.restart_signal.unwrap_or(settings.signal),
            Force::Watchdog => settings.watchdog_signal,
            Force::Kill => settings.final_signal,
        };
        let whole = settings.mode == KillMode::ControlGroup
            || (settings.mode == KillMode::Mixed && matches!(force, Force::Kill));
        let inside = self.processes();
        let mut signals = vec![signal];
        if settings.send_sighup && !matches!(force, Force::Kill | Force::Watchdog) {
            signals.push(SIGHUP);
        }
        // a stopped process must run to see the signal
        if !matches!(force, Force::Kill) && signal != SIGCONT {
            signals.push(SIGCONT);
        }
        let known: Vec<&Process> = [main, control].into_iter().flatten().collect();
        let alone: Vec<Pid> = known
            .iter()
            .filter_map(|process| process.pid)
            .filter(|pid| !whole || !inside.contains(pid))
            .collect();
        for signal in signals {
            for pid in &alone {
                self.signal(Target::Pid(*pid), signal);
            }
            if whole && !inside.is_empty() {
                let cgroup = self.cgroup();
                self.signal(Target::Cgroup(cgroup), signal);
            }
        }
        !known.is_empty() || (whole && !inside.is_empty())
    }
}
