//! Datagrams: the native protocol and syslog.

use super::{Daemon, TURN};
use crate::intake::process::Sender;
use crate::intake::{FIELD_MAX, INFO, native, syslog};
use crate::record::Record;
use crate::socket;

/// A message in a memory file may be as large as this: 64 MiB.
const MEMORY_MAX: usize = 64 << 20;

impl Daemon {
    pub(super) fn take_native(&mut self) {
        for _ in 0..TURN {
            let mut received = match socket::receive(&self.native, &mut self.buffer) {
                Ok(Some(received)) => received,
                Ok(None) => return,
                Err(_) => continue,
            };
            let mut buffer = std::mem::take(&mut self.buffer);
            let from_memory = match received.descriptors.pop() {
                Some(descriptor) if received.count == 0 => match socket::content(descriptor, MEMORY_MAX) {
                    Ok(content) => Some(content),
                    Err(error) => {
                        self.buffer = buffer;
                        self.say(4, &format!("A message in a memory file was dropped: {error}"));
                        continue;
                    }
                },
                _ => None,
            };
            let content = match &from_memory {
                Some(content) => content.as_slice(),
                None => buffer.get(..received.count).unwrap_or_default(),
            };
            let whole =
                native::parse(content, FIELD_MAX, &mut |record| self.keep_native(record, received.sender));
            std::mem::swap(&mut self.buffer, &mut buffer);
            if !whole || received.cut_off {
                self.say(4, "A message was malformed or too long; what could be read of it was kept");
            }
        }
    }

    fn keep_native(&mut self, mut record: Record, sender: Option<Sender>) {
        record.push("_TRANSPORT", "journal");
        let priority = match record.get("PRIORITY") {
            Some([digit @ b'0'..=b'7']) => digit - b'0',
            _ => INFO,
        };
        // Only who may do everything is believed when it speaks of others.
        if sender.is_some_and(|sender| sender.uid == 0)
            && let Some(pid) =
                record.get("OBJECT_PID").and_then(|pid| std::str::from_utf8(pid).ok()?.parse().ok())
        {
            self.processes.describe_object(pid, &mut record);
        }
        self.forward(&record, priority, sender, None);
        self.keep(record, priority, sender, None);
    }

    pub(super) fn take_syslog(&mut self) {
        for _ in 0..TURN {
            match socket::receive(&self.syslog, &mut self.buffer) {
                Ok(Some(received)) => {
                    let datagram = self.buffer.get(..received.count).unwrap_or_default();
                    let (mut record, priority) = syslog::parse(datagram);
                    self.forwarder.pass_on(datagram, priority, received.sender);
                    record.push("_TRANSPORT", "syslog");
                    self.forward(&record, priority, received.sender, None);
                    self.keep(record, priority, received.sender, None);
                }
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }
}
