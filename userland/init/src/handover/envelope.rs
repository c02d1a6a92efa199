//! What the state lies in: one line that says what it is, how long and of which checksum, then the state as JSON.
//!
//! It is written piece by piece: PID 1 has no need of memory for the whole of it.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;

/// The first word of a state.
const MAGIC: &str = "corten-init-state";
/// What this program writes. A version that it does not know is read all the same: the format only grows.
const VERSION: u32 = 1;

/// Why a state cannot be read at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Its first line is another.
    #[error("it does not begin as one")]
    NotOne,
    /// It is shorter or longer than it says.
    #[error("it is cut off: {have} bytes of {want}")]
    CutOff {
        /// So many are there.
        have: usize,
        /// So many there should be.
        want: usize,
    },
    /// Its checksum is another.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is no JSON, or another than is written.
    #[error("it cannot be read: {0}")]
    Syntax(String),
}

/// So much is written at a time.
const PIECE: usize = 64 * 1024;

/// A state in a file in memory, to be read from its beginning.
///
/// # Errors
/// There is no memory for it.
pub fn write(state: &impl Serialize) -> io::Result<File> {
    let mut file = File::from(memfd_create("init-state", MemfdFlags::CLOEXEC)?);
    file.write_all(head(0, 0).as_bytes())?;
    let mut body = BufWriter::with_capacity(PIECE, Summed { file, length: 0, sum: crc32fast::Hasher::new() });
    serde_json::to_writer(&mut body, state)?;
    let Summed { mut file, length, sum } = body.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    file.write_all(head(length, sum.finalize()).as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// The first line. It is as long for every state, for it is written twice.
fn head(length: usize, sum: u32) -> String {
    format!("{MAGIC} {VERSION} {length:020} {sum:08x}\n")
}

/// A file, and what its head has to say of what was written to it.
struct Summed {
    file: File,
    length: usize,
    sum: crc32fast::Hasher,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length += written;
        self.sum.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The state in it.
///
/// # Errors
/// As [`Damaged`] says.
pub fn open(bytes: &[u8]) -> Result<&[u8], Damaged> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Damaged::NotOne)?;
    let (head, body) = (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default());
    let head = std::str::from_utf8(head).map_err(|_| Damaged::NotOne)?;
    let words: Vec<&str> = head.split(' ').collect();
    let [MAGIC, _, length, sum, ..] = words[..] else { return Err(Damaged::NotOne) };
    let want = length.parse().map_err(|_| Damaged::NotOne)?;
    if body.len() != want {
        return Err(Damaged::CutOff { have: body.len(), want });
    }
    if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(body)) {
        return Err(Damaged::Checksum);
    }
    Ok(body)
}

/// What another program may have written.
#[cfg(test)]
pub fn whole(body: &str) -> Vec<u8> {
    let sum = crc32fast::hash(body.as_bytes());
    format!("{MAGIC} 7 {} {sum:08x} more\n{body}", body.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = "long".repeat(PIECE);
        let mut bytes = Vec::new();
        write(&text).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(open(&bytes), Ok(format!("\"{text}\"").as_bytes()));
    }

    #[test]
    fn what_is_damaged_is_not_read() {
        let state = whole("{\"a\":1}");
        assert_eq!(open(&state), Ok(&b"{\"a\":1}"[..]));
        for cut in 0..state.len() {
            assert!(open(&state[..cut]).is_err(), "{cut}");
        }
        let head = state.iter().position(|byte| *byte == b'\n').unwrap();
        for at in 0..state.len() {
            let mut bad = state.clone();
            bad[at] ^= 1;
            // of the head, only the version and what comes after the checksum may be another
            assert!(open(&bad).is_err() || at < head, "{at}");
        }
        assert_eq!(open(b""), Err(Damaged::NotOne));
    }
}
