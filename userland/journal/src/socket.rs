//! The daemon's sockets: made where the protocols say, and received from with the sender's credentials and
//! descriptors. Source: unix(7).

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg, sockopt};

use crate::intake::process::Sender;

/// Bytes that may wait in a datagram socket while we are busy.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Something that was received.
#[derive(Debug)]
pub struct Received {
    /// Bytes at the start of the buffer; 0 is the end of a stream.
    pub count: usize,
    /// There were more bytes than the buffer takes.
    pub cut_off: bool,
    /// Who sent it.
    pub sender: Option<Sender>,
    /// Descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// A datagram socket that everybody may send to.
///
/// # Errors
/// What bind(2) says.
pub fn datagram(path: &Path) -> io::Result<UnixDatagram> {
    make_room(path)?;
    let socket = UnixDatagram::bind(path)?;
    open_to_all(path)?;
    prepare(socket)
}

/// Makes a datagram socket, perhaps another's, what we need.
///
/// # Errors
/// What setsockopt(2) says.
pub fn prepare(socket: UnixDatagram) -> io::Result<UnixDatagram> {
    socket.set_nonblocking(true)?;
    sockopt::set_socket_passcred(&socket, true)?;
    // Without the privilege the system's own limit has to do.
    if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
    }
    Ok(socket)
}

/// A stream socket that everybody may connect to; `private` leaves only root.
///
/// # Errors
/// What bind(2) says.
pub fn listener(path: &Path, private: bool) -> io::Result<UnixListener> {
    make_room(path)?;
    let socket = UnixListener::bind(path)?;
    if private {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    } else {
        open_to_all(path)?;
    }
    prepare_listener(socket)
}

/// Makes a listening socket, perhaps another's, what we need.
///
/// # Errors
/// What setsockopt(2) says.
pub fn prepare_listener(socket: UnixListener) -> io::Result<UnixListener> {
    socket.set_nonblocking(true)?;
    // Connections inherit it, so that not even their first bytes come without credentials.
    sockopt::set_socket_passcred(&socket, true)?;
    Ok(socket)
}

fn open_to_all(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}

fn make_room(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Receives without waiting; `None` when nothing is there.
///
/// # Errors
/// What recvmsg(2) says.
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
        Ok(message) => message,
        Err(error) => {
            let error = io::Error::from(error);
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
    };
    let mut received = Received {
        count: message.bytes,
        cut_off: message.flags.contains(ReturnFlags::TRUNC),
        sender: None,
        descriptors: Vec::new(),
    };
    for part in control.drain() {
        match part {
            RecvAncillaryMessage::ScmCredentials(peer) => {
                received.sender = Some(Sender {
                    pid: peer.pid.as_raw_nonzero().get().unsigned_abs(),
                    uid: peer.uid.as_raw(),
                    gid: peer.gid.as_raw(),
                });
            }
            RecvAncillaryMessage::ScmRights(descriptors) => received.descriptors.extend(descriptors),
            _ => {}
        }
    }
    Ok(Some(received))
}

/// The content of a memory file that came in place of a datagram, up to `limit` bytes.
///
/// # Errors
/// It is too big, no regular file, or cannot be read.
pub fn content(descriptor: OwnedFd, limit: usize) -> io::Result<Vec<u8>> {
    // Another file system could keep us waiting for ever; memory files are on tmpfs too.
    const TMPFS: i64 = 0x0102_1994;
    if rustix::fs::fstatfs(&descriptor)?.f_type as i64 != TMPFS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is not in memory"));
    }
    let file = fs::File::from(descriptor);
    let metadata = file.metadata()?;
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if !metadata.is_file() || size > limit {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
