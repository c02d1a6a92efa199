//! Terminals: the container's side and the caller's.
//!
//! A container's terminal is made in the container's own devpts, reached by descriptors only; the file system
//! it comes from is checked, so that a trap in its place is not opened as one. The master side goes to
//! the parent, which copies between it and the caller. Sources: pty(7), ioctl_tty(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, openat2};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{
    OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::channel::Channel;
use super::{devices, mounts};

const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Makes a terminal beneath `root`, sends its master to the parent, and makes it ours: standard streams,
/// controlling terminal, `/dev/console`.
pub(super) fn make(
    root: BorrowedFd<'_>,
    channel: &Channel,
    size: Option<oci_spec::runtime::Box>,
) -> io::Result<()> {
    let terminal = open_pair(root)?;
    if let Some(size) = size {
        let cells = |number: u64| u16::try_from(number).unwrap_or(0);
        let size =
            Winsize { ws_row: cells(size.height()), ws_col: cells(size.width()), ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal.0, size)?;
    }
    channel.send_terminal(&terminal.0)?;
    let dev = mounts::open_path(root, Path::new("/dev"), true)?;
    let console = mounts::copy_of(&terminal.1, false)?;
    devices::show_on(dev.as_fd(), "console", console.as_fd()).map_err(io::Error::other)?;
    take(&terminal.1)
}

/// The same for a process that joins a container, which has a `/dev/console` already.
pub(super) fn join(root: BorrowedFd<'_>, channel: &Channel) -> io::Result<()> {
    let terminal = open_pair(root)?;
    channel.send_terminal(&terminal.0)?;
    take(&terminal.1)
}

fn open_pair(root: BorrowedFd<'_>) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let master = openat2(root, "/dev/pts/ptmx", flags, Mode::empty(), resolve)?;
    if fstatfs(&master)?.f_type as u64 != DEVPTS_MAGIC {
        return Err(io::Error::other("/dev/pts of the container is not a devpts"));
    }
    unlockpt(&master)?;
    let peer = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    Ok((master, peer))
}

fn take(peer: &OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(peer)?;
    rustix::stdio::dup2_stdout(peer)?;
    rustix::stdio::dup2_stderr(peer)?;
    Ok(rustix::process::ioctl_tiocsctty(peer)?)
}

/// The caller's terminal in raw mode, put back when dropped.
#[derive(Debug)]
pub struct Raw {
    before: Option<Termios>,
}

impl Raw {
    /// Switches our standard input to raw mode, if it is a terminal.
    ///
    /// # Errors
    /// When it refuses.
    pub fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Gives the container's terminal the size of ours.
pub fn copy_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = tcsetwinsize(master, size);
    }
}
