//! Between what waits and what blocks: the chunks of a stream as a reader, and a writer whose chunks a stream gives
//! out.

use std::io::{self, Read, Write};

use hyper::body::{Buf, Bytes};
use tokio::sync::mpsc::{Receiver, Sender};

/// Small writes are gathered up to here.
const GATHERED: usize = 64 << 10;

/// The chunks of a stream as a reader. The stream ends where its sender is dropped.
#[derive(Debug)]
pub struct Chunks {
    receive: Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Chunks {
    /// A reader of what is received.
    #[must_use]
    pub fn new(receive: Receiver<io::Result<Bytes>>) -> Self {
        Self { receive, current: Bytes::new() }
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receive.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let length = self.current.len().min(buffer.len());
        self.current.copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

/// A writer whose chunks are sent. Who drops the receiver ends the writing.
#[derive(Debug)]
pub struct Chunked {
    send: Sender<Bytes>,
    gathered: Vec<u8>,
}

impl Chunked {
    /// A writer that sends.
    #[must_use]
    pub fn new(send: Sender<Bytes>) -> Self {
        Self { send, gathered: Vec::with_capacity(GATHERED) }
    }
}

impl Write for Chunked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.gathered, Vec::with_capacity(GATHERED));
        self.send.blocking_send(chunk.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
