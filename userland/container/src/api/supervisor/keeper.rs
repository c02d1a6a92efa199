//! The thread that keeps a running container's streams: output to the log and to each client, input from them.
//!
//! The container never waits for a client: what one has not taken waits for it in a queue, and one whose queue stays
//! full for [`PATIENCE`] is let go.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Bytes;
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet, spawn_local};

use super::log::Log;
use super::streams::{Streams, resize};
use crate::api::frame;

const CHUNK: usize = 32 << 10;
/// Frames that wait for a client.
const QUEUE: usize = 128;
const PATIENCE: Duration = Duration::from_secs(5);

/// Somebody who has come and said hello.
#[derive(Debug)]
pub struct Client {
    /// To them.
    pub stream: StdStream,
    /// Whether they told the container to start.
    pub starts: bool,
    wants: u8,
}

impl Client {
    /// Hears a client's hello.
    ///
    /// # Errors
    /// When there is none.
    pub fn greet(stream: StdStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let (kind, bytes) = frame::read_blocking(&mut &stream)?;
        stream.set_read_timeout(None)?;
        match (kind, bytes.first()) {
            (frame::HELLO, Some(wants)) => Ok(Self { stream, starts: false, wants: *wants }),
            (frame::START, _) => Ok(Self { stream, starts: true, wants: 0 }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no hello")),
        }
    }

    /// Whether they only want to know how it goes.
    pub fn is_watcher(&self) -> bool {
        self.wants == 0
    }
}

/// All that the thread works with.
pub struct Keeper {
    /// Where clients come.
    pub listener: StdListener,
    /// Who is there.
    pub clients: Vec<Client>,
    /// Who wants to know how it ends.
    pub watchers: Vec<StdStream>,
    /// The container's streams.
    pub streams: Streams,
    /// Its log.
    pub log: Log,
    /// Whether its input ends with that of a client.
    pub once: bool,
}

struct Hub {
    log: RefCell<Log>,
    clients: RefCell<Vec<(u8, mpsc::Sender<Bytes>)>>,
    watchers: RefCell<Vec<StdStream>>,
    input: RefCell<Option<mpsc::Sender<Bytes>>>,
    terminal: Option<OwnedFd>,
    once: bool,
}

impl Keeper {
    /// Works until `end` comes and all output is taken; returns who wants to know how it ended.
    pub fn keep(self, end: oneshot::Receiver<()>) -> Vec<StdStream> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => LocalSet::new().block_on(&runtime, self.work(end)),
            Err(error) => {
                let _ = writeln!(io::stderr(), "dockerd: keeper: {error}");
                self.watchers
            }
        }
    }

    async fn work(self, end: oneshot::Receiver<()>) -> Vec<StdStream> {
        let Streams { stdout, stderr, stdin, terminal, .. } = self.streams;
        let master = if terminal { super::streams::again(&stdout).ok() } else { None };
        let (input, bytes) = mpsc::channel(16);
        let hub = Rc::new(Hub {
            log: RefCell::new(self.log),
            clients: RefCell::default(),
            watchers: RefCell::new(self.watchers),
            input: RefCell::new(stdin.is_some().then_some(input)),
            terminal: master,
            once: self.once && !terminal,
        });
        let mut writing = JoinSet::new();
        for client in self.clients {
            hub.join(client, &mut writing);
        }
        if let Some(stdin) = stdin {
            spawn_local(pass_input(stdin, bytes));
        }
        let mut outputs = JoinSet::new();
        outputs.spawn_local(pump(Rc::clone(&hub), frame::STDOUT, stdout));
        if let Some(stderr) = stderr {
            outputs.spawn_local(pump(Rc::clone(&hub), frame::STDERR, stderr));
        }
        let listener = UnixListener::from_std(self.listener);
        let accepting = async {
            let Ok(listener) = listener else { return std::future::pending().await };
            loop {
                match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
                    Ok(stream) => {
                        // They are our own server; the hello comes with the connection.
                        if let Ok(client) = Client::greet(stream) {
                            hub.join(client, &mut writing);
                        }
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        tokio::select! {
            _ = end => {}
            () = accepting => {}
        }
        // The container is gone; what it left in the pipes is soon read.
        let rest = async { while outputs.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PATIENCE, rest).await;
        hub.log.borrow_mut().finish();
        hub.clients.borrow_mut().clear();
        let sent = async { while writing.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PATIENCE, sent).await;
        hub.watchers.take()
    }
}

impl Hub {
    fn join(self: &Rc<Self>, client: Client, writing: &mut JoinSet<()>) {
        if client.is_watcher() {
            self.watchers.borrow_mut().push(client.stream);
            return;
        }
        let stream = client.stream;
        let Ok(stream) = stream.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(stream))
        else {
            return;
        };
        let (read, mut write) = stream.into_split();
        let (send, mut receive) = mpsc::channel::<Bytes>(QUEUE);
        self.clients.borrow_mut().push((client.wants, send));
        writing.spawn_local(async move {
            while let Some(frame) = receive.recv().await {
                if write.write_all(&frame).await.is_err() {
                    return;
                }
            }
            let _ = write.shutdown().await;
        });
        spawn_local(hear(Rc::clone(self), client.wants, read));
    }

    async fn publish(&self, kind: u8, bytes: &[u8]) {
        self.log.borrow_mut().take(kind, bytes);
        let wanted = if kind == frame::STDERR { frame::WANT_STDERR } else { frame::WANT_STDOUT };
        let clients = self.clients.borrow().clone();
        let piece = Bytes::from(frame::encode(kind, bytes));
        for (_, client) in clients.iter().filter(|(wants, _)| wants & wanted != 0) {
            let kept = match client.try_send(piece.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(piece)) => {
                    matches!(tokio::time::timeout(PATIENCE, client.send(piece)).await, Ok(Ok(())))
                }
            };
            if !kept {
                self.clients.borrow_mut().retain(|(_, other)| !other.same_channel(client));
            }
        }
    }
}

/// What a client has to say.
async fn hear(hub: Rc<Hub>, wants: u8, mut read: OwnedReadHalf) {
    loop {
        let heard = frame::read(&mut read).await;
        match heard {
            Ok(Some((frame::STDIN, bytes))) if wants & frame::WANT_STDIN != 0 => {
                let input = hub.input.borrow().clone();
                if let Some(input) = input {
                    let _ = input.send(bytes.into()).await;
                }
            }
            Ok(Some((frame::RESIZE, bytes))) => {
                if let (Some(terminal), [a, b, c, d]) = (&hub.terminal, bytes.as_slice()) {
                    resize(terminal, u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
                    // Whoever copies between this terminal and the container's is our own main thread.
                    let own = rustix::process::getpid();
                    let _ = rustix::process::kill_process(own, rustix::process::Signal::WINCH);
                }
            }
            Ok(Some((frame::CLOSE, _))) => {
                if hub.once {
                    hub.input.borrow_mut().take();
                }
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                if hub.once && wants & frame::WANT_STDIN != 0 {
                    hub.input.borrow_mut().take();
                }
                return;
            }
        }
    }
}

async fn pump(hub: Rc<Hub>, kind: u8, from: OwnedFd) {
    let Ok(from) = nonblocking(from) else { return };
    let mut buffer = vec![0; CHUNK];
    loop {
        let Ok(mut ready) = from.readable().await else { return };
        match rustix::io::read(from.get_ref(), &mut buffer[..]) {
            Ok(0) => return,
            Ok(read) => hub.publish(kind, buffer.get(..read).unwrap_or_default()).await,
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            // A terminal whose last user is gone answers EIO.
            Err(_) => return,
        }
    }
}

async fn pass_input(to: OwnedFd, mut pieces: mpsc::Receiver<Bytes>) {
    let Ok(to) = nonblocking(to) else { return };
    while let Some(piece) = pieces.recv().await {
        let mut left = &piece[..];
        while !left.is_empty() {
            let Ok(mut ready) = to.writable().await else { return };
            match rustix::io::write(to.get_ref(), left) {
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// To be read and written without waiting.
///
/// # Errors
/// When the kernel has no room for it.
#[expect(
    deprecated,
    reason = "an owned descriptor cannot be closed behind its back; what replaces it is unsafe"
)]
pub fn nonblocking(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    rustix::io::ioctl_fionbio(fd.as_fd(), true)?;
    AsyncFd::new(fd)
}
