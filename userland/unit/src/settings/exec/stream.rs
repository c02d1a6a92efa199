//! Standard input, output and error; terminals; what the log says of them.

/// StandardInput=
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Input {
    /// /dev/null
    #[default]
    Null,
    /// The terminal of TTYPath=, as the controlling terminal; waits until it is free.
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
    /// A descriptor that a socket unit passes, by its FileDescriptorName=.
    Named(String),
}

impl Input {
    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Input::Tty | Input::TtyForce | Input::TtyFail)
    }

    /// As systemd tells it in StandardInput.
    pub fn as_str(&self) -> &'static str {
        match self {
            Input::Null => "null",
            Input::Tty => "tty",
            Input::TtyForce => "tty-force",
            Input::TtyFail => "tty-fail",
            Input::File(_) => "file",
            Input::Data => "data",
            Input::Socket => "socket",
            Input::Named(_) => "fd",
        }
    }
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
    /// A descriptor that a socket unit passes, by its FileDescriptorName=.
    Named(String),
}

impl Output {
    /// Whether the journal gets it.
    pub fn is_journal(&self) -> bool {
        matches!(self, Output::Journal | Output::JournalConsole)
    }
}

/// TTYPath= and what is done to the terminal first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terminal {
    /// TTYPath= (default /dev/console)
    pub path: Option<String>,
    /// TTYReset=
    pub reset: bool,
    /// TTYVHangup=
    pub hang_up: bool,
    /// TTYVTDisallocate=
    pub disallocate: bool,
    /// TTYRows=
    pub rows: Option<u16>,
    /// TTYColumns=
    pub columns: Option<u16>,
}

/// How what a unit writes is logged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logging {
    /// SyslogIdentifier=
    pub identifier: Option<String>,
    /// SyslogFacility= (default daemon, 3)
    pub facility: Option<u8>,
    /// SyslogLevel= (default info, 6)
    pub level: Option<u8>,
    /// SyslogLevelPrefix= (default yes)
    pub level_prefix: Option<bool>,
    /// LogLevelMax=: less important messages are dropped.
    pub level_max: Option<u8>,
    /// LogExtraFields=: `NAME=value`.
    pub extra_fields: Vec<String>,
    /// LogRateLimitIntervalSec=, µs.
    pub rate_limit_interval: Option<u64>,
    /// LogRateLimitBurst=
    pub rate_limit_burst: Option<u32>,
    /// LogNamespace=
    pub namespace: Option<String>,
}

impl Logging {
    /// Facility and level in one number, as syslog has them.
    pub fn priority(&self) -> u8 {
        const DAEMON: u8 = 3;
        const INFO: u8 = 6;
        (self.facility.unwrap_or(DAEMON) << 3) | (self.level.unwrap_or(INFO) & 7)
    }
}
