//! What is sent along with a request: nothing, a document, or a part of a file.
//!
//! A part of a file is read by a thread of its own, a few pieces ahead of the network.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, channel};

const PIECE: usize = 128 << 10;
const PIECES_AHEAD: usize = 8;

/// What to send. It can be sent again when the first attempt failed.
#[derive(Clone, Debug)]
pub enum Content {
    /// Nothing.
    Empty,
    /// A document.
    Whole(Bytes),
    /// A part of a file.
    Part {
        /// The file.
        file: Arc<File>,
        /// Where the part begins, in bytes.
        from: u64,
        /// How long it is, in bytes.
        length: u64,
    },
}

impl Content {
    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Part { length, .. } => *length,
        }
    }

    /// The body of one request.
    pub(crate) fn sending(&self) -> Sending {
        let (whole, parts) = match self {
            Self::Empty => (None, None),
            Self::Whole(bytes) => (Some(bytes.clone()), None),
            Self::Part { file, from, length } => (None, Some(read(Arc::clone(file), *from, *length))),
        };
        Sending { whole, parts, left: self.length() }
    }
}

fn read(file: Arc<File>, mut at: u64, length: u64) -> Receiver<std::io::Result<Bytes>> {
    let (send, receive) = channel(PIECES_AHEAD);
    let end = at.saturating_add(length);
    tokio::task::spawn_blocking(move || {
        while at < end {
            let mut piece = vec![0; usize::try_from(end - at).unwrap_or(PIECE).min(PIECE)];
            let read = file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece));
            let failed = read.is_err();
            at += PIECE as u64;
            if send.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    receive
}

/// A body on its way.
#[derive(Debug)]
pub(crate) struct Sending {
    whole: Option<Bytes>,
    parts: Option<Receiver<std::io::Result<Bytes>>>,
    left: u64,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(whole) = self.whole.take() {
            self.left = 0;
            return Poll::Ready(Some(Ok(Frame::data(whole))));
        }
        let Some(parts) = &mut self.parts else { return Poll::Ready(None) };
        let Poll::Ready(piece) = parts.poll_recv(context) else { return Poll::Pending };
        Poll::Ready(piece.map(|piece| {
            let piece = piece?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
