//! The options of sockets, systemd.socket(5). One that the kernel refuses is no reason not to listen.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use linux::socket::{option, set};
use rustix::net::sockopt;
use unit::settings::{BindIpv6Only, SocketSettings, Timestamping};

const SECOND: u64 = 1_000_000;

/// Before it is bound. `ip`: the address of an internet socket.
pub(super) fn of_socket(fd: BorrowedFd<'_>, settings: &SocketSettings, ip: Option<IpAddr>) {
    if let Some(ip) = ip {
        let only = match settings.bind_ipv6_only {
            BindIpv6Only::Default => None,
            BindIpv6Only::Both => Some(false),
            BindIpv6Only::Ipv6Only => Some(true),
        };
        if let Some(only) = only.filter(|_| ip.is_ipv6()) {
            let _ = sockopt::set_ipv6_v6only(fd, only);
        }
        let _ = sockopt::set_socket_reuseaddr(fd, true);
        if settings.free_bind {
            let _ = sockopt::set_ip_freebind(fd, true);
        }
        if settings.transparent {
            let name = if ip.is_ipv6() { option::TRANSPARENT6 } else { option::TRANSPARENT };
            let _ = set(fd, name, 1);
        }
        if settings.pass_packet_info {
            let _ = set(fd, option::PACKET_INFO, 1);
            if ip.is_ipv6() {
                let _ = set(fd, option::PACKET_INFO6, 1);
            }
        }
        of_internet(fd, settings, ip);
    }
    if let Some(device) = &settings.bind_to_device {
        let _ = linux::socket::bind_to_device(fd, device);
    }
    if settings.reuse_port {
        let _ = sockopt::set_socket_reuseport(fd, true);
    }
    of_any(fd, settings);
}

/// Of an accepted connection: those that the kernel does not hand down.
pub(super) fn of_connection(fd: BorrowedFd<'_>, settings: &SocketSettings) {
    of_any(fd, settings);
}

/// Of a netlink socket.
pub(super) fn of_netlink(fd: BorrowedFd<'_>, settings: &SocketSettings) {
    if settings.pass_packet_info {
        let _ = set(fd, option::NETLINK_PACKET_INFO, 1);
    }
    of_any(fd, settings);
}

/// Of a FIFO.
pub(super) fn of_pipe(fd: BorrowedFd<'_>, settings: &SocketSettings) {
    if settings.pipe_size > 0 {
        let _ =
            rustix::pipe::fcntl_setpipe_size(fd, usize::try_from(settings.pipe_size).unwrap_or(usize::MAX));
    }
}

fn of_internet(fd: BorrowedFd<'_>, settings: &SocketSettings, ip: IpAddr) {
    let span = |usec: u64| Duration::from_secs(usec.div_ceil(SECOND));
    if settings.keep_alive_time > 0 {
        let _ = sockopt::set_tcp_keepidle(fd, span(settings.keep_alive_time));
    }
    if settings.keep_alive_interval > 0 {
        let _ = sockopt::set_tcp_keepintvl(fd, span(settings.keep_alive_interval));
    }
    if settings.keep_alive_probes > 0 {
        let _ = sockopt::set_tcp_keepcnt(fd, settings.keep_alive_probes);
    }
    if settings.defer_accept > 0 {
        let seconds = i32::try_from(settings.defer_accept.div_ceil(SECOND)).unwrap_or(i32::MAX);
        let _ = set(fd, option::DEFER_ACCEPT, seconds);
    }
    if settings.no_delay {
        let _ = sockopt::set_tcp_nodelay(fd, true);
    }
    if let Some(name) = &settings.tcp_congestion {
        let _ = sockopt::set_tcp_congestion(fd, name);
    }
    if let Ok(tos) = u8::try_from(settings.ip_tos) {
        let _ = sockopt::set_ip_tos(fd, tos);
    }
    if let Ok(ttl) = u32::try_from(settings.ip_ttl) {
        let _ = sockopt::set_ip_ttl(fd, ttl);
        if ip.is_ipv6() {
            let _ = sockopt::set_ipv6_unicast_hops(fd, u8::try_from(ttl).ok());
        }
    }
}

fn of_any(fd: BorrowedFd<'_>, settings: &SocketSettings) {
    if settings.keep_alive {
        let _ = sockopt::set_socket_keepalive(fd, true);
    }
    if settings.broadcast {
        let _ = sockopt::set_socket_broadcast(fd, true);
    }
    if settings.pass_credentials {
        let _ = sockopt::set_socket_passcred(fd, true);
    }
    if settings.pass_security {
        let _ = set(fd, option::PASS_SECURITY, 1);
    }
    match settings.timestamping {
        Timestamping::Off => {}
        Timestamping::Usec => _ = set(fd, option::TIMESTAMP, 1),
        Timestamping::Nsec => _ = set(fd, option::TIMESTAMP_NS, 1),
    }
    if settings.priority >= 0 {
        let _ = set(fd, option::PRIORITY, settings.priority);
    }
    if settings.mark >= 0 {
        let _ = set(fd, option::MARK, settings.mark);
    }
    let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
    if settings.receive_buffer > 0 {
        let _ = sockopt::set_socket_recv_buffer_size_force(fd, bytes(settings.receive_buffer))
            .or_else(|_| sockopt::set_socket_recv_buffer_size(fd, bytes(settings.receive_buffer)));
    }
    if settings.send_buffer > 0 {
        let _ = sockopt::set_socket_send_buffer_size_force(fd, bytes(settings.send_buffer))
            .or_else(|_| sockopt::set_socket_send_buffer_size(fd, bytes(settings.send_buffer)));
    }
}
