//! The DHCP client's state machine (RFC 2131, section 4.4).
//!
//! Pure: the time comes in as the boot-time clock, messages as bytes, randomness as a seed; out come
//! [`Action`]s. [`Client::deadline`] says when [`Client::on_time`] wants to be called. Invariants: an
//! address is configured exactly while a lease is held; what is accepted answers our transaction, our
//! hardware address and, once chosen, our server.

use std::net::Ipv4Addr;
use std::time::Duration;

use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, Message, MessageType};

use super::lease::{Lease, server_of};
use super::message::{self, REQUESTED};

/// A point on the boot-time clock: since boot, sleep included.
pub type Instant = Duration;

/// First and longest wait for an answer, before jitter.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// Shortest wait between two attempts to renew (RFC 2131, section 4.4.5).
const RENEW_WAIT: Duration = Duration::from_secs(60);
/// How often a REQUEST is sent before the search begins anew.
const REQUEST_TRIES: u32 = 4;
/// How often the old lease is asked for after a change of carrier or a restart.
const REBOOT_TRIES: u32 = 2;
/// Wait after a server took its offer back, so that two that disagree make no storm.
const AFTER_NAK: Duration = Duration::from_secs(2);

/// What the client asks of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message to everyone on the link, from no address.
    Broadcast(Vec<u8>),
    /// Send this message from our address to this server, or to all (255.255.255.255).
    Send {
        /// Our address.
        from: Ipv4Addr,
        /// The server's, or the broadcast address.
        to: Ipv4Addr,
        /// The message.
        message: Vec<u8>,
    },
    /// The lease is granted, renewed, or changed: configure what it says. `since`: when it began.
    Configure {
        /// The lease.
        lease: Box<Lease>,
        /// When it began.
        since: Instant,
    },
    /// The lease is gone: take its configuration away.
    Deconfigure(Box<Lease>),
    /// Worth a line in the log.
    Log(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    lease: Lease,
    since: Instant,
}

impl Held {
    fn ends(&self) -> Option<Instant> {
        self.lease.lifetime.map(|length| self.since + length)
    }
}

/// Each state owns exactly what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// No carrier, or not started. A lease is kept through a loss of carrier.
    Stopped { held: Option<Held> },
    /// DISCOVER is sent, an OFFER awaited.
    Selecting { tries: u32 },
    /// An offer is taken, its ACK awaited.
    Requesting { offer: Lease, tries: u32 },
    /// We hold a lease and ask whether it is still ours (INIT-REBOOT).
    Confirming { held: Held, tries: u32 },
    /// All is well until T1.
    Bound { held: Held },
    /// T1 passed: the same server is asked.
    Renewing { held: Held },
    /// T2 passed: any server is asked.
    Rebinding { held: Held },
}

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The link-layer address.
    pub mac: [u8; 6],
    /// The name to tell the server, if any.
    pub hostname: Option<String>,
}

/// The client of one link.
#[derive(Clone, Debug)]
pub struct Client {
    identity: Identity,
    state: State,
    random: u64,
    xid: u32,
    /// When this exchange began: the `secs` field counts from here.
    began: Instant,
    /// When the next thing is due.
    due: Option<Instant>,
    /// When the last REQUEST was sent: a lease counts from here, as the server cannot have begun it earlier.
    asked: Instant,
}

impl Client {
    /// A client that waits for [`Client::start`]. `seed` decides transaction ids and jitter.
    pub fn new(identity: Identity, seed: u64) -> Client {
        Client {
            identity,
            state: State::Stopped { held: None },
            random: seed,
            xid: 0,
            began: Duration::ZERO,
            due: None,
            asked: Duration::ZERO,
        }
    }

    /// A lease from an earlier life of this process. Call before [`Client::start`].
    pub fn remember(&mut self, lease: Lease, since: Instant, now: Instant) -> Vec<Action> {
        let held = Held { lease, since };
        if since > now || held.ends().is_some_and(|end| end <= now) {
            return Vec::new();
        }
        let configure = Action::Configure { lease: Box::new(held.lease.clone()), since };
        self.state = State::Stopped { held: Some(held) };
        vec![configure]
    }

    /// The link has a carrier.
    pub fn start(&mut self, now: Instant) -> Vec<Action> {
        match std::mem::replace(&mut self.state, State::Stopped { held: None }) {
            State::Stopped { held: None } => self.discover(now),
            State::Stopped { held: Some(held) } => {
                self.new_exchange(now);
                self.state = State::Confirming { held, tries: 0 };
                self.on_time(now)
            }
            running => {
                self.state = running;
                Vec::new()
            }
        }
    }

    /// The link lost its carrier. The lease is kept: a cable that comes back finds it confirmed.
    pub fn stop(&mut self) {
        let held = self.held().cloned();
        self.due = held.as_ref().and_then(Held::ends);
        self.state = State::Stopped { held };
    }

    /// The lease that is held.
    pub fn lease(&self) -> Option<&Lease> {
        self.held().map(|held| &held.lease)
    }

    /// When [`Client::on_time`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Whether answers may come in that are not addressed to a configured address.
    pub fn listens_to_link(&self) -> bool {
        !matches!(self.state, State::Stopped { .. } | State::Bound { .. })
    }

    fn held(&self) -> Option<&Held> {
        match &self.state {
            State::Stopped { held } => held.as_ref(),
            State::Confirming { held, .. }
            | State::Bound { held }
            | State::Renewing { held }
            | State::Rebinding { held } => Some(held),
            State::Selecting { .. } | State::Requesting { .. } => None,
        }
    }

    /// Time passed. Harmless when nothing is due.
    pub fn on_time(&mut self, now: Instant) -> Vec<Action> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        if self.held().and_then(Held::ends).is_some_and(|end| now >= end) {
            return self.lose(now, "the lease ended without an answer from a server");
        }
        match self.state.clone() {
            State::Stopped { .. } => {
                self.due = self.held().and_then(Held::ends);
                Vec::new()
            }
            State::Selecting { tries } => {
                self.wait(now, tries);
                self.state = State::Selecting { tries: tries.saturating_add(1) };
                self.broadcast(now, MessageType::Discover, &[])
            }
            State::Requesting { tries, .. } if tries >= REQUEST_TRIES => self.discover(now),
            State::Requesting { offer, tries } => {
                self.wait(now, tries);
                let options = [
                    DhcpOption::RequestedIpAddress(offer.address),
                    DhcpOption::ServerIdentifier(offer.server),
                ];
                self.state = State::Requesting { offer, tries: tries + 1 };
                self.asked = now;
                self.broadcast(now, MessageType::Request, &options)
            }
            State::Confirming { held, tries } if tries >= REBOOT_TRIES => {
                // Nobody objects: the lease is good until it ends (RFC 2131, section 3.2).
                self.bind(held, now);
                self.on_time(now)
            }
            State::Confirming { held, tries } => {
                self.wait(now, tries);
                let options = [DhcpOption::RequestedIpAddress(held.lease.address)];
                self.state = State::Confirming { held, tries: tries + 1 };
                self.asked = now;
                self.broadcast(now, MessageType::Request, &options)
            }
            State::Bound { held } => {
                self.new_exchange(now);
                self.renew(held, now)
            }
            State::Renewing { held } | State::Rebinding { held } => self.renew(held, now),
        }
    }

    /// A message came in: the UDP payload.
    pub fn on_message(&mut self, now: Instant, bytes: &[u8]) -> Vec<Action> {
        let Some(message) = message::read(bytes) else { return Vec::new() };
        if message.xid() != self.xid || message.chaddr() != self.identity.mac {
            return Vec::new();
        }
        match (message.opts().msg_type(), self.state.clone()) {
            (Some(MessageType::Offer), State::Selecting { .. }) => match Lease::of(&message) {
                Ok(offer) => {
                    self.state = State::Requesting { offer, tries: 0 };
                    self.due = Some(now);
                    self.on_time(now)
                }
                Err(why) => vec![Action::Log(format!("DHCP offer refused: {why}"))],
            },
            (Some(MessageType::Ack), state) => self.on_ack(now, &message, state),
            (Some(MessageType::Nak), State::Requesting { offer, .. })
                if server_of(&message) == Some(offer.server) =>
            {
                self.discover_after(now, AFTER_NAK);
                vec![Action::Log(format!("DHCP server {} took its offer back", offer.server))]
            }
            (
                Some(MessageType::Nak),
                State::Confirming { held, .. } | State::Renewing { held } | State::Rebinding { held },
            ) if server_of(&message).is_some() => {
                let renewing = matches!(self.state, State::Renewing { .. });
                if renewing && server_of(&message) != Some(held.lease.server) {
                    return Vec::new();
                }
                self.lose(now, "a server says that the lease is not ours")
            }
            _ => Vec::new(),
        }
    }

    fn on_ack(&mut self, now: Instant, message: &Message, state: State) -> Vec<Action> {
        let (server, address) = match &state {
            State::Requesting { offer, .. } => (Some(offer.server), Some(offer.address)),
            State::Renewing { held } => (Some(held.lease.server), Some(held.lease.address)),
            State::Confirming { held, .. } | State::Rebinding { held } => (None, Some(held.lease.address)),
            State::Stopped { .. } | State::Selecting { .. } | State::Bound { .. } => return Vec::new(),
        };
        let lease = match Lease::of(message) {
            Ok(lease) => lease,
            Err(why) => return vec![Action::Log(format!("DHCP acknowledgement refused: {why}"))],
        };
        if server.is_some_and(|server| server != lease.server) || address != Some(lease.address) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if let Some(old) = self.lease().filter(|old| old.prefix() != lease.prefix()) {
            actions.push(Action::Deconfigure(Box::new(old.clone())));
        }
        actions.push(Action::Configure { lease: Box::new(lease.clone()), since: self.asked });
        self.bind(Held { lease, since: self.asked }, now);
        actions
    }

    fn bind(&mut self, held: Held, now: Instant) {
        self.due = held.lease.lifetime.map(|_| (held.since + held.lease.renew_after).max(now));
        self.state = State::Bound { held };
    }

    /// Asks to renew: the server until T2, then anyone. RFC 2131, section 4.4.5.
    fn renew(&mut self, held: Held, now: Instant) -> Vec<Action> {
        let rebind_at = held.since + held.lease.rebind_after;
        let Some(end) = held.ends() else {
            self.due = None;
            return Vec::new();
        };
        let renewing = now < rebind_at;
        let limit = if renewing { rebind_at } else { end };
        let wait = (limit.saturating_sub(now) / 2).max(RENEW_WAIT);
        self.due = Some((now + wait).min(limit).max(now + Duration::from_secs(1)));
        let from = held.lease.address;
        let to = if renewing { held.lease.server } else { Ipv4Addr::BROADCAST };
        self.state = if renewing { State::Renewing { held } } else { State::Rebinding { held } };
        self.asked = now;
        match self.message(now, MessageType::Request, from, &[]) {
            Some(message) => vec![Action::Send { from, to, message }],
            None => Vec::new(),
        }
    }

    fn lose(&mut self, now: Instant, why: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(lease) = self.lease().cloned() {
            actions.push(Action::Log(format!("DHCP lease of {} lost: {why}", lease.address)));
            actions.push(Action::Deconfigure(Box::new(lease)));
        }
        if matches!(self.state, State::Stopped { .. }) {
            self.state = State::Stopped { held: None };
            self.due = None;
        } else {
            actions.extend(self.discover(now));
        }
        actions
    }

    fn discover(&mut self, now: Instant) -> Vec<Action> {
        self.discover_after(now, Duration::ZERO);
        self.on_time(now)
    }

    fn discover_after(&mut self, now: Instant, wait: Duration) {
        self.new_exchange(now);
        self.state = State::Selecting { tries: 0 };
        self.due = Some(now + wait);
    }

    fn new_exchange(&mut self, now: Instant) {
        self.xid = (self.next_random() >> 32) as u32;
        self.began = now;
        self.due = Some(now);
    }

    /// Waits for an answer: doubling, with a quarter of jitter either way.
    fn wait(&mut self, now: Instant, tries: u32) {
        let base = FIRST_WAIT.saturating_mul(1 << tries.min(6)).min(LONGEST_WAIT);
        let quarter = base.as_millis() as u64 / 4;
        let jitter = self.next_random() % (2 * quarter);
        self.due = Some(now + base - Duration::from_millis(quarter) + Duration::from_millis(jitter));
    }

    /// SplitMix64: enough to spread clients apart; the seed comes from the kernel.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn broadcast(&self, now: Instant, kind: MessageType, options: &[DhcpOption]) -> Vec<Action> {
        let message = self.message(now, kind, Ipv4Addr::UNSPECIFIED, options);
        message.into_iter().map(Action::Broadcast).collect()
    }

    fn message(
        &self,
        now: Instant,
        kind: MessageType,
        ours: Ipv4Addr,
        options: &[DhcpOption],
    ) -> Option<Vec<u8>> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mut message = Message::new_with_id(self.xid, ours, none, none, none, &self.identity.mac);
        let waited = now.saturating_sub(self.began).as_secs();
        message.set_secs(waited.min(u64::from(u16::MAX)) as u16);
        let mut client_id = vec![1];
        client_id.extend(self.identity.mac);
        let opts = message.opts_mut();
        opts.insert(DhcpOption::MessageType(kind));
        opts.insert(DhcpOption::ClientIdentifier(client_id));
        opts.insert(DhcpOption::MaxMessageSize(1500));
        opts.insert(DhcpOption::ParameterRequestList(REQUESTED.to_vec()));
        if let Some(name) = &self.identity.hostname {
            opts.insert(DhcpOption::Hostname(name.clone()));
        }
        for option in options {
            opts.insert(option.clone());
        }
        message.to_vec().ok()
    }
}
