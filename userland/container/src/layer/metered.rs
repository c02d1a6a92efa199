//! A reader that gives out only as many bytes as it was told to.
//!
//! The tar parser reads long names and extended headers into memory, as long as the archive says they
//! are. Between two entries it is therefore given a small allowance; a header that wants more is an
//! error instead of gigabytes of memory.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// What may lie between two entries: names and extended headers.
const HEADERS: u64 = 2 << 20;

/// The reader.
pub(super) struct Metered<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

/// Sets what may be read.
#[derive(Clone)]
pub(super) struct Meter(Rc<Cell<u64>>);

impl<R: Read> Metered<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, left: Rc::new(Cell::new(HEADERS)) }
    }

    pub(super) fn meter(&self) -> Meter {
        Meter(Rc::clone(&self.left))
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl Meter {
    /// The next reads are headers.
    pub(super) fn allow_headers(&self) {
        self.0.set(HEADERS);
    }

    /// The next reads are the content of a file of this many bytes.
    pub(super) fn allow_content(&self, size: u64) {
        // The content is padded to blocks of 512 bytes, and skipping reads in larger pieces.
        self.0.set(size.saturating_add(HEADERS));
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = self.left.get();
        if left == 0 {
            return Err(io::Error::other("the headers of an entry are larger than 2 MiB"));
        }
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(buffer.get_mut(..length).unwrap_or_default())?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_without_end_are_an_error() {
        let mut metered = Metered::new(io::repeat(b'x'));
        let error = io::copy(&mut metered, &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("2 MiB"));
    }

    #[test]
    fn content_passes() {
        let mut metered = Metered::new(io::repeat(b'x').take(5 << 20));
        metered.meter().allow_content(5 << 20);
        assert_eq!(io::copy(&mut metered, &mut io::sink()).unwrap(), 5 << 20);
    }
}
