//! Namespaces that a container shares with another one, which runs: its processes, its inter-process communication.
//!
//! They are held by descriptors from before the container's birth, so that the other's end meanwhile does not make
//! them somebody else's. With the other's inter-process communication comes its `/dev/shm`: a mount cannot be copied
//! from outside its mount namespace, so a process that goes there for nothing else copies it and hands it back.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use linux::namespace::{Namespaces as Flags, fork_into};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::channel::{self, Message};
use super::{RunError, mounts, step};
use crate::bundle::namespaces::Namespaces;
use crate::state::{Containers, StateError};

const SHM: &str = "/dev/shm";

/// What a container shares, for as long as this is held: to its birth.
#[derive(Debug, Default)]
pub struct Neighbours {
    namespaces: Vec<OwnedFd>,
    shm: Option<(usize, OwnedFd)>,
}

impl Neighbours {
    /// Looks the others up and lets the container's configuration join them. The caller must have one thread.
    ///
    /// # Errors
    /// When one of them does not run.
    pub fn join(
        containers: &Containers,
        wanted: &Namespaces,
        id: &str,
        spec: &mut Spec,
    ) -> Result<Self, RunError> {
        let mut all = Self::default();
        for (origin, kind, name) in
            [(&wanted.pid, LinuxNamespaceType::Pid, "pid"), (&wanted.ipc, LinuxNamespaceType::Ipc, "ipc")]
        {
            let Some(other) = origin.container() else { continue };
            let found = containers.find(other)?;
            let stopped = || StateError::NotRunning(found.record.short_id().to_owned());
            if found.record.id == id {
                return Err(stopped().into());
            }
            // The process is held, so that the number is still its own when the namespaces are opened.
            let held = found.state.process().ok_or_else(stopped)?;
            let pid = found.state.pid.unwrap_or(0);
            let open = |kind: &str| File::open(format!("/proc/{pid}/ns/{kind}")).map(OwnedFd::from);
            let namespace = step("open another container's namespace", open(name))?;
            set_path(spec, kind, format!("/proc/self/fd/{}", namespace.as_raw_fd()).into());
            all.namespaces.push(namespace);
            if kind == LinuxNamespaceType::Ipc
                && let Some(place) = place_of_shm(spec)
            {
                let mounts = step("open another container's mounts", open("mnt"))?;
                all.shm = Some((place, step("share /dev/shm", shm_of(&mounts))?));
            }
            drop(held);
        }
        Ok(all)
    }

    /// Mounts that are made already, by their place in the configuration's list.
    #[must_use]
    pub fn mounts(&self) -> &[(usize, OwnedFd)] {
        self.shm.as_slice()
    }
}

fn set_path(spec: &mut Spec, kind: LinuxNamespaceType, path: PathBuf) {
    let Some(mut linux) = spec.linux().clone() else { return };
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    for namespace in namespaces.iter_mut().filter(|one| one.typ() == kind) {
        namespace.set_path(Some(path.clone()));
    }
    linux.set_namespaces(Some(namespaces));
    spec.set_linux(Some(linux));
}

fn place_of_shm(spec: &Spec) -> Option<usize> {
    spec.mounts().iter().flatten().position(|mount| mount.destination() == Path::new(SHM))
}

/// A detached copy of what is mounted at `/dev/shm` in this mount namespace.
fn shm_of(namespace: &OwnedFd) -> io::Result<OwnedFd> {
    let (ours, theirs) = channel::pair()?;
    let child = fork_into(Flags::NONE, None, || {
        let copied = (|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?;
            let root = super::inside::machine("/")?;
            let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
            let shm = openat2(&root, SHM, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how)?;
            theirs.send_mount(&mounts::copy_of(&shm, false)?)
        })();
        match copied {
            Ok(()) => 0,
            Err(error) => {
                theirs.send_failure(125, &error.to_string());
                1
            }
        }
    })?;
    drop(theirs);
    let told = ours.receive();
    let _ = super::exit_status(&child.pidfd);
    match told? {
        Message::Mount(mount) => Ok(mount),
        Message::Failed(_, text) => Err(io::Error::other(text)),
        _ => Err(io::Error::other("the process that copies it died")),
    }
}
