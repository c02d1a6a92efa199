//! What sockets tell besides their unit, resource, execution and kill settings.
//!
//! Names, types and defaults as systemd 252 reports them, in its order (org.freedesktop.systemd1(5)).

use unit::settings::SocketSettings;
use unit::{Details, UnitStatus};
use zvariant::Value;

use super::{Default::*, Facts, Property, array, strings, structure};

/// The part of the interface `Socket` that no other type has.
pub const SOCKET: &[Property] = &[
    ("BindIPv6Only", Str("default")),
    ("Backlog", U32(2_147_483_647)),
    ("TimeoutUSec", U64(90_000_000)),
    ("BindToDevice", Str("")),
    ("SocketUser", Str("")),
    ("SocketGroup", Str("")),
    ("SocketMode", U32(0o666)),
    ("DirectoryMode", U32(0o755)),
    ("Accept", Bool(false)),
    ("FlushPending", Bool(false)),
    ("Writable", Bool(false)),
    ("KeepAlive", Bool(false)),
    ("KeepAliveTimeUSec", U64(0)),
    ("KeepAliveIntervalUSec", U64(0)),
    ("KeepAliveProbes", U32(0)),
    ("DeferAcceptUSec", U64(0)),
    ("NoDelay", Bool(false)),
    ("Priority", I32(-1)),
    ("ReceiveBuffer", U64(0)),
    ("SendBuffer", U64(0)),
    ("IPTOS", I32(-1)),
    ("IPTTL", I32(-1)),
    ("PipeSize", U64(0)),
    ("FreeBind", Bool(false)),
    ("Transparent", Bool(false)),
    ("Broadcast", Bool(false)),
    ("PassCredentials", Bool(false)),
    ("PassSecurity", Bool(false)),
    ("PassPacketInfo", Bool(false)),
    ("Timestamping", Str("off")),
    ("RemoveOnStop", Bool(false)),
    ("Listen", Empty("a(ss)")),
    ("Symlinks", Empty("as")),
    ("Mark", I32(-1)),
    ("MaxConnections", U32(64)),
    ("MaxConnectionsPerSource", U32(0)),
    ("MessageQueueMaxMessages", Empty("x")),
    ("MessageQueueMessageSize", Empty("x")),
    ("TCPCongestion", Str("")),
    ("ReusePort", Bool(false)),
    ("SmackLabel", Str("")),
    ("SmackLabelIPIn", Str("")),
    ("SmackLabelIPOut", Str("")),
    ("ControlPID", U32(0)),
    ("Result", Str("success")),
    ("NConnections", U32(0)),
    ("NAccepted", U32(0)),
    ("NRefused", U32(0)),
    ("FileDescriptorName", Str("")),
    ("SocketProtocol", I32(0)),
    ("TriggerLimitIntervalUSec", U64(2_000_000)),
    ("TriggerLimitBurst", U32(20)),
    ("UID", U32(u32::MAX)),
    ("GID", U32(u32::MAX)),
    ("ExecStartPre", Empty("a(sasbttttuii)")),
    ("ExecStartPost", Empty("a(sasbttttuii)")),
    ("ExecStopPre", Empty("a(sasbttttuii)")),
    ("ExecStopPost", Empty("a(sasbttttuii)")),
];

/// The true values.
pub fn facts(status: &UnitStatus, settings: &SocketSettings, facts: &mut Facts) {
    let text = |text: &Option<String>| Value::from(text.clone().unwrap_or_default());
    let pair = |one: &str, other: String| structure([one.to_owned().into(), other.into()]);
    let listen = settings.listen.iter().map(|listen| pair(listen.kind(), listen.place()));
    let [smack, smack_in, smack_out] = settings.smack.clone();
    facts.extend([
        ("BindIPv6Only", Value::from(settings.bind_ipv6_only.as_str())),
        ("Backlog", settings.backlog.into()),
        ("TimeoutUSec", settings.timeout.into()),
        ("BindToDevice", text(&settings.bind_to_device)),
        ("SocketUser", text(&settings.user)),
        ("SocketGroup", text(&settings.group)),
        ("SocketMode", settings.mode.into()),
        ("DirectoryMode", settings.directory_mode.into()),
        ("Accept", settings.accept.into()),
        ("FlushPending", settings.flush_pending.into()),
        ("Writable", settings.writable.into()),
        ("KeepAlive", settings.keep_alive.into()),
        ("KeepAliveTimeUSec", settings.keep_alive_time.into()),
        ("KeepAliveIntervalUSec", settings.keep_alive_interval.into()),
        ("KeepAliveProbes", settings.keep_alive_probes.into()),
        ("DeferAcceptUSec", settings.defer_accept.into()),
        ("NoDelay", settings.no_delay.into()),
        ("Priority", settings.priority.into()),
        ("ReceiveBuffer", settings.receive_buffer.into()),
        ("SendBuffer", settings.send_buffer.into()),
        ("IPTOS", settings.ip_tos.into()),
        ("IPTTL", settings.ip_ttl.into()),
        ("PipeSize", settings.pipe_size.into()),
        ("FreeBind", settings.free_bind.into()),
        ("Transparent", settings.transparent.into()),
        ("Broadcast", settings.broadcast.into()),
        ("PassCredentials", settings.pass_credentials.into()),
        ("PassSecurity", settings.pass_security.into()),
        ("PassPacketInfo", settings.pass_packet_info.into()),
        ("Timestamping", settings.timestamping.as_str().into()),
        ("RemoveOnStop", settings.remove_on_stop.into()),
        ("Listen", array("(ss)", listen)),
        ("Symlinks", strings(settings.symlinks.iter().cloned())),
        ("Mark", settings.mark.into()),
        ("MaxConnections", settings.max_connections.into()),
        ("MaxConnectionsPerSource", settings.max_connections_per_source.into()),
        ("MessageQueueMaxMessages", settings.message_queue_max_messages.into()),
        ("MessageQueueMessageSize", settings.message_queue_message_size.into()),
        ("TCPCongestion", text(&settings.tcp_congestion)),
        ("ReusePort", settings.reuse_port.into()),
        ("SmackLabel", smack.into()),
        ("SmackLabelIPIn", smack_in.into()),
        ("SmackLabelIPOut", smack_out.into()),
        ("FileDescriptorName", settings.descriptor_name.clone().into()),
        ("SocketProtocol", settings.protocol.into()),
        ("TriggerLimitIntervalUSec", settings.trigger_interval.into()),
        ("TriggerLimitBurst", settings.trigger_burst.into()),
    ]);
    if let Details::Socket { connections, accepted, refused } = status.details {
        facts.extend([
            ("NConnections", Value::from(connections)),
            ("NAccepted", accepted.into()),
            ("NRefused", refused.into()),
        ]);
    }
}
