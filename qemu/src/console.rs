//! The serial line: everything the guest printed, and what to wait for in it.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use crate::error::At;
use crate::{Error, Result};

/// The serial console of a machine: a log on disk and a socket to type on.
#[derive(Debug)]
pub struct Console {
    log: PathBuf,
    socket: PathBuf,
    /// How much of the log earlier waits have used up.
    seen: u64,
    /// Open from the first line on: what the guest has not read yet is lost when the keyboard is unplugged.
    keyboard: Option<UnixStream>,
}

impl Console {
    pub(crate) fn new(directory: &Path) -> Console {
        let log = directory.join("console.log");
        // A kept machine's log goes on: what earlier boots printed is not waited for.
        let seen = fs::metadata(&log).map_or(0, |file| file.len());
        Console { log, socket: directory.join("console.sock"), seen, keyboard: None }
    }

    /// The file that holds all the guest printed, over every boot.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The socket behind the guest's serial line.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// All that was printed since the last thing that was waited for.
    pub fn unseen(&self) -> String {
        let Ok(mut file) = fs::File::open(&self.log) else { return String::new() };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.seen)).is_err() || file.read_to_end(&mut bytes).is_err() {
            return String::new();
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Takes the log up to and with the first `text` that is not yet seen; whether it was there.
    pub(crate) fn take(&mut self, text: &str) -> bool {
        let Ok(mut file) = fs::File::open(&self.log) else { return false };
        let mut bytes = Vec::new();
        if file.seek(SeekFrom::Start(self.seen)).is_err() || file.read_to_end(&mut bytes).is_err() {
            return false;
        }
        let found = bytes.windows(text.len().max(1)).position(|window| window == text.as_bytes());
        if let Some(at) = found {
            self.seen += (at + text.len()) as u64;
        }
        found.is_some()
    }

    /// Everything printed since the machine was made.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Types a line on the console.
    pub(crate) fn type_line(&mut self, line: &str) -> Result<()> {
        let keyboard = match &mut self.keyboard {
            Some(keyboard) => keyboard,
            None => self.keyboard.insert(plug_in(&self.socket)?),
        };
        keyboard.write_all(format!("{line}\n").as_bytes()).at("write to", &self.socket)
    }

    /// The last lines, for an error message.
    pub(crate) fn tail(&self) -> String {
        crate::command::tail(&self.text(), 25)
    }

    /// An error about something that did not come.
    pub(crate) fn timeout(&self, what: impl Into<String>, within: std::time::Duration) -> Error {
        Error::Timeout { what: what.into(), within, log: self.log.clone(), tail: self.tail() }
    }
}

/// A connection to the serial line.
fn plug_in(socket: &Path) -> Result<UnixStream> {
    let keyboard = UnixStream::connect(socket).at("connect to", socket)?;
    let mut screen = keyboard.try_clone().at("open", socket)?;
    // What is printed is in the log; unread here, it would hold the guest up.
    thread::spawn(move || std::io::copy(&mut screen, &mut std::io::sink()));
    Ok(keyboard)
}
