//! Who is who in a user namespace: its maps, written from outside.
//!
//! Sources: user_namespaces(7), newuidmap(1), OCI runtime specification "User namespace mappings".

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use linux::namespace::{Namespaces, fork_into};
use oci_spec::runtime::{LinuxIdMapping, Spec};
use rustix::fs::{Mode, OFlags, open};

/// Writes the maps of a configuration for a process in a new user namespace.
///
/// # Errors
/// When there are none, or the kernel refuses.
pub fn map(pid: u32, spec: &Spec) -> io::Result<()> {
    let linux = spec.linux().as_ref();
    let users = linux.and_then(|linux| linux.uid_mappings().as_deref()).unwrap_or_default();
    let groups = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
    if users.is_empty() || groups.is_empty() {
        let text = "a new user namespace needs uidMappings and gidMappings";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    write(pid, users, groups)
}

fn write(pid: u32, users: &[LinuxIdMapping], groups: &[LinuxIdMapping]) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        fs::write(format!("/proc/{pid}/uid_map"), lines(users))
            .map_err(|error| named("uidMappings", &error))?;
        return fs::write(format!("/proc/{pid}/gid_map"), lines(groups))
            .map_err(|error| named("gidMappings", &error));
    }
    // Who is not root may map only itself; for more there are set-user-id programs that know who may what.
    if users.len() == 1 && users.iter().all(|one| one.size() == 1) {
        fs::write(format!("/proc/{pid}/uid_map"), lines(users))
            .map_err(|error| named("uidMappings", &error))?;
    } else {
        ask("newuidmap", pid, users)?;
    }
    if groups.len() == 1 && groups.iter().all(|one| one.size() == 1) {
        fs::write(format!("/proc/{pid}/setgroups"), "deny")?;
        fs::write(format!("/proc/{pid}/gid_map"), lines(groups)).map_err(|error| named("gidMappings", &error))
    } else {
        ask("newgidmap", pid, groups)
    }
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn lines(mappings: &[LinuxIdMapping]) -> String {
    mappings.iter().fold(String::new(), |mut text, one| {
        let _ = writeln!(text, "{} {} {}", one.container_id(), one.host_id(), one.size());
        text
    })
}

fn ask(program: &str, pid: u32, mappings: &[LinuxIdMapping]) -> io::Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for one in mappings {
        command.args([one.container_id(), one.host_id(), one.size()].map(|number| number.to_string()));
    }
    let status = command.status().map_err(|error| named(program, &error))?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{program}: {status}"))) }
}

/// A user namespace with nobody in it, for the owners of a mount.
///
/// # Errors
/// When the kernel refuses the maps.
pub fn namespace(users: &[LinuxIdMapping], groups: &[LinuxIdMapping]) -> io::Result<OwnedFd> {
    let child = fork_into(Namespaces::USER, None, || {
        loop {
            std::thread::park();
        }
    })?;
    let made = write(child.pid, users, groups).and_then(|()| {
        let path = format!("/proc/{}/ns/user", child.pid);
        Ok(open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    });
    let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
    let _ = super::exit_status(&child.pidfd);
    made
}
