//! How a unit's processes are ended, as properties: systemd.kill(5).

use unit::settings::KillSettings;
use zvariant::Value;

use crate::dbus::property::Facts;

pub(super) fn tell(kill: &KillSettings, facts: &mut Facts) {
    facts.extend([
        ("KillMode", Value::from(kill.mode.as_str())),
        ("KillSignal", kill.signal.into()),
        ("RestartKillSignal", kill.restart_signal.unwrap_or(kill.signal).into()),
        ("FinalKillSignal", kill.final_signal.into()),
        ("WatchdogSignal", kill.watchdog_signal.into()),
        ("SendSIGKILL", kill.send_sigkill.into()),
        ("SendSIGHUP", kill.send_sighup.into()),
    ]);
}
