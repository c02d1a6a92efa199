//! The mount table: `/proc/self/mountinfo` (proc(5)), which tells by poll(2) when it changes.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};

use unit::MountEntry;

/// The open table.
#[derive(Debug)]
pub struct Mounts(File);

impl Mounts {
    /// Opens the table.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn open() -> io::Result<Mounts> {
        File::open("/proc/self/mountinfo").map(Mounts)
    }

    /// Every mount as it is now, in the order of mounting.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<MountEntry>> {
        let mut bytes = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).lines().filter_map(parse).collect())
    }
}

impl AsFd for Mounts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse(line: &str) -> Option<MountEntry> {
    let (head, tail) = line.split_once(" - ")?;
    let mut head = head.split(' ').skip(4);
    let (place, options) = (head.next()?, head.next()?);
    let mut tail = tail.split(' ');
    let (fs_type, what, more) = (tail.next()?, tail.next()?, tail.next().unwrap_or_default());
    let mut all: Vec<&str> = options.split(',').collect();
    all.extend(
        more.split(',').filter(|option| !option.is_empty() && !options.split(',').any(|o| o == *option)),
    );
    Some(MountEntry {
        what: unescape(what),
        place: unescape(place),
        fs_type: fs_type.to_owned(),
        options: all.join(","),
    })
}

/// Spaces, tabs, newlines and backslashes come as three octal digits.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        let digits = tail.first_chunk::<3>().filter(|_| *byte == b'\\');
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match value {
            Some(value) => {
                out.push(value);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table() {
        let line = "36 35 98:0 /a /mnt\\0402\\134x rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let entry = parse(line).unwrap();
        assert_eq!((entry.place.as_str(), entry.what.as_str()), ("/mnt 2\\x", "/dev/root"));
        assert_eq!((entry.fs_type.as_str(), entry.options.as_str()), ("ext3", "rw,noatime,errors=continue"));
        for bad in ["", " - ", "1 2 3 4 5 6", "1 2 3 4 5 6 - x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(unescape("\\9x\\04"), "\\9x\\04");
        assert!(Mounts::open().unwrap().read().unwrap().iter().any(|entry| entry.place == "/proc"));
    }
}
