//! A terminal between the caller's and the command's.
//!
//! The command gets a fresh one, so that it has a session, a foreground and job control of its own. Its
//! other end goes to the client, which puts the caller's terminal into raw mode and carries the bytes.
//! When the client dies, the other end closes and the kernel hangs the session up.
//!
//! Source: pty(7), termios(3).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Gid, Mode, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// The number of the group `tty`, the same on every Linux.
const TTY_GROUP: u32 = 5;

/// Puts a fresh terminal in the place of those of the three descriptors that are a terminal. Its other end,
/// and the number of the descriptor that is now it.
///
/// # Errors
/// When the kernel has none left, or `/dev/pts` is not mounted.
pub(crate) fn instead(standard: &mut [OwnedFd; 3], uid: u32) -> io::Result<(Option<OwnedFd>, Option<u8>)> {
    let Some(theirs) = standard.iter().find(|descriptor| isatty(descriptor)) else { return Ok((None, None)) };
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), Some(Gid::from_raw(TTY_GROUP)))?;
    rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
    tcsetattr(&slave, OptionalActions::Now, &tcgetattr(theirs)?)?;
    tcsetwinsize(&slave, tcgetwinsize(theirs)?)?;
    let mut controls = None;
    for (number, descriptor) in (0..).zip(standard.iter_mut()) {
        if isatty(&*descriptor) {
            *descriptor = slave.try_clone()?;
            controls = controls.or(Some(number));
        }
    }
    Ok((Some(master), controls))
}

/// The caller's terminal, if this process is in its foreground.
pub(crate) fn of_caller() -> Option<File> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
    let foreground = tcgetpgrp(&terminal).ok()?;
    (foreground == rustix::process::getpgrp()).then_some(terminal)
}

/// The carrying between the caller's terminal and the command's.
pub(crate) struct Bridge {
    caller: Arc<File>,
    master: Arc<File>,
    before: Termios,
    output: JoinHandle<()>,
}

impl Bridge {
    /// Begins to carry.
    ///
    /// # Errors
    /// When the caller's terminal cannot be set.
    pub(crate) fn open(caller: File, master: OwnedFd) -> io::Result<Bridge> {
        let before = tcgetattr(&caller)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&caller, OptionalActions::Now, &raw)?;
        let (caller, master) = (Arc::new(caller), Arc::new(File::from(master)));
        let (from, to) = (caller.clone(), master.clone());
        // This one waits for a key at the end, and ends with the process.
        std::thread::spawn(move || copy(&from, &to));
        let (from, to) = (master.clone(), caller.clone());
        let output = std::thread::spawn(move || copy(&from, &to));
        let bridge = Bridge { caller, master, before, output };
        bridge.resize();
        Ok(bridge)
    }

    /// Gives the command's terminal the size of the caller's.
    pub(crate) fn resize(&self) {
        if let Ok(size) = tcgetwinsize(&self.caller) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    /// Ends after the command: the rest of its output, then the caller's terminal as it was.
    pub(crate) fn close(self) {
        // Processes in the background may keep the terminal open for ever: take what is there.
        let none = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        while !self.output.is_finished() {
            let mut waits = [PollFd::new(&*self.master, PollFlags::IN)];
            match poll(&mut waits, Some(&none)) {
                Ok(0) | Err(_) => break,
                Ok(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        let _ = tcsetattr(self.caller.as_fd(), OptionalActions::Drain, &self.before);
    }
}

fn copy(mut from: &File, mut to: &File) {
    let mut piece = [0; 8192];
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        if to.write_all(piece.get(..length).unwrap_or_default()).is_err() {
            return;
        }
    }
}
