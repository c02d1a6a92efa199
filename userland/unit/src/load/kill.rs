//! How processes are ended, systemd.kill(5).

use super::value::{boolean, signal};
use super::{Draft, Outcome, Taken};
use crate::settings::KillMode;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let kill = &mut draft.unit.kill;
    match key {
        "KillMode" => {
            kill.mode = match value {
                "control-group" => KillMode::ControlGroup,
                "mixed" => KillMode::Mixed,
                "process" => KillMode::Process,
                "none" => KillMode::None,
                _ => return Err(format!("\"{value}\" is not control-group, mixed, process or none")),
            }
        }
        "KillSignal" => kill.signal = signal(value)?,
        "RestartKillSignal" => kill.restart_signal = Some(signal(value)?),
        "FinalKillSignal" => kill.final_signal = signal(value)?,
        "WatchdogSignal" => kill.watchdog_signal = signal(value)?,
        "SendSIGKILL" => kill.send_sigkill = boolean(value)?,
        "SendSIGHUP" => kill.send_sighup = boolean(value)?,
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}
