//! Processes, results and command lines of a unit, as properties.

use unit::{CommandStatus, ExitStatus, Pid, Role, UnitStatus};
use zvariant::Value;

use crate::dbus::property::{Facts, array, strings, structure};

const CLD_EXITED: i32 = 1;
const CLD_KILLED: i32 = 2;
const CLD_DUMPED: i32 = 3;

pub(super) fn tell(status: &UnitStatus, facts: &mut Facts) {
    let pid = |pid: Option<Pid>| Value::from(pid.map_or(0, |pid| pid.0));
    let main = status.main_status.map_or((0, 0), code);
    facts.extend([
        ("MainPID", pid(status.main_pid)),
        ("ControlPID", pid(status.control_pid)),
        ("StatusText", status.status_text.clone().unwrap_or_default().into()),
        ("StatusErrno", status.status_errno.into()),
        ("Result", status.result.into()),
        ("NRestarts", status.n_restarts.into()),
        ("ExecMainPID", pid(status.main_pid.or(status.main_ended))),
        ("ExecMainCode", main.0.into()),
        ("ExecMainStatus", main.1.into()),
    ]);
    let properties = [
        (Role::Condition, "ExecCondition", "ExecConditionEx"),
        (Role::StartPre, "ExecStartPre", "ExecStartPreEx"),
        (Role::Start, "ExecStart", "ExecStartEx"),
        (Role::StartPost, "ExecStartPost", "ExecStartPostEx"),
        (Role::Reload, "ExecReload", "ExecReloadEx"),
        (Role::Stop, "ExecStop", "ExecStopEx"),
        (Role::StopPost, "ExecStopPost", "ExecStopPostEx"),
        (Role::Mount, "ExecMount", ""),
        (Role::Unmount, "ExecUnmount", ""),
        (Role::Remount, "ExecRemount", ""),
        (Role::StopPre, "ExecStopPre", ""),
        (Role::Activate, "ExecActivate", ""),
        (Role::Deactivate, "ExecDeactivate", ""),
    ];
    for (role, plain, extended) in properties {
        let of_role = || status.commands.iter().filter(|command| command.role == role);
        facts.insert(plain, array("(sasbttttuii)", of_role().map(|command| line(command, false))));
        if !extended.is_empty() {
            facts.insert(extended, array("(sasasttttuii)", of_role().map(|command| line(command, true))));
        }
    }
}

fn line(command: &CommandStatus, extended: bool) -> Value<'static> {
    let (code, result) = command.status.map_or((0, 0), code);
    let flags = command.flags;
    let names = [
        ("ignore-failure", flags.ignore_failure),
        ("privileged", flags.full_privileges),
        ("no-setuid", flags.no_setuid),
        ("ambient", flags.ambient),
        ("no-env-expand", flags.no_substitution),
    ];
    let flags = if extended {
        strings(names.into_iter().filter(|(_, set)| *set).map(|(name, _)| name))
    } else {
        flags.ignore_failure.into()
    };
    structure([
        command.path.clone().into(),
        strings(command.argv.iter().cloned()),
        flags,
        command.start.realtime.into(),
        command.start.monotonic.into(),
        command.exit.realtime.into(),
        command.exit.monotonic.into(),
        command.pid.map_or(0u32, |pid| pid.0).into(),
        code.into(),
        result.into(),
    ])
}

fn code(status: ExitStatus) -> (i32, i32) {
    match status {
        ExitStatus::Code(code) => (CLD_EXITED, code),
        ExitStatus::Signal { signal, core: false } => (CLD_KILLED, signal),
        ExitStatus::Signal { signal, core: true } => (CLD_DUMPED, signal),
    }
}
