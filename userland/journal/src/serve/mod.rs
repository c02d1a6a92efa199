//! `systemd-journald`: one thread, one loop. Whatever is ready is read, a bounded amount of it at a time; after
//! each round readers see what came. The disk is made to hold it at once when something critical was said, else
//! when it has been quiet for a while, or after `SyncIntervalSec=`.
//!
//! Who listens where: [`intake`](self) takes datagrams and the kernel's log, [`connection`] streams and requests;
//! [`forward`] passes messages on, and [`handover`] keeps sockets and streams with init while we restart.

mod connection;
mod datagram;
mod forward;
mod handover;
mod kernel;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use linux::signal::SignalFd;
use rustix::event::{Timespec, epoll};
use sd_notify::NotifyState;

use crate::config::Config;
use crate::intake::limit::{Limit, Verdict};
use crate::intake::process::{Processes, Sender, Source};
use crate::place::{self, Place, format_id};
use crate::query::time::format_size;
use crate::record::Record;
use crate::store::{Store, now};
use connection::Connection;
use forward::Forwarder;
use handover::Inherited;

/// Takes messages from services, programs and the kernel and keeps them in /var/log/journal.
///
/// Settings are in /etc/systemd/journald.conf and journald.conf.d, as for systemd: journald.conf(5).
/// Signals: SIGTERM closes the journal and ends, SIGUSR1 moves it from memory to the disk, SIGUSR2 begins a new
/// file, SIGRTMIN+1 brings everything to the disk.
#[derive(Parser)]
#[command(name = "systemd-journald", version)]
struct Args {
    /// Take all paths below this directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Microseconds of quiet after which the disk is brought up to date.
const QUIET: u64 = 10_000_000;
/// Messages taken from one source before the others have their turn.
const TURN: usize = 256;
/// The largest datagram.
const BUFFER: usize = 256 << 10;
const CRITICAL: u8 = 2;

const SIGTERM: i32 = 15;
const SIGINT: i32 = 2;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;

/// Well-known messages of ours. Source: sd-messages.h.
mod message {
    pub const START: &str = "f77379a8490b408bbe5f6940505a777b";
    pub const STOP: &str = "d93fb3c9c24d451a97cea615ce59c00b";
    pub const DROPPED: &str = "a596d6fe7bfa4994828e72309e95d61e";
    pub const MISSED: &str = "e9bf28e6e834481bb6f48f548ad13606";
    pub const USAGE: &str = "ec387f577b844b8fa948f33cad9a75e6";
}

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

struct Daemon {
    place: Place,
    config: Config,
    poll: OwnedFd,
    signals: SignalFd,
    native: UnixDatagram,
    syslog: UnixDatagram,
    streams: UnixListener,
    control: UnixListener,
    kernel: Option<fs::File>,
    kernel_seen: Option<u64>,
    connections: HashMap<u64, Connection>,
    next: u64,
    /// Bytes that have come by streams.
    streamed: u64,
    /// Given up for a moment when no descriptor is left, to turn somebody away.
    spare: Option<fs::File>,
    store: Store,
    processes: Processes,
    limit: Limit,
    forwarder: Forwarder,
    /// `_BOOT_ID`, `_MACHINE_ID`, `_HOSTNAME`, `_RUNTIME_SCOPE`.
    here: Record,
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
        raise_descriptor_limit();
        let (config, remarks) = Config::read(place);
        let signals = SignalFd::watch(&[SIGTERM, SIGINT, SIGUSR1, SIGUSR2, linux::signal::rtmin() + 1])?;
        let directory = place.path("/run/systemd/journal");
        fs::create_dir_all(&directory)?;
        let inherited = Inherited::take();
        let boot_id = place::boot_id();
        let mut here = Record::default();
        here.push("_BOOT_ID", format_id(&boot_id));
        here.push("_MACHINE_ID", format_id(&place.machine_id()));
        here.push("_HOSTNAME", Place::hostname());
        here.push("_RUNTIME_SCOPE", "system");
        let mut daemon = Daemon {
            place: place.clone(),
            poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            signals,
            streams: handover::listener(inherited.streams, &directory.join("stdout"), false)?,
            native: handover::datagram(inherited.native, &directory.join("socket"))?,
            syslog: handover::datagram(inherited.syslog, &directory.join("dev-log"))?,
            control: handover::listener(inherited.control, &directory.join("io.systemd.journal"), true)?,
            kernel: if config.read_kmsg { kernel::open(place) } else { None },
            kernel_seen: kernel::last_seen(place),
            connections: HashMap::new(),
            next: token::CONNECTION,
            streamed: 0,
            spare: fs::File::open("/dev/null").ok(),
            store: Store::open(place, &config, boot_id),
            processes: Processes::new(place),
            limit: Limit::default(),
            forwarder: Forwarder::new(place, &config),
            here,
            buffer: vec![0; BUFFER],
            unsynced: None,
            urgent: false,
            stop: false,
            config,
        };
        handover::link_dev_log(place);
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
        daemon.say_with(
            6,
            &format!("Journal started in {}", daemon.store.directory().display()),
            &[("MESSAGE_ID", message::START)],
        );
        daemon.say_usage();
        for remark in remarks.into_iter().chain(daemon.store.take_remarks()) {
            daemon.say(4, &remark);
        }
        daemon.resume_streams(inherited.connections);
        daemon.store_sockets();
        daemon.store.flush();
        if daemon.store.is_persistent() {
            daemon.mark_flushed();
        }
        notify(&[NotifyState::Ready, NotifyState::Status("Processing requests...")]);
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
        self.give_up_streams();
        self.say_with(6, "Journal stopped", &[("MESSAGE_ID", message::STOP)]);
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
        let time = now();
        self.store.look_after(time);
        for remark in self.store.take_remarks() {
            self.say(4, &remark);
        }
        self.store.flush();
        let due = self.unsynced.is_some_and(|(first, last)| {
            let quiet = QUIET.min(self.config.sync_interval);
            time.monotonic.saturating_sub(last) >= quiet
                || time.monotonic.saturating_sub(first) >= self.config.sync_interval
        });
        if self.urgent || due {
            self.store.sync_soon();
            self.unsynced = None;
            self.urgent = false;
        }
        busy || !self.stop
    }

    /// Microseconds until the disk is due.
    fn timeout(&self) -> Option<u64> {
        let (first, last) = self.unsynced?;
        let due = (last + QUIET).min(first.saturating_add(self.config.sync_interval));
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

    fn flushed_mark(&self) -> PathBuf {
        self.place.path("/run/systemd/journal/flushed")
    }

    fn move_to_disk(&mut self) {
        match self.store.move_to_disk() {
            Ok(()) => self.mark_flushed(),
            Err(error) => self.say(3, &format!("The journal stays in memory: {error}")),
        }
    }

    fn move_to_memory(&mut self) {
        self.store.move_to_memory();
        let _ = fs::remove_file(self.flushed_mark());
        self.say(6, "The journal goes on in memory.");
    }

    /// Tells others that the journal is on the disk.
    fn mark_flushed(&self) {
        // A courtesy to whoever waits for the file.
        let _ = fs::write(self.flushed_mark(), "");
    }

    /// Says something ourselves.
    fn say(&mut self, priority: u8, text: &str) {
        self.say_with(priority, text, &[]);
    }

    fn say_with(&mut self, priority: u8, text: &str, fields: &[(&str, &str)]) {
        let mut record = Record::default();
        record.push("_TRANSPORT", "driver");
        record.push("PRIORITY", priority.to_string());
        record.push("SYSLOG_FACILITY", "3");
        record.push("SYSLOG_IDENTIFIER", "systemd-journald");
        record.push("MESSAGE", text);
        for (name, value) in fields {
            record.push(name, value);
        }
        let ourselves = Sender {
            pid: std::process::id(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        self.processes.describe(ourselves, None, now().monotonic, &mut record);
        self.write(record, priority, None);
    }

    /// Says how much room the journal takes and may take.
    fn say_usage(&mut self) {
        let space = *self.store.space();
        let path = self.store.directory().display().to_string();
        let name = if self.store.is_persistent() { "System Journal" } else { "Runtime Journal" };
        let (used, limit) = (format_size(space.used), format_size(space.limit));
        self.say_with(
            6,
            &format!("{name} ({path}) is {used}, max {limit}."),
            &[
                ("MESSAGE_ID", message::USAGE),
                ("JOURNAL_NAME", name),
                ("JOURNAL_PATH", &path),
                ("CURRENT_USE", &space.used.to_string()),
                ("CURRENT_USE_PRETTY", &used),
                ("MAX_USE", &space.max_use.to_string()),
                ("LIMIT", &space.limit.to_string()),
                ("LIMIT_PRETTY", &limit),
            ],
        );
    }

    /// Adds what we know of the sender, and stores the record unless its unit says too much.
    fn keep(&mut self, mut record: Record, priority: u8, sender: Option<Sender>, unit: Option<&str>) {
        if priority > self.config.max_level_store.max(self.forwarder.max_level()) {
            return;
        }
        let time = now().monotonic;
        let source = match sender {
            Some(sender) => self.processes.describe(sender, unit, time, &mut record),
            None => {
                if let Some(unit) = unit {
                    record.push("_SYSTEMD_UNIT", unit);
                }
                Source { unit: unit.map(str::to_owned), ..Source::default() }
            }
        };
        if source.level_max.is_some_and(|max| priority > max) {
            return;
        }
        let rate = source.rate.unwrap_or(self.config.rate);
        let name = source.unit.as_deref().unwrap_or("messages without a unit");
        match self.limit.judge(name, priority, rate, time) {
            Verdict::Pass => {}
            Verdict::PassAfter(held) => {
                let text = format!("Suppressed {held} messages from {name}");
                let count = held.to_string();
                self.say_with(
                    4,
                    &text,
                    &[("MESSAGE_ID", message::DROPPED), ("N_DROPPED", &count), ("OBJECT_SYSTEMD_UNIT", name)],
                );
            }
            Verdict::Hold => return,
        }
        self.write(record, priority, sender.map(|sender| sender.uid));
    }

    fn write(&mut self, mut record: Record, priority: u8, uid: Option<u32>) {
        if priority > self.config.max_level_store {
            return;
        }
        record.extend(&self.here);
        let time = now();
        self.store.append(time, uid, &record.fields());
        self.urgent |= priority <= CRITICAL;
        let first = self.unsynced.map_or(time.monotonic, |(first, _)| first);
        self.unsynced = Some((first, time.monotonic));
    }
}

fn watch(poll: &OwnedFd, source: impl AsFd, token: u64) -> io::Result<()> {
    Ok(epoll::add(poll, source, epoll::EventData::new_u64(token), epoll::EventFlags::IN)?)
}

/// Thousands of streams need more descriptors than the usual thousand.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // With fewer we turn the last away.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Tells init how we are.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        eprintln!("systemd-journald: cannot tell init how we are: {error}");
    }
}
