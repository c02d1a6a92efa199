//! Passing messages on: to the console, the kernel's log, another syslog daemon, and to everybody who is logged in.
//! Nothing here waits: who does not take a message at once does not get it. Source: journald.conf(5),
//! "ForwardToSyslog=" and its neighbours.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::Daemon;
use crate::config::{Config, Forward};
use crate::intake::process::Sender;
use crate::intake::stream;
use crate::place::Place;
use crate::record::Record;

const O_NONBLOCK: i32 = 0o4000;
const O_NOCTTY: i32 = 0o400;
/// The kernel takes no longer line.
const KMSG_MAX: usize = 900;

/// Where messages go besides the journal.
pub struct Forwarder {
    to_console: Forward,
    to_kmsg: Forward,
    to_syslog: Forward,
    to_wall: Forward,
    console: PathBuf,
    kmsg: PathBuf,
    terminals: PathBuf,
    syslog: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Forwarder {
    pub fn new(place: &Place, config: &Config) -> Forwarder {
        let socket = UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        Forwarder {
            to_console: config.to_console,
            to_kmsg: config.to_kmsg,
            to_syslog: config.to_syslog,
            to_wall: config.to_wall,
            console: place.path(&config.tty_path.to_string_lossy()),
            kmsg: place.path("/dev/kmsg"),
            terminals: place.path("/dev/pts"),
            syslog: place.path("/run/systemd/journal/syslog"),
            socket: socket.ok(),
        }
    }

    /// The last priority that anybody is interested in.
    pub fn max_level(&self) -> u8 {
        let all = [self.to_console, self.to_kmsg, self.to_syslog, self.to_wall];
        all.iter().filter(|way| way.enabled).map(|way| way.max_level).max().unwrap_or(0)
    }

    /// Gives a datagram of syslog on as it came.
    pub fn pass_on(&self, datagram: &[u8], priority: u8, _sender: Option<Sender>) {
        if self.to_syslog.enabled && priority <= self.to_syslog.max_level {
            self.send(datagram);
        }
    }

    fn send(&self, datagram: &[u8]) {
        if let Some(socket) = &self.socket {
            let _ = socket.send_to(datagram, &self.syslog);
        }
    }
}

/// A line for people: who says it, and what.
struct Words<'a> {
    identifier: String,
    pid: Option<String>,
    message: std::borrow::Cow<'a, str>,
}

impl<'a> Words<'a> {
    fn of(record: &'a Record, sender: Option<Sender>) -> Words<'a> {
        let text = |name| record.get(name).map(String::from_utf8_lossy);
        let pid = text("SYSLOG_PID").map(std::borrow::Cow::into_owned);
        Words {
            identifier: text("SYSLOG_IDENTIFIER").unwrap_or("unknown".into()).into_owned(),
            pid: sender.map(|sender| sender.pid.to_string()).or(pid),
            message: text("MESSAGE").unwrap_or_default(),
        }
    }

    fn with_pid(&self) -> String {
        let pid = self.pid.as_ref().map(|pid| format!("[{pid}]")).unwrap_or_default();
        format!("{}{pid}: {}", self.identifier, self.message)
    }
}

impl Daemon {
    /// Passes a message on to all who want it; a stream may want more than the configuration says.
    pub(super) fn forward(
        &self,
        record: &Record,
        priority: u8,
        sender: Option<Sender>,
        stream: Option<stream::Forward>,
    ) {
        let forwarder = &self.forwarder;
        let asked = stream.unwrap_or_default();
        let wants = |way: &Forward, asked: bool| asked || way.enabled && priority <= way.max_level;
        let to_console = wants(&forwarder.to_console, asked.to_console);
        let to_kmsg = wants(&forwarder.to_kmsg, asked.to_kmsg);
        // A datagram of syslog is passed on as it is.
        let is_syslog = record.get("_TRANSPORT") == Some(b"syslog");
        let to_syslog = wants(&forwarder.to_syslog, asked.to_syslog) && !is_syslog;
        let to_wall = wants(&forwarder.to_wall, false);
        if !(to_console || to_kmsg || to_syslog || to_wall) {
            return;
        }
        let words = Words::of(record, sender);
        let facility =
            record.get("SYSLOG_FACILITY").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let value = facility.unwrap_or(1_u16) << 3 | u16::from(priority);
        if to_console {
            print(&forwarder.console, &format!("{}: {}\r\n", words.identifier, words.message));
        }
        if to_kmsg && let Ok(mut kmsg) = OpenOptions::new().write(true).open(&forwarder.kmsg) {
            let mut text = words.with_pid().replace('\n', " ");
            text.truncate(text.floor_char_boundary(KMSG_MAX));
            // The kernel drops what comes too fast.
            let _ = kmsg.write_all(format!("<{value}>{text}\n").as_bytes());
        }
        if to_syslog {
            let time = crate::query::time::format(crate::store::now().realtime, "%b %e %H:%M:%S");
            forwarder.send(format!("<{value}>{time} {}", words.with_pid()).as_bytes());
        }
        if to_wall {
            let text = format!(
                "\r\n\x07Broadcast message from systemd-journald:\r\n\r\n{}\r\n\r\n",
                words.with_pid()
            );
            for item in fs::read_dir(&forwarder.terminals).into_iter().flatten().flatten() {
                if item.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
                    print(&item.path(), &text);
                }
            }
        }
    }
}

/// Prints on a terminal; nobody can be told that it is gone.
fn print(path: &Path, text: &str) {
    let open = OpenOptions::new().write(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
    let _ = open.and_then(|mut terminal: File| terminal.write_all(text.as_bytes()));
}
