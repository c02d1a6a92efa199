//! The child's own way to its program, in systemd's order. Nothing here returns to PID 1.
//!
//! PID 1 has one thread, so the child is a whole process of its own and may do what any program may: open files, take
//! locks, wait. PID 1 waits for none of it.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use linux::namespace::{Namespaces, unshare};
use nix::unistd::execve;
use rustix::fs::Mode;
use unit::settings::ExecSettings;
use unit::{Role, Spawn};

use super::filter::Filters;
use super::identity::Identity;
use super::namespace::{self, Surroundings};
use super::runtime::{self, Folder};
use super::{
    Failure, Handed, credentials, delegation, directories, environment, identity, keyring, scheduling,
    status, stdio, terminal, user_namespace,
};
use crate::users::{User, Users};

const SIGPIPE: i32 = 13;
const DEFAULT_UMASK: u32 = 0o022;
/// The first descriptor that is not a standard stream.
const FIRST_OWN: u32 = 3;

/// Sets the process up and executes the program; returns only when that fails.
pub fn run(spawn: &Spawn, handed: &Handed) -> Failure {
    match execute(spawn, handed) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn execute(spawn: &Spawn, handed: &Handed) -> Result<Infallible, Failure> {
    let exec: &ExecSettings = &spawn.exec;
    let privileged = spawn.flags.full_privileges;
    begin(spawn)?;
    scheduling::apply(exec)?;

    let users = Users::read(Path::new("/"));
    let folder = shared_folder(spawn)?;
    let identity = identity::find(exec, &users, privileged)?;
    remember(folder.as_ref(), exec, &identity)?;
    terminal::prepare(exec);
    let journal = stdio::connect(spawn, handed)?;
    terminal::own(exec, identity.uid, &users)?;
    delegation::hand_over(spawn, identity.uid, identity.gid)?;
    let directories = directories::make(exec, identity.uid, identity.gid)?;
    let credentials = credentials::make(&spawn.unit, &exec.credentials, &identity)?;
    rustix::process::umask(Mode::from_raw_mode(exec.umask.unwrap_or(DEFAULT_UMASK)));
    keyring::renew(exec)?;
    let known =
        environment::Known { user: identity.user.as_ref(), journal, credentials: credentials.as_deref() };
    let mut environment = environment::complete(spawn, known);
    environment.extend(handed.environment());

    if !privileged {
        let notifies = environment.iter().any(|(name, _)| name == "NOTIFY_SOCKET");
        let around = Surroundings { tmp: None, directories, credentials, notifies };
        namespaces(spawn, folder.as_ref(), around)?;
    }
    drop(folder);
    scheduling::limit(exec)?;
    work_directory(exec, identity.user.as_ref())?;
    if !privileged {
        identity::join_groups(&identity)?;
        if exec.sandbox.private_users {
            user_namespace::enter(&identity)
                .map_err(|error| Failure::new(status::USER, "cannot make a user namespace", error))?;
        }
        identity::assume(exec, &identity, !spawn.flags.no_setuid)?;
    }
    let program = environment::find(&spawn.path, &exec.search_path, &environment)
        .map_err(|error| Failure::new(status::EXEC, &spawn.path, error))?;
    let ready = Ready::new(&program, spawn, &environment)?;
    handed.put()?;
    if !privileged {
        restrict(exec)?;
    }
    ready.execute()
}

/// What every process begins with.
fn begin(spawn: &Spawn) -> Result<(), Failure> {
    let exec: &ExecSettings = &spawn.exec;
    linux::clean_exec::close_on_exec_from(FIRST_OWN)
        .map_err(|error| Failure::new(status::FDS, "cannot close descriptors", error))?;
    // autofs lets the process group of PID 1 through: to mount is not to wait for the mount
    if !matches!(spawn.role, Role::Mount | Role::Remount | Role::Unmount) {
        rustix::process::setsid()
            .map_err(|error| Failure::new(status::SETSID, "cannot begin a session", error))?;
    }
    linux::clean_exec::default_signals()
        .map_err(|error| Failure::new(status::SIGNAL_MASK, "cannot reset signals", error))?;
    if !exec.keep_sigpipe {
        linux::signal::ignore(SIGPIPE);
    }
    rustix::process::umask(Mode::empty());
    if let Some((place, mode)) = &spawn.mount_point {
        // mount(8) says what is wrong with a place that cannot be made
        let _ = fs::DirBuilder::new().recursive(true).mode(*mode).create(place);
    }
    if let Some(name) = &exec.personality {
        const LINUX: u64 = 0;
        const LINUX32: u64 = 8;
        let narrow = matches!(name.as_str(), "x86" | "ppc" | "ppc-le" | "s390");
        linux::scheduling::set_personality(if narrow { LINUX32 } else { LINUX })
            .map_err(|error| Failure::new(status::PERSONALITY, "cannot set the personality", error))?;
    }
    Ok(())
}

/// The folder that the unit's processes share, where one of its settings needs it.
fn shared_folder(spawn: &Spawn) -> Result<Option<Folder>, Failure> {
    let exec = &spawn.exec;
    let sandbox = &exec.sandbox;
    let needed = exec.dynamic_user
        || exec.remove_ipc
        || sandbox.private_tmp
        || sandbox.private_network
        || sandbox.private_ipc;
    if !needed {
        return Ok(None);
    }
    Folder::hold(&spawn.unit, &spawn.joins).map(Some).map_err(|error| {
        Failure::new(status::NAMESPACE, "cannot keep what the unit's processes share", error)
    })
}

/// What is to be cleared away when the unit ends.
fn remember(folder: Option<&Folder>, exec: &ExecSettings, identity: &Identity) -> Result<(), Failure> {
    let Some(folder) = folder else { return Ok(()) };
    let failed = |error: io::Error| Failure::new(status::USER, "cannot keep the user's number", error);
    if exec.dynamic_user {
        folder.set_user(identity.uid).map_err(failed)?;
    }
    if exec.remove_ipc {
        folder.set_ipc_owner(identity.uid, identity.gid).map_err(failed)?;
    }
    Ok(())
}

/// The unit's own networks, names, messages and files.
fn namespaces(spawn: &Spawn, folder: Option<&Folder>, mut around: Surroundings) -> Result<(), Failure> {
    let exec = &spawn.exec;
    let sandbox = &exec.sandbox;
    let network =
        |error: io::Error| Failure::new(status::NETWORK, "cannot enter the network namespace", error);
    let other = |error: io::Error| Failure::new(status::NAMESPACE, "cannot make the namespaces", error);
    if let Some(path) = &sandbox.network_namespace {
        runtime::join(Path::new(path)).map_err(network)?;
    } else if let Some(folder) = folder.filter(|_| sandbox.private_network) {
        folder.enter(Namespaces::NETWORK, "net", linux::loopback::up).map_err(network)?;
    }
    if let Some(path) = &sandbox.ipc_namespace {
        runtime::join(Path::new(path)).map_err(other)?;
    } else if let Some(folder) = folder.filter(|_| sandbox.private_ipc) {
        folder.enter(Namespaces::IPC, "ipc", || Ok(())).map_err(other)?;
    }
    if sandbox.protect_hostname {
        unshare(Namespaces::UTS).map_err(other)?;
    }
    if let Some(folder) = folder.filter(|_| sandbox.private_tmp) {
        around.tmp = Some(folder.private_tmp(&spawn.unit).map_err(other)?);
    }
    if namespace::is_needed(exec) {
        return namespace::enter(&spawn.unit, exec, &around);
    }
    if let Some(root) = &exec.root_directory {
        rustix::process::chroot(root)
            .and_then(|()| rustix::process::chdir("/"))
            .map_err(|error| Failure::new(status::CHROOT, format!("cannot enter the root {root}"), error))?;
    }
    Ok(())
}

fn work_directory(exec: &ExecSettings, user: Option<&User>) -> Result<(), Failure> {
    let failed = |path: &Path, error: rustix::io::Errno| {
        Failure::new(status::CHDIR, format!("cannot enter {}", path.display()), error)
    };
    let Some(wanted) = &exec.working_directory else {
        return rustix::process::chdir("/").map_err(|error| failed(Path::new("/"), error));
    };
    let home = || user.map_or_else(|| "/root".into(), |user| user.home.clone());
    let path = wanted.path.as_ref().map_or_else(home, PathBuf::from);
    match rustix::process::chdir(&path) {
        Err(_) if wanted.missing_ok => Ok(()),
        result => result.map_err(|error| failed(&path, error)),
    }
}

/// The last doors behind the process.
fn restrict(exec: &ExecSettings) -> Result<(), Failure> {
    let sandbox = &exec.sandbox;
    // Only who may do anything may be filtered and still gain privileges.
    if sandbox.no_new_privileges || (sandbox.filters() && !identity::is_admin()) {
        identity::forbid_new_privileges()?;
    }
    let failed = |error: io::Error| Failure::new(status::SECCOMP, "cannot filter system calls", error);
    let filters = Filters::compile(sandbox, linux::scheduling::personality()).map_err(failed)?;
    filters.apply().map_err(failed)
}

/// Everything that executing takes, made before the filters forbid to make it.
struct Ready {
    program: PathBuf,
    path: CString,
    argv: Vec<CString>,
    environment: Vec<CString>,
}

impl Ready {
    fn new(program: &Path, spawn: &Spawn, environment: &[(String, String)]) -> Result<Ready, Failure> {
        let nul = |_| {
            let error = io::Error::from(io::ErrorKind::InvalidInput);
            Failure::new(status::EXEC, "a zero byte in the command line", error)
        };
        let strings = |all: Vec<Vec<u8>>| all.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
        let words = environment.iter().map(|(name, value)| format!("{name}={value}").into_bytes());
        Ok(Ready {
            program: program.to_owned(),
            path: CString::new(program.as_os_str().as_bytes()).map_err(nul)?,
            argv: strings(spawn.argv.iter().map(|word| word.clone().into_bytes()).collect()).map_err(nul)?,
            environment: strings(words.collect()).map_err(nul)?,
        })
    }

    fn execute(self) -> Result<Infallible, Failure> {
        execve(&self.path, &self.argv, &self.environment)
            .map_err(|error| Failure::new(status::EXEC, self.program.display(), error))
    }
}
