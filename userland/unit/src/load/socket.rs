//! The [Socket] section, systemd.socket(5).

use super::value::{absolute, boolean, mode, number, size, span, timeout};
use super::{Draft, Outcome, Taken};
use crate::settings::{Address, BindIpv6Only, Listen, Timestamping};
use crate::{INFINITY, Role, UnitName, UnitType, exec};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    if let Some(role) = role(key) {
        return super::commands(&mut draft.socket.commands, draft.context, &mut draft.fatal, role, value);
    }
    if let Some(kind) = key.strip_prefix("Listen") {
        return listen(draft, kind, value);
    }
    let context = draft.context;
    let text = |value: &str| context.resolve(value).map(|text| Some(text).filter(|text| !text.is_empty()));
    let socket = &mut draft.socket;
    match key {
        "SocketProtocol" => {
            socket.protocol = match value {
                "" => 0,
                "udplite" => 136,
                "sctp" => 132,
                "mptcp" => 262,
                _ => return Err(format!("\"{value}\" is not udplite, sctp or mptcp")),
            }
        }
        "BindIPv6Only" => {
            socket.bind_ipv6_only = match value {
                "default" => BindIpv6Only::Default,
                "both" => BindIpv6Only::Both,
                "ipv6-only" => BindIpv6Only::Ipv6Only,
                _ => match boolean(value) {
                    Ok(true) => BindIpv6Only::Ipv6Only,
                    Ok(false) => BindIpv6Only::Both,
                    Err(_) => return Err(format!("\"{value}\" is not default, both, ipv6-only, yes or no")),
                },
            }
        }
        "Backlog" => socket.backlog = number(value)?,
        "BindToDevice" => socket.bind_to_device = text(value)?.filter(|name| name != "*"),
        "SocketUser" => socket.user = text(value)?,
        "SocketGroup" => socket.group = text(value)?,
        "SocketMode" => socket.mode = mode(value)?,
        "DirectoryMode" => socket.directory_mode = mode(value)?,
        "Accept" => socket.accept = boolean(value)?,
        "Writable" => socket.writable = boolean(value)?,
        "FlushPending" => socket.flush_pending = boolean(value)?,
        "MaxConnections" => socket.max_connections = number(value)?,
        "MaxConnectionsPerSource" => socket.max_connections_per_source = number(value)?,
        "KeepAlive" => socket.keep_alive = boolean(value)?,
        "KeepAliveTimeSec" => socket.keep_alive_time = span(value)?,
        "KeepAliveIntervalSec" => socket.keep_alive_interval = span(value)?,
        "KeepAliveProbes" => socket.keep_alive_probes = number(value)?,
        "DeferAcceptSec" => socket.defer_accept = span(value)?,
        "NoDelay" => socket.no_delay = boolean(value)?,
        "Priority" => socket.priority = number(value)?,
        "ReceiveBuffer" => socket.receive_buffer = size(value)?,
        "SendBuffer" => socket.send_buffer = size(value)?,
        "IPTOS" => {
            socket.ip_tos = match value {
                "low-delay" => 16,
                "throughput" => 8,
                "reliability" => 4,
                "low-cost" => 2,
                _ => number(value)?,
            }
        }
        "IPTTL" => socket.ip_ttl = number(value)?,
        "Mark" => socket.mark = number(value)?,
        "PipeSize" => socket.pipe_size = size(value)?,
        "FreeBind" => socket.free_bind = boolean(value)?,
        "Transparent" => socket.transparent = boolean(value)?,
        "Broadcast" => socket.broadcast = boolean(value)?,
        "PassCredentials" => socket.pass_credentials = boolean(value)?,
        "PassSecurity" => socket.pass_security = boolean(value)?,
        "PassPacketInfo" => socket.pass_packet_info = boolean(value)?,
        "Timestamping" => {
            socket.timestamping = match value {
                "off" => Timestamping::Off,
                "us" | "usec" | "µs" | "μs" => Timestamping::Usec,
                "ns" | "nsec" => Timestamping::Nsec,
                _ => match boolean(value) {
                    Ok(false) => Timestamping::Off,
                    _ => return Err(format!("\"{value}\" is not off, us or ns")),
                },
            }
        }
        "TCPCongestion" => socket.tcp_congestion = text(value)?,
        "ReusePort" => socket.reuse_port = boolean(value)?,
        "MessageQueueMaxMessages" => socket.message_queue_max_messages = number(value)?,
        "MessageQueueMessageSize" => socket.message_queue_message_size = number(value)?,
        "RemoveOnStop" => socket.remove_on_stop = boolean(value)?,
        "Symlinks" if value.is_empty() => socket.symlinks.clear(),
        "Symlinks" => {
            for word in exec::words(value).map_err(|error| error.to_string())? {
                let path = context.resolve(&word)?;
                socket.symlinks.push(absolute(&path)?);
            }
        }
        "FileDescriptorName" => {
            let name = context.resolve(value)?;
            let fits =
                name.len() <= 255 && name.chars().all(|c| c.is_ascii_graphic() && c != ':' || c == ' ');
            if !fits {
                return Err(format!("\"{name}\" is not a descriptor's name: no colons, at most 255 bytes"));
            }
            socket.descriptor_name = name;
        }
        "Service" => {
            let name = context.resolve(value)?;
            match UnitName::parse(&name) {
                Ok(unit) if unit.unit_type() == UnitType::Service && !unit.is_template() => {
                    socket.service = Some(unit);
                }
                _ => return Err(format!("{name} is not a service")),
            }
        }
        "TimeoutSec" => socket.timeout = timeout(value)?,
        "TriggerLimitIntervalSec" => socket.trigger_interval = span(value)?,
        "TriggerLimitBurst" => socket.trigger_burst = number(value)?,
        "SmackLabel" => socket.smack[0] = context.resolve(value)?,
        "SmackLabelIPIn" => socket.smack[1] = context.resolve(value)?,
        "SmackLabelIPOut" => socket.smack[2] = context.resolve(value)?,
        // a security module that the kernel does not have
        "SELinuxContextFromNet" => {
            boolean(value)?;
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

fn role(key: &str) -> Option<Role> {
    Some(match key {
        "ExecStartPre" => Role::StartPre,
        "ExecStartPost" => Role::StartPost,
        "ExecStopPre" => Role::StopPre,
        "ExecStopPost" => Role::StopPost,
        _ => return None,
    })
}

/// An empty value of any kind forgets every Listen*= so far.
fn listen(draft: &mut Draft<'_>, kind: &str, value: &str) -> Outcome {
    let mut text = draft.context.resolve(value)?;
    if let Some(rest) = text.strip_prefix("/var/run/") {
        // what everybody means
        text = format!("/run/{rest}");
    }
    let path = || absolute(&text);
    let found = match kind {
        "Stream" | "Datagram" | "SequentialPacket" | "FIFO" | "Special" | "Netlink" | "MessageQueue"
        | "USBFunction"
            if value.is_empty() =>
        {
            draft.socket.listen.clear();
            return Ok(Taken::Yes);
        }
        "Stream" => Listen::Stream(Address::parse(&text)?),
        "Datagram" => Listen::Datagram(Address::parse(&text)?),
        "SequentialPacket" => match Address::parse(&text)? {
            address @ (Address::Path(_) | Address::Abstract(_)) => Listen::SequentialPacket(address),
            _ => {
                return Err(
                    "only sockets of the file system and abstract ones send packets in sequence".into()
                );
            }
        },
        "FIFO" => Listen::Fifo(path()?),
        "Special" => Listen::Special(path()?),
        "MessageQueue" => Listen::MessageQueue(path()?),
        "USBFunction" => Listen::UsbFunction(path()?),
        "Netlink" => netlink(&text)?,
        _ => return Ok(Taken::Unknown),
    };
    draft.socket.listen.push(found);
    Ok(Taken::Yes)
}

/// The families of netlink(7), by systemd's names.
const FAMILIES: &[(&str, i32)] = &[
    ("route", 0),
    ("firewall", 3),
    ("inet-diag", 4),
    ("nflog", 5),
    ("xfrm", 6),
    ("selinux", 7),
    ("iscsi", 8),
    ("audit", 9),
    ("fib-lookup", 10),
    ("connector", 11),
    ("netfilter", 12),
    ("ip6-fw", 13),
    ("dnrtmsg", 14),
    ("kobject-uevent", 15),
    ("generic", 16),
    ("scsitransport", 18),
    ("ecryptfs", 19),
    ("rdma", 20),
];

fn netlink(text: &str) -> Result<Listen, String> {
    let mut words = text.split_whitespace();
    let name = words.next().unwrap_or_default();
    let family = FAMILIES.iter().find(|(known, _)| *known == name).map(|(_, family)| *family);
    let family =
        family.or_else(|| name.parse().ok()).ok_or_else(|| format!("\"{name}\" is no netlink family"))?;
    let group: u32 = words.next().map_or(Ok(0), number)?;
    Ok(Listen::Netlink { text: format!("{name} {group}"), family, group })
}

impl Draft<'_> {
    /// What makes a socket unusable. It has all its dependencies even so, as in systemd.
    pub(super) fn verify_socket(&self) -> Result<(), String> {
        let socket = &self.socket;
        let refuse = |why: &str| Err(why.to_string());
        if socket.listen.is_empty() {
            return refuse("Unit has no Listen setting (ListenStream=, ListenDatagram=, ListenFIFO=, ...).");
        }
        if socket.accept && !socket.listen.iter().all(Listen::accepts) {
            return refuse("Unit configured for accepting sockets, but sockets are non-accepting.");
        }
        if socket.accept && socket.max_connections == 0 {
            return refuse("MaxConnections= setting too small.");
        }
        if socket.accept && socket.service.is_some() {
            return refuse("Explicit service configuration for accepting socket units not supported.");
        }
        if !socket.symlinks.is_empty() && socket.listen.iter().filter(|l| l.path().is_some()).count() != 1 {
            return refuse("Unit has symlinks set but none or more than one node in the file system.");
        }
        Ok(())
    }

    /// Defaults and implied dependencies of a socket.
    pub(super) fn socket_defaults(&mut self) -> Result<(), String> {
        use crate::Dependency::{Before, Triggers};
        let name = self.unit.name.clone();
        let socket = &mut self.socket;
        if socket.descriptor_name.is_empty() {
            socket.descriptor_name = name.to_string();
        }
        if socket.trigger_interval == INFINITY {
            socket.trigger_interval = 2_000_000;
        }
        if socket.trigger_burst == u32::MAX {
            socket.trigger_burst = if socket.accept { 200 } else { 20 };
        }
        let paths: Vec<String> = socket.listen.iter().filter_map(|l| l.path().map(str::to_string)).collect();
        let device = socket.bind_to_device.clone().filter(|device| device != "lo");
        if !socket.accept {
            let service = socket.service.clone().unwrap_or_else(|| name.with_type(UnitType::Service));
            self.add(Before, service.clone());
            self.add(Triggers, service.clone());
            self.socket.service = Some(service);
        }
        for path in paths {
            self.requires_mounts_for(&path)?;
        }
        if let Some(device) = device {
            let path = format!("/sys/subsystem/net/devices/{device}");
            if let Ok(device) = UnitName::from_path(&path, UnitType::Device) {
                self.add(crate::Dependency::BindsTo, device.clone());
                self.add(crate::Dependency::After, device);
            }
        }
        Ok(())
    }
}
