//! Packet sockets for a DHCP client: UDP to one port, seen before the interface has an address.
//!
//! See packet(7). The socket is `SOCK_DGRAM`: the kernel adds and strips the link-layer header.
//! A classic BPF program (the kernel's networking/filter.rst) lets only UDP to the one port pass,
//! so that a busy link wakes nobody.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const ETH_P_IP: u16 = 0x0800;

/// A packet as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes written to the buffer; longer packets are cut.
    pub len: usize,
    /// Whether the UDP checksum is filled in. A packet from this very host may leave it to hardware
    /// that never comes: `TP_STATUS_CSUMNOTREADY`.
    pub checksum_ready: bool,
}

/// A socket for IPv4 packets with UDP to one port on one interface.
#[derive(Debug)]
pub struct UdpPacketSocket {
    fd: OwnedFd,
    index: i32,
}

impl UdpPacketSocket {
    /// Opens the socket on the interface with this index, for UDP to `port`. Needs CAP_NET_RAW.
    pub fn open(index: u32, port: u16) -> io::Result<UdpPacketSocket> {
        let index = i32::try_from(index).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: socket takes no pointers. Protocol 0 keeps it deaf until the filter is attached.
        let raw = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0)
        };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: raw is a descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        attach_filter(&fd, port)?;
        let on: libc::c_int = 1;
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &on)?;
        let address = link_address(index, &[]);
        // SAFETY: the pointer and length describe a sockaddr_ll that outlives the call.
        let rc = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(UdpPacketSocket { fd, index }) }
    }

    /// Sends an IPv4 packet to this link-layer address (6 bytes on Ethernet; at most 8 are used).
    pub fn send(&self, packet: &[u8], to: &[u8]) -> io::Result<()> {
        let address = link_address(self.index, to);
        // SAFETY: both pointers come with the length of what they point to, and outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Receives one packet, beginning with its IP header. `WouldBlock` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = [0u64; 16];
        // SAFETY: msghdr is plain data, for which all zeroes is a valid value.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: every pointer in message is to a live local of the length given beside it.
        let len = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        let mut checksum_ready = true;
        // SAFETY: message was filled by recvmsg and its control buffer is alive and aligned; the CMSG
        // functions stay within msg_controllen, and the data is read unaligned after a length check.
        unsafe {
            let mut header = libc::CMSG_FIRSTHDR(&raw const message);
            while !header.is_null() {
                let wanted = libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as u32) as usize;
                if (*header).cmsg_level == libc::SOL_PACKET
                    && (*header).cmsg_type == libc::PACKET_AUXDATA
                    && (*header).cmsg_len as usize >= wanted
                {
                    let data = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                    checksum_ready = data.tp_status & libc::TP_STATUS_CSUMNOTREADY == 0;
                }
                header = libc::CMSG_NXTHDR(&raw const message, header);
            }
        }
        Ok(Received { len: len.min(buffer.len()), checksum_ready })
    }
}

impl AsFd for UdpPacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Keeps a UDP socket to one interface, whatever the routes say (`SO_BINDTODEVICE`, socket(7)).
pub fn bind_to_device(socket: impl AsFd, name: &str) -> io::Result<()> {
    let fd = socket.as_fd();
    // SAFETY: the pointer and length describe the bytes of name, which outlive the call.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn link_address(index: i32, to: &[u8]) -> libc::sockaddr_ll {
    // SAFETY: sockaddr_ll is plain data, for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_IP.to_be();
    address.sll_ifindex = index;
    let len = to.len().min(address.sll_addr.len());
    address.sll_addr[..len].copy_from_slice(&to[..len]);
    address.sll_halen = len as u8;
    address
}

/// Passes unfragmented UDP to `port`, drops the rest. Offsets count from the IP header.
fn attach_filter(fd: &OwnedFd, port: u16) -> io::Result<()> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    use libc::{
        BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET,
    };
    let mut program = [
        op(BPF_LD | BPF_B | BPF_ABS, 0, 0, 9),
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 6, 17),
        op(BPF_LD | BPF_H | BPF_ABS, 0, 0, 6),
        op(BPF_JMP | BPF_JSET | BPF_K, 4, 0, 0x3fff),
        op(BPF_LDX | BPF_B | BPF_MSH, 0, 0, 0),
        op(BPF_LD | BPF_H | BPF_IND, 0, 0, 2),
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, u32::from(port)),
        op(BPF_RET | BPF_K, 0, 0, 0xffff),
        op(BPF_RET | BPF_K, 0, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// `T` must be the plain C structure that this option takes.
fn set_option<T>(fd: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and length describe value, which outlives the call; what it points to in turn
    // (the filter program) is alive in the caller.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(UdpPacketSocket::open(0x7fff_ffff, 68).is_err());
        assert!(UdpPacketSocket::open(u32::MAX, 68).is_err());
    }
}
