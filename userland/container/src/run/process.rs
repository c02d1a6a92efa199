//! The last steps before the program: who it is, what it may do, where it starts.
//!
//! Used for a container's first process and for those that `exec` adds. The caller is already inside the
//! container's namespaces and root. Order matters: groups before the user, the user before capabilities,
//! the filter last. Sources: credentials(7), capabilities(7), prctl(2), execve(2).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capabilities, LinuxCapabilities, LinuxSeccomp, PosixRlimit, Process};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, accessat, openat2};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::channel::Channel;
use super::seccomp::Filter;
use crate::bundle::capability;
use crate::bundle::user::{Identity, look_up};

/// It cannot be executed. Each kind has the exit status that shells and Docker give it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not there.
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotFound(String),
    /// There, but no program.
    #[error("exec: {0:?}: {1}")]
    NotExecutable(String, io::Error),
    /// Something before that.
    #[error("{0}: {1}")]
    Setup(String, io::Error),
    /// The user is unknown.
    #[error(transparent)]
    User(#[from] crate::bundle::user::BadUser),
}

impl StartError {
    /// The exit status that tells of it.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::NotFound(_) => 127,
            Self::NotExecutable(..) => 126,
            Self::Setup(..) | Self::User(_) => 125,
        }
    }
}

fn step<T, E: Into<io::Error>>(what: &str, result: Result<T, E>) -> Result<T, StartError> {
    result.map_err(|error| StartError::Setup(what.to_owned(), error.into()))
}

/// A program, prepared as far as it can be before entering the container.
#[derive(Debug)]
pub struct Program<'a> {
    process: &'a Process,
    filter: Option<Filter>,
    /// Descriptors after the standard streams that the program gets, too.
    kept: u32,
    /// `NAME=VALUE` beyond the configuration.
    env: Vec<String>,
    /// Whether limits are set by the parent, who may raise them.
    limited_by_parent: bool,
}

/// All but the last step is done.
#[derive(Debug)]
pub struct Settled {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    shown: String,
}

impl<'a> Program<'a> {
    /// Compiles the filter.
    ///
    /// # Errors
    /// When it has no meaning.
    pub fn prepare(process: &'a Process, seccomp: Option<&LinuxSeccomp>) -> io::Result<Self> {
        let filter = seccomp.map(Filter::compile).transpose()?;
        Ok(Self { process, filter, kept: 0, env: Vec::new(), limited_by_parent: false })
    }

    /// The same, with this many descriptors after the standard streams, and these further variables.
    #[must_use]
    pub fn with(self, kept: u32, env: Vec<String>) -> Self {
        Self { kept, env, ..self }
    }

    /// The same, whose limits the parent sets.
    #[must_use]
    pub fn limited_by_parent(self, so: bool) -> Self {
        Self { limited_by_parent: so, ..self }
    }

    /// Its limits, for [`limit`].
    #[must_use]
    pub fn process(&self) -> &'a Process {
        self.process
    }

    /// Does all but the last step. With `parent` the process is killed when its parent dies from then on.
    ///
    /// # Errors
    /// When the program is not there, or the kernel refuses a step.
    pub fn settle(&self, parent: Option<&Channel>) -> Result<Settled, StartError> {
        let process = self.process;
        let root = step(
            "open /",
            rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()),
        )?;
        let identity = identity(&root, process)?;
        if !self.limited_by_parent {
            limit(None, process).map_err(|error| StartError::Setup("rlimits".to_owned(), error))?;
        }
        super::scheduling::apply(process)
            .map_err(|error| StartError::Setup("scheduling".to_owned(), error))?;
        // Nothing of ours is left to be followed from here on: not by /proc/self/fd, not by exec.
        step("close descriptors", linux::clean_exec::close_on_exec_from(3 + self.kept))?;
        enter_directory(&root, process.cwd())?;
        step("drop capabilities", drop_bounding(capability::bits(&permitted(process))))?;
        step("set the user", become_user(&identity))?;
        let keep =
            if self.needs_rights_to_filter() { CapabilitySet::SYS_ADMIN } else { CapabilitySet::empty() };
        step("set capabilities", set_capabilities(process, keep))?;
        rustix::process::umask(Mode::from_raw_mode(process.user().umask().unwrap_or(0o022)));
        if process.no_new_privileges() == Some(true) {
            step("no_new_privs", rustix::thread::set_no_new_privs(true))?;
        }
        if let Some(parent) = parent {
            // A change of user clears it, so it comes after; and the parent may have died before.
            step("tie to the parent", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
            if parent.is_alone() {
                return step("wait for the parent", Err(io::Error::other("it is gone")));
            }
        }
        let mut env = environment(process, &root, &identity);
        env.extend(self.env.iter().cloned());
        let args = process.args().clone().unwrap_or_default();
        let program = find(args.first().map_or("", String::as_str), &env)?;
        Ok(Settled {
            path: step("name", CString::new(program.as_os_str().as_bytes()).map_err(io::Error::from))?,
            args: c_strings(&args)?,
            env: c_strings(&env)?,
            shown: program.display().to_string(),
        })
    }

    /// A filter needs `no_new_privs` or this right; exec takes the right away again, since it is not in the
    /// bounding set.
    fn needs_rights_to_filter(&self) -> bool {
        self.filter.is_some() && self.process.no_new_privileges() != Some(true)
    }

    /// Becomes the program. Returns only if that failed.
    pub fn become_it(&self, settled: &Settled, channel: &Channel) -> StartError {
        if let Err(error) = self.install_filter(channel) {
            return StartError::Setup("seccomp".to_owned(), error);
        }
        let error = match nix::unistd::execve(&settled.path, &settled.args, &settled.env) {
            Ok(never) => match never {},
            Err(error) => io::Error::from(error),
        };
        let name = settled.shown.clone();
        if error.kind() == io::ErrorKind::NotFound {
            // The file is there: what is missing is the interpreter it names.
            return StartError::NotExecutable(
                name,
                io::Error::other("its interpreter is missing: no such file or directory"),
            );
        }
        StartError::NotExecutable(name, error)
    }

    fn install_filter(&self, channel: &Channel) -> io::Result<()> {
        let Some(filter) = &self.filter else { return Ok(()) };
        if !filter.listens() {
            return filter.install().map(drop);
        }
        // The lowest free number is what the listener gets. Who starts us fetches it: once the filter is in
        // force, sending it may be what the filter asks the listener about.
        let next = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
        let number = u32::try_from(next.as_raw_fd()).unwrap_or(u32::MAX);
        drop(next);
        channel.send_listener(number)?;
        let listener = filter.install()?;
        channel.wait_for_go()?;
        drop(listener);
        Ok(())
    }
}

fn permitted(process: &Process) -> Capabilities {
    let sets = process.capabilities().as_ref();
    sets.and_then(|sets| sets.bounding().clone()).unwrap_or_default()
}

fn identity(root: impl AsFd, process: &Process) -> Result<Identity, StartError> {
    let user = process.user();
    match user.username() {
        Some(name) => {
            let mut identity = look_up(root, name)?;
            identity.groups.extend(user.additional_gids().iter().flatten());
            Ok(identity)
        }
        None => Ok(Identity {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            home: "/".to_owned(),
        }),
    }
}

/// Sets the limits of a process: another, or the caller.
///
/// # Errors
/// When one is named twice, is none, or the caller may not raise it.
pub fn limit(pid: Option<u32>, process: &Process) -> io::Result<()> {
    let limits = process.rlimits().as_deref().unwrap_or_default();
    for (at, one) in limits.iter().enumerate() {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", one.typ()));
        if limits.iter().take(at).any(|other| other.typ() == one.typ()) {
            return Err(named(io::Error::new(io::ErrorKind::InvalidInput, "it is named twice")));
        }
        set_limit(pid, one).map_err(named)?;
    }
    Ok(())
}

fn set_limit(pid: Option<u32>, limit: &PosixRlimit) -> io::Result<()> {
    let name = limit.typ().to_string();
    let resource = match name.trim_start_matches("RLIMIT_").to_ascii_lowercase().as_str() {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let value = |value: u64| (value != u64::MAX).then_some(value);
    let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    prlimit(pid, resource, Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) })?;
    Ok(())
}

/// Goes to the working directory, making it if need be, and makes sure that it is in the container.
fn enter_directory(root: impl AsFd, path: &Path) -> Result<(), StartError> {
    let shown = format!("working directory {}", path.display());
    step(&shown, super::mounts::make_target(root.as_fd(), path, true, false).map_err(io::Error::other))?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = step(&shown, openat2(root.as_fd(), path, flags, Mode::empty(), resolve))?;
    step(&shown, rustix::process::fchdir(dir))?;
    let here = step(&shown, rustix::process::getcwd(Vec::new()))?;
    // The kernel marks what is beyond the root with "(unreachable)".
    if here.as_bytes().first() == Some(&b'/') {
        return Ok(());
    }
    step(&shown, Err(io::Error::other("it is outside of the container")))
}

fn drop_bounding(keep: CapabilitySet) -> io::Result<()> {
    for at in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << at);
        match rustix::thread::capability_is_in_bounding_set(one) {
            // Beyond the last that this kernel knows.
            Err(_) => break,
            Ok(true) if !keep.contains(one) => rustix::thread::remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
        }
    }
    Ok(())
}

fn become_user(identity: &Identity) -> io::Result<()> {
    use rustix::fs::{Gid, Uid};
    rustix::thread::set_keep_capabilities(true)?;
    let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // In a user namespace that its own user made nobody may, and there is nothing to be given up.
        Err(rustix::io::Errno::PERM) if groups.is_empty() => {}
        other => other?,
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// Becomes root of the user namespace that the caller is in, whatever it was outside.
pub(super) fn become_root() -> io::Result<()> {
    become_user(&Identity { uid: 0, gid: 0, groups: Vec::new(), home: String::new() })
}

/// Gives the standard streams to a user that is not root, so that it can open them again by name. What cannot be
/// given, as `/dev/null` of the machine, stays whose it is.
pub(super) fn give_streams(process: &Process) {
    let uid = process.user().uid();
    if uid == 0 {
        return;
    }
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let is_null = rustix::fs::fstat(stream).is_ok_and(|stat| stat.st_rdev == rustix::fs::makedev(1, 3));
        if !is_null {
            let _ = rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None);
        }
    }
}

/// Sets all five sets. `keep`: what the last step needs, and exec ends.
fn set_capabilities(process: &Process, keep: CapabilitySet) -> io::Result<()> {
    // Not the library's default, which has some: a configuration without capabilities means none.
    let sets = process.capabilities().as_ref();
    let bits = |of: fn(&LinuxCapabilities) -> &Option<Capabilities>| {
        sets.and_then(|sets| of(sets).as_ref()).map_or(CapabilitySet::empty(), capability::bits)
    };
    // The kernel may not have all that a privileged container asks for.
    let ours = rustix::thread::capabilities(None)?.permitted;
    let wanted = CapabilitySets {
        effective: (bits(LinuxCapabilities::effective) | keep) & ours,
        permitted: (bits(LinuxCapabilities::permitted) | keep) & ours,
        inheritable: bits(LinuxCapabilities::inheritable) & ours,
    };
    rustix::thread::set_capabilities(None, wanted)?;
    let _ = rustix::thread::clear_ambient_capability_set();
    for one in bits(LinuxCapabilities::ambient).iter() {
        // One that is neither permitted nor inheritable cannot be ambient.
        let _ = rustix::thread::configure_capability_in_ambient_set(one, true);
    }
    Ok(())
}

fn environment(process: &Process, root: impl AsFd, identity: &Identity) -> Vec<String> {
    let mut env = process.env().clone().unwrap_or_default();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        let home = match process.user().username() {
            Some(_) => identity.home.clone(),
            None => look_up(root, &identity.uid.to_string()).map_or("/".to_owned(), |found| found.home),
        };
        env.push(format!("HOME={home}"));
    }
    env
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, StartError> {
    let all: Result<Vec<_>, _> = texts.iter().map(|text| CString::new(text.as_bytes())).collect();
    step("arguments", all.map_err(io::Error::from))
}

/// The program's path: as given if it has a slash, else the first match in the container's `PATH`.
fn find(name: &str, env: &[String]) -> Result<PathBuf, StartError> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(name.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StartError::NotFound(name.to_owned()))
            }
            Err(error) => Err(StartError::NotExecutable(name.to_owned(), error)),
        };
    }
    let path = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("/usr/bin:/bin");
    let mut refused = None;
    for dir in path.split(':').filter(|dir| !dir.is_empty() && !name.is_empty()) {
        let candidate = Path::new(dir).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
            Err(_) => {}
        }
    }
    Err(match refused {
        Some(error) => StartError::NotExecutable(name.to_owned(), error),
        None => StartError::NotFound(name.to_owned()),
    })
}

fn executable(path: &Path) -> io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "is a directory"));
    }
    Ok(accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?)
}
