//! Signals by number, the real-time ones too, which nix and rustix leave out: signalfd(2), kill(2), dispositions.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The first real-time signal that programs may use (34 with glibc, as systemd's signal interface counts).
#[must_use]
pub fn rtmin() -> i32 {
    libc::SIGRTMIN()
}

/// A set of signals that come through a descriptor instead of interrupting the program.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Who sent it; 0 is the kernel or somebody outside of our pid namespace.
    pub pid: u32,
    /// The user who sent it.
    pub uid: u32,
}

fn set_of(signals: impl IntoIterator<Item = i32>) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given; sigaddset refuses bad numbers without touching it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

impl SignalFd {
    /// Blocks these signals and opens a non-blocking descriptor for them.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn watch(signals: &[i32]) -> io::Result<SignalFd> {
        let set = set_of(signals.iter().copied());
        // SAFETY: both calls only read the initialised set.
        let fd = unsafe {
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: signalfd just made this descriptor for us.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal, or `None` when none is waiting.
    ///
    /// # Errors
    /// What read(2) says, other than "would block".
    pub fn next(&self) -> io::Result<Option<Received>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes at most `size` bytes into a buffer of that size.
        let got = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        match usize::try_from(got) {
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            },
            Ok(got) if got == size => {
                // SAFETY: the kernel filled all of it, and any bytes are valid for these integers.
                let info = unsafe { info.assume_init() };
                let signal = i32::try_from(info.ssi_signo).unwrap_or_default();
                Ok(Some(Received { signal, pid: info.ssi_pid, uid: info.ssi_uid }))
            }
            Ok(_) => Ok(None),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Ignores a signal in this program and in what it executes.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN runs no code of ours; a bad number fails harmlessly.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Sends a signal to one process.
///
/// # Errors
/// `ESRCH` there is no such process; `EINVAL` no such signal.
pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: takes integers only.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to every process that the caller may signal, but not to itself and not to PID 1.
///
/// # Errors
/// `ESRCH` there is none left.
pub fn kill_everybody(signal: i32) -> io::Result<()> {
    // SAFETY: takes integers only.
    if unsafe { libc::kill(-1, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_is_zero_or_a_group() {
        assert!(kill(0, 0).is_err());
        assert!(kill(u32::MAX, 0).is_err());
        assert!(kill(std::process::id(), 0).is_ok());
    }

    #[test]
    fn a_blocked_signal_comes_through_the_descriptor() {
        // A process-directed signal may be taken by another test thread: send it to this thread.
        let signal = rtmin() + 9;
        let signals = SignalFd::watch(&[signal]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        // SAFETY: takes integers only; the signal is blocked in this thread.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal) };
        let got = signals.next().unwrap().unwrap();
        assert_eq!((got.signal, got.pid), (signal, std::process::id()));
    }
}
