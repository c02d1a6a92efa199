//! What the engine asks of the world while it handles an event: unit files, and checks of the system.

use crate::settings::Defaults;
use crate::{Pid, UnitName, Usec};

/// What does not change while the system runs: for specifiers and conditions.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// 32 hex digits.
    pub machine_id: String,
    /// 32 hex digits.
    pub boot_id: String,
    /// The host name.
    pub hostname: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// systemd's word: `x86-64`.
    pub architecture: String,
    /// /etc/os-release, as pairs (`ID`, `VERSION_ID`, …).
    pub os_release: Vec<(String, String)>,
    /// The manager's own environment: what services inherit (`PATH`, `LANG`, …).
    pub environment: Vec<(String, String)>,
    /// When PID 1 began: monotonic.
    pub started: Usec,
    /// What units have that say nothing else.
    pub defaults: Defaults,
}

/// A file's path and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Absolute.
    pub path: String,
    /// The bytes, made UTF-8.
    pub text: String,
}

/// What the load path holds for one name.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The unit's file; of an instance, the template's if it has none of its own.
    pub fragment: Option<Text>,
    /// In order of application (by file name, a higher directory wins), `NAME.d`, `prefix-.service.d`,
    /// `service.d` and the template's included; see [`UnitName::drop_in_stems`].
    pub drop_ins: Vec<Text>,
    /// Names linked in `NAME.wants/` (an instance: the template's too, templates filled in).
    pub wants: Vec<UnitName>,
    /// Names linked in `NAME.requires/`.
    pub requires: Vec<UnitName>,
    /// The file (`fragment` says where) is empty or a link to /dev/null.
    pub masked: bool,
    /// The file is a link to another unit's: this is only another name of that one.
    pub alias_of: Option<UnitName>,
    /// Other names by which links lead to this unit.
    pub aliases: Vec<UnitName>,
}

/// `systemctl list-unit-files`' second column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitFileState {
    /// Linked by its [Install] section.
    Enabled,
    /// Linked in /run.
    EnabledRuntime,
    /// A link to a file outside the load path.
    Linked,
    /// The same in /run.
    LinkedRuntime,
    /// Another name.
    Alias,
    /// Masked.
    Masked,
    /// Masked in /run.
    MaskedRuntime,
    /// No [Install] section.
    Static,
    /// Only `Also=` in [Install].
    Indirect,
    /// Not linked.
    Disabled,
    /// Made by a generator.
    Generated,
    /// Made at run time by a client.
    Transient,
    /// Unreadable.
    Bad,
}

impl UnitFileState {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            UnitFileState::Enabled => "enabled",
            UnitFileState::EnabledRuntime => "enabled-runtime",
            UnitFileState::Linked => "linked",
            UnitFileState::LinkedRuntime => "linked-runtime",
            UnitFileState::Alias => "alias",
            UnitFileState::Masked => "masked",
            UnitFileState::MaskedRuntime => "masked-runtime",
            UnitFileState::Static => "static",
            UnitFileState::Indirect => "indirect",
            UnitFileState::Disabled => "disabled",
            UnitFileState::Generated => "generated",
            UnitFileState::Transient => "transient",
            UnitFileState::Bad => "bad",
        }
    }
}

/// The unit directories.
pub trait Catalog {
    /// What the load path holds for this name; all empty if nothing. The error tells what cannot be read.
    fn find(&self, name: &UnitName) -> Result<Sources, String>;
    /// Every unit file with its state.
    fn list(&self) -> Vec<(UnitName, UnitFileState)>;
}

/// An entry of the user database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The main group's number.
    pub gid: u32,
    /// The home directory.
    pub home: String,
    /// The login shell.
    pub shell: String,
}

/// Checks that need the system. All are quick, none blocks, all have an answer that suits tests.
pub trait Probe {
    /// A path, or a glob pattern, has a match.
    fn path_exists(&self, path: &str) -> bool;
    /// It is a directory.
    fn is_directory(&self, _path: &str) -> bool {
        false
    }
    /// It is a symbolic link.
    fn is_symlink(&self, _path: &str) -> bool {
        false
    }
    /// It is a mount point.
    fn is_mount_point(&self, _path: &str) -> bool {
        false
    }
    /// It is on a file system mounted writable.
    fn is_writable(&self, _path: &str) -> bool {
        true
    }
    /// A directory with something in it.
    fn is_directory_not_empty(&self, _path: &str) -> bool {
        false
    }
    /// A file of more than no bytes.
    fn is_file_not_empty(&self, _path: &str) -> bool {
        false
    }
    /// A regular file marked executable.
    fn is_executable(&self, _path: &str) -> bool {
        false
    }
    /// The words of the kernel's command line.
    fn kernel_command_line(&self) -> Vec<String> {
        Vec::new()
    }
    /// systemd's name of the virtualization, with whether it is a container: `("kvm", false)`; none: `None`.
    fn virtualization(&self) -> Option<(String, bool)> {
        None
    }
    /// On mains power; unknown counts as yes.
    fn on_ac_power(&self) -> bool {
        true
    }
    /// The first boot (no machine-id was there).
    fn first_boot(&self) -> bool {
        false
    }
    /// The words of /sys/fs/cgroup/cgroup.controllers.
    fn cgroup_controllers(&self) -> Vec<String> {
        Vec::new()
    }
    /// The capabilities of PID 1, a bit for each.
    fn capabilities(&self) -> u64 {
        u64::MAX
    }
    /// A security technology is there: `selinux`, `apparmor`, `uefi-secureboot`, …
    fn security(&self, _name: &str) -> bool {
        false
    }
    /// Memory in bytes.
    fn memory(&self) -> u64 {
        u64::MAX
    }
    /// Processors.
    fn cpus(&self) -> u64 {
        1
    }
    /// A user by name or number.
    fn user(&self, _name: &str) -> Option<User> {
        None
    }
    /// A group's number, by name or number.
    fn group(&self, _name: &str) -> Option<u32> {
        None
    }
    /// The texts of the files that an EnvironmentFile= path or glob pattern means. An error when there is none.
    fn environment_files(&self, _pattern: &str) -> Result<Vec<String>, String> {
        Err("no such file".into())
    }
    /// The first line of a PIDFile=, or `None` while it is not there. A file that somebody else than root could
    /// have written counts only if the process is in the unit's cgroup: see `processes`.
    fn pid_file(&self, _path: &str) -> Option<Pid> {
        None
    }
    /// The process is there (a zombie is not).
    fn is_alive(&self, _pid: Pid) -> bool {
        false
    }
    /// The processes below a cgroup (`/system.slice/x.service`), without zombies; empty if there is no such.
    fn processes(&self, _cgroup: &str) -> Vec<Pid> {
        Vec::new()
    }
    /// When a file was last modified: µs since 1970; `None`: there is none.
    fn modified(&self, _path: &str) -> Option<Usec> {
        None
    }
    /// A time zone of the database; `None` asks for the system's own.
    fn time_zone(&self, name: Option<&str>) -> Option<jiff::tz::TimeZone> {
        matches!(name, None | Some("UTC")).then_some(jiff::tz::TimeZone::UTC)
    }
    /// 128 random bits, for the invocation id.
    fn random_id(&self) -> u128 {
        0
    }
}

/// The moment and the world in which an event is handled.
pub struct World<'a> {
    /// CLOCK_MONOTONIC.
    pub now: Usec,
    /// CLOCK_REALTIME.
    pub realtime: Usec,
    /// The unit directories.
    pub catalog: &'a dyn Catalog,
    /// The system.
    pub probe: &'a dyn Probe,
}
