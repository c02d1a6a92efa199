//! What PID 1 says: to the journal (native protocol datagrams) once it is there, to the kernel's log before that, and
//! the loud lines to the console too.
//!
//! Nothing here blocks or fails: a line that nobody takes is dropped.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rustix::fs::OFlags;
pub use unit::Level;
use unit::{Announcement, UnitName};

/// The name people filter by: PID 1 speaks systemd's protocols, so it speaks under its name.
const IDENTIFIER: &str = "systemd";
const JOURNAL: &str = "/run/systemd/journal/socket";
/// syslog's `daemon`.
const FACILITY: u8 = 3;
/// The kernel cuts longer records (LOG_LINE_MAX).
const LONGEST_KMSG: usize = 900;

/// Whether nobody reads the journal's socket: it may be there before its reader, and stay when that one fails.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Tells whether somebody reads the journal's socket. Until they do, lines go to the kernel's log, where they are seen
/// even if it never comes to that.
pub fn set_journal_runs(runs: bool) {
    UNREAD.store(!runs, Ordering::Relaxed);
}

/// What is less important than this is not logged.
static MOST: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// The words for the levels, in their order.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The least important level that is logged.
pub fn level() -> &'static str {
    LEVELS.get(usize::from(MOST.load(Ordering::Relaxed))).copied().unwrap_or("info")
}

/// Whether there is a level of this name or number.
pub fn is_level(word: &str) -> bool {
    level_number(word).is_some()
}

fn level_number(word: &str) -> Option<u8> {
    let number = LEVELS.iter().position(|level| *level == word).or_else(|| word.parse().ok());
    number.and_then(|number| u8::try_from(number).ok()).filter(|number| usize::from(*number) < LEVELS.len())
}

/// Logs up to this level from now on; false: there is none of this name or number.
pub fn set_level(word: &str) -> bool {
    let number = level_number(word);
    if let Some(number) = number {
        MOST.store(number, Ordering::Relaxed);
    }
    number.is_some()
}

/// Where lines go.
static TARGET: AtomicU8 = AtomicU8::new(0);

/// The words for where lines go, the one that holds from the start first.
const TARGETS: [&str; 5] = ["journal-or-kmsg", "journal", "kmsg", "console", "null"];

/// Where lines go: to the journal, or to the kernel's log while there is no journal; or to one of the two, to the
/// console, nowhere.
pub fn target() -> &'static str {
    TARGETS.get(usize::from(TARGET.load(Ordering::Relaxed))).copied().unwrap_or(TARGETS[0])
}

/// Whether there is such a place.
pub fn is_target(word: &str) -> bool {
    target_number(word).is_some()
}

/// systemd's words for what syslog has here are known.
fn target_number(word: &str) -> Option<u8> {
    let word = match word {
        "auto" | "safe" | "syslog-or-kmsg" => TARGETS[0],
        "syslog" => "journal",
        word => word,
    };
    TARGETS.iter().position(|target| *target == word).and_then(|number| u8::try_from(number).ok())
}

/// Lines go there from now on; false: there is no such place.
pub fn set_target(word: &str) -> bool {
    let number = target_number(word);
    if let Some(number) = number {
        TARGET.store(number, Ordering::Relaxed);
    }
    number.is_some()
}

/// Logs a line, about a unit or about the manager itself.
pub fn say(level: Level, unit: Option<&UnitName>, text: &str) {
    if level as u8 > MOST.load(Ordering::Relaxed) {
        return;
    }
    match target() {
        "journal" => _ = to_journal(level, unit, text),
        "kmsg" => to_kernel(level, text),
        "console" => console(&format!("{text}\r\n")),
        "null" => {}
        _ => {
            if !to_journal(level, unit, text) {
                to_kernel(level, text);
            }
        }
    }
    if level <= Level::Critical {
        console(&format!("\r\n*** {text}\r\n"));
    }
}

/// A status line on the console, as systemd prints them.
pub fn announce(kind: Announcement, text: &str) {
    let head = match kind {
        Announcement::Begins => "         ",
        Announcement::Ok => "[\x1b[0;32m  OK  \x1b[0m] ",
        Announcement::Failed => "[\x1b[0;1;31mFAILED\x1b[0m] ",
        Announcement::Depend => "[\x1b[0;1;38;5;185mDEPEND\x1b[0m] ",
        Announcement::Time => "[\x1b[0;1;31m TIME \x1b[0m] ",
        Announcement::Skip => "[\x1b[0;1;38;5;185m SKIP \x1b[0m] ",
    };
    console(&format!("{head}{text}\r\n"));
}

/// Writes to the console as far as it takes bytes at once.
pub fn console(text: &str) {
    let flags = (OFlags::NOCTTY | OFlags::NONBLOCK).bits() as i32;
    if let Ok(mut console) = OpenOptions::new().append(true).custom_flags(flags).open("/dev/console") {
        let _ = console.write(text.as_bytes());
    }
}

fn to_journal(level: Level, unit: Option<&UnitName>, text: &str) -> bool {
    if UNREAD.load(Ordering::Relaxed) || !Path::new(JOURNAL).exists() {
        return false;
    }
    let Ok(socket) = UnixDatagram::unbound() else { return false };
    let ready = socket.set_nonblocking(true).is_ok();
    ready && socket.send_to(&datagram(level, unit, text), JOURNAL).is_ok()
}

/// A record of the journal's native protocol: lines of `FIELD=value`, and `FIELD`, length, value for odd values.
fn datagram(level: Level, unit: Option<&UnitName>, text: &str) -> Vec<u8> {
    let mut record =
        format!("PRIORITY={}\nSYSLOG_IDENTIFIER={IDENTIFIER}\nSYSLOG_FACILITY={FACILITY}\n", level as u8);
    if let Some(unit) = unit {
        record.push_str(&format!("UNIT={unit}\n"));
    }
    let mut record = record.into_bytes();
    record.extend_from_slice(b"MESSAGE\n");
    record.extend_from_slice(&(text.len() as u64).to_le_bytes());
    record.extend_from_slice(text.as_bytes());
    record.push(b'\n');
    record
}

fn to_kernel(level: Level, text: &str) {
    let priority = FACILITY << 3 | level as u8;
    let flags = OFlags::NOCTTY.bits() as i32;
    let Ok(mut kmsg) = OpenOptions::new().append(true).custom_flags(flags).open("/dev/kmsg") else { return };
    for line in text.lines() {
        let mut cut = line.len().min(LONGEST_KMSG);
        while !line.is_char_boundary(cut) {
            cut -= 1;
        }
        // One write is one record.
        let record = format!("<{priority}>{IDENTIFIER}[1]: {}\n", line.get(..cut).unwrap_or_default());
        let _ = kmsg.write_all(record.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_cannot_forge_fields() {
        let unit = UnitName::parse("x.service").unwrap();
        let record = datagram(Level::Error, Some(&unit), "two\n_PID=7");
        let text = String::from_utf8_lossy(&record);
        assert!(text.starts_with("PRIORITY=3\nSYSLOG_IDENTIFIER=systemd\n"));
        assert!(text.contains("\nUNIT=x.service\nMESSAGE\n\u{a}\0\0\0\0\0\0\0two\n_PID=7\n"));
    }
}
