//! A container's first process, and those that join it: born in its namespaces and its cgroup.
//!
//! One clone3(2) makes all new namespaces at once. Where some exist already, a go-between joins them, gives
//! birth to the process as a child of the runtime's, and ends: so the runtime itself never enters a namespace.
//! Namespaces are joined before the user namespace, with the runtime's rights; new ones belong to the
//! container's user namespace. Sources: clone(2), setns(2), user_namespaces(7), time_namespaces(7).

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use linux::namespace::{Child, Namespaces, fork_into, fork_sibling, unshare};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use super::channel::{self, Message};

/// The namespaces that a process is born in.
#[derive(Debug, Default)]
pub struct Surroundings {
    new: Namespaces,
    joined: Vec<(LinkNameSpaceType, OwnedFd)>,
    /// A process whose namespaces are entered, and which.
    beside: Option<(OwnedFd, ThreadNameSpaceType)>,
    /// Lines of timens_offsets.
    offsets: Option<String>,
}

const LINKS: [(LinuxNamespaceType, LinkNameSpaceType, Namespaces); 8] = [
    (LinuxNamespaceType::Mount, LinkNameSpaceType::Mount, Namespaces::MOUNT),
    (LinuxNamespaceType::Uts, LinkNameSpaceType::HostNameAndNISDomainName, Namespaces::UTS),
    (LinuxNamespaceType::Ipc, LinkNameSpaceType::InterProcessCommunication, Namespaces::IPC),
    (LinuxNamespaceType::Network, LinkNameSpaceType::Network, Namespaces::NETWORK),
    (LinuxNamespaceType::Pid, LinkNameSpaceType::ProcessID, Namespaces::PID),
    (LinuxNamespaceType::Time, LinkNameSpaceType::Time, Namespaces::TIME),
    (LinuxNamespaceType::Cgroup, LinkNameSpaceType::ControlGroup, Namespaces::CGROUP),
    // Last: whoever is in it may not enter what is not its own.
    (LinuxNamespaceType::User, LinkNameSpaceType::User, Namespaces::USER),
];

/// Whether the configuration names this kind, with a path or without.
#[must_use]
pub fn has(spec: &Spec, kind: LinuxNamespaceType, with_path: bool) -> bool {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    listed.into_iter().flatten().any(|one| one.typ() == kind && one.path().is_some() == with_path)
}

impl Surroundings {
    /// Those of a configuration. A new cgroup namespace is not among them: the process makes it when it is in its
    /// cgroup, so that this is the root of what it sees.
    ///
    /// # Errors
    /// When a path is no namespace, or a kind is named twice.
    pub fn of(spec: &Spec) -> io::Result<Self> {
        let bad = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let mut all = Self::default();
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        for (kind, link, flag) in LINKS {
            let mut of_kind = listed.into_iter().flatten().filter(|one| one.typ() == kind);
            let Some(one) = of_kind.next() else { continue };
            if of_kind.next().is_some() {
                return Err(bad(format!("namespace {kind} is named twice")));
            }
            match one.path() {
                Some(path) if path.is_absolute() => {
                    let file =
                        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(|error| {
                            io::Error::new(
                                io::Error::from(error).kind(),
                                format!("namespace {}: {error}", path.display()),
                            )
                        })?;
                    all.joined.push((link, file));
                }
                Some(path) => return Err(bad(format!("namespace path {} is not absolute", path.display()))),
                None if kind == LinuxNamespaceType::Cgroup => {}
                None => all.new = all.new.with(flag),
            }
        }
        if !all.new.contains(Namespaces::MOUNT)
            && !all.joined.iter().any(|(link, _)| *link == LinkNameSpaceType::Mount)
        {
            return Err(bad("a container needs a mount namespace".to_owned()));
        }
        let offsets = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref());
        let lines = offsets.into_iter().flatten().map(|(clock, offset)| {
            format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0))
        });
        all.offsets = Some(lines.collect::<String>()).filter(|text| !text.is_empty());
        if all.offsets.is_some() && !all.new.contains(Namespaces::TIME) {
            return Err(bad("timeOffsets need a new time namespace".to_owned()));
        }
        Ok(all)
    }

    /// All that the process of this descriptor is in. `user`: the user namespace too, which must be another than ours.
    #[must_use]
    pub fn beside(process: OwnedFd, user: bool) -> Self {
        let mut kinds = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::PROCESS_ID
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::CONTROL_GROUP
            | ThreadNameSpaceType::TIME;
        if user {
            kinds |= ThreadNameSpaceType::USER;
        }
        Self { beside: Some((process, kinds)), ..Self::default() }
    }

    /// Whether the process has a new user namespace, whose maps the runtime writes.
    #[must_use]
    pub fn has_new_users(&self) -> bool {
        self.new.contains(Namespaces::USER)
    }

    /// Gives birth. `cgroup`: the v2 directory to be born in.
    ///
    /// # Errors
    /// When a namespace cannot be made or joined.
    pub fn bear(&self, cgroup: Option<&OwnedFd>, child: impl FnOnce() -> i32) -> io::Result<Child> {
        let cgroup = cgroup.map(AsFd::as_fd);
        if self.joined.is_empty() && self.beside.is_none() && !self.new.contains(Namespaces::TIME) {
            return fork_into(self.new, cgroup, child);
        }
        let (ours, theirs) = channel::pair()?;
        let between = fork_into(Namespaces::NONE, None, || {
            let told =
                self.enter().and_then(|()| fork_sibling(self.new.without(Namespaces::TIME), cgroup, child));
            match told {
                Ok(born) => {
                    theirs.send_number(born.pid);
                    0
                }
                Err(error) => {
                    theirs.send_failure(125, &error.to_string());
                    1
                }
            }
        })?;
        drop(theirs);
        let told = ours.receive();
        let _ = super::exit_status(&between.pidfd);
        match told? {
            Message::Number(pid) => {
                let number =
                    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
                Ok(Child { pid, pidfd: pidfd_open(number, PidfdFlags::empty())? })
            }
            Message::Failed(_, text) => Err(io::Error::other(text)),
            _ => Err(io::Error::other("the process that joins namespaces died")),
        }
    }

    fn enter(&self) -> io::Result<()> {
        for (link, file) in &self.joined {
            move_into_link_name_space(file.as_fd(), Some(*link)).map_err(|error| {
                io::Error::new(io::Error::from(error).kind(), format!("join namespace {link:?}: {error}"))
            })?;
        }
        if let Some((process, kinds)) = &self.beside {
            move_into_thread_name_spaces(process.as_fd(), *kinds)?;
        }
        if self.new.contains(Namespaces::TIME) {
            // The next child is the first in it: until then its clocks can be set.
            unshare(Namespaces::TIME)?;
            if let Some(offsets) = &self.offsets {
                fs::write(Path::new("/proc/self/timens_offsets"), offsets)?;
            }
        }
        Ok(())
    }
}
