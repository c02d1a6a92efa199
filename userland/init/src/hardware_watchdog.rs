//! The hardware watchdog in PID 1's hands: petted while PID 1 is at work, so that a machine whose PID 1 hangs is reset;
//! and left armed on the way down, so that one that hangs there is reset too.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use linux::watchdog::Watchdog;
use unit::Shutdown;

use crate::configuration::WatchdogSettings;
use crate::log::{self, Level};

/// It is petted so many times in the time that it waits.
const PETS: u32 = 4;

/// The watchdog, on or off.
#[derive(Debug)]
pub struct HardwareWatchdog {
    settings: WatchdogSettings,
    device: Option<Watchdog>,
    pause: Duration,
}

impl HardwareWatchdog {
    /// Turns it on, where there is one and it is wanted; or goes on with the one of the program before.
    pub fn begin(settings: &WatchdogSettings, before: Option<OwnedFd>) -> HardwareWatchdog {
        let mut watchdog = HardwareWatchdog {
            settings: settings.clone(),
            device: before.map(Watchdog::again),
            pause: Duration::from_micros(settings.runtime) / PETS,
        };
        watchdog.set(settings.runtime);
        watchdog
    }

    /// Other settings hold from now on.
    pub fn follow(&mut self, settings: &WatchdogSettings) {
        if *settings == self.settings {
            return;
        }
        if settings.device != self.settings.device {
            self.set(0);
        }
        self.settings = settings.clone();
        self.set(settings.runtime);
    }

    /// Starts its time anew; says when that is to be done again.
    pub fn pet(&mut self) -> Option<Duration> {
        let device = self.device.as_mut()?;
        let _ = device.pet();
        Some(self.pause)
    }

    /// The armed device, for the way down.
    pub fn take_for(&mut self, how: Shutdown) -> Option<Watchdog> {
        let wanted = match how {
            Shutdown::Reboot => self.settings.reboot,
            Shutdown::Kexec => self.settings.kexec,
            _ => None,
        };
        if let Some(time) = wanted {
            self.set(time);
        }
        self.device.take()
    }

    /// Its descriptor, if it is on.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.device.as_ref().map(AsFd::as_fd)
    }

    /// Has it wait so long, in µs; zero: off.
    fn set(&mut self, time: u64) {
        let seconds = u16::try_from(time.div_ceil(1_000_000)).unwrap_or(u16::MAX);
        if seconds == 0 {
            if let Some(Err(error)) = self.device.take().map(Watchdog::disarm) {
                log::say(Level::Error, None, &format!("The hardware watchdog cannot be turned off: {error}"));
            }
            return;
        }
        let taken = match &self.device {
            Some(device) => device.wait(seconds),
            None => match Watchdog::arm(&self.settings.device, seconds) {
                Ok((device, taken)) => {
                    log::say(Level::Info, None, &format!("The hardware watchdog is on, {taken} s."));
                    self.device = Some(device);
                    taken
                }
                // most machines have none
                Err(_) => return,
            },
        };
        self.pause = Duration::from_secs(taken.into()) / PETS;
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn settings(device: PathBuf) -> WatchdogSettings {
        WatchdogSettings { device, runtime: 20_000_000, reboot: Some(0), kexec: None }
    }

    /// A file stands in for the device: it takes what is written, and no ioctl.
    #[test]
    fn it_is_petted_and_let_go_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = || std::fs::read(file.path()).unwrap();
        let mut watchdog = HardwareWatchdog::begin(&settings(file.path().to_owned()), None);
        assert_eq!(watchdog.pet(), Some(Duration::from_secs(5)));
        assert_eq!(written(), b"\0");
        watchdog.follow(&WatchdogSettings { runtime: 8_000_000, ..settings(file.path().to_owned()) });
        assert_eq!(watchdog.pet(), Some(Duration::from_secs(2)));
        assert!(watchdog.take_for(Shutdown::Kexec).is_some(), "it stays armed");

        let mut watchdog = HardwareWatchdog::begin(&settings(file.path().to_owned()), None);
        assert!(watchdog.take_for(Shutdown::Reboot).is_none(), "RebootWatchdogSec=0");
        assert!(written().starts_with(b"V"), "it is told that this is meant");

        let off = WatchdogSettings { runtime: 0, ..settings(file.path().to_owned()) };
        let mut watchdog = HardwareWatchdog::begin(&off, None);
        assert_eq!((watchdog.pet(), watchdog.fd().is_some()), (None, false));
        let mut none = HardwareWatchdog::begin(&settings("/no/such/device".into()), None);
        assert!(none.pet().is_none() && none.take_for(Shutdown::Reboot).is_none());
    }
}
