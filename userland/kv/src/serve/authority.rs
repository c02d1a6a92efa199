//! Lets clients in that write a whole URL where HTTP/2 wants a host: etcd's own client up to 3.4 does, Go's server
//! does not mind, and ours would end the stream.
//!
//! What a client sends is walked through, and the value of `:authority` is overwritten in place, as a plain text of
//! as many octets as were on the wire. Nobody reads it here. The entry that it leaves in HPACK's table is never
//! larger than the client thinks, so that every index still means the same.
//!
//! Source: RFC 9113 (frames) and RFC 7541 (HPACK), sections 5 and 6.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// The place of `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
const PLAIN: u8 = b'e';

/// Where in a block of headers the walk is.
#[derive(Clone, Copy, Debug)]
enum Block {
    /// Before a representation.
    Start,
    /// In a number that says which field; whether a value follows.
    Index { value: bool, so_far: usize, shift: u32 },
    /// Before the length of a name or a value.
    Length { name: bool, authority: bool },
    /// In that length.
    MoreLength { name: bool, authority: bool, so_far: usize, shift: u32 },
    /// In the text.
    Text { name: bool, authority: bool, left: usize },
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Preface(usize),
    Head(usize),
    Payload,
    /// Not HTTP/2: nothing to do.
    Other,
}

/// The walk through what a client sends.
#[derive(Debug)]
struct Walk {
    place: Place,
    head: [u8; 9],
    /// Octets of the frame that are left.
    left: usize,
    /// Octets before the block of headers: padding's length, priority.
    skip: usize,
    padding: usize,
    takes_padding: bool,
    block: Block,
}

impl Walk {
    fn new() -> Walk {
        Walk {
            place: Place::Preface(0),
            head: [0; 9],
            left: 0,
            skip: 0,
            padding: 0,
            takes_padding: false,
            block: Block::Start,
        }
    }

    fn pass(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(byte) = bytes.get_mut(at) {
            match self.place {
                Place::Other => return,
                Place::Preface(seen) => {
                    self.place = match PREFACE.get(seen) {
                        Some(expected) if expected == byte && seen + 1 == PREFACE.len() => Place::Head(0),
                        Some(expected) if expected == byte => Place::Preface(seen + 1),
                        _ => Place::Other,
                    };
                    at += 1;
                }
                Place::Head(seen) => {
                    if let Some(slot) = self.head.get_mut(seen) {
                        *slot = *byte;
                    }
                    self.place = Place::Head(seen + 1);
                    if seen + 1 == self.head.len() {
                        self.begin_payload();
                    }
                    at += 1;
                }
                Place::Payload => {
                    let [_, _, _, kind, ..] = self.head;
                    if matches!(kind, HEADERS | CONTINUATION) {
                        self.header_byte(byte);
                        self.left -= 1;
                        at += 1;
                    } else {
                        let step = self.left.min(bytes.len() - at);
                        self.left -= step;
                        at += step;
                    }
                    if self.left == 0 {
                        self.place = Place::Head(0);
                    }
                }
            }
        }
    }

    fn begin_payload(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.padding = 0;
        self.takes_padding = kind == HEADERS && flags & PADDED != 0;
        self.skip = if kind == HEADERS && flags & PRIORITY != 0 { 5 } else { 0 };
        if kind == HEADERS {
            self.block = Block::Start;
        }
        self.place = if self.left == 0 { Place::Head(0) } else { Place::Payload };
    }

    fn header_byte(&mut self, byte: &mut u8) {
        if self.takes_padding {
            self.takes_padding = false;
            self.padding = usize::from(*byte);
        } else if self.skip > 0 {
            self.skip -= 1;
        } else if self.left > self.padding {
            self.block = self.block.next(byte);
        }
    }
}

impl Block {
    fn next(self, byte: &mut u8) -> Block {
        let b = *byte;
        match self {
            Block::Start => {
                let (bits, value) = match b {
                    0x80.. => (7, false),
                    0x40.. => (6, true),
                    0x20.. => (5, false),
                    _ => (4, true),
                };
                let most = (1usize << bits) - 1;
                let index = usize::from(b) & most;
                if index == most {
                    Block::Index { value, so_far: most, shift: 0 }
                } else {
                    Block::after_index(value, index)
                }
            }
            Block::Index { value, so_far, shift } => {
                let index =
                    so_far.saturating_add(usize::from(b & 0x7f).checked_shl(shift).unwrap_or(usize::MAX));
                if b & 0x80 == 0 {
                    Block::after_index(value, index)
                } else {
                    Block::Index { value, so_far: index, shift: shift.saturating_add(7) }
                }
            }
            Block::Length { name, authority } => {
                if authority && !name {
                    // Not Huffman's code any more, but as it stands.
                    *byte &= 0x7f;
                }
                match usize::from(b & 0x7f) {
                    0x7f => Block::MoreLength { name, authority, so_far: 0x7f, shift: 0 },
                    left => Block::text(name, authority, left),
                }
            }
            Block::MoreLength { name, authority, so_far, shift } => {
                let left =
                    so_far.saturating_add(usize::from(b & 0x7f).checked_shl(shift).unwrap_or(usize::MAX));
                if b & 0x80 == 0 {
                    Block::text(name, authority, left)
                } else {
                    Block::MoreLength { name, authority, so_far: left, shift: shift.saturating_add(7) }
                }
            }
            Block::Text { name, authority, left } => {
                if authority && !name {
                    *byte = PLAIN;
                }
                Block::text(name, authority, left - 1)
            }
        }
    }

    fn after_index(value: bool, index: usize) -> Block {
        match (value, index) {
            (false, _) => Block::Start,
            (true, 0) => Block::Length { name: true, authority: false },
            (true, index) => Block::Length { name: false, authority: index == AUTHORITY },
        }
    }

    fn text(name: bool, authority: bool, left: usize) -> Block {
        match (left, name) {
            (0, true) => Block::Length { name: false, authority },
            (0, false) => Block::Start,
            _ => Block::Text { name, authority, left },
        }
    }
}

/// A connection of a client whose `:authority` may be anything.
#[derive(Debug)]
pub struct Lenient<S> {
    stream: S,
    walk: Walk,
    heard: Arc<AtomicU64>,
}

impl<S> Lenient<S> {
    /// Wraps a connection before its first octet is read.
    pub fn new(stream: S) -> Lenient<S> {
        Lenient { stream, walk: Walk::new(), heard: Arc::default() }
    }

    /// How many octets the client has sent so far.
    pub fn heard(&self) -> Arc<AtomicU64> {
        self.heard.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let Lenient { stream, walk, heard } = &mut *self;
        let result = Pin::new(stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = result
            && let Some(fresh) = buf.filled_mut().get_mut(before..)
        {
            heard.fetch_add(fresh.len() as u64, Ordering::Relaxed);
            walk.pass(fresh);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of headers: an indexed field, `:authority` as given, and one more literal.
    fn request(authority: &[u8], huffman: u8) -> Vec<u8> {
        let mut block = vec![0x83, 0x41, huffman | authority.len() as u8];
        block.extend_from_slice(authority);
        block.extend_from_slice(&[0x40, 1, b'x', 1, b'y']);
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&[0, 0, 2, 0, 0, 0, 0, 0, 0, 0x41, 0x03]);
        bytes.extend_from_slice(&[0, 0, block.len() as u8, HEADERS, 4, 0, 0, 0, 1]);
        bytes.extend_from_slice(&block);
        bytes
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_walked_through(bytes: Vec<u8>, step in 1..9usize) {
            for mut sent in [bytes.clone(), [PREFACE, &bytes].concat()] {
                let mut walk = Walk::new();
                sent.chunks_mut(step).for_each(|part| walk.pass(part));
            }
        }
    }

    #[test]
    fn only_the_authority_is_overwritten_however_it_arrives() {
        let wanted = request(b"eeeee", 0);
        for step in 1..40 {
            let mut sent = request(b"a://b", 0x80);
            let mut walk = Walk::new();
            sent.chunks_mut(step).for_each(|part| walk.pass(part));
            assert_eq!(sent, wanted, "in parts of {step}");
        }
    }

    #[test]
    fn what_is_not_http_2_is_left_alone() {
        let mut sent = b"GET /A HTTP/1.1\r\n\r\n".to_vec();
        Walk::new().pass(&mut sent);
        assert_eq!(sent, b"GET /A HTTP/1.1\r\n\r\n");
    }
}
