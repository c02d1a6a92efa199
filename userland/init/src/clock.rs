//! The jumps of the wall clock: a timer that is canceled when somebody sets it (timerfd_create(2)), and the word when
//! /etc/localtime becomes another.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Timespec, inotify};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use rustix::time::{timerfd_create, timerfd_settime};

const FOLDER: &str = "/etc";
const NAME: &str = "localtime";
/// Far off: the timer is there to be canceled.
const NEVER: i64 = i32::MAX as i64 * 8;

/// The watch over CLOCK_REALTIME.
#[derive(Debug)]
pub struct ClockWatch(OwnedFd);

impl ClockWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn begin() -> io::Result<ClockWatch> {
        let fd = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let watch = ClockWatch(fd);
        watch.arm()?;
        Ok(watch)
    }

    fn arm(&self) -> io::Result<()> {
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let never = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: NEVER, tv_nsec: 0 },
        };
        timerfd_settime(&self.0, flags, &never)?;
        Ok(())
    }

    /// Whether the clock has jumped since the last call.
    pub fn has_jumped(&self) -> bool {
        let jumped = rustix::io::read(&self.0, &mut [0; 8]) == Err(rustix::io::Errno::CANCELED);
        if jumped {
            let _ = self.arm();
        }
        jumped
    }
}

impl AsFd for ClockWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The watch over the time zone.
#[derive(Debug)]
pub struct ZoneWatch(OwnedFd);

impl ZoneWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// There is no /etc.
    pub fn begin() -> io::Result<ZoneWatch> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&fd, FOLDER, flags)?;
        Ok(ZoneWatch(fd))
    }

    /// Whether it may be another since the last call.
    pub fn has_changed(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut changed = false;
        while let Ok(event) = reader.next() {
            changed |= event.file_name().is_some_and(|name| name.to_bytes() == NAME.as_bytes());
        }
        changed
    }
}

impl AsFd for ZoneWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_runs_on_does_not_jump() {
        assert!(!ClockWatch::begin().unwrap().has_jumped());
    }
}
