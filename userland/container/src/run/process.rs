//! The last steps before the program: who it is, what it may do, where it starts.
//!
//! Used for a container's first process and for those that `exec` adds. The caller is already inside the
//! container's namespaces and root. Order matters: groups before the user, the user before capabilities,
//! the filter last. Sources: credentials(7), capabilities(7), prctl(2), execve(2).

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capabilities, PosixRlimit, Process};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, accessat, openat2};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::channel::Channel;
use super::seccomp::Filters;
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
pub struct Program<'a> {
    process: &'a Process,
    filters: Option<Filters>,
}

impl<'a> Program<'a> {
    /// Compiles the filter. A privileged process has none.
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn prepare(process: &'a Process, privileged: bool) -> io::Result<Self> {
        let filters = if privileged { None } else { Some(Filters::compile(&permitted(process))?) };
        Ok(Self { process, filters })
    }

    /// Becomes the program. Returns only if that failed.
    ///
    /// `channel` tells whether the parent still lives; the process is killed when it dies from then on.
    pub fn become_it(&self, channel: &Channel) -> StartError {
        match self.try_become(channel) {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_become(&self, channel: &Channel) -> Result<std::convert::Infallible, StartError> {
        let root = step(
            "open /",
            rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()),
        )?;
        let identity = identity(&root, self.process)?;
        for limit in self.process.rlimits().iter().flatten() {
            step(&format!("ulimit {}", limit.typ()), set_limit(limit))?;
        }
        // Nothing of ours is left to be followed from here on: not by /proc/self/fd, not by exec.
        step("close descriptors", linux::clean_exec::close_on_exec_from(3))?;
        enter_directory(&root, self.process.cwd())?;
        step("drop capabilities", drop_bounding(capability::bits(&permitted(self.process))))?;
        step("set the user", become_user(&identity))?;
        step("set capabilities", set_capabilities(self.process))?;
        rustix::process::umask(Mode::from_raw_mode(self.process.user().umask().unwrap_or(0o022)));
        if self.process.no_new_privileges() == Some(true) {
            step("no_new_privs", rustix::thread::set_no_new_privs(true))?;
        }
        // A change of user clears it, so it comes after; and the parent may have died before.
        step("tie to the parent", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
        if channel.is_alone() {
            return step("wait for the parent", Err(io::Error::other("it is gone")));
        }
        let env = environment(self.process, &identity);
        let args = self.process.args().clone().unwrap_or_default();
        let program = find(args.first().map_or("", String::as_str), &env)?;
        let (c_args, c_env) = (c_strings(&args)?, c_strings(&env)?);
        let c_program = step("name", CString::new(program.as_os_str().as_bytes()).map_err(io::Error::from))?;
        if let Some(filters) = &self.filters {
            step("seccomp", filters.apply())?;
        }
        let error = match nix::unistd::execve(&c_program, &c_args, &c_env) {
            Ok(never) => return Ok(never),
            Err(error) => io::Error::from(error),
        };
        let name = program.display().to_string();
        if error.kind() == io::ErrorKind::NotFound {
            // The file is there: what is missing is the interpreter it names.
            return Err(StartError::NotExecutable(name, io::Error::other("its interpreter is missing")));
        }
        Err(StartError::NotExecutable(name, error))
    }
}

fn permitted(process: &Process) -> Capabilities {
    let sets = process.capabilities().as_ref();
    sets.and_then(|sets| sets.bounding().clone()).unwrap_or_default()
}

fn identity(root: impl AsFd, process: &Process) -> Result<Identity, StartError> {
    let user = process.user();
    match user.username() {
        Some(name) => Ok(look_up(root, name)?),
        None => Ok(Identity {
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            home: "/".to_owned(),
        }),
    }
}

fn set_limit(limit: &PosixRlimit) -> io::Result<()> {
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
    Ok(setrlimit(resource, Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) })?)
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
    rustix::thread::set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

fn set_capabilities(process: &Process) -> io::Result<()> {
    let Some(sets) = process.capabilities() else { return Ok(()) };
    let bits = |set: &Option<Capabilities>| set.as_ref().map_or(CapabilitySet::empty(), capability::bits);
    // The kernel may not have all that a privileged container asks for.
    let ours = rustix::thread::capabilities(None)?.permitted;
    let wanted = CapabilitySets {
        effective: bits(sets.effective()) & ours,
        permitted: bits(sets.permitted()) & ours,
        inheritable: bits(sets.inheritable()) & ours,
    };
    rustix::thread::set_capabilities(None, wanted)?;
    Ok(())
}

fn environment(process: &Process, identity: &Identity) -> Vec<String> {
    let mut env = process.env().clone().unwrap_or_default();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", identity.home));
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
