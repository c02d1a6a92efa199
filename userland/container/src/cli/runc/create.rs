//! `runc create`: everything up to the program, which waits to be started.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount, Process, Spec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::containers::{Folder, Record, Status, life_of};
use super::{Error, World, during, timestamp};
use crate::run::birth::{Surroundings, has};
use crate::run::cgroup::Cgroup;
use crate::run::channel::{Channel, Message};
use crate::run::gate::Gate;
use crate::run::inside::{Inside, Life};
use crate::run::process::Program;
use crate::run::root::Root;
use crate::run::{Born, RunError, bear, guard, hooks, mounts, needs_parent};

/// Where a service says to its manager that it is ready, in the container.
const NOTIFY: &str = "/run/notify/notify.sock";

/// Create a container from a bundle
#[derive(Debug, clap::Args)]
pub struct Create {
    #[command(flatten)]
    options: Options,
    /// The container's ID
    id: String,
}

/// What create and run share.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The bundle's directory
    #[arg(short, long, default_value = ".")]
    pub bundle: PathBuf,
    /// Send the terminal's master to this socket
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Write the first process's number to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Pass this many descriptors after the standard streams
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Join no keyring of its own
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Taken, and without effect: the root is always pivoted, which is the stronger of the two
    #[arg(long, hide = true)]
    pub no_pivot: bool,
}

/// A container that was created, while its folder is locked.
#[derive(Debug)]
pub struct Created {
    pub folder: Folder,
    pub record: Record,
    pub pidfd: OwnedFd,
    /// The terminal, where nobody else took it.
    pub terminal: Option<OwnedFd>,
}

impl Create {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        create(world, &self.id, &self.options, false)?;
        Ok(0)
    }
}

/// Creates a container. `stays`: the caller takes its terminal, if nobody else does.
pub(super) fn create(world: &World, id: &str, options: &Options, stays: bool) -> Result<Created, Error> {
    let bundle = during(options.bundle.display().to_string(), fs::canonicalize(&options.bundle))?;
    let path = bundle.join("config.json");
    let text = during(path.display().to_string(), fs::read(&path))?;
    let mut spec: Spec =
        serde_json::from_slice(&text).map_err(|source| Error::Config { path: path.clone(), source })?;
    check(&spec, options, stays)?;
    protect(world)?;
    let text = match pass_notify(&mut spec) {
        true => serde_json::to_vec(&spec).map_err(|source| Error::Config { path, source })?,
        false => text,
    };
    let folder = world.containers.create(id)?;
    if let Err(error) = folder.keep_config(&text) {
        return Err(undo(folder, None, error));
    }
    let cgroup = match place(world, id, &spec) {
        Ok(cgroup) => cgroup,
        Err(error) => return Err(undo(folder, None, error)),
    };
    let record = record(id, bundle, &spec, cgroup);
    match build(&folder, record.clone(), &spec, options, stays) {
        Ok((record, pidfd, terminal)) => Ok(Created { folder, record, pidfd, terminal }),
        Err(error) => Err(undo(folder, Some(&record), error)),
    }
}

/// Takes back what was made, and gives the error on.
fn undo(folder: Folder, record: Option<&Record>, error: Error) -> Error {
    if let Some(record) = record {
        record.cgroup.kill();
        let _ = record.cgroup.remove();
        run_poststop(record);
    }
    let _ = folder.remove();
    error
}

fn run_poststop(record: &Record) {
    let hooks = record.hooks.as_ref().and_then(|hooks| hooks.poststop().as_ref());
    if let Err(error) = hooks::run("poststop", hooks, &record.state(Status::Stopped)) {
        eprintln!("runc: {error}");
    }
}

/// Keeps our own program out of the container's reach. Where the user may not write it, it is already.
pub(super) fn protect(world: &World) -> Result<(), Error> {
    match guard::protect_own_program() {
        Err(error) if world.rootless && error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => during("protect our own program", other),
    }
}

fn check(spec: &Spec, options: &Options, stays: bool) -> Result<(), Error> {
    let bad = |text: &str| Err(Error::Usage(format!("config.json: {text}")));
    let version: Vec<&str> = spec.version().split('.').collect();
    if version.first() != Some(&"1") || version.len() < 3 {
        return bad(&format!("ociVersion {:?} is not one that this runtime knows (1.x.y)", spec.version()));
    }
    let Some(process) = spec.process() else { return bad("process is missing") };
    if spec.root().is_none() {
        return bad("root is missing");
    }
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        return bad("process.args is empty");
    }
    if !process.cwd().is_absolute() {
        return bad("process.cwd is not an absolute path");
    }
    for mount in spec.mounts().iter().flatten() {
        if mount.destination().as_os_str().is_empty() {
            return bad("a mount has no destination");
        }
    }
    if spec.hostname().is_some()
        && !has(spec, LinuxNamespaceType::Uts, false)
        && !has(spec, LinuxNamespaceType::Uts, true)
    {
        return bad("hostname needs a uts namespace");
    }
    let terminal = process.terminal() == Some(true);
    if terminal && options.console_socket.is_none() && !stays {
        return Err(Error::Usage(
            "process.terminal is true and nobody is there for the terminal: give --console-socket".to_owned(),
        ));
    }
    if options.console_socket.is_some() && !terminal {
        return Err(Error::Usage("--console-socket: process.terminal is not true".to_owned()));
    }
    Ok(())
}

/// Lets the program speak to the service manager that started us: its socket is shown in the container.
fn pass_notify(spec: &mut Spec) -> bool {
    let Ok(socket) = std::env::var("NOTIFY_SOCKET") else { return false };
    let Some(mut process) = spec.process().clone() else { return false };
    let mut env = process.env().clone().unwrap_or_default();
    env.retain(|entry| !entry.starts_with("NOTIFY_SOCKET="));
    if Path::new(&socket).exists() {
        let mut mount = Mount::default();
        mount.set_destination(NOTIFY.into()).set_source(Some(socket.into())).set_typ(Some("bind".to_owned()));
        mount.set_options(Some(vec![
            "bind".to_owned(),
            "nosuid".to_owned(),
            "nodev".to_owned(),
            "noexec".to_owned(),
        ]));
        let mut all = spec.mounts().clone().unwrap_or_default();
        all.push(mount);
        spec.set_mounts(Some(all));
        env.push(format!("NOTIFY_SOCKET={NOTIFY}"));
    } else {
        // An abstract name is the network namespace's.
        env.push(format!("NOTIFY_SOCKET={socket}"));
    }
    process.set_env(Some(env));
    spec.set_process(Some(process));
    true
}

fn place(world: &World, id: &str, spec: &Spec) -> Result<Cgroup, Error> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().clone()).unwrap_or_default();
    let wanted = linux.and_then(|linux| linux.cgroups_path().clone());
    let wanted = if world.systemd { Some(scope(wanted.as_deref(), id)?) } else { wanted };
    let made = Cgroup::create(wanted.as_deref(), id, &resources).and_then(|cgroup| {
        match cgroup.limit(&resources).and_then(|()| cgroup.allow_devices(&resources)) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                let _ = cgroup.remove();
                Err(error)
            }
        }
    });
    match made {
        // Who is not root has none, unless somebody gave it one.
        Err(_) if world.rootless => Ok(Cgroup::default()),
        other => during("cgroup", other),
    }
}

/// `SLICE:PREFIX:NAME` as the path that systemd would give the scope.
fn scope(wanted: Option<&Path>, id: &str) -> Result<PathBuf, Error> {
    let text = wanted.map_or_else(|| format!("system.slice:runc:{id}"), |path| path.display().to_string());
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        return Err(Error::Usage(format!("--systemd-cgroup: cgroupsPath {text:?} is not SLICE:PREFIX:NAME")));
    };
    let slice = if slice.is_empty() { "system.slice" } else { slice };
    let mut path = PathBuf::from("/");
    let bare = slice.strip_suffix(".slice").unwrap_or(slice);
    let mut so_far = String::new();
    for part in bare.split('-').filter(|part| !part.is_empty()) {
        if !so_far.is_empty() {
            so_far.push('-');
        }
        so_far.push_str(part);
        path.push(format!("{so_far}.slice"));
    }
    path.push(if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}.scope") });
    Ok(path)
}

fn record(id: &str, bundle: PathBuf, spec: &Spec, cgroup: Cgroup) -> Record {
    let rootfs = spec.root().as_ref().map_or_else(PathBuf::new, |root| bundle.join(root.path()));
    Record {
        id: id.to_owned(),
        rootfs,
        bundle,
        created: timestamp::now(),
        owner: rustix::process::getuid().as_raw(),
        pid: None,
        pid_start: 0,
        cgroup,
        own_pids: has(spec, LinuxNamespaceType::Pid, false),
        hooks: spec.hooks().clone(),
        annotations: spec.annotations().clone().unwrap_or_default().into_iter().collect(),
    }
}

type Built = (Record, OwnedFd, Option<OwnedFd>);

fn build(
    folder: &Folder,
    mut record: Record,
    spec: &Spec,
    options: &Options,
    stays: bool,
) -> Result<Built, Error> {
    let process = spec.process().as_ref().ok_or(RunError::NoProcess)?;
    let console = match &options.console_socket {
        Some(path) => Some(during(path.display().to_string(), console(path))?),
        None => None,
    };
    let surroundings = during("namespaces", Surroundings::of(spec))?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let (kept, env) = listen_fds(options.preserve_fds);
    let program = during("seccomp", Program::prepare(process, seccomp))?
        .with(kept, env)
        .limited_by_parent(surroundings.has_new_users());
    let prepared = during("mounts", mounts::prepare(spec).map_err(io::Error::other))?;
    let gate = during("gate", Gate::make(&folder.fd))?;
    folder.save(&record)?;
    let cgroup = Some(&record.cgroup).filter(|cgroup| !cgroup.paths().is_empty()).cloned();
    let inside = Inside {
        id: &record.id.clone(),
        bundle: &record.bundle.clone(),
        spec,
        root: Root::Directory(record.rootfs.clone()),
        program: &program,
        init: false,
        cgroup: cgroup.as_ref(),
        prepared: &prepared,
        waits_for_parent: needs_parent(&surroundings, cgroup.as_ref(), process.oom_score_adj()),
        keyring: !options.no_new_keyring,
        life: Life::Free(&gate),
    };
    let Born { child, channel } = bear(&inside, &surroundings, || Ok(()))?;
    record.pid = Some(child.pid);
    record.pid_start = life_of(child.pid).map_or(0, |(start, _)| start);
    let waited = folder.save(&record).and_then(|()| attend(&channel, &record, console.as_ref(), stays));
    let terminal = match waited {
        Ok(terminal) => terminal,
        Err(error) => {
            crate::run::kill(&child.pidfd);
            return Err(error);
        }
    };
    if let Some(path) = &options.pid_file
        && let Err(error) = write_pid(path, child.pid)
    {
        crate::run::kill(&child.pidfd);
        return Err(error);
    }
    Ok((record, child.pidfd, terminal))
}

/// Serves the child until it waits to be started.
fn attend(
    channel: &Channel,
    record: &Record,
    console: Option<&Channel>,
    stays: bool,
) -> Result<Option<OwnedFd>, Error> {
    let mut terminal = None;
    loop {
        match during("channel", channel.receive())? {
            Message::Terminal(master) => match console {
                Some(console) => during("--console-socket", console.send_terminal(&master))?,
                None if stays => terminal = Some(master),
                None => {}
            },
            Message::Hooks => {
                let hooks = record.hooks.as_ref();
                let state = record.state(Status::Creating);
                let prestart = hooks.and_then(|hooks| hooks.prestart().as_ref());
                during("create", hooks::run("prestart", prestart, &state))?;
                let create = hooks.and_then(|hooks| hooks.create_runtime().as_ref());
                during("create", hooks::run("createRuntime", create, &state))?;
                during("channel", channel.send_go())?;
            }
            Message::Waits => return Ok(terminal),
            Message::Failed(status, text) => return Err(RunError::Start { status, text }.into()),
            Message::Started => {
                return Err(Error::Usage(
                    "the container's first process died while it was being made".to_owned(),
                ));
            }
            other => return Err(Error::Usage(format!("{other:?} is not for us"))),
        }
    }
}

/// The socket that the terminal's master goes to.
pub(super) fn console(path: &Path) -> io::Result<Channel> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Its path may be longer than an address: its directory is opened first.
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent, flags, rustix::fs::Mode::empty())?;
    let short = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), name.to_string_lossy());
    connect(&socket, &SocketAddrUnix::new(short)?)?;
    Ok(Channel::from(socket))
}

/// Descriptors that the program gets after the standard streams: sockets of the service manager's, then the caller's.
pub(super) fn listen_fds(preserved: u32) -> (u32, Vec<String>) {
    let count = std::env::var("LISTEN_FDS").ok().and_then(|text| text.parse::<u32>().ok());
    match count.filter(|count| (1..65_536).contains(count)) {
        None => (preserved, Vec::new()),
        Some(count) => {
            // The first process of a pid namespace is 1; others are told nothing they could check.
            let mut env = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()];
            env.extend(std::env::var("LISTEN_FDNAMES").ok().map(|names| format!("LISTEN_FDNAMES={names}")));
            (preserved + count, env)
        }
    }
}

/// Writes a process's number, whole or not at all: others wait for the file to appear.
pub(super) fn write_pid(path: &Path, pid: u32) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}"));
    let written = fs::write(&new, pid.to_string()).and_then(|()| fs::rename(&new, path));
    during(path.display().to_string(), written)
}

/// The process of a configuration.
pub(super) fn process_of(spec: &Spec) -> Result<Process, Error> {
    Ok(spec.process().clone().ok_or(RunError::NoProcess)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_has_its_slices_path() {
        let path = |text: &str| scope(Some(Path::new(text)), "id").unwrap();
        assert_eq!(path("system.slice:runc:abc"), Path::new("/system.slice/runc-abc.scope"));
        assert_eq!(
            path("machine-a.slice:libpod:x"),
            Path::new("/machine.slice/machine-a.slice/libpod-x.scope")
        );
        assert_eq!(scope(None, "id").unwrap(), Path::new("/system.slice/runc-id.scope"));
        assert!(scope(Some(Path::new("/plain/path")), "id").is_err());
    }
}
