//! The kernel's log: each message once, also over our restarts.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::epoll;

use super::{Daemon, TURN, message};
use crate::intake::kmsg;
use crate::place::Place;

const SEEN: &str = "/run/systemd/journal/kernel-seqnum";

/// Opens the kernel's log.
pub fn open(place: &Place) -> Option<fs::File> {
    const O_NONBLOCK: i32 = 0o4000;
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(place.path("/dev/kmsg")).ok()
}

/// The number of the last message that was kept since boot.
pub fn last_seen(place: &Place) -> Option<u64> {
    fs::read_to_string(place.path(SEEN)).ok().and_then(|text| text.trim().parse().ok())
}

impl Daemon {
    pub(super) fn take_kernel(&mut self) {
        let mut seen = self.kernel_seen;
        for _ in 0..TURN {
            let Some(kernel) = &mut self.kernel else { return };
            match kernel.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let Some(message) = kmsg::parse(self.buffer.get(..count).unwrap_or_default()) else {
                        continue;
                    };
                    // After a restart the kernel's log begins anew for us.
                    if seen.is_some_and(|seen| message.sequence <= seen) {
                        continue;
                    }
                    let lost = message.sequence - seen.map_or(message.sequence, |seen| seen + 1);
                    seen = Some(message.sequence);
                    if lost > 0 {
                        let text = format!("Missed {lost} kernel messages");
                        self.say_with(4, &text, &[("MESSAGE_ID", message::MISSED)]);
                    }
                    // The kernel bounds its own log, and what is forwarded there is not forwarded from there.
                    self.write(message.record, message.priority, None);
                }
                // The oldest were overwritten before we came: the numbers will tell how many.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    let _ = epoll::delete(&self.poll, &*kernel);
                    self.kernel = None;
                }
            }
        }
        if let Some(sequence) = seen.filter(|_| seen != self.kernel_seen) {
            self.kernel_seen = seen;
            // Lost, it costs only that a restart shows the kernel's messages twice.
            let _ = fs::write(self.place.path(SEEN), sequence.to_string());
        }
    }
}
