//! Opening what a socket unit listens at, systemd.socket(5).

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, Protocol, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use unit::settings::{Address, Listen, SocketSettings};

use super::options;
use crate::users::Users;

/// Opens one of them.
pub(super) fn open(listen: &Listen, settings: &SocketSettings) -> io::Result<OwnedFd> {
    if let Some(parent) = listen.path().and_then(|path| Path::new(path).parent()) {
        fs::DirBuilder::new().recursive(true).mode(settings.directory_mode).create(parent)?;
    }
    let fd = match listen {
        Listen::Stream(address) => socket(address, SocketType::STREAM, settings)?,
        Listen::Datagram(address) => socket(address, SocketType::DGRAM, settings)?,
        Listen::SequentialPacket(address) => socket(address, SocketType::SEQPACKET, settings)?,
        Listen::Fifo(path) => fifo(path, settings)?,
        Listen::Special(path) => special(path, settings)?,
        Listen::Netlink { family, group, .. } => {
            let groups = group.checked_sub(1).map_or(0, |bit| 1u32.checked_shl(bit).unwrap_or(0));
            let fd = linux::socket::netlink(*family, groups)?;
            options::of_netlink(fd.as_fd(), settings);
            fd
        }
        Listen::MessageQueue(name) => message_queue(name, settings)?,
        Listen::UsbFunction(_) => return Err(io::ErrorKind::Unsupported.into()),
    };
    if let Some(path) = listen.path().filter(|_| !matches!(listen, Listen::Special(_))) {
        own(path, settings)?;
    }
    Ok(fd)
}

/// Runs with a umask that leaves exactly these bits: a socket's mode cannot be set before it is there for all to see.
fn with_mode<T>(mode: u32, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = rustix::process::umask(Mode::from_raw_mode(!mode & 0o777));
    let result = act();
    rustix::process::umask(before);
    result
}

fn socket(address: &Address, kind: SocketType, settings: &SocketSettings) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol =
        u32::try_from(settings.protocol).ok().and_then(std::num::NonZero::new).map(Protocol::from_raw);
    let fd = match address {
        Address::Path(path) => {
            let fd = socket_with(AddressFamily::UNIX, kind, flags, None)?;
            options::of_socket(fd.as_fd(), settings, None);
            let name = SocketAddrUnix::new(path.as_str())?;
            with_mode(settings.mode, || match bind(&fd, &name) {
                // left behind by somebody who is gone
                Err(rustix::io::Errno::ADDRINUSE) if is_socket(path) => {
                    fs::remove_file(path)?;
                    Ok(bind(&fd, &name)?)
                }
                result => Ok(result?),
            })?;
            fd
        }
        Address::Abstract(name) => {
            let fd = socket_with(AddressFamily::UNIX, kind, flags, None)?;
            options::of_socket(fd.as_fd(), settings, None);
            bind(&fd, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
            fd
        }
        Address::Inet { ip, port, scope, any } => {
            let mut ip = *ip;
            let family = |ip: IpAddr| if ip.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
            let fd = match socket_with(family(ip), kind, flags, protocol) {
                Err(rustix::io::Errno::AFNOSUPPORT) if *any => {
                    ip = Ipv4Addr::UNSPECIFIED.into();
                    socket_with(AddressFamily::INET, kind, flags, protocol)?
                }
                result => result?,
            };
            options::of_socket(fd.as_fd(), settings, Some(ip));
            let address = match (ip, scope) {
                (IpAddr::V6(ip), Some(scope)) => {
                    let index = rustix::net::netdevice::name_to_index(&fd, scope)?;
                    SocketAddrV6::new(ip, *port, 0, index).into()
                }
                _ => SocketAddr::new(ip, *port),
            };
            bind(&fd, &address)?;
            fd
        }
        Address::Vsock { cid, port } => linux::socket::vsock(kind.as_raw() as i32, *cid, *port)?,
    };
    if kind != SocketType::DGRAM {
        rustix::net::listen(&fd, i32::try_from(settings.backlog).unwrap_or(i32::MAX))?;
    }
    Ok(fd)
}

fn is_socket(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket())
}

fn fifo(path: &str, settings: &SocketSettings) -> io::Result<OwnedFd> {
    let made = with_mode(settings.mode, || {
        let mode = Mode::from_raw_mode(settings.mode);
        Ok(rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)?)
    });
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // opened for both, so that it does not end when a writer leaves
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let data = fs::File::from(fd.try_clone()?).metadata()?;
    if !data.file_type().is_fifo() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    options::of_pipe(fd.as_fd(), settings);
    Ok(fd)
}

fn special(path: &str, settings: &SocketSettings) -> io::Result<OwnedFd> {
    let access = if settings.writable { OFlags::RDWR } else { OFlags::RDONLY };
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let kind = fs::File::from(fd.try_clone()?).metadata()?.file_type();
    if kind.is_file() || kind.is_char_device() { Ok(fd) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn message_queue(name: &str, settings: &SocketSettings) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    with_mode(settings.mode, || {
        linux::socket::message_queue(
            &name,
            settings.mode,
            settings.message_queue_max_messages,
            settings.message_queue_message_size,
        )
    })
}

/// SocketUser=, SocketGroup=.
fn own(path: &str, settings: &SocketSettings) -> io::Result<()> {
    if settings.user.is_none() && settings.group.is_none() {
        return Ok(());
    }
    let users = Users::read(Path::new("/"));
    let unknown =
        |what: &str| io::Error::new(io::ErrorKind::NotFound, format!("no such user or group: {what}"));
    let mut uid = None;
    let mut gid = None;
    if let Some(name) = &settings.user {
        let user = users.user(name).ok_or_else(|| unknown(name))?;
        (uid, gid) = (Some(user.uid), Some(user.gid));
    }
    if let Some(name) = &settings.group {
        gid = Some(users.group(name).ok_or_else(|| unknown(name))?);
    }
    std::os::unix::fs::lchown(path, uid, gid)
}

/// Symlinks=: what stands in the way and is a link is replaced.
pub(super) fn link(settings: &SocketSettings) -> Result<(), String> {
    let Some(target) = settings.listen.iter().find_map(Listen::path) else { return Ok(()) };
    for path in &settings.symlinks {
        let place = Path::new(path);
        let result = place
            .parent()
            .map_or(Ok(()), |parent| {
                fs::DirBuilder::new().recursive(true).mode(settings.directory_mode).create(parent)
            })
            .and_then(|()| match fs::symlink_metadata(place) {
                Ok(data) if data.is_symlink() => fs::remove_file(place),
                _ => Ok(()),
            })
            .and_then(|()| symlink(target, place));
        result.map_err(|error| format!("cannot link {path}: {error}"))?;
    }
    Ok(())
}

/// RemoveOnStop=: removes the nodes, if they still are what was made.
pub(super) fn remove(settings: &SocketSettings) {
    for listen in &settings.listen {
        match listen {
            Listen::MessageQueue(name) => {
                let _ = fs::remove_file(format!("/dev/mqueue{name}"));
            }
            Listen::Special(_) | Listen::UsbFunction(_) => {}
            _ => {
                let Some(path) = listen.path() else { continue };
                let kind = fs::symlink_metadata(path).map(|data| data.mode() & 0o170_000);
                if matches!(kind, Ok(0o140_000 | 0o010_000)) {
                    let _ = fs::remove_file(path);
                }
            }
        }
    }
    for path in &settings.symlinks {
        if fs::symlink_metadata(path).is_ok_and(|data| data.is_symlink()) {
            let _ = fs::remove_file(path);
        }
    }
}
