//! The [Socket] section, systemd.socket(5).

use super::{Address, Commands};
use crate::c_escape;
use crate::exec::CommandLine;
use crate::{INFINITY, Role, UnitName, Usec};

/// What a Listen*= line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// ListenStream=
    Stream(Address),
    /// ListenDatagram=
    Datagram(Address),
    /// ListenSequentialPacket=
    SequentialPacket(Address),
    /// ListenFIFO=: an absolute path
    Fifo(String),
    /// ListenSpecial=: an absolute path of a device or a kernel file
    Special(String),
    /// ListenNetlink=: the family's number, and the multicast group
    Netlink {
        /// As written: `kobject-uevent 1`.
        text: String,
        /// The protocol's number.
        family: i32,
        /// The group's number.
        group: u32,
    },
    /// ListenMessageQueue=: a name that begins with a slash
    MessageQueue(String),
    /// ListenUSBFunction=: a folder (loaded, but no gadget is driven)
    UsbFunction(String),
}

impl Listen {
    /// systemd's word for the kind, as D-Bus tells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Listen::Stream(_) => "Stream",
            Listen::Datagram(_) => "Datagram",
            Listen::SequentialPacket(_) => "SequentialPacket",
            Listen::Fifo(_) => "FIFO",
            Listen::Special(_) => "Special",
            Listen::Netlink { .. } => "Netlink",
            Listen::MessageQueue(_) => "MessageQueue",
            Listen::UsbFunction(_) => "USBFunction",
        }
    }

    /// The address or path, as D-Bus tells it: a socket's path with C's escapes, the others as they are.
    pub fn place(&self) -> String {
        match self {
            Listen::Stream(Address::Path(path))
            | Listen::Datagram(Address::Path(path))
            | Listen::SequentialPacket(Address::Path(path)) => c_escape::escape(path.as_bytes()),
            Listen::Stream(Address::Abstract(name))
            | Listen::Datagram(Address::Abstract(name))
            | Listen::SequentialPacket(Address::Abstract(name)) => {
                format!("@{}", c_escape::escape(name.as_bytes()))
            }
            Listen::Stream(address) | Listen::Datagram(address) | Listen::SequentialPacket(address) => {
                address.to_string()
            }
            Listen::Netlink { text, .. } => text.clone(),
            Listen::Fifo(path)
            | Listen::Special(path)
            | Listen::MessageQueue(path)
            | Listen::UsbFunction(path) => path.clone(),
        }
    }

    /// The path in the file system, if it has one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Listen::Stream(Address::Path(path))
            | Listen::Datagram(Address::Path(path))
            | Listen::SequentialPacket(Address::Path(path))
            | Listen::Fifo(path)
            | Listen::Special(path)
            | Listen::UsbFunction(path) => Some(path),
            _ => None,
        }
    }

    /// Whether connections come to it: what Accept=yes needs.
    pub fn accepts(&self) -> bool {
        matches!(self, Listen::Stream(_) | Listen::SequentialPacket(_))
    }
}

/// BindIPv6Only=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BindIpv6Only {
    /// As /proc/sys/net/ipv6/bindv6only says.
    #[default]
    Default,
    /// IPv4 too.
    Both,
    /// IPv6 only.
    Ipv6Only,
}

impl BindIpv6Only {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            BindIpv6Only::Default => "default",
            BindIpv6Only::Both => "both",
            BindIpv6Only::Ipv6Only => "ipv6-only",
        }
    }
}

/// Timestamping=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timestamping {
    /// None.
    #[default]
    Off,
    /// In microseconds.
    Usec,
    /// In nanoseconds.
    Nsec,
}

impl Timestamping {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Timestamping::Off => "off",
            Timestamping::Usec => "us",
            Timestamping::Nsec => "ns",
        }
    }
}

/// A socket's settings. Zero, or −1 where zero means something, leaves the kernel's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSettings {
    /// ListenStream= and its kin, in order
    pub listen: Vec<Listen>,
    /// The command lines of each Exec*= directive.
    pub commands: Commands,
    /// Service=; `None`: the service of the same name, or with Accept= an instance of its template
    pub service: Option<UnitName>,
    /// SocketProtocol=: a number of IPPROTO_*
    pub protocol: i32,
    /// BindIPv6Only=
    pub bind_ipv6_only: BindIpv6Only,
    /// Backlog=
    pub backlog: u32,
    /// BindToDevice=
    pub bind_to_device: Option<String>,
    /// SocketUser=
    pub user: Option<String>,
    /// SocketGroup=
    pub group: Option<String>,
    /// SocketMode=
    pub mode: u32,
    /// DirectoryMode=
    pub directory_mode: u32,
    /// Accept=
    pub accept: bool,
    /// Writable=
    pub writable: bool,
    /// FlushPending=
    pub flush_pending: bool,
    /// MaxConnections=
    pub max_connections: u32,
    /// MaxConnectionsPerSource=; zero: no limit
    pub max_connections_per_source: u32,
    /// KeepAlive=
    pub keep_alive: bool,
    /// KeepAliveTimeSec=
    pub keep_alive_time: Usec,
    /// KeepAliveIntervalSec=
    pub keep_alive_interval: Usec,
    /// KeepAliveProbes=
    pub keep_alive_probes: u32,
    /// NoDelay=
    pub no_delay: bool,
    /// Priority=
    pub priority: i32,
    /// DeferAcceptSec=
    pub defer_accept: Usec,
    /// ReceiveBuffer=, bytes
    pub receive_buffer: u64,
    /// SendBuffer=, bytes
    pub send_buffer: u64,
    /// IPTOS=
    pub ip_tos: i32,
    /// IPTTL=
    pub ip_ttl: i32,
    /// Mark=
    pub mark: i32,
    /// ReusePort=
    pub reuse_port: bool,
    /// PipeSize=, bytes
    pub pipe_size: u64,
    /// MessageQueueMaxMessages=
    pub message_queue_max_messages: i64,
    /// MessageQueueMessageSize=
    pub message_queue_message_size: i64,
    /// FreeBind=
    pub free_bind: bool,
    /// Transparent=
    pub transparent: bool,
    /// Broadcast=
    pub broadcast: bool,
    /// PassCredentials=
    pub pass_credentials: bool,
    /// PassSecurity=
    pub pass_security: bool,
    /// PassPacketInfo=
    pub pass_packet_info: bool,
    /// Timestamping=
    pub timestamping: Timestamping,
    /// TCPCongestion=
    pub tcp_congestion: Option<String>,
    /// SmackLabel=, SmackLabelIPIn=, SmackLabelIPOut=: told, of no effect
    pub smack: [String; 3],
    /// TimeoutSec=; `INFINITY`: none
    pub timeout: Usec,
    /// RemoveOnStop=
    pub remove_on_stop: bool,
    /// Symlinks=
    pub symlinks: Vec<String>,
    /// FileDescriptorName=, or the unit's name; a connection is always called `connection`
    pub descriptor_name: String,
    /// TriggerLimitIntervalSec=; `INFINITY`: not set
    pub trigger_interval: Usec,
    /// TriggerLimitBurst=; `u32::MAX`: not set
    pub trigger_burst: u32,
}

impl Default for SocketSettings {
    fn default() -> Self {
        SocketSettings {
            listen: Vec::new(),
            commands: Commands::default(),
            service: None,
            protocol: 0,
            bind_ipv6_only: BindIpv6Only::Default,
            backlog: i32::MAX as u32,
            bind_to_device: None,
            user: None,
            group: None,
            mode: 0o666,
            directory_mode: 0o755,
            accept: false,
            writable: false,
            flush_pending: false,
            max_connections: 64,
            max_connections_per_source: 0,
            keep_alive: false,
            keep_alive_time: 0,
            keep_alive_interval: 0,
            keep_alive_probes: 0,
            no_delay: false,
            priority: -1,
            defer_accept: 0,
            receive_buffer: 0,
            send_buffer: 0,
            ip_tos: -1,
            ip_ttl: -1,
            mark: -1,
            reuse_port: false,
            pipe_size: 0,
            message_queue_max_messages: 0,
            message_queue_message_size: 0,
            free_bind: false,
            transparent: false,
            broadcast: false,
            pass_credentials: false,
            pass_security: false,
            pass_packet_info: false,
            timestamping: Timestamping::Off,
            tcp_congestion: None,
            smack: Default::default(),
            timeout: 90_000_000,
            remove_on_stop: false,
            symlinks: Vec::new(),
            descriptor_name: String::new(),
            trigger_interval: INFINITY,
            trigger_burst: u32::MAX,
        }
    }
}

impl SocketSettings {
    /// The command lines of a directive.
    pub fn commands(&self, role: Role) -> &[CommandLine] {
        self.commands.of(role)
    }
}
