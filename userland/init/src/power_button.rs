//! The power button: input devices that have the key, read as evdev events (Linux's input.h, Documentation/input).
//!
//! Only devices that are there at boot are listened to: the button of the machine itself is.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::OFlags;

/// KEY_POWER of input-event-codes.h.
const KEY_POWER: usize = 116;
/// EV_KEY of input-event-codes.h.
const EV_KEY: u16 = 1;
/// Bytes of a `struct input_event` on 64-bit machines: time, type, code, value.
const EVENT: usize = 24;

/// The machine's power buttons.
#[derive(Debug, Default)]
pub struct PowerButtons(Vec<File>);

impl PowerButtons {
    /// Opens every input device with a power key; there may be none.
    pub fn open() -> PowerButtons {
        let mut devices = Vec::new();
        for entry in fs::read_dir("/sys/class/input").into_iter().flatten().flatten() {
            let keys = fs::read_to_string(entry.path().join("device/capabilities/key")).unwrap_or_default();
            if has_key(&keys, KEY_POWER) {
                let node = Path::new("/dev/input").join(entry.file_name());
                let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32;
                devices.extend(OpenOptions::new().read(true).custom_flags(flags).open(node));
            }
        }
        PowerButtons(devices)
    }

    /// The descriptors to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }

    /// Takes what came; whether a button was pressed.
    pub fn pressed(&mut self) -> bool {
        let mut pressed = false;
        for device in &mut self.0 {
            let mut events = [0; EVENT * 16];
            while let Ok(length @ 1..) = device.read(&mut events) {
                pressed |= events.get(..length).is_some_and(holds_press);
            }
        }
        pressed
    }
}

/// Whether a bitmap as sysfs prints it (hexadecimal words of 64 bits, the highest first) has this key.
fn has_key(bitmap: &str, key: usize) -> bool {
    let word = bitmap.split_ascii_whitespace().rev().nth(key / 64);
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).is_some_and(|word| word >> (key % 64) & 1 == 1)
}

/// Whether among these events the power key goes down.
fn holds_press(events: &[u8]) -> bool {
    events.chunks_exact(EVENT).any(|event| {
        let (kind, code, value) = (&event[16..18], &event[18..20], &event[20..24]);
        kind == EV_KEY.to_ne_bytes()
            && code == (KEY_POWER as u16).to_ne_bytes()
            && value == 1_i32.to_ne_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_bitmap_of_sysfs() {
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(!has_key("10000000000000\n", KEY_POWER));
        assert!(!has_key("8000000000000 0\n", KEY_POWER));
        assert!(!has_key("x 0\n", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
    }

    #[test]
    fn a_press_is_the_key_going_down() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        assert!(holds_press(&[event(1, 30, 1), event(1, 116, 1)].concat()));
        assert!(!holds_press(&event(1, 116, 0)));
        assert!(!holds_press(&event(2, 116, 1)));
        assert!(!holds_press(&event(1, 116, 1)[..20]));
    }
}
