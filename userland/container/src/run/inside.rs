//! The container's first process, from its birth in new namespaces to the program.
//!
//! It sees the machine's files until `pivot_root`; everything that must come from the machine
//! (layers, volumes) is therefore opened or mounted before. It has one thread and is a copy of its parent.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use linux::namespace::{Namespaces, unshare};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::channel::Channel;
use super::devices::Devices;
use super::mounts;
use super::process::{Program, StartError};
use super::reaper;
use super::terminal;
use crate::rootfs::Rootfs;

/// All that the first process needs to know.
pub struct Inside<'a> {
    /// The configuration.
    pub spec: &'a Spec,
    /// The root file system to mount.
    pub rootfs: &'a Rootfs,
    /// The program.
    pub program: &'a Program<'a>,
    /// Whether we stay as PID 1 and reap.
    pub init: bool,
}

fn failed(what: impl Into<String>, error: impl Into<io::Error>) -> StartError {
    StartError::Setup(what.into(), error.into())
}

impl Inside<'_> {
    /// Runs in the new process; its result is the process's exit status.
    pub fn enter(&self, channel: Channel) -> i32 {
        let error = match self.build(&channel) {
            Err(error) => error,
            Ok(()) if self.init => {
                match reaper::start_and_reap(channel, |channel| self.program.become_it(channel)) {
                    Ok(status) => return status,
                    Err(_) => return 125,
                }
            }
            Ok(()) => self.program.become_it(&channel),
        };
        channel.send_failure(error.status(), &error.to_string());
        i32::from(error.status())
    }

    fn build(&self, channel: &Channel) -> Result<(), StartError> {
        linux::clean_exec::default_signals().map_err(|error| failed("signals", error))?;
        // Nobody may look into this process until it is the program.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(|error| failed("dumpable", error))?;
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|error| failed("tie to the parent", error))?;
        rustix::process::setsid().map_err(|error| failed("session", error))?;
        if self.has(LinuxNamespaceType::Cgroup) {
            // Only now, in its own cgroup, so that this cgroup is the root of what it sees.
            unshare(Namespaces::CGROUP).map_err(|error| failed("cgroup namespace", error))?;
        }
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(|error| failed("make mounts private", error))?;
        let root = self.rootfs.mount().map_err(|error| failed("rootfs", io::Error::other(error)))?;
        let devices =
            Devices::make(root.as_fd()).map_err(|error| failed("devices", io::Error::other(error)))?;
        self.mount_all(root.as_fd(), &devices)?;
        if self.has(LinuxNamespaceType::Network) {
            // Ports below 1024 and ping for every user of the container: its network is its own.
            sysctl(root.as_fd(), "sys/net/ipv4/ip_unprivileged_port_start", "0");
            sysctl(root.as_fd(), "sys/net/ipv4/ping_group_range", "0 2147483647");
            linux::loopback::up().map_err(|error| failed("loopback", error))?;
        }
        if self.spec.process().as_ref().and_then(oci_spec::runtime::Process::terminal) == Some(true) {
            terminal::make(root.as_fd(), channel).map_err(|error| failed("terminal", error))?;
        }
        self.protect(root.as_fd(), &devices)?;
        if let Some(name) = self.spec.hostname() {
            rustix::system::sethostname(name.as_bytes()).map_err(|error| failed("hostname", error))?;
        }
        pivot(&root).map_err(|error| failed("pivot_root", error))
    }

    fn has(&self, kind: LinuxNamespaceType) -> bool {
        let linux = self.spec.linux().as_ref();
        let namespaces = linux.and_then(|linux| linux.namespaces().as_ref());
        namespaces.is_some_and(|all| all.iter().any(|one| one.typ() == kind))
    }

    fn mount_all(&self, root: BorrowedFd<'_>, devices: &Devices) -> Result<(), StartError> {
        for mount in self.spec.mounts().iter().flatten() {
            let is_cgroup = mount.typ().as_deref() == Some("cgroup2");
            match mounts::make(root, mount) {
                Ok(()) => {}
                // A kernel without cgroup v2, or in use by v1 alone: the container goes without.
                Err(_) if is_cgroup => {}
                Err(error) => return Err(failed("mount", io::Error::other(error))),
            }
            if mount.destination() == Path::new("/dev") {
                devices.show(root).map_err(|error| failed("devices", io::Error::other(error)))?;
            }
        }
        Ok(())
    }

    fn protect(&self, root: BorrowedFd<'_>, devices: &Devices) -> Result<(), StartError> {
        let Some(linux) = self.spec.linux() else { return Ok(()) };
        for path in linux.readonly_paths().iter().flatten() {
            mounts::make_read_only(root, Path::new(path))
                .map_err(|error| failed("protect", io::Error::other(error)))?;
        }
        for path in linux.masked_paths().iter().flatten() {
            let null = devices.null().ok_or_else(|| failed("protect", io::ErrorKind::NotFound))?;
            mounts::mask(root, Path::new(path), null)
                .map_err(|error| failed("protect", io::Error::other(error)))?;
        }
        if self.spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly) == Some(true) {
            let how = MountAttributes::READ_ONLY;
            set_mount_attributes(root, how, MountAttributes::NONE, Propagation::Unchanged, false)
                .map_err(|error| failed("read-only root", error))?;
        }
        Ok(())
    }
}

/// Sets a value below the container's `/proc`, if this kernel has it.
fn sysctl(root: BorrowedFd<'_>, name: &str, value: &str) {
    let path = Path::new("/proc").join(name);
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        let genuine =
            rustix::fs::fstatfs(&file).is_ok_and(|stat| stat.f_type == rustix::fs::PROC_SUPER_MAGIC);
        if genuine {
            let _ = rustix::io::write(&file, value.as_bytes());
        }
    }
}

/// Makes `root` the root, and lets go of the machine's files for good.
fn pivot(root: &OwnedFd) -> io::Result<()> {
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::fchdir(root)?;
    // Both names are the same directory: the old root ends up mounted on top of the new one.
    rustix::process::pivot_root(".", ".")?;
    rustix::process::fchdir(&old)?;
    mount_change(".", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}
