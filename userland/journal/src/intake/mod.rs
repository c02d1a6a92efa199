//! What comes in, by the way it comes: each file reads one protocol and makes records of it; `process` adds what
//! only the kernel can know of the sender, `limit` keeps one noisy unit from drowning the others.

pub mod cgroup;
pub mod kmsg;
pub mod limit;
pub mod native;
pub mod process;
pub mod stream;
pub mod syslog;
pub mod unit_settings;

/// Fields above this size are refused: 32 MiB. A core dump's is larger than one would think.
pub const FIELD_MAX: usize = 32 << 20;

/// The priority of a record without one: informational.
pub const INFO: u8 = 6;

/// Splits `<N>` off a line: facility and priority.
#[must_use]
pub fn split_priority(line: &[u8]) -> Option<(u16, &[u8])> {
    let rest = line.strip_prefix(b"<")?;
    let end = rest.iter().take(4).position(|byte| *byte == b'>')?;
    let number = std::str::from_utf8(rest.get(..end)?).ok()?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u16 = number.parse().ok().filter(|value| *value < 192)?;
    Some((value, rest.get(end + 1..)?))
}
