//! `systemd-run --pty`: the service gets a terminal of its own, and what is typed and printed goes through here.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// How often the size of this terminal is looked at.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };

/// A terminal for a service.
pub struct Terminal {
    master: File,
    /// Open until the service has ended: before and between its processes the terminal is not to hang up.
    held: OwnedFd,
    /// Its name, for `TTYPath=`.
    pub path: String,
}

impl Terminal {
    /// A new one, as large as the one that this runs in.
    ///
    /// # Errors
    /// The kernel has none left, or `/dev/pts` is not mounted.
    pub fn open() -> io::Result<Terminal> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
        let held = ioctl_tiocgptpeer(&master, flags)?;
        let master = File::from(master);
        resize(&master);
        Ok(Terminal { master, held, path })
    }

    /// Passes on what is typed and printed from now on.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn forward(self) -> io::Result<Forwarding> {
        let raw = Raw::enter()?;
        let (typed, mut printed) = (self.master.try_clone()?, self.master);
        // ends with this process
        std::thread::spawn(move || type_into(typed));
        let printer = std::thread::spawn(move || {
            let _ = io::copy(&mut printed, &mut io::stdout());
            let _ = io::stdout().flush();
        });
        Ok(Forwarding { held: self.held, printer, _raw: raw })
    }
}

/// A terminal that is being passed on.
pub struct Forwarding {
    held: OwnedFd,
    printer: JoinHandle<()>,
    _raw: Raw,
}

impl Forwarding {
    /// The service has ended: prints what is left.
    pub fn finish(self) {
        // The last one to have it open: the printer reads EIO after what is left.
        drop(self.held);
        let _ = self.printer.join();
    }
}

fn type_into(mut master: File) {
    let mut stdin = io::stdin();
    let mut bytes = [0; 4096];
    loop {
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&PAUSE)) {
            Ok(0) => resize(&master),
            Ok(_) => match stdin.read(&mut bytes) {
                Ok(length) if length > 0 => {
                    if master.write_all(bytes.get(..length).unwrap_or_default()).is_err() {
                        return;
                    }
                }
                _ => return,
            },
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Makes it as large as this terminal is.
fn resize(master: &File) {
    if let Ok(size) = tcgetwinsize(io::stdout().as_fd()) {
        let _ = tcsetwinsize(master, size);
    }
}

/// This terminal passes on every key; as it was before, afterwards.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> io::Result<Raw> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(Raw(None));
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Raw(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}
