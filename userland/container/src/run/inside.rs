//! The container's first process, from its birth in new namespaces to the program.
//!
//! It sees the machine's files until `pivot_root`; everything that must come from the machine
//! (layers, volumes) is therefore opened or mounted before, and what is written below `/proc` goes through the
//! machine's own, which no image can replace. It has one thread and is a copy of its parent.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use linux::namespace::{Namespaces, unshare};
use oci_spec::runtime::{LinuxNamespaceType, Mount, Process, Spec};
use rustix::fs::{Mode, OFlags, open};

use super::birth::has;
use super::cgroup::{Cgroup, view};
use super::channel::Channel;
use super::gate::Gate;
use super::hooks::{self, ContainerState};
use super::kernel_files::KernelFiles;
use super::process::{Program, Settled, StartError};
use super::protect::{Covers, make_read_only};
use super::root::{self, Root};
use super::{devices, mounts, reaper, terminal};

/// Whose the container is once it stands.
pub enum Life<'a> {
    /// Its parent's: it starts at once, and dies with it.
    Tied,
    /// Its own: it waits at the gate to be started.
    Free(&'a Gate),
}

/// All that the first process needs to know.
pub struct Inside<'a> {
    /// The container's name in the state that hooks are told.
    pub id: &'a str,
    /// The directory of its bundle.
    pub bundle: &'a Path,
    /// The configuration.
    pub spec: &'a Spec,
    /// The root directory.
    pub root: Root<'a>,
    /// The program.
    pub program: &'a Program<'a>,
    /// Whether we stay as PID 1 and reap.
    pub init: bool,
    /// Its cgroup, if it has one of its own.
    pub cgroup: Option<&'a Cgroup>,
    /// Detached mounts that the parent has made, by their place in the configuration's list.
    pub prepared: &'a [(usize, OwnedFd)],
    /// Whether the parent has something to do before we go on.
    pub waits_for_parent: bool,
    /// Whether it gets a keyring of its own.
    pub keyring: bool,
    /// Whose it is.
    pub life: Life<'a>,
}

fn failed(what: impl Into<String>, error: impl Into<io::Error>) -> StartError {
    StartError::Setup(what.into(), error.into())
}

fn refused(what: &'static str) -> impl Fn(mounts::MountError) -> StartError {
    move |error| failed(what, io::Error::other(error))
}

impl Inside<'_> {
    /// Runs in the new process; its result is the process's exit status.
    pub fn enter(&self, channel: Channel) -> i32 {
        match self.try_enter(&channel) {
            Ok(Some((settled, channel, pid))) => self.finish(&settled, channel.get(), pid),
            Ok(None) => reaper::start_and_reap(channel, |channel| {
                self.settle_tied(channel)
                    .map_or_else(|error| error, |settled| self.program.become_it(&settled, channel))
            })
            .unwrap_or(125),
            Err(error) => {
                channel.send_failure(error.status(), &error.to_string());
                i32::from(error.status())
            }
        }
    }

    /// The channel of the result is the one to tell of failures from then on.
    fn try_enter<'c>(
        &self,
        channel: &'c Channel,
    ) -> Result<Option<(Settled, OwnOrBorrowed<'c>, Option<u32>)>, StartError> {
        let pid = self.build(channel)?;
        match self.life {
            Life::Tied if self.init => Ok(None),
            Life::Tied => Ok(Some((self.settle_tied(channel)?, OwnOrBorrowed::Borrowed(channel), pid))),
            Life::Free(gate) => {
                super::process::give_streams(self.program.process());
                let settled = self.program.settle(None)?;
                channel.send_waits().map_err(|error| failed("tell the parent", error))?;
                let opener = gate.wait().map_err(|error| failed("wait to be started", error))?;
                Ok(Some((settled, OwnOrBorrowed::Own(opener), pid)))
            }
        }
    }

    /// All but the last step; then the parent writes down that the program runs, before it does.
    fn settle_tied(&self, parent: &Channel) -> Result<Settled, StartError> {
        let settled = self.program.settle(Some(parent))?;
        parent
            .send_waits()
            .and_then(|()| parent.wait_for_go())
            .map_err(|error| failed("tell the parent", error))?;
        Ok(settled)
    }

    fn finish(&self, settled: &Settled, channel: &Channel, pid: Option<u32>) -> i32 {
        let hooks = self.spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_ref());
        let error = match hooks::run("startContainer", hooks, &self.state("created", pid)) {
            Ok(()) => self.program.become_it(settled, channel),
            Err(error) => failed("start", error),
        };
        channel.send_failure(error.status(), &error.to_string());
        i32::from(error.status())
    }

    fn state(&self, status: &'static str, pid: Option<u32>) -> ContainerState<'_> {
        ContainerState::new(self.id, status, pid, self.bundle, self.spec)
    }

    /// The result is our number, as the machine sees it.
    fn build(&self, channel: &Channel) -> Result<Option<u32>, StartError> {
        linux::clean_exec::default_signals().map_err(|error| failed("signals", error))?;
        // Nobody may look into this process until it is the program.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(|error| failed("dumpable", error))?;
        if matches!(self.life, Life::Tied) {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
                .map_err(|error| failed("tie to the parent", error))?;
        }
        rustix::process::setsid().map_err(|error| failed("session", error))?;
        if self.waits_for_parent {
            channel.wait_for_go().map_err(|error| failed("wait for the parent", error))?;
        }
        let new_users = has(self.spec, LinuxNamespaceType::User, false);
        if new_users || has(self.spec, LinuxNamespaceType::User, true) {
            super::process::become_root()
                .map_err(|error| failed("become root of the user namespace", error))?;
        }
        if self.keyring {
            // A kernel without keys, or a filter around us that has none: nothing to be kept apart.
            let _ = linux::keyring::join_fresh_session();
        }
        if has(self.spec, LinuxNamespaceType::Cgroup, false) {
            unshare(Namespaces::CGROUP).map_err(|error| failed("cgroup namespace", error))?;
        }
        rustix::process::umask(Mode::empty());
        let kernel = KernelFiles::open().map_err(|error| failed("/proc", error))?;
        self.build_root(channel, &kernel)?;
        if let Some(name) = self.spec.hostname().as_ref().filter(|name| !name.is_empty()) {
            rustix::system::sethostname(name.as_bytes()).map_err(|error| failed("hostname", error))?;
        }
        if let Some(name) = self.spec.domainname().as_ref().filter(|name| !name.is_empty()) {
            rustix::system::setdomainname(name.as_bytes()).map_err(|error| failed("domainname", error))?;
        }
        if has(self.spec, LinuxNamespaceType::Network, false) {
            linux::loopback::up().map_err(|error| failed("loopback", error))?;
        }
        kernel.configure(self.spec)?;
        super::scheduling::set_surroundings(self.spec).map_err(|error| failed("scheduling", error))?;
        Ok(kernel.own_pid())
    }

    fn build_root(&self, channel: &Channel, kernel: &KernelFiles) -> Result<(), StartError> {
        let linux = self.spec.linux().as_ref();
        let propagation = linux.and_then(|linux| linux.rootfs_propagation().as_deref());
        root::begin_propagation(propagation).map_err(|error| failed("propagation of mounts", error))?;
        if let (Root::Directory(path), Some("shared" | "rshared")) = (&self.root, propagation) {
            root::keep_parent_private(path);
        }
        let root = self.root.mount().map_err(|error| failed("rootfs", error))?;
        let mut covers = Covers::open().map_err(|error| failed("protect", error))?;
        for (at, mount) in self.spec.mounts().iter().flatten().enumerate() {
            self.mount(root.as_fd(), at, mount)?;
        }
        devices::provide(root.as_fd(), self.spec).map_err(refused("devices"))?;
        if self.spec.process().as_ref().and_then(Process::terminal) == Some(true) {
            let size = self.spec.process().as_ref().and_then(|process| process.console_size());
            terminal::make(root.as_fd(), channel, size).map_err(|error| failed("terminal", error))?;
        }
        self.run_hooks(channel, kernel)?;
        for path in linux.and_then(|linux| linux.readonly_paths().as_ref()).into_iter().flatten() {
            make_read_only(root.as_fd(), Path::new(path)).map_err(refused("protect"))?;
        }
        for path in linux.and_then(|linux| linux.masked_paths().as_ref()).into_iter().flatten() {
            covers.hide(root.as_fd(), Path::new(path)).map_err(refused("protect"))?;
        }
        if self.spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
            let how = MountAttributes::READ_ONLY;
            set_mount_attributes(&root, how, MountAttributes::NONE, Propagation::Unchanged, false)
                .map_err(|error| failed("read-only root", error))?;
        }
        root::pivot(&root).map_err(|error| failed("pivot_root", error))?;
        root::end_propagation(propagation).map_err(|error| failed("propagation of the root", error))
    }

    fn mount(&self, root: BorrowedFd<'_>, at: usize, mount: &Mount) -> Result<(), StartError> {
        if let Some((_, prepared)) = self.prepared.iter().find(|(place, _)| *place == at) {
            return mounts::attach_prepared(root, mount, prepared).map_err(refused("mount"));
        }
        let own_cgroups = has(self.spec, LinuxNamespaceType::Cgroup, false);
        match mount.typ().as_deref() {
            Some("cgroup") => view::mount(root, mount, self.cgroup, own_cgroups).map_err(refused("mount")),
            // A kernel without cgroup v2, or in use by v1 alone: the container goes without.
            Some("cgroup2") => mounts::make(root, mount).or(Ok(())),
            _ => mounts::make(root, mount).map_err(refused("mount")),
        }
    }

    /// Hooks that see the container's namespaces before its root is all there is; the parent's come first.
    fn run_hooks(&self, channel: &Channel, kernel: &KernelFiles) -> Result<(), StartError> {
        let Some(hooks) = self.spec.hooks() else { return Ok(()) };
        if super::has_parents_hooks(hooks) {
            channel.ask_for_hooks().map_err(|error| failed("hooks", error))?;
        }
        let state = self.state("creating", kernel.own_pid());
        hooks::run("createContainer", hooks.create_container().as_ref(), &state)
            .map_err(|error| failed("create", error))
    }
}

/// A channel: the parent's, or that of who started us.
enum OwnOrBorrowed<'c> {
    Own(Channel),
    Borrowed(&'c Channel),
}

impl OwnOrBorrowed<'_> {
    fn get(&self) -> &Channel {
        match self {
            Self::Own(channel) => channel,
            Self::Borrowed(channel) => channel,
        }
    }
}

/// The machine's directory of this path, as a place to begin from.
pub(super) fn machine(path: &str) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
