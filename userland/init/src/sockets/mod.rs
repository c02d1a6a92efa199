//! The descriptors of socket units: opened, watched, accepted from, and handed to services (sd_listen_fds(3)).
//!
//! The engine decides, this module holds. Nothing here blocks: every descriptor that is read or accepted from is
//! non-blocking or polled first.

mod open;
mod options;
mod peer;
mod save;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use rustix::net::{SocketFlags, accept_with};
pub use save::Saved;
use unit::settings::Listen;
use unit::{Connection, ConnectionId, Event, Passed, Unit, UnitName};

/// So many connections are taken from one socket before others have their turn.
const AT_ONCE: usize = 16;
/// So many datagrams or connections are thrown away by one flush.
const MOST_FLUSHED: usize = 1024;

/// A descriptor and the name that its service is told.
#[derive(Debug)]
pub struct Named {
    /// The descriptor.
    pub fd: OwnedFd,
    /// FileDescriptorName=
    pub name: String,
}

/// All that is open for socket units and for services that store descriptors.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Watches the listening ones, for the event loop.
    epoll: Option<OwnedFd>,
    open: BTreeMap<UnitName, Opened>,
    connections: BTreeMap<ConnectionId, OwnedFd>,
    store: BTreeMap<UnitName, Vec<Named>>,
    last: u64,
}

#[derive(Debug)]
struct Opened {
    unit: std::sync::Arc<Unit>,
    descriptors: Vec<OwnedFd>,
    /// The number of the first one in the epoll's data.
    number: u64,
    watched: bool,
}

impl Sockets {
    /// None open yet.
    #[must_use]
    pub fn new() -> Sockets {
        Sockets { epoll: epoll::create(epoll::CreateFlags::CLOEXEC).ok(), ..Sockets::default() }
    }

    /// Readable when something waits at a watched socket.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.epoll.as_ref().map(AsFd::as_fd)
    }

    /// Opens all that a socket unit listens at; all or nothing.
    ///
    /// # Errors
    /// What could not be opened, and why.
    pub fn open(&mut self, unit: &std::sync::Arc<Unit>) -> Result<(), String> {
        let settings = unit.socket().ok_or("not a socket")?;
        // those that stay open over a restart of the unit
        self.drop_unit(&unit.name);
        let mut descriptors = Vec::with_capacity(settings.listen.len());
        for listen in &settings.listen {
            let fd = open::open(listen, settings).map_err(|error| format!("{}: {error}", listen.place()))?;
            descriptors.push(fd);
        }
        open::link(settings)?;
        self.last += 1;
        let opened = Opened { unit: unit.clone(), descriptors, number: self.last, watched: false };
        self.open.insert(unit.name.clone(), opened);
        Ok(())
    }

    /// Whether to tell of what comes in.
    pub fn watch(&mut self, unit: &UnitName, on: bool) {
        let (Some(epoll), Some(opened)) = (&self.epoll, self.open.get_mut(unit)) else { return };
        if opened.watched == on {
            return;
        }
        opened.watched = on;
        for fd in &opened.descriptors {
            let result = if on {
                epoll::add(epoll, fd, epoll::EventData::new_u64(opened.number), epoll::EventFlags::IN)
            } else {
                epoll::delete(epoll, fd)
            };
            // a file of ListenSpecial= may be one that cannot be waited for
            let _ = result;
        }
    }

    /// What has come in at watched sockets.
    pub fn ready(&mut self) -> Vec<Event> {
        let mut found = Vec::with_capacity(64);
        let no_wait = rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 };
        if let Some(epoll) = &self.epoll {
            let _ = epoll::wait(epoll, rustix::buffer::spare_capacity(&mut found), Some(&no_wait));
        }
        let numbers: BTreeSet<u64> = found.iter().map(|event| event.data.u64()).collect();
        let mut events = Vec::new();
        for (name, opened) in self.open.iter().filter(|(_, opened)| numbers.contains(&opened.number)) {
            let accepts = opened.unit.socket().is_some_and(|settings| settings.accept);
            if !accepts {
                events.push(Event::SocketReady { unit: name.clone() });
                continue;
            }
            for fd in &opened.descriptors {
                for _ in 0..AT_ONCE {
                    // the service's connection is a blocking one, as it would get from its own accept
                    let Ok(accepted) = accept_with(fd, SocketFlags::CLOEXEC) else { break };
                    self.last += 1;
                    let id = ConnectionId(self.last);
                    let Some(peer::Peer { source, instance }) = peer::of(accepted.as_fd(), self.last) else {
                        continue;
                    };
                    if let Some(settings) = opened.unit.socket() {
                        options::of_connection(accepted.as_fd(), settings);
                    }
                    self.connections.insert(id, accepted);
                    let connection = Connection { id, source, instance };
                    events.push(Event::Connected { unit: name.clone(), connection });
                }
            }
        }
        events
    }

    /// Throws away what waits (FlushPending=).
    pub fn flush(&mut self, unit: &UnitName) {
        let Some(opened) = self.open.get(unit) else { return };
        let listen = opened.unit.socket().map(|settings| &settings.listen[..]).unwrap_or_default();
        let mut buffer = [0; 2048];
        for (fd, listen) in opened.descriptors.iter().zip(listen) {
            set_blocking(fd, false);
            for _ in 0..MOST_FLUSHED {
                let taken = match listen {
                    Listen::Stream(_) | Listen::SequentialPacket(_) => {
                        accept_with(fd, SocketFlags::CLOEXEC).is_ok()
                    }
                    Listen::Datagram(_) | Listen::Netlink { .. } => {
                        rustix::net::recv(fd, &mut buffer, rustix::net::RecvFlags::DONTWAIT).is_ok()
                    }
                    Listen::Fifo(_) => rustix::io::read(fd, &mut buffer).is_ok_and(|count| count > 0),
                    _ => false,
                };
                if !taken {
                    break;
                }
            }
        }
    }

    /// Closes a unit's descriptors, and with RemoveOnStop= removes its nodes.
    pub fn close(&mut self, unit: &Unit) {
        self.drop_unit(&unit.name);
        if let Some(settings) = unit.socket().filter(|settings| settings.remove_on_stop) {
            open::remove(settings);
        }
    }

    fn drop_unit(&mut self, name: &UnitName) {
        // a service may still have a copy: what is closed here would be watched on
        self.watch(name, false);
        self.open.remove(name);
    }

    /// Closes an accepted connection.
    pub fn hang_up(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// Keeps a descriptor for a service until it is restarted; as many as `most`.
    pub fn store(&mut self, unit: &UnitName, name: &str, fd: OwnedFd, most: u32) -> bool {
        let store = self.store.entry(unit.clone()).or_default();
        if store.len() >= most as usize {
            return false;
        }
        store.push(Named { fd, name: if name.is_empty() { "stored".into() } else { name.into() } });
        true
    }

    /// Closes stored descriptors: all of a unit, or those of one name (FDSTOREREMOVE=1). How many are left.
    pub fn unstore(&mut self, unit: &UnitName, name: Option<&str>) -> usize {
        let Some(store) = self.store.get_mut(unit) else { return 0 };
        store.retain(|stored| name.is_some_and(|name| stored.name != name));
        let left = store.len();
        if left == 0 {
            self.store.remove(unit);
        }
        left
    }

    /// Copies of what a process is to have, with their names; sockets that block or not (NonBlocking=).
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn passed(&self, passed: &[Passed], blocking: bool) -> io::Result<Vec<Named>> {
        let mut all = Vec::new();
        let mut add = |fd: &OwnedFd, name: &str| {
            all.push(Named { fd: fd.try_clone()?, name: name.to_owned() });
            io::Result::Ok(())
        };
        for item in passed {
            match item {
                Passed::Socket(unit) => {
                    let Some(opened) = self.open.get(unit) else { continue };
                    let name = opened.unit.socket().map(|settings| settings.descriptor_name.as_str());
                    for fd in &opened.descriptors {
                        // as a service finds them that opens its own; PID 1 takes nothing from these
                        set_blocking(fd, blocking);
                        add(fd, name.unwrap_or_default())?;
                    }
                }
                Passed::Connection(id) => {
                    if let Some(fd) = self.connections.get(id) {
                        add(fd, "connection")?;
                    }
                }
                Passed::Store(unit) => {
                    let stored = self.store.get(unit).map(Vec::as_slice).unwrap_or_default();
                    stored.iter().try_for_each(|stored| add(&stored.fd, &stored.name))?;
                }
            }
        }
        Ok(all)
    }
}

fn set_blocking(fd: &OwnedFd, blocking: bool) {
    if let Ok(mut flags) = rustix::fs::fcntl_getfl(fd) {
        flags.set(rustix::fs::OFlags::NONBLOCK, !blocking);
        let _ = rustix::fs::fcntl_setfl(fd, flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::sync::Arc;
    use unit::{Sources, Text};

    fn socket_unit(name: &str, lines: &str) -> Arc<Unit> {
        let text = Text { path: format!("/{name}"), text: format!("[Socket]\n{lines}\n") };
        let sources = Sources { fragment: Some(text), ..Sources::default() };
        let unit = unit::load::load(&UnitName::parse(name).unwrap(), &Ok(sources), None, &Default::default());
        assert_eq!((unit.load_error.clone(), unit.warnings.clone()), (None, Vec::new()));
        Arc::new(unit)
    }

    #[test]
    fn every_kind_is_opened_told_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().display().to_string();
        let lines = format!(
            "ListenStream={base}/deep/stream\nListenDatagram=@{base}/abstract\nListenFIFO={base}/fifo\n\
             ListenSequentialPacket={base}/packet\nListenNetlink=kobject-uevent 1\nListenSpecial=/dev/null\n\
             SocketMode=0600\nRemoveOnStop=yes\nPassCredentials=yes\nFileDescriptorName=x\nReceiveBuffer=64K"
        );
        let unit = socket_unit("a.socket", &lines);
        let mut sockets = Sockets::new();
        sockets.open(&unit).unwrap();
        let passed = sockets.passed(&[Passed::Socket(unit.name.clone())], true).unwrap();
        assert!(passed.len() == 6 && passed.iter().all(|named| named.name == "x"));
        // nobody accepts: a stale node of this name is taken over by the next start
        sockets.watch(&unit.name, true);
        assert!(sockets.ready().is_empty());
        let _client = UnixStream::connect(root.path().join("deep/stream")).unwrap();
        assert!(matches!(&sockets.ready()[..], [Event::SocketReady { unit }] if unit.as_str() == "a.socket"));
        sockets.flush(&unit.name);
        assert!(sockets.ready().is_empty());
        fs::OpenOptions::new().write(true).open(root.path().join("fifo")).unwrap().write_all(b"x").unwrap();
        assert_eq!(sockets.ready().len(), 1);
        sockets.watch(&unit.name, false);
        assert!(sockets.ready().is_empty());
        drop(passed);
        sockets.open(&unit).unwrap();
        sockets.close(&unit);
        for path in ["deep/stream", "fifo", "packet"] {
            assert!(!root.path().join(path).exists(), "{path}");
        }
        assert!(sockets.passed(&[Passed::Socket(unit.name.clone())], true).unwrap().is_empty());
    }

    #[test]
    fn connections_are_taken_in_and_hung_up() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("each");
        let unit = socket_unit(
            "a.socket",
            &format!("ListenStream={0}\nAccept=yes\nSymlinks={0}.link", path.display()),
        );
        let mut sockets = Sockets::new();
        sockets.open(&unit).unwrap();
        sockets.watch(&unit.name, true);
        let mut client = UnixStream::connect(root.path().join("each.link")).unwrap();
        let events = sockets.ready();
        let [Event::Connected { connection, .. }] = &events[..] else { panic!("{events:?}") };
        assert!(connection.instance.ends_with(&format!("-{}", connection.source)));
        let passed = sockets.passed(&[Passed::Connection(connection.id)], true).unwrap();
        assert_eq!(passed[0].name, "connection");
        sockets.hang_up(connection.id);
        drop(passed);
        assert_eq!(std::io::Read::read(&mut client, &mut [0]).unwrap(), 0, "it is over");
    }

    #[test]
    fn what_cannot_be_opened_says_so_and_opens_nothing() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().display().to_string();
        fs::write(root.path().join("file"), "").unwrap();
        let unit = socket_unit("a.socket", &format!("ListenStream={base}/one\nListenFIFO={base}/file"));
        let mut sockets = Sockets::new();
        let error = sockets.open(&unit).unwrap_err();
        assert!(error.starts_with(&format!("{base}/file: ")), "{error}");
        assert!(sockets.passed(&[Passed::Socket(unit.name.clone())], true).unwrap().is_empty());
    }

    #[test]
    fn services_store_descriptors_up_to_their_limit() {
        let name = UnitName::parse("a.service").unwrap();
        let mut sockets = Sockets::new();
        let fd = || OwnedFd::from(UnixDatagram::unbound().unwrap());
        assert!(sockets.store(&name, "one", fd(), 2) && sockets.store(&name, "", fd(), 2));
        assert!(!sockets.store(&name, "more", fd(), 2));
        let passed = sockets.passed(&[Passed::Store(name.clone())], true).unwrap();
        assert_eq!(passed.iter().map(|named| named.name.as_str()).collect::<Vec<_>>(), ["one", "stored"]);
        assert_eq!(sockets.unstore(&name, Some("one")), 1);
        assert_eq!(sockets.unstore(&name, None), 0);
    }
}
