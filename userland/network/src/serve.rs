//! The service's loop: netlink and DHCP in, [`State`] decides, actions out.
//!
//! One thread that sleeps in poll(2) until the kernel, a DHCP server or the clock has something.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use crate::dhcp::lease::Lease;
use crate::dhcp::transport::Transport;
use crate::network_file::NetworkFile;
use crate::report::{Directory, LinkReport, replace};
use crate::resolv;
use crate::state::{Action, Event, State};
use netlink::link::{self, Link};
use netlink::{self, Netlink, News, Watch};

/// Why the service cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's side.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The directories of the service.
    #[error("cannot make the directories below {0}: {1}")]
    Directories(PathBuf, io::Error),
    /// poll(2), or the kernel's random numbers.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// The running service.
pub struct Service {
    netlink: Netlink,
    watch: Watch,
    state: State,
    transports: BTreeMap<u32, Transport>,
    directory: Directory,
    root: PathBuf,
    reported: Option<Vec<LinkReport>>,
}

impl Service {
    /// Reads the files below `root` (`/` on a machine), looks at the links of this thread's network
    /// namespace and begins to manage those that match.
    pub fn start(root: &Path) -> Result<Service, Error> {
        let directory = Directory::below(root);
        directory.create().map_err(|e| Error::Directories(root.to_owned(), e))?;
        let (files, warnings) = NetworkFile::load_all(root);
        for warning in warnings {
            eprintln!("<4>{warning}");
        }
        let mut seed = [0; 8];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| Error::System("random numbers", e.into()))?;
        // The watch opens before the first dump: what changes between is heard twice, not missed.
        let mut service = Service {
            watch: Watch::open()?,
            netlink: Netlink::open()?,
            state: State::new(files, own_name(), u64::from_ne_bytes(seed)),
            transports: BTreeMap::new(),
            directory,
            root: root.to_owned(),
            reported: None,
        };
        service.look()?;
        service.publish();
        Ok(service)
    }

    /// What is told of every link.
    pub fn reports(&self) -> Vec<LinkReport> {
        self.state.reports()
    }

    /// Waits for something to happen, at most as long as given, and acts on it.
    pub fn step(&mut self, longest: Option<Duration>) -> Result<(), Error> {
        self.wait(longest).map_err(|e| Error::System("poll", e))?;
        match self.watch.read()? {
            News::Changes(changes) => {
                let events: Vec<Event> =
                    changes.into_iter().filter_map(|change| self.event_of(change)).collect();
                events.into_iter().for_each(|event| self.take(event));
            }
            News::Lost => self.look()?,
        }
        let messages: Vec<(u32, Vec<u8>)> = self
            .transports
            .iter_mut()
            .flat_map(|(&index, transport)| transport.receive().into_iter().map(move |m| (index, m)))
            .collect();
        for (index, message) in messages {
            self.take(Event::Dhcp { index, message });
        }
        self.take(Event::Time);
        self.publish();
        Ok(())
    }

    fn wait(&self, longest: Option<Duration>) -> io::Result<()> {
        let due = self.state.deadline().map(|deadline| deadline.saturating_sub(now()));
        let timeout = match (due, longest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let timeout = timeout.and_then(|duration| Timespec::try_from(duration).ok());
        let sockets = self.transports.values().flat_map(Transport::descriptors);
        let all: Vec<BorrowedFd<'_>> = std::iter::once(self.watch.as_fd()).chain(sockets).collect();
        let mut polled: Vec<PollFd<'_>> =
            all.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Takes the kernel's whole view in: at the start, and when changes were lost.
    fn look(&mut self) -> Result<(), Error> {
        let links = Link::all(&mut self.netlink)?;
        for gone in self.state.indexes() {
            if links.iter().all(|link| link.index != gone) {
                self.take(Event::LinkGone(gone));
            }
        }
        for link in links {
            let saved = self.saved_lease(link.index);
            self.take(Event::Link { link, saved });
        }
        let answers = self.netlink.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        let events: Vec<Event> = answers.into_iter().filter_map(|answer| self.event_of(answer)).collect();
        for index in self.state.indexes() {
            for prefix in self.state.addresses(index) {
                let there = events.iter().any(
                    |event| matches!(event, Event::Address { index: i, prefix: p, .. } if (*i, *p) == (index, prefix)),
                );
                if !there {
                    let scope = Default::default();
                    self.take(Event::Address { index, prefix, scope, present: false });
                }
            }
        }
        for event in events {
            self.take(event);
        }
        Ok(())
    }

    fn event_of(&self, message: RouteNetlinkMessage) -> Option<Event> {
        match message {
            RouteNetlinkMessage::NewLink(message) => {
                let link = Link::of(&message)?;
                Some(Event::Link { saved: self.saved_lease(link.index), link })
            }
            RouteNetlinkMessage::DelLink(message) => Some(Event::LinkGone(message.header.index)),
            RouteNetlinkMessage::NewAddress(message) => {
                let (index, prefix, scope) = link::address_of(&message)?;
                Some(Event::Address { index, prefix, scope, present: true })
            }
            RouteNetlinkMessage::DelAddress(message) => {
                let (index, prefix, scope) = link::address_of(&message)?;
                Some(Event::Address { index, prefix, scope, present: false })
            }
            _ => None,
        }
    }

    fn saved_lease(&self, index: u32) -> Option<Box<(Lease, Duration)>> {
        Lease::from_text(&fs::read_to_string(self.directory.lease(index)).ok()?).map(Box::new)
    }

    fn take(&mut self, event: Event) {
        let mut actions = self.state.on(now(), event);
        // A refusal is itself an event; it asks for nothing more.
        while !actions.is_empty() {
            let mut more = Vec::new();
            for action in actions {
                if let Err((index, what)) = self.act(action) {
                    eprintln!("<3>link {index}: {what}");
                    more.extend(self.state.on(now(), Event::Refused(index)));
                }
            }
            actions = more;
        }
        self.tend_sockets();
    }

    /// Does one action. An error that leaves the link without what was asked for is returned.
    fn act(&mut self, action: Action) -> Result<(), (u32, String)> {
        let netlink = &mut self.netlink;
        match action {
            Action::SetUp(index) => link::set_up(netlink, index, true)
                .map_err(|e| (index, format!("cannot set the link up: {e}"))),
            Action::SetMtu(index, mtu) => {
                // The link works without it.
                if let Err(e) = link::set_mtu(netlink, index, mtu) {
                    eprintln!("<4>link {index}: cannot set the MTU to {mtu}: {e}");
                }
                Ok(())
            }
            Action::AddAddress(index, address) => link::add_address(netlink, index, &address)
                .map_err(|e| (index, format!("cannot add the address {}: {e}", address.prefix))),
            Action::RemoveAddress(index, address) => {
                // It may have ended by itself.
                let _ = link::remove_address(netlink, index, &address);
                Ok(())
            }
            Action::AddRoute(index, route) => link::add_route(netlink, index, &route)
                .map_err(|e| (index, format!("cannot add the route to {}: {e}", route.to))),
            Action::RemoveRoute(index, route) => {
                let _ = link::remove_route(netlink, index, &route);
                Ok(())
            }
            Action::Broadcast(index, message) => {
                let sent = self.transports.entry(index).or_default().broadcast(index, &message);
                log_send(index, sent);
                Ok(())
            }
            Action::Send(index, from, to, message) => {
                let name = self.state.dhcp_links().find(|l| l.0 == index).map(|l| l.1.to_owned());
                if let Some(name) = name {
                    let transport = self.transports.entry(index).or_default();
                    log_send(index, transport.send(&name, from, to, &message));
                }
                Ok(())
            }
            Action::SaveLease(index, text) => {
                if let Err(e) = replace(&self.directory.lease(index), text.as_bytes()) {
                    eprintln!("<4>{}: {e}", self.directory.lease(index).display());
                }
                Ok(())
            }
            Action::ForgetLease(index) => {
                let _ = fs::remove_file(self.directory.lease(index));
                Ok(())
            }
            Action::Hostname(name) => {
                self.name_machine(&name);
                Ok(())
            }
            Action::Log(text) => {
                eprintln!("<6>{text}");
                Ok(())
            }
        }
    }

    /// Opens and closes sockets so that they are as the clients want them.
    fn tend_sockets(&mut self) {
        let wanted: Vec<_> = self
            .state
            .dhcp_links()
            .map(|(index, name, listens, address)| (index, name.to_owned(), listens, address))
            .collect();
        self.transports.retain(|index, _| wanted.iter().any(|(i, ..)| i == index));
        for (index, name, listens, address) in wanted {
            let transport = self.transports.entry(index).or_default();
            let opened = transport.listen_to_link(index, listens).and_then(|()| match address {
                Some(address) => transport.bind(&name, address),
                None => {
                    transport.unbind();
                    Ok(())
                }
            });
            log_send(index, opened);
        }
    }

    /// Takes the name that a server gives, if the machine has none of its own.
    fn name_machine(&self, name: &str) {
        let own = fs::read_to_string(self.root.join("etc/hostname")).unwrap_or_default();
        let on_a_machine = self.root == Path::new("/");
        if on_a_machine && matches!(own.trim(), "" | "localhost") && own_name().as_deref() != Some(name) {
            match rustix::system::sethostname(name.as_bytes()) {
                Ok(()) => eprintln!("<6>the host name is {name}, from DHCP"),
                Err(e) => eprintln!("<4>cannot set the host name {name}: {e}"),
            }
        }
    }

    /// Writes the reports and `resolv.conf`, if they say something new.
    fn publish(&mut self) {
        let reports = self.state.reports();
        if self.reported.as_ref() == Some(&reports) {
            return;
        }
        let servers = reports.iter().flat_map(|r| r.dns.iter()).filter_map(|s| s.parse::<IpAddr>().ok());
        let domains = reports.iter().flat_map(|r| r.domains.iter()).map(String::as_str);
        // Names first: who waits for the reports looks names up next.
        let names = replace(&self.directory.resolv_conf(), resolv::text(servers, domains).as_bytes());
        if let Err(e) = names.and_then(|()| self.directory.write(&reports)) {
            eprintln!("<3>cannot write below /run/systemd: {e}");
            return;
        }
        self.reported = Some(reports);
    }
}

fn log_send(index: u32, result: io::Result<()>) {
    if let Err(e) = result {
        eprintln!("<4>link {index}: DHCP socket: {e}");
    }
}

/// The machine's name, if it has one worth telling a server.
fn own_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    (!matches!(name.as_str(), "" | "localhost" | "(none)")).then_some(name)
}

/// The boot-time clock: it goes on while the machine sleeps, as leases do.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}
