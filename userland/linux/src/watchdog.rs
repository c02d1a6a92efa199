//! A hardware watchdog (Documentation/watchdog/watchdog-api.rst): it resets the machine unless it is petted in time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

const WDIOC_SETTIMEOUT: libc::c_ulong = 0xc004_5706;

/// An armed watchdog. Dropping it leaves it armed: only [`Watchdog::disarm`] stops it.
#[derive(Debug)]
pub struct Watchdog(File);

impl Watchdog {
    /// Opens and so arms the watchdog; it fires `seconds` after the last [`Watchdog::pet`], as far as the hardware can
    /// count that far. Returns what it really takes.
    ///
    /// # Errors
    /// There is no watchdog or somebody else holds it.
    pub fn arm(device: &Path, seconds: u16) -> io::Result<(Watchdog, u16)> {
        let watchdog = Watchdog(OpenOptions::new().write(true).open(device)?);
        let taken = watchdog.wait(seconds);
        Ok((watchdog, taken))
    }

    /// Has it fire so many seconds after the last [`Watchdog::pet`]; returns what it really takes.
    pub fn wait(&self, seconds: u16) -> u16 {
        let mut timeout = libc::c_int::from(seconds);
        // SAFETY: WDIOC_SETTIMEOUT reads and writes one int. A device without it keeps its own timeout.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), WDIOC_SETTIMEOUT, &raw mut timeout) };
        if result < 0 { seconds } else { u16::try_from(timeout).unwrap_or(seconds) }
    }

    /// One that was armed before the program executed itself anew.
    #[must_use]
    pub fn again(fd: OwnedFd) -> Watchdog {
        Watchdog(File::from(fd))
    }

    /// Starts its time anew.
    ///
    /// # Errors
    /// The device is gone.
    pub fn pet(&mut self) -> io::Result<()> {
        self.0.write_all(b"\0")
    }

    /// Stops it (the "magic close"), where the hardware and the kernel allow that.
    ///
    /// # Errors
    /// The device is gone.
    pub fn disarm(mut self) -> io::Result<()> {
        self.0.write_all(b"V")
    }
}

impl AsFd for Watchdog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
