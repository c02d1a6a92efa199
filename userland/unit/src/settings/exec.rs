//! How a process is set up, systemd.exec(5).

/// WorkingDirectory=
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingDirectory {
    /// Absolute; `None` is `~`, the user's home.
    pub path: Option<String>,
    /// `-`: stay where we are if it is not there.
    pub missing_ok: bool,
}

/// StandardInput=
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Input {
    /// /dev/null
    #[default]
    Null,
    /// The terminal of TTYPath=, as the controlling terminal.
    Tty,
    /// The terminal, taken from whoever has it.
    TtyForce,
    /// The terminal, or fail if another has it.
    TtyFail,
    /// A file.
    File(String),
    /// StandardInputText= and StandardInputData=
    Data,
    /// The socket of an Accept=yes instance.
    Socket,
}

/// StandardOutput=, StandardError=
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Output {
    /// As the input (stdout) or as stdout (stderr).
    Inherit,
    /// /dev/null
    Null,
    /// The terminal.
    Tty,
    /// The journal.
    #[default]
    Journal,
    /// The journal and the console.
    JournalConsole,
    /// The kernel's log.
    Kmsg,
    /// The kernel's log and the console.
    KmsgConsole,
    /// The socket.
    Socket,
    /// A file, written from its beginning without truncation.
    File(String),
    /// A file, appended to.
    Append(String),
    /// A file, truncated first.
    Truncate(String),
}

/// A LimitX= line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceLimit {
    /// `NOFILE`, `CORE`, …: what follows `Limit` or `RLIMIT_`.
    pub name: &'static str,
    /// The soft limit, in the unit of setrlimit(2); `u64::MAX` is infinity.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}

/// The parents of XDirectory=.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirectoryKind {
    /// /run
    Runtime,
    /// /var/lib
    State,
    /// /var/cache
    Cache,
    /// /var/log
    Logs,
    /// /etc
    Configuration,
}

impl DirectoryKind {
    /// The directory that it is about.
    pub fn parent(self) -> &'static str {
        match self {
            DirectoryKind::Runtime => "/run",
            DirectoryKind::State => "/var/lib",
            DirectoryKind::Cache => "/var/cache",
            DirectoryKind::Logs => "/var/log",
            DirectoryKind::Configuration => "/etc",
        }
    }

    /// The variable that tells the service.
    pub fn variable(self) -> &'static str {
        match self {
            DirectoryKind::Runtime => "RUNTIME_DIRECTORY",
            DirectoryKind::State => "STATE_DIRECTORY",
            DirectoryKind::Cache => "CACHE_DIRECTORY",
            DirectoryKind::Logs => "LOGS_DIRECTORY",
            DirectoryKind::Configuration => "CONFIGURATION_DIRECTORY",
        }
    }
}

/// RuntimeDirectory= and its kin: made before the first process, owned by User= (not Configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Under which parent.
    pub kind: DirectoryKind,
    /// Relative to the parent.
    pub names: Vec<String>,
    /// The permission bits.
    pub mode: u32,
}

/// RuntimeDirectoryPreserve=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preserve {
    /// Remove when the unit stops.
    #[default]
    No,
    /// Keep over an automatic restart.
    Restart,
    /// Keep.
    Yes,
}

/// Everything about how a unit's processes are set up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecSettings {
    /// Environment=, in order.
    pub environment: Vec<(String, String)>,
    /// EnvironmentFile=: pattern, and whether it may be missing.
    pub environment_files: Vec<(String, bool)>,
    /// PassEnvironment=
    pub pass_environment: Vec<String>,
    /// UnsetEnvironment=
    pub unset_environment: Vec<String>,
    /// User=
    pub user: Option<String>,
    /// Group=
    pub group: Option<String>,
    /// SupplementaryGroups=
    pub supplementary_groups: Vec<String>,
    /// WorkingDirectory=
    pub working_directory: Option<WorkingDirectory>,
    /// RootDirectory=
    pub root_directory: Option<String>,
    /// UMask= (default 0022)
    pub umask: Option<u32>,
    /// LimitX=
    pub limits: Vec<ResourceLimit>,
    /// Nice=
    pub nice: Option<i32>,
    /// OOMScoreAdjust=
    pub oom_score_adjust: Option<i32>,
    /// StandardInput=
    pub input: Input,
    /// StandardOutput=; `None`: the default (journal, or as the input where that is a terminal or socket)
    pub output: Option<Output>,
    /// StandardError=; `None`: as stdout
    pub error: Option<Output>,
    /// TTYPath= (default /dev/console)
    pub tty_path: Option<String>,
    /// TTYReset=
    pub tty_reset: bool,
    /// TTYVHangup=
    pub tty_vhangup: bool,
    /// SyslogIdentifier=
    pub syslog_identifier: Option<String>,
    /// SyslogLevel= (default info, 6)
    pub syslog_level: Option<u8>,
    /// SyslogLevelPrefix= (default yes)
    pub syslog_level_prefix: Option<bool>,
    /// RuntimeDirectory=, StateDirectory=, …
    pub directories: Vec<Directories>,
    /// RuntimeDirectoryPreserve=
    pub runtime_preserve: Preserve,
    /// NoNewPrivileges=
    pub no_new_privileges: bool,
    /// CapabilityBoundingSet=: the capabilities that may be had, a bit for each
    pub capability_bounding_set: Option<u64>,
    /// AmbientCapabilities=
    pub ambient_capabilities: u64,
    /// IgnoreSIGPIPE= (default yes)
    pub keep_sigpipe: bool,
}

impl ExecSettings {
    /// StandardOutput= with the default filled in.
    pub fn stdout(&self) -> Output {
        match &self.output {
            Some(output) => output.clone(),
            None => match self.input {
                Input::Null | Input::File(_) | Input::Data => Output::Journal,
                _ => Output::Inherit,
            },
        }
    }

    /// StandardError= with the default filled in.
    pub fn stderr(&self) -> Output {
        self.error.clone().unwrap_or(Output::Inherit)
    }
}
