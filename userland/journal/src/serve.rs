//! `systemd-journald`: one thread, one loop. Whatever is ready is read, a bounded amount of it at a time; after
//! each round readers see what came. The disk is made to hold it at once when something critical was said, else
//! when it has been quiet for a while, or after two minutes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use linux::signal::SignalFd;
use rustix::event::{Timespec, epoll};

use crate::control;
use crate::intake::limit::{Limit, Verdict};
use crate::intake::process::{Processes, Sender};
use crate::intake::stream::{Line, Stream};
use crate::intake::{FIELD_MAX, kmsg, native, syslog};
use crate::place::{self, Place, format_id};
use crate::record::Record;
use crate::socket;
use crate::store::{Store, now};

/// Takes messages from services, programs and the kernel and keeps them in /var/log/journal.
///
/// Signals: SIGTERM closes the journal and ends, SIGUSR1 moves it from memory to the disk, SIGUSR2 begins a new
/// file, SIGRTMIN+1 brings everything to the disk.
#[derive(Parser)]
#[command(name = "systemd-journald", version)]
struct Args {
    /// Take all paths below this directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Microseconds of quiet after which the disk is brought up to date, and the longest that it lags.
const QUIET: u64 = 10_000_000;
const LAG_MAX: u64 = 120_000_000;
/// Connections at most; systemd's bound for streams.
const STREAMS_MAX: usize = 4096;
/// Messages taken from one source before the others have their turn.
const TURN: usize = 256;
/// The largest datagram, and what is read from a stream at once.
const BUFFER: usize = 256 << 10;
const CRITICAL: u8 = 2;

const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;

/// What a descriptor in the poll set is.
mod token {
    pub const SIGNALS: u64 = 0;
    pub const NATIVE: u64 = 1;
    pub const SYSLOG: u64 = 2;
    pub const STREAMS: u64 = 3;
    pub const KERNEL: u64 = 4;
    pub const CONTROL: u64 = 5;
    /// Connections count from here.
    pub const CONNECTION: u64 = 16;
}

enum Connection {
    Stream { socket: UnixStream, stream: Box<Stream>, sender: Option<Sender> },
    Control { socket: UnixStream, pending: Vec<u8> },
}

struct Daemon {
    place: Place,
    poll: OwnedFd,
    signals: SignalFd,
    native: UnixDatagram,
    syslog: UnixDatagram,
    streams: UnixListener,
    kernel: Option<fs::File>,
    kernel_seen: Option<u64>,
    control: UnixListener,
    connections: HashMap<u64, Connection>,
    next: u64,
    store: Store,
    processes: Processes,
    limit: Limit,
    /// `_BOOT_ID`, `_MACHINE_ID`, `_HOSTNAME`.
    here: [(&'static str, String); 3],
    buffer: Vec<u8>,
    /// When the first and the last record came that the disk does not have.
    unsynced: Option<(u64, u64)>,
    urgent: bool,
    stop: bool,
}

/// The applet.
#[must_use]
pub fn systemd_journald(args: Vec<OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    match Daemon::start(&Place::new(&args.root)) {
        Ok(mut daemon) => {
            daemon.run();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("systemd-journald: cannot listen below {}: {error}", args.root.display());
            ExitCode::FAILURE
        }
    }
}

impl Daemon {
    fn start(place: &Place) -> io::Result<Daemon> {
        let signals = SignalFd::watch(&[SIGTERM, SIGINT, SIGUSR1, SIGUSR2, linux::signal::rtmin() + 1])?;
        let directory = place.path("/run/systemd/journal");
        fs::create_dir_all(&directory)?;
        let boot_id = place::boot_id();
        let mut daemon = Daemon {
            place: place.clone(),
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            signals,
            streams: socket::listener(&directory.join("stdout"), false)?,
            native: socket::datagram(&directory.join("socket"))?,
            syslog: socket::datagram(&directory.join("dev-log"))?,
            control: socket::listener(&directory.join("io.systemd.journal"), true)?,
            kernel: open_kernel_log(place),
            kernel_seen: fs::read_to_string(directory.join("kernel-seqnum"))
                .ok()
                .and_then(|text| text.parse().ok()),
            connections: HashMap::new(),
            next: token::CONNECTION,
            store: Store::open(place, boot_id),
            processes: Processes::default(),
            limit: Limit::default(),
            here: [
                ("_BOOT_ID", format_id(&boot_id)),
                ("_MACHINE_ID", format_id(&place.machine_id())),
                ("_HOSTNAME", Place::hostname()),
            ],
            buffer: vec![0; BUFFER],
            unsynced: None,
            urgent: false,
            stop: false,
        };
        link_dev_log(place);
        for (source, token) in [
            (daemon.signals.as_fd(), token::SIGNALS),
            (daemon.native.as_fd(), token::NATIVE),
            (daemon.syslog.as_fd(), token::SYSLOG),
            (daemon.streams.as_fd(), token::STREAMS),
            (daemon.control.as_fd(), token::CONTROL),
        ] {
            watch(&daemon.poll, source, token)?;
        }
        if let Some(kernel) = &daemon.kernel
            && watch(&daemon.poll, kernel.as_fd(), token::KERNEL).is_err()
        {
            daemon.kernel = None;
        }
        daemon.say(6, &format!("Journal started in {}", daemon.store.directory().display()));
        daemon.store.flush();
        if daemon.store.is_persistent() {
            daemon.mark_flushed();
        }
        notify("READY=1\nSTATUS=Processing requests...");
        Ok(daemon)
    }

    fn run(&mut self) {
        while !self.stop {
            let timeout = self.timeout();
            if !self.round(timeout) {
                break;
            }
        }
        // What was said before the signal came is still kept; a flood is not waited for.
        for _ in 0..64 {
            if !self.round(Some(0)) {
                break;
            }
        }
        for (_, connection) in std::mem::take(&mut self.connections) {
            self.end(connection);
        }
        self.say(6, "Journal stopped");
        self.store.close();
    }

    /// Waits, takes what came, shows it to readers. False when nothing came in time, or the poll set is broken.
    fn round(&mut self, timeout: Option<u64>) -> bool {
        let timeout = timeout.map(|micros| Timespec {
            tv_sec: i64::try_from(micros / 1_000_000).unwrap_or(0),
            tv_nsec: (micros % 1_000_000 * 1000) as _,
        });
        let mut events =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 64];
        let ready: Vec<u64> = match epoll::wait(&self.poll, &mut events[..], timeout.as_ref()) {
            Ok(count) => events.iter().take(count).map(|event| event.data.u64()).collect(),
            Err(rustix::io::Errno::INTR) => return true,
            Err(error) => {
                eprintln!("systemd-journald: cannot wait for messages: {error}");
                self.stop = true;
                return false;
            }
        };
        let busy = !ready.is_empty();
        for token in ready {
            match token {
                token::SIGNALS => self.take_signals(),
                token::NATIVE => self.take_native(),
                token::SYSLOG => self.take_syslog(),
                token::KERNEL => self.take_kernel(),
                token::STREAMS => self.accept(false),
                token::CONTROL => self.accept(true),
                connection => self.take_connection(connection),
            }
        }
        self.store.flush();
        let time = now().monotonic;
        let due = self.unsynced.is_some_and(|(first, last)| {
            time.saturating_sub(last) >= QUIET || time.saturating_sub(first) >= LAG_MAX
        });
        if self.urgent || due {
            self.sync();
        }
        busy || !self.stop
    }

    /// Microseconds until the disk is due.
    fn timeout(&self) -> Option<u64> {
        let (first, last) = self.unsynced?;
        let due = (last + QUIET).min(first + LAG_MAX);
        Some(due.saturating_sub(now().monotonic))
    }

    fn sync(&mut self) {
        self.store.sync();
        self.unsynced = None;
        self.urgent = false;
    }

    fn take_signals(&mut self) {
        while let Ok(Some(received)) = self.signals.next() {
            match received.signal {
                SIGUSR1 => self.move_to_disk(),
                SIGUSR2 => self.store.rotate(),
                SIGTERM | SIGINT => self.stop = true,
                _ => self.sync(),
            }
        }
    }

    fn move_to_disk(&mut self) {
        match self.store.move_to_disk() {
            Ok(()) => self.mark_flushed(),
            Err(error) => self.say(3, &format!("The journal stays in memory: {error}")),
        }
    }

    /// Tells others that the journal is on the disk.
    fn mark_flushed(&self) {
        // A courtesy to whoever waits for the file.
        let _ = fs::write(self.place.path("/run/systemd/journal/flushed"), "");
    }

    fn take_native(&mut self) {
        for _ in 0..TURN {
            let mut received = match socket::receive(&self.native, &mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return,
                Err(_) => continue,
            };
            let content = match received.descriptors.pop() {
                Some(descriptor) if received.count == 0 => match socket::content(descriptor, 2 * FIELD_MAX) {
                    Ok(content) => content,
                    Err(error) => {
                        self.say(4, &format!("A message in a memory file was dropped: {error}"));
                        continue;
                    }
                },
                _ => self.buffer.get(..received.count).unwrap_or_default().to_vec(),
            };
            let (records, whole) = native::parse(&content);
            for mut record in records {
                record.push("_TRANSPORT", "journal");
                let priority = match record.get("PRIORITY") {
                    Some([digit @ b'0'..=b'7']) => digit - b'0',
                    _ => crate::intake::INFO,
                };
                self.keep(record, priority, received.sender, None);
            }
            if !whole || received.cut_off {
                self.say(4, "A message was malformed or too long; what could be read of it was kept");
            }
        }
    }

    fn take_syslog(&mut self) {
        for _ in 0..TURN {
            match socket::receive(&self.syslog, &mut self.buffer) {
                Ok(Some(received)) => {
                    let (mut record, priority) =
                        syslog::parse(self.buffer.get(..received.count).unwrap_or_default());
                    record.push("_TRANSPORT", "syslog");
                    self.keep(record, priority, received.sender, None);
                }
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    fn take_kernel(&mut self) {
        let mut seen = self.kernel_seen;
        for _ in 0..TURN {
            let Some(kernel) = &mut self.kernel else { return };
            match kernel.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let Some(message) = kmsg::parse(self.buffer.get(..count).unwrap_or_default()) else {
                        continue;
                    };
                    // After a restart the kernel's log begins anew for us.
                    if seen.is_some_and(|seen| message.sequence <= seen) {
                        continue;
                    }
                    let lost = message.sequence - seen.map_or(message.sequence, |seen| seen + 1);
                    seen = Some(message.sequence);
                    if lost > 0 {
                        self.say(4, &format!("Missed {lost} kernel messages"));
                    }
                    self.keep(message.record, message.priority, None, None);
                }
                // The oldest were overwritten before we came: the numbers will tell how many.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    let _ = epoll::delete(&self.poll, &*kernel);
                    self.kernel = None;
                }
            }
        }
        if let Some(sequence) = seen.filter(|_| seen != self.kernel_seen) {
            self.kernel_seen = seen;
            // Lost, it costs only that a restart shows the kernel's messages twice.
            let _ = fs::write(self.place.path("/run/systemd/journal/kernel-seqnum"), sequence.to_string());
        }
    }

    fn accept(&mut self, control: bool) {
        for _ in 0..TURN {
            let listener = if control { &self.control } else { &self.streams };
            let Ok((socket, _)) = listener.accept() else { return };
            if self.connections.len() >= STREAMS_MAX || socket.set_nonblocking(true).is_err() {
                continue;
            }
            let token = self.next;
            self.next += 1;
            if watch(&self.poll, socket.as_fd(), token).is_err() {
                continue;
            }
            let connection = if control {
                Connection::Control { socket, pending: Vec::new() }
            } else {
                Connection::Stream { socket, stream: Box::default(), sender: None }
            };
            self.connections.insert(token, connection);
        }
    }

    fn take_connection(&mut self, token: u64) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        let alive = match &mut connection {
            Connection::Stream { socket, stream, sender } => self.take_stream(socket, stream, sender),
            Connection::Control { socket, pending } => self.take_control(socket, pending),
        };
        if alive {
            self.connections.insert(token, connection);
        } else {
            self.end(connection);
        }
    }

    fn take_stream(&mut self, socket: &UnixStream, stream: &mut Stream, sender: &mut Option<Sender>) -> bool {
        let received = match socket::receive(socket, &mut self.buffer) {
            Ok(Some(received)) => received,
            Ok(None) => return true,
            Err(_) => return false,
        };
        if received.count == 0 {
            return false;
        }
        *sender = received.sender.or(*sender);
        let buffer = std::mem::take(&mut self.buffer);
        let bytes = buffer.get(..received.count).unwrap_or_default();
        let fed = stream.feed(bytes, &mut |stream, line| self.keep_line(stream, line, *sender));
        self.buffer = buffer;
        if let Err(error) = &fed {
            self.say(4, &format!("A stream was closed: {error}"));
        }
        fed.is_ok()
    }

    fn keep_line(&mut self, stream: &Stream, line: Line, sender: Option<Sender>) {
        if line.to_console {
            self.show_on_console(&line.record);
        }
        // Only root's word counts for the unit: init connects before it gives up its rights.
        let unit = stream.unit().filter(|_| sender.is_none_or(|sender| sender.uid == 0));
        self.keep(line.record, line.priority, sender, unit);
    }

    fn show_on_console(&self, record: &Record) {
        const O_NONBLOCK_NOCTTY: i32 = 0o4000 | 0o400;
        let text = |name| String::from_utf8_lossy(record.get(name).unwrap_or_default()).into_owned();
        let console = OpenOptions::new()
            .write(true)
            .custom_flags(O_NONBLOCK_NOCTTY)
            .open(self.place.path("/dev/console"));
        if let Ok(mut console) = console {
            // Nobody can be told that the console is gone.
            let _ = console
                .write_all(format!("{}: {}\r\n", text("SYSLOG_IDENTIFIER"), text("MESSAGE")).as_bytes());
        }
    }

    fn take_control(&mut self, socket: &mut UnixStream, pending: &mut Vec<u8>) -> bool {
        let Ok(count) = socket.read(&mut self.buffer) else { return false };
        if count == 0 || pending.len() + count > control::REQUEST_MAX {
            return false;
        }
        pending.extend(self.buffer.get(..count).unwrap_or_default());
        for request in control::split_requests(pending) {
            let action = control::parse(&request);
            match action {
                control::Action::Sync => {
                    // Whoever asks wants what was sent before to be there, whatever socket it waits in.
                    self.take_native();
                    self.take_syslog();
                    self.take_kernel();
                    self.take_streams();
                    self.sync();
                }
                control::Action::Rotate => self.store.rotate(),
                control::Action::MoveToDisk => self.move_to_disk(),
                control::Action::Nothing | control::Action::Unknown => {}
            }
            if socket.write_all(&control::reply(action, &request)).is_err() {
                return false;
            }
        }
        true
    }

    fn take_streams(&mut self) {
        self.accept(false);
        let streams: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| matches!(connection, Connection::Stream { .. }))
            .map(|(token, _)| *token)
            .collect();
        for token in streams {
            self.take_connection(token);
        }
    }

    fn end(&mut self, connection: Connection) {
        if let Connection::Stream { mut stream, sender, .. } = connection {
            stream.finish(&mut |stream, line| self.keep_line(stream, line, sender));
        }
    }

    /// Says something ourselves.
    fn say(&mut self, priority: u8, text: &str) {
        let mut record = Record::default();
        record.push("_TRANSPORT", "driver");
        record.push("PRIORITY", priority.to_string());
        record.push("SYSLOG_FACILITY", "3");
        record.push("SYSLOG_IDENTIFIER", "systemd-journald");
        record.push("MESSAGE", text);
        let ourselves = Sender {
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        let time = now();
        self.processes.describe(ourselves, None, time.monotonic, &mut record);
        self.write(record, priority);
    }

    /// Adds what we know, and stores the record unless its unit says too much.
    fn keep(&mut self, mut record: Record, priority: u8, sender: Option<Sender>, unit: Option<&str>) {
        let time = now().monotonic;
        let mut source = unit.map(str::to_owned);
        if let Some(sender) = sender {
            source = self.processes.describe(sender, unit, time, &mut record);
        } else if let Some(unit) = unit {
            record.push("_SYSTEMD_UNIT", unit);
        }
        // The kernel bounds its own log.
        if record.get("_TRANSPORT") != Some(b"kernel") {
            let source = source.unwrap_or_else(|| "messages without a unit".to_owned());
            match self.limit.judge(&source, time) {
                Verdict::Pass => {}
                Verdict::PassAfter(held) => self.say(4, &format!("Suppressed {held} messages from {source}")),
                Verdict::Hold => return,
            }
        }
        self.write(record, priority);
    }

    fn write(&mut self, mut record: Record, priority: u8) {
        for (name, value) in &self.here {
            record.push(name, value);
        }
        let time = now();
        self.store.append(time, &record.fields());
        self.urgent |= priority <= CRITICAL;
        let first = self.unsynced.map_or(time.monotonic, |(first, _)| first);
        self.unsynced = Some((first, time.monotonic));
    }
}

fn watch(poll: &OwnedFd, source: impl AsFd, token: u64) -> io::Result<()> {
    Ok(epoll::add(poll, source, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?)
}

fn open_kernel_log(place: &Place) -> Option<fs::File> {
    const O_NONBLOCK: i32 = 0o4000;
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(place.path("/dev/kmsg")).ok()
}

/// /dev/log leads to us.
fn link_dev_log(place: &Place) {
    let link = place.path("/dev/log");
    if fs::read_link(&link).is_ok_and(|target| target.ends_with("journal/dev-log")) {
        return;
    }
    let _ = fs::remove_file(&link);
    if let Err(error) = std::os::unix::fs::symlink("/run/systemd/journal/dev-log", &link) {
        eprintln!("systemd-journald: {}: {error}; syslog(3) will not reach the journal", link.display());
    }
}

/// Tells init how we are. Source: sd_notify(3).
fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.to_string_lossy().strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        eprintln!("systemd-journald: cannot tell init that we are ready: {error}");
    }
}
