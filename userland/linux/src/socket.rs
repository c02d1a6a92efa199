//! Sockets beyond what rustix knows: options by number, netlink and vsock addresses, POSIX message queues, and what a
//! program inherits of them.
//!
//! Sources: setsockopt(2), netlink(7), vsock(7), mq_overview(7), dup(2).

use std::ffi::CStr;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The options that socket units set, as (level, name).
pub mod option {
    #![allow(missing_docs)]

    macro_rules! options {
        ($($name:ident $level:ident $option:ident,)*) => {
            $(pub const $name: (i32, i32) = (libc::$level, libc::$option);)*
        };
    }

    options! {
        PRIORITY SOL_SOCKET SO_PRIORITY,
        MARK SOL_SOCKET SO_MARK,
        PASS_SECURITY SOL_SOCKET SO_PASSSEC,
        TIMESTAMP SOL_SOCKET SO_TIMESTAMP,
        TIMESTAMP_NS SOL_SOCKET SO_TIMESTAMPNS,
        DEFER_ACCEPT IPPROTO_TCP TCP_DEFER_ACCEPT,
        PACKET_INFO IPPROTO_IP IP_PKTINFO,
        PACKET_INFO6 IPPROTO_IPV6 IPV6_RECVPKTINFO,
        NETLINK_PACKET_INFO SOL_NETLINK NETLINK_PKTINFO,
        TRANSPARENT IPPROTO_IP IP_TRANSPARENT,
        TRANSPARENT6 IPPROTO_IPV6 IPV6_TRANSPARENT,
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sets an option that is a number.
///
/// # Errors
/// What setsockopt(2) says.
pub fn set(fd: BorrowedFd<'_>, (level, name): (i32, i32), value: i32) -> io::Result<()> {
    // SAFETY: the pointer is to a live c_int of the size given beside it.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// The process (zero: of another PID namespace) and the user at the other end of a connected socket, SO_PEERCRED.
///
/// # Errors
/// What getsockopt(2) says.
pub fn peer(fd: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut size = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, the size is that of the first.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut size,
        )
    })?;
    Ok((found.pid, found.uid))
}

/// Binds a socket to an interface by its name, SO_BINDTODEVICE.
///
/// # Errors
/// What setsockopt(2) says.
pub fn bind_to_device(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // SAFETY: the pointer is to the bytes of `name`, whose length is given beside it.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    })
    .map(drop)
}

fn open(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket takes no pointers.
    let raw =
        check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) })?;
    // SAFETY: raw is a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn bind<T>(fd: &OwnedFd, address: &T) -> io::Result<()> {
    // SAFETY: the callers below hand in plain sockaddr structures, alive for the call and of the size given.
    check(unsafe {
        libc::bind(fd.as_raw_fd(), std::ptr::from_ref(address).cast(), size_of::<T>() as libc::socklen_t)
    })
    .map(drop)
}

/// A netlink socket of this family, a member of these groups (a bit for each; the first is bit 0).
///
/// # Errors
/// What socket(2) and bind(2) say.
pub fn netlink(family: i32, groups: u32) -> io::Result<OwnedFd> {
    let fd = open(libc::AF_NETLINK, libc::SOCK_RAW, family)?;
    // SAFETY: sockaddr_nl is plain data, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    bind(&fd, &address)?;
    Ok(fd)
}

/// A vsock socket bound to a context (`u32::MAX`: any) and a port.
///
/// # Errors
/// What socket(2) and bind(2) say.
pub fn vsock(kind: i32, cid: u32, port: u32) -> io::Result<OwnedFd> {
    let fd = open(libc::AF_VSOCK, kind, 0)?;
    // SAFETY: sockaddr_vm is plain data, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_vm = unsafe { zeroed() };
    address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    address.svm_cid = cid;
    address.svm_port = port;
    bind(&fd, &address)?;
    Ok(fd)
}

/// A message queue, made if it is not there; sizes of zero leave the kernel's own.
///
/// # Errors
/// What mq_open(3) says.
pub fn message_queue(name: &CStr, mode: u32, messages: i64, size: i64) -> io::Result<OwnedFd> {
    // SAFETY: mq_attr is plain data, for which all zeroes is a valid value.
    let mut sizes: libc::mq_attr = unsafe { zeroed() };
    sizes.mq_maxmsg = messages as _;
    sizes.mq_msgsize = size as _;
    let sizes = if messages > 0 && size > 0 { &raw mut sizes } else { std::ptr::null_mut() };
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_CREAT;
    // SAFETY: name is a C string; sizes is null or a live mq_attr; both outlive the call.
    let raw = check(unsafe { libc::mq_open(name.as_ptr(), flags, mode as libc::mode_t, sizes) })?;
    // SAFETY: on Linux a queue's descriptor is a file descriptor, and nobody else owns this one.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Puts descriptors at `first`, `first` + 1, …, where an executed program keeps them; what was there is closed. For a
/// process that is about to execute: those numbers must belong to nobody who still needs them.
///
/// # Errors
/// What fcntl(2) and dup2(2) say.
pub fn pass(descriptors: &[impl AsFd], first: RawFd) -> io::Result<()> {
    let above = first + RawFd::try_from(descriptors.len()).unwrap_or(RawFd::MAX - first);
    let mut copies = Vec::with_capacity(descriptors.len());
    for descriptor in descriptors {
        let raw = descriptor.as_fd().as_raw_fd();
        // SAFETY: F_DUPFD_CLOEXEC takes a number and returns a descriptor that nobody owns.
        let copy = check(unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, above) })?;
        // SAFETY: see above.
        copies.push(unsafe { OwnedFd::from_raw_fd(copy) });
    }
    for (number, copy) in (first..).zip(&copies) {
        // SAFETY: dup2 takes no pointers. The caller vouches for the target's number; no OwnedFd is made of it.
        check(unsafe { libc::dup2(copy.as_raw_fd(), number) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn options_and_netlink_work() {
        let (one, _other) = UnixDatagram::pair().unwrap();
        set(one.as_fd(), option::TIMESTAMP, 1).unwrap();
        assert!(set(one.as_fd(), option::DEFER_ACCEPT, 1).is_err());
        netlink(libc::NETLINK_ROUTE, 1).unwrap();
    }

    #[test]
    fn a_message_queue_is_a_descriptor() {
        let name = std::ffi::CString::new(format!("/corten-test-{}", std::process::id())).unwrap();
        let queue = message_queue(&name, 0o600, 4, 64).unwrap();
        rustix::io::fcntl_getfd(&queue).unwrap();
        // SAFETY: a C string.
        unsafe { libc::mq_unlink(name.as_ptr()) };
    }
}
