//! How a process is set up, systemd.exec(5).

mod credential;
mod directory;
mod sandbox;
mod scheduling;
mod stream;
pub mod syscalls;

pub use credential::{Credentials, LoadedCredential, SetCredential};
pub use directory::{Directories, DirectoryKind, Preserve};
pub use sandbox::{
    ALL_CAPABILITIES, Bind, KeyringMode, NAMESPACES, NameList, PathRule, ProcSubset, ProtectHome,
    ProtectProc, ProtectSystem, Refusal, Sandbox, SystemCalls,
};
pub use scheduling::{ResourceLimit, Scheduling};
pub use stream::{Input, Logging, Output, Terminal};

/// WorkingDirectory=
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkingDirectory {
    /// Absolute; `None` is `~`, the user's home.
    pub path: Option<String>,
    /// `-`: stay where we are if it is not there.
    pub missing_ok: bool,
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
    /// Nice= and its kin.
    pub scheduling: Scheduling,
    /// StandardInput=
    pub input: Input,
    /// StandardInputText=, StandardInputData=
    pub input_data: Vec<u8>,
    /// StandardOutput=; `None`: the default (journal, or as the input where that is a terminal or socket)
    pub output: Option<Output>,
    /// StandardError=; `None`: as stdout
    pub error: Option<Output>,
    /// NonBlocking=
    pub non_blocking: bool,
    /// TTYPath= and its kin.
    pub terminal: Terminal,
    /// SyslogIdentifier= and its kin.
    pub logging: Logging,
    /// RuntimeDirectory=, StateDirectory=, …
    pub directories: Vec<Directories>,
    /// RuntimeDirectoryPreserve=
    pub runtime_preserve: Preserve,
    /// TimeoutCleanSec=, µs; `None`: no limit.
    pub timeout_clean: Option<u64>,
    /// LoadCredential=, SetCredential=
    pub credentials: Credentials,
    /// DynamicUser=
    pub dynamic_user: bool,
    /// RemoveIPC=
    pub remove_ipc: bool,
    /// PAMName=
    pub pam_name: Option<String>,
    /// ExecSearchPath=
    pub search_path: Vec<String>,
    /// CapabilityBoundingSet=: the capabilities that may be had, a bit for each
    pub capability_bounding_set: Option<u64>,
    /// AmbientCapabilities=
    pub ambient_capabilities: u64,
    /// SecureBits=, prctl(2)'s bits.
    pub secure_bits: u32,
    /// KeyringMode=; `None`: private for services, shared for others.
    pub keyring: Option<KeyringMode>,
    /// Personality=: the name of an architecture.
    pub personality: Option<String>,
    /// UtmpIdentifier=
    pub utmp_identifier: Option<String>,
    /// UtmpMode=
    pub utmp_mode: Option<String>,
    /// SELinuxContext=, AppArmorProfile=, SmackProcessLabel=: may fail (`-`), and the value.
    pub labels: [Option<(bool, String)>; 3],
    /// IgnoreSIGPIPE= (default yes)
    pub keep_sigpipe: bool,
    /// What it may see and do.
    pub sandbox: Sandbox,
    /// Settings that are told but not carried out, by the name of their property.
    pub told: Vec<(&'static str, Told)>,
}

/// The value of a setting that is only told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
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

    /// A `told` setting's value.
    pub fn told(&self, name: &str) -> Option<&Told> {
        self.told.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}
