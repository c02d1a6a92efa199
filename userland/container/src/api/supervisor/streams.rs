//! A container's streams: pipes, or a terminal of which we hold the other end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{dup, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::api::settings::Config;

/// Both ends; the container's own until it is born.
#[derive(Debug)]
pub struct Streams {
    /// Where its output comes from.
    pub stdout: OwnedFd,
    /// Where its error output comes from; with a terminal that is one.
    pub stderr: Option<OwnedFd>,
    /// Where its input goes; none if it has none.
    pub stdin: Option<OwnedFd>,
    /// Whether all of them are one terminal.
    pub terminal: bool,
    theirs: Option<[OwnedFd; 3]>,
}

/// Our own streams, put back when dropped.
#[derive(Debug)]
pub struct Kept([OwnedFd; 3]);

impl Streams {
    /// Makes them.
    ///
    /// # Errors
    /// When the kernel has no more descriptors or terminals.
    pub fn new(config: &Config, tty: bool) -> io::Result<Self> {
        if tty {
            let (master, slave) = terminal()?;
            let copy = |fd: &OwnedFd| fcntl_dupfd_cloexec(fd, 3);
            let theirs = [copy(&slave)?, copy(&slave)?, slave];
            let stdin = if config.open_stdin { Some(copy(&master)?) } else { None };
            return Ok(Self { stdout: master, stderr: None, stdin, terminal: true, theirs: Some(theirs) });
        }
        let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let (their_stdin, stdin) = if config.open_stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            (read, Some(write))
        } else {
            (open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None)
        };
        let theirs = Some([their_stdin, their_stdout, their_stderr]);
        Ok(Self { stdout, stderr: Some(stderr), stdin, terminal: false, theirs })
    }

    /// Makes the container's ends our own standard streams, which a child inherits.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn put_in_place(&mut self) -> io::Result<Kept> {
        let cloexec = |fd: rustix::fd::BorrowedFd<'_>| fcntl_dupfd_cloexec(fd, 3);
        let kept = Kept([
            cloexec(rustix::stdio::stdin())?,
            cloexec(rustix::stdio::stdout())?,
            cloexec(rustix::stdio::stderr())?,
        ]);
        if let Some([stdin, stdout, stderr]) = self.theirs.take() {
            rustix::stdio::dup2_stdin(&stdin)?;
            rustix::stdio::dup2_stdout(&stdout)?;
            rustix::stdio::dup2_stderr(&stderr)?;
        }
        Ok(kept)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let [stdin, stdout, stderr] = &self.0;
        let _ = rustix::stdio::dup2_stdin(stdin);
        let _ = rustix::stdio::dup2_stdout(stdout);
        let _ = rustix::stdio::dup2_stderr(stderr);
    }
}

/// A terminal that passes everything on as it is: the container's own does what terminals do.
///
/// # Errors
/// When there are no more.
pub fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let mut attributes = tcgetattr(&slave)?;
    attributes.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &attributes)?;
    Ok((master, slave))
}

/// Gives a terminal this size.
pub fn resize(terminal: impl AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = tcsetwinsize(terminal, size);
}

/// A second descriptor of the same.
///
/// # Errors
/// When the kernel has no more.
pub fn again(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = dup(fd)?;
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::CLOEXEC)?;
    Ok(copy)
}
