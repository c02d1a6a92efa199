//! The DHCP client's state machine: transcripts, and what must hold whatever comes.
//!
//! A transcript in `client/NAME.txt` is commands, each followed by what the client then did, indented.
//! To add a case, write the commands, run with `UPDATE_TRANSCRIPTS=1`, and read what was written.
//!
//! - `start`, `stop`: the carrier comes and goes
//! - `wait SECONDS`: time passes; the client is called when it asked to be
//! - `offer`, `ack`, `nak` with `KEY=VALUE`: a message of the server; `address`, `server`, `mask`, `lease`,
//!   `t1`, `t2`; `xid=wrong`, `mac=wrong`
//! - `garbage`: bytes that are no message

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable};
use network::dhcp::client::{Action, Client, Identity};
use proptest::prelude::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// A client, the clock, and what the world has been told.
struct World {
    client: Client,
    now: Duration,
    xid: u32,
    configured: Option<Ipv4Addr>,
    sent: usize,
}

impl World {
    fn new(seed: u64) -> World {
        let client = Client::new(Identity { mac: MAC, hostname: Some("core-1".into()) }, seed);
        World { client, now: Duration::from_secs(100), xid: 0, configured: None, sent: 0 }
    }

    fn told(&mut self, actions: Vec<Action>) -> String {
        let mut text = String::new();
        for action in actions {
            text.push_str(&format!("    {:>8.1} ", self.now.as_secs_f64() - 100.0));
            text.push_str(&match action {
                Action::Broadcast(message) => self.sends("everyone", &message),
                Action::Send { from, to, message } => self.sends(&format!("{to} from {from}"), &message),
                Action::Configure { lease, since } => {
                    self.configured = Some(lease.address);
                    format!("configure {} since {:.1}\n", lease.prefix(), since.as_secs_f64() - 100.0)
                }
                Action::Deconfigure(lease) => {
                    self.configured = None;
                    format!("deconfigure {}\n", lease.prefix())
                }
                Action::Log(line) => format!("log {line}\n"),
            });
        }
        assert_eq!(self.configured, self.client.lease().map(|lease| lease.address), "configured is held");
        text
    }

    fn sends(&mut self, to: &str, bytes: &[u8]) -> String {
        self.sent += 1;
        let message = Message::decode(&mut Decoder::new(bytes)).unwrap();
        self.xid = message.xid();
        let kind = message.opts().msg_type().unwrap();
        let mut text = format!("{kind:?} to {to}, {} s", message.secs());
        if let Some(DhcpOption::RequestedIpAddress(address)) =
            message.opts().get(OptionCode::RequestedIpAddress)
        {
            text.push_str(&format!(", asks for {address}"));
        }
        if let Some(DhcpOption::ServerIdentifier(server)) = message.opts().get(OptionCode::ServerIdentifier) {
            text.push_str(&format!(", of {server}"));
        }
        if !message.ciaddr().is_unspecified() {
            text.push_str(&format!(", has {}", message.ciaddr()));
        }
        text + "\n"
    }

    /// The clock goes on; whenever something is due, the client is called.
    fn wait(&mut self, length: Duration) -> String {
        let end = self.now + length;
        let mut text = String::new();
        while let Some(due) = self.client.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            let actions = self.client.on_time(self.now);
            text.push_str(&self.told(actions));
            assert!(self.client.deadline().is_none_or(|next| next > self.now), "no progress at {due:?}");
        }
        self.now = end;
        text
    }

    fn hears(&mut self, kind: MessageType, settings: &str) -> String {
        let mut message = Message::default();
        let mut mac = MAC;
        let mut options = vec![
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 2, 2)),
            DhcpOption::AddressLeaseTime(3600),
            DhcpOption::MessageType(kind),
        ];
        message.set_opcode(Opcode::BootReply).set_xid(self.xid);
        if kind != MessageType::Nak {
            message.set_yiaddr(Ipv4Addr::new(10, 0, 2, 15));
        }
        for (key, value) in settings.split_whitespace().map(|pair| pair.split_once('=').unwrap()) {
            let seconds = || value.parse().unwrap();
            match key {
                "address" => drop(message.set_yiaddr(value.parse::<Ipv4Addr>().unwrap())),
                "server" => options.push(DhcpOption::ServerIdentifier(value.parse().unwrap())),
                "mask" => options.push(DhcpOption::SubnetMask(value.parse().unwrap())),
                "lease" => options.push(DhcpOption::AddressLeaseTime(seconds())),
                "t1" => options.push(DhcpOption::Renewal(seconds())),
                "t2" => options.push(DhcpOption::Rebinding(seconds())),
                "xid" => drop(message.set_xid(self.xid ^ 1)),
                "mac" => mac[5] ^= 1,
                _ => panic!("{key} is not known"),
            }
        }
        message.set_chaddr(&mac);
        options.into_iter().for_each(|option| drop(message.opts_mut().insert(option)));
        let bytes = message.to_vec().unwrap();
        let actions = self.client.on_message(self.now, &bytes);
        self.told(actions)
    }

    fn command(&mut self, line: &str) -> String {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "start" => {
                let actions = self.client.start(self.now);
                self.told(actions)
            }
            "stop" => {
                self.client.stop();
                String::new()
            }
            "wait" => self.wait(Duration::from_secs(rest.parse().unwrap())),
            "offer" => self.hears(MessageType::Offer, rest),
            "ack" => self.hears(MessageType::Ack, rest),
            "nak" => self.hears(MessageType::Nak, rest),
            "garbage" => {
                let actions = self.client.on_message(self.now, rest.as_bytes());
                self.told(actions)
            }
            _ => panic!("{verb} is no command"),
        }
    }
}

#[test]
fn transcripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client");
    let mut cases = 0;
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        cases += 1;
        let want = fs::read_to_string(&path).unwrap();
        let mut world = World::new(1);
        let mut got = String::new();
        for line in want.lines().filter(|line| !line.starts_with(' ')) {
            got.push_str(&format!("{line}\n"));
            if !line.is_empty() && !line.starts_with('#') {
                got.push_str(&world.command(line));
            }
        }
        if std::env::var_os("UPDATE_TRANSCRIPTS").is_some() {
            fs::write(&path, &got).unwrap();
        } else {
            assert_eq!(got, want, "{}", path.display());
        }
    }
    assert!(cases >= 6, "only {cases} transcripts were found");
}

fn any_command() -> impl Strategy<Value = String> {
    let address = || prop_oneof![Just("10.0.2.15".to_owned()), any::<Ipv4Addr>().prop_map(|a| a.to_string())];
    let server = prop_oneof![Just("10.0.2.2".to_owned()), any::<Ipv4Addr>().prop_map(|a| a.to_string())];
    let kind = prop_oneof![Just("offer"), Just("ack"), Just("nak")];
    let seconds = || prop_oneof![Just(3600u32), 0..200u32, any::<u32>()];
    prop_oneof![
        Just("start".to_owned()),
        Just("stop".to_owned()),
        (0..10_000u32).prop_map(|n| format!("wait {n}")),
        Just("offer".to_owned()),
        Just("ack".to_owned()),
        (kind, address(), server, seconds(), seconds(), seconds()).prop_map(|(kind, a, s, lease, t1, t2)| {
            format!("{kind} address={a} server={s} lease={lease} t1={t1} t2={t2}")
        }),
        ".{0,40}".prop_map(|text| format!("garbage {text}")),
    ]
}

proptest! {
    /// `told` and `wait` assert that an address is configured exactly while a lease is held, and that
    /// time always moves on. Here too: no server can make us flood the link.
    #[test]
    fn whatever_comes(seed: u64, commands in proptest::collection::vec(any_command(), 0..60)) {
        let mut world = World::new(seed);
        for command in &commands {
            let (before, from) = (world.sent, world.now);
            world.command(command);
            let seconds = (world.now - from).as_secs() as usize;
            prop_assert!(world.sent - before <= 2 + seconds, "{command}: {} sent", world.sent - before);
        }
    }

    #[test]
    fn any_bytes_for_our_transaction(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut world = World::new(7);
        world.command("start");
        let head = [&[2, 1, 6, 0][..], &world.xid.to_be_bytes()].concat();
        for (at, byte) in head.into_iter().enumerate().take(bytes.len()) {
            bytes[at] = byte;
        }
        if let Some(place) = bytes.get_mut(28..34) {
            place.copy_from_slice(&MAC);
        }
        if let Some(place) = bytes.get_mut(236..243) {
            place.copy_from_slice(&[99, 130, 83, 99, 53, 1, 2]);
        }
        let actions = world.client.on_message(world.now, &bytes);
        world.told(actions);
    }
}
