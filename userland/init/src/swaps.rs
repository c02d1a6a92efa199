//! The swaps in use: `/proc/swaps` (proc(5)), which tells by poll(2) when it changes.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};

use unit::SwapEntry;

/// The open table.
#[derive(Debug)]
pub struct Swaps(File);

impl Swaps {
    /// Opens the table.
    ///
    /// # Errors
    /// The kernel knows no swap.
    pub fn open() -> io::Result<Swaps> {
        File::open("/proc/swaps").map(Swaps)
    }

    /// Every swap as it is now.
    ///
    /// # Errors
    /// The table cannot be read.
    pub fn read(&mut self) -> io::Result<Vec<SwapEntry>> {
        let mut bytes = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).lines().skip(1).filter_map(parse).collect())
    }
}

impl AsFd for Swaps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `/dev/vda2    partition    524284    0    -2`
fn parse(line: &str) -> Option<SwapEntry> {
    let mut words = line.split_whitespace();
    let what = crate::mounts::unescape(words.next()?);
    // a file that was removed while in use
    let what = what.strip_suffix("\\040(deleted)").map_or(what.clone(), str::to_owned);
    let priority = words.nth(3)?.parse().ok()?;
    what.starts_with('/').then_some(SwapEntry { what, priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table() {
        let entry = parse("/dev/vda2                               partition\t524284\t\t0\t\t-2").unwrap();
        assert_eq!((entry.what.as_str(), entry.priority), ("/dev/vda2", -2));
        assert_eq!(parse("/a\\040b file 1 0 5").unwrap().what, "/a b");
        for bad in ["", "Filename", "x partition 1 0 1", "/x partition 1 0"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
