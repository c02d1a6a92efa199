//! How a unit's processes are ended, systemd.kill(5).

/// KillMode=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KillMode {
    /// All of the cgroup.
    #[default]
    ControlGroup,
    /// SIGTERM to the main process, SIGKILL to all.
    Mixed,
    /// The main process only.
    Process,
    /// None.
    None,
}

impl KillMode {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            KillMode::ControlGroup => "control-group",
            KillMode::Mixed => "mixed",
            KillMode::Process => "process",
            KillMode::None => "none",
        }
    }
}

/// The kill settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillSettings {
    /// KillMode=
    pub mode: KillMode,
    /// KillSignal=
    pub signal: i32,
    /// RestartKillSignal=
    pub restart_signal: Option<i32>,
    /// FinalKillSignal=
    pub final_signal: i32,
    /// WatchdogSignal=
    pub watchdog_signal: i32,
    /// SendSIGKILL=
    pub send_sigkill: bool,
    /// SendSIGHUP=
    pub send_sighup: bool,
}

impl Default for KillSettings {
    fn default() -> Self {
        KillSettings {
            mode: KillMode::ControlGroup,
            signal: 15,
            restart_signal: None,
            final_signal: 9,
            watchdog_signal: 6,
            send_sigkill: true,
            send_sighup: false,
        }
    }
}
