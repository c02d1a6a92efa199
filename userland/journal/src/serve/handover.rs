//! What init keeps for us, so that a restart, or our sudden death, costs no service its output: the sockets that we
//! listen on, with all that waits in them, and every open stream. What a stream is, is in
//! /run/systemd/journal/streams, by the number of its socket. Source: sd_notify(3), "FDSTORE=1"; journald's unit has
//! `FileDescriptorStoreMax=`. Sockets may also come from socket units.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{SocketType, getsockname, sockopt};
use sd_notify::NotifyState;

use super::Daemon;
use super::connection::Connected;
use crate::intake::stream::Stream;
use crate::place::Place;
use crate::socket;

/// What init gave us.
#[derive(Default)]
pub struct Inherited {
    pub native: Option<UnixDatagram>,
    pub syslog: Option<UnixDatagram>,
    pub streams: Option<UnixListener>,
    pub control: Option<UnixListener>,
    /// Streams, each with the name under which it is kept.
    pub connections: Vec<(String, UnixStream)>,
}

impl Inherited {
    /// Takes what was handed over, and tells it apart by what each socket is bound to.
    pub fn take() -> Inherited {
        let mut inherited = Inherited::default();
        for (name, descriptor) in linux::listen_fds::take() {
            let path = path_of(&descriptor);
            let ends = |end: &str| path.as_deref().is_some_and(|path| path.ends_with(end));
            match sockopt::socket_type(&descriptor) {
                Ok(SocketType::DGRAM) if ends("/journal/socket") => {
                    inherited.native = Some(descriptor.into())
                }
                Ok(SocketType::DGRAM) if ends("/dev-log") || ends("/dev/log") => {
                    inherited.syslog = Some(descriptor.into());
                }
                Ok(SocketType::STREAM) if sockopt::socket_acceptconn(&descriptor) == Ok(true) => {
                    if ends("/journal/stdout") {
                        inherited.streams = Some(descriptor.into());
                    } else if ends("/io.systemd.journal") {
                        inherited.control = Some(descriptor.into());
                    }
                }
                Ok(SocketType::STREAM) => inherited.connections.push((name, descriptor.into())),
                _ => {}
            }
        }
        inherited
    }
}

fn path_of(descriptor: &OwnedFd) -> Option<String> {
    let address = getsockname(descriptor).ok()?;
    let address = rustix::net::SocketAddrUnix::try_from(address).ok()?;
    Some(String::from_utf8_lossy(address.path_bytes()?).trim_end_matches('\0').to_owned())
}

/// The datagram socket that was handed over, or a new one.
pub fn datagram(inherited: Option<UnixDatagram>, path: &Path) -> io::Result<UnixDatagram> {
    match inherited.filter(|_| path.exists()) {
        Some(socket) => socket::prepare(socket),
        None => socket::datagram(path),
    }
}

/// The listening socket that was handed over, or a new one.
pub fn listener(inherited: Option<UnixListener>, path: &Path, private: bool) -> io::Result<UnixListener> {
    match inherited.filter(|_| path.exists()) {
        Some(socket) => socket::prepare_listener(socket),
        None => socket::listener(path, private),
    }
}

/// Gives a descriptor to init to keep; says whether there is an init that does.
fn give(name: &str, descriptor: impl AsFd) -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
        && sd_notify::notify_with_fds(
            &[NotifyState::FdStore, NotifyState::FdName(name)],
            &[descriptor.as_fd()],
        )
        .is_ok()
}

impl Daemon {
    /// Lets init keep the sockets that we listen on.
    pub(super) fn store_sockets(&self) {
        give("native", &self.native);
        give("syslog", &self.syslog);
        give("stdout", &self.streams);
        give("control", &self.control);
    }
}

/// The name of a stream's state: device and number of its socket.
pub fn state_name(socket: &UnixStream) -> Option<String> {
    let stat = rustix::fs::fstat(socket).ok()?;
    Some(format!("{}:{}", stat.st_dev, stat.st_ino))
}

fn directory(place: &Place) -> PathBuf {
    place.path("/run/systemd/journal/streams")
}

/// Lets init keep a stream whose header has come.
pub fn keep(place: &Place, connected: &mut Connected) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let Some(name) = state_name(&connected.socket) else { return };
    // Colons are not for names of descriptors.
    let kept = format!("stream-{}", name.replace(':', "-"));
    save(place, connected);
    if give(&kept, &connected.socket) {
        connected.kept = Some(kept);
    }
}

/// Writes down what a stream is, and the beginning of a line that waits for its end.
pub fn save(place: &Place, connected: &Connected) {
    let Some(name) = state_name(&connected.socket) else { return };
    let path = directory(place).join(&name);
    let written = fs::write(&path, connected.stream.save()).or_else(|_| {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory(place))?;
        fs::write(&path, connected.stream.save())
    });
    if let Err(error) = written {
        eprintln!("systemd-journald: {}: {error}; the stream would not survive a restart", path.display());
    }
}

/// A stream as it was when we gave it to init.
pub fn restore(place: &Place, name: String, socket: UnixStream, line_max: usize) -> Option<Connected> {
    let saved = fs::read(directory(place).join(state_name(&socket)?)).ok()?;
    let stream = Stream::restore(&saved, line_max)?;
    let uid = linux::socket::peer(socket.as_fd()).map_or(u32::MAX, |(_, uid)| uid);
    let connected = Connected { socket, stream, sender: None, uid, kept: Some(name) };
    // The beginning of a line is ours now: another death shall not bring it twice.
    if connected.stream.has_pending() {
        let without = Stream::restore(&strip_pending(&saved), line_max)?;
        let _ = fs::write(directory(place).join(state_name(&connected.socket)?), without.save());
    }
    Some(connected)
}

fn strip_pending(saved: &[u8]) -> Vec<u8> {
    let end = saved
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(7)
        .map_or(saved.len(), |(at, _)| at + 1);
    saved.get(..end).unwrap_or_default().to_vec()
}

/// A stream has ended.
pub fn forget(place: &Place, connected: &Connected) {
    if let Some(name) = state_name(&connected.socket) {
        let _ = fs::remove_file(directory(place).join(name));
    }
    if let Some(kept) = &connected.kept {
        // An init that watches what it keeps has dropped it already.
        let _ = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(kept)]);
    }
}

/// Forgets all streams but these: nobody has them any more.
pub fn forget_others(place: &Place, names: &[String]) {
    for item in fs::read_dir(directory(place)).into_iter().flatten().flatten() {
        if !names.iter().any(|name| item.file_name() == name.as_str()) {
            let _ = fs::remove_file(item.path());
        }
    }
}

/// /dev/log leads to us.
pub fn link_dev_log(place: &Place) {
    let link = place.path("/dev/log");
    if fs::read_link(&link).is_ok_and(|target| target.ends_with("journal/dev-log")) {
        return;
    }
    let _ = fs::remove_file(&link);
    if let Err(error) = std::os::unix::fs::symlink("/run/systemd/journal/dev-log", &link) {
        eprintln!("systemd-journald: {}: {error}; syslog(3) will not reach the journal", link.display());
    }
}
