//! Where things are: every path below one root, so that tests run the whole daemon in a scratch directory; and the
//! ids of the machine and the boot.

use std::fs;
use std::path::{Path, PathBuf};

use crate::file::Id128;

/// The root that all paths are below.
#[derive(Debug, Clone)]
pub struct Place(PathBuf);

impl Place {
    /// Everything below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Place {
        Place(root.to_owned())
    }

    /// A path of the running system, as it is below this root.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// Files that outlive a boot, of all machines.
    #[must_use]
    pub fn persistent(&self) -> PathBuf {
        self.path("/var/log/journal")
    }

    /// Files that do not.
    #[must_use]
    pub fn volatile(&self) -> PathBuf {
        self.path("/run/log/journal")
    }

    /// The machine's id; zeros when it has none.
    #[must_use]
    pub fn machine_id(&self) -> Id128 {
        fs::read_to_string(self.path("/etc/machine-id"))
            .ok()
            .and_then(|text| parse_id(&text))
            .unwrap_or_default()
    }

    /// The machine's name.
    #[must_use]
    pub fn hostname() -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
}

/// The id of this boot; zeros without /proc.
#[must_use]
pub fn boot_id() -> Id128 {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| parse_id(&text))
        .unwrap_or_default()
}

/// A random id.
#[must_use]
pub fn random_id() -> Id128 {
    let mut id = [0; 16];
    // Only early in boot can this fail, and then a few bits from the clock have to do.
    if rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::NONBLOCK).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        id = now.as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
    }
    id
}

/// An id of 32 hexadecimal digits, dashes allowed.
#[must_use]
pub fn parse_id(text: &str) -> Option<Id128> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

/// An id as 32 hexadecimal digits.
#[must_use]
pub fn format_id(id: &Id128) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let id = parse_id("0123456789abcdef0123456789abcdef\n").unwrap();
        assert_eq!(format_id(&id), "0123456789abcdef0123456789abcdef");
        assert_eq!(parse_id("01234567-89ab-cdef-0123-456789abcdef"), Some(id));
        assert_eq!(parse_id("0123"), None);
        assert_eq!(parse_id("+123456789abcdef0123456789abcdef"), None);
    }
}
