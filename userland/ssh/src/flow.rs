//! Bytes from the client to a process or socket, and back.
//!
//! russh hands over what the client sends as it arrives and gives the client new room at once. If its one
//! loop had to wait for a slow process, it would also no longer carry that process's output: `ssh host cat`
//! with enough bytes would stop for ever. So what arrives is queued without waiting, and the room that the
//! client gets is shut to a trickle while more than a window of bytes is queued: memory stays bounded and
//! nothing ever waits for the other direction.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use russh::server::Msg;
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

/// The room a client gets on a channel, in bytes.
pub(crate) const WINDOW: u32 = 1 << 20;
/// The room it gets while the queue is full: enough to ask again, too little to grow anything.
const TRICKLE: u32 = 2;
/// Bytes carried at once to the client.
const PIECE: usize = 32 << 10;

/// How many bytes are queued on each channel of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queues(Arc<Mutex<HashMap<ChannelId, Arc<AtomicUsize>>>>);

impl Queues {
    /// Begins to carry a channel: what comes from the client, what goes to it, and word of its end.
    pub(crate) fn open(&self, channel: Channel<Msg>) -> (Incoming, ChannelWriteHalf<Msg>, Closed) {
        let queued = Arc::new(AtomicUsize::new(0));
        self.lock().insert(channel.id(), queued.clone());
        let (read, write) = channel.split();
        let (sender, receiver) = mpsc::unbounded_channel();
        let (tell, closed) = watch::channel(false);
        tokio::spawn(take(read, sender, queued.clone(), tell));
        (Incoming { receiver, queued }, write, Closed(closed))
    }

    /// Forgets a channel.
    pub(crate) fn close(&self, channel: ChannelId) {
        self.lock().remove(&channel);
    }

    /// How many channels are carried.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether more than a window of bytes waits on the channel.
    pub(crate) fn is_full(&self, channel: ChannelId) -> bool {
        self.lock().get(&channel).is_some_and(|queued| queued.load(Ordering::Relaxed) > WINDOW as usize)
    }

    /// The room that the client of this channel gets next.
    pub(crate) fn room(&self, channel: ChannelId) -> u32 {
        if self.is_full(channel) { TRICKLE } else { WINDOW }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChannelId, Arc<AtomicUsize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the client sent and nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Incoming {
    receiver: mpsc::UnboundedReceiver<Vec<u8>>,
    queued: Arc<AtomicUsize>,
}

impl Incoming {
    /// Writes all that comes, then shuts the writer. Ends early when the writer does.
    pub(crate) async fn carry(mut self, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
        while let Some(piece) = self.receiver.recv().await {
            let written = writer.write_all(&piece).await;
            self.queued.fetch_sub(piece.len(), Ordering::Relaxed);
            written?;
        }
        writer.shutdown().await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.receiver.close();
        while let Ok(piece) = self.receiver.try_recv() {
            self.queued.fetch_sub(piece.len(), Ordering::Relaxed);
        }
    }
}

/// Becomes true when the client or the connection is gone.
#[derive(Debug, Clone)]
pub(crate) struct Closed(watch::Receiver<bool>);

impl Closed {
    /// Waits for it.
    pub(crate) async fn wait(&mut self) {
        let _ = self.0.wait_for(|closed| *closed).await;
    }
}

/// Takes what the client sends off russh's hands, at once.
async fn take(
    mut read: ChannelReadHalf,
    sender: mpsc::UnboundedSender<Vec<u8>>,
    queued: Arc<AtomicUsize>,
    tell: watch::Sender<bool>,
) {
    let mut sender = Some(sender);
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                queued.fetch_add(data.len(), Ordering::Relaxed);
                let refused = sender.as_ref().is_none_or(|sender| sender.send(data.to_vec()).is_err());
                if refused {
                    queued.fetch_sub(data.len(), Ordering::Relaxed);
                }
            }
            ChannelMsg::Eof => sender = None,
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    tell.send_replace(true);
}

/// Carries all that `reader` gives to the client, up to its end.
pub(crate) async fn carry_out(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = reader.read(&mut piece).await?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else { return Ok(()) };
        writer.write_all(read).await?;
    }
}
