//! Connections: the output of services, and requests to ourselves.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::{Daemon, TURN, handover, token, watch};
use crate::control;
use crate::intake::process::Sender;
use crate::intake::stream::{Line, Stream};
use crate::socket;

/// Connections at most; systemd's bound for streams.
const MOST: usize = 4096;
/// Of one user who is not root: the others need some too.
const MOST_OF_A_USER: usize = 1024;

/// Read from a stream at once. What was read and not yet written is lost when we are killed, so it is not much.
const CHUNK: usize = 32 << 10;

/// Somebody who is connected.
pub(super) enum Connection {
    Stream(Box<Connected>),
    Control { socket: UnixStream, pending: Vec<u8> },
}

/// A stream with its socket.
pub(super) struct Connected {
    pub socket: UnixStream,
    pub stream: Stream,
    /// Who sent what came last.
    pub sender: Option<Sender>,
    /// Who connected.
    pub uid: u32,
    /// Init keeps it for us, by this name.
    pub kept: Option<String>,
}

impl Daemon {
    pub(super) fn accept(&mut self, control: bool) {
        for _ in 0..TURN {
            let listener = if control { &self.control } else { &self.streams };
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) => {
                    let errno = rustix::io::Errno::from_io_error(&error);
                    if matches!(errno, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)) {
                        self.turn_away(control);
                    }
                    return;
                }
            };
            if self.connections.len() >= MOST || socket.set_nonblocking(true).is_err() {
                continue;
            }
            let uid = linux::socket::peer(socket.as_fd()).map_or(u32::MAX, |(_, uid)| uid);
            if uid != 0 && self.streams_of(uid) >= MOST_OF_A_USER {
                continue;
            }
            let connection = if control {
                Connection::Control { socket, pending: Vec::new() }
            } else {
                let stream = Stream::new(self.config.line_max);
                Connection::Stream(Box::new(Connected { socket, stream, sender: None, uid, kept: None }))
            };
            self.connect(connection);
        }
    }

    /// Without descriptors left, whoever waits would wake us for ever.
    fn turn_away(&mut self, control: bool) {
        self.spare = None;
        let listener = if control { &self.control } else { &self.streams };
        let _ = listener.accept();
        self.spare = fs::File::open("/dev/null").ok();
    }

    fn streams_of(&self, uid: u32) -> usize {
        let streams = self.connections.values();
        streams.filter(|other| matches!(other, Connection::Stream(stream) if stream.uid == uid)).count()
    }

    /// Listens to a connection from now on.
    pub(super) fn connect(&mut self, connection: Connection) {
        let token = self.next;
        self.next += 1;
        let socket = match &connection {
            Connection::Stream(stream) => stream.socket.as_fd(),
            Connection::Control { socket, .. } => socket.as_fd(),
        };
        if watch(&self.poll, socket, token).is_ok() {
            self.connections.insert(token, connection);
        }
    }

    pub(super) fn take_connection(&mut self, token: u64) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        let alive = match &mut connection {
            Connection::Stream(stream) => self.take_stream(stream),
            Connection::Control { socket, pending } => self.take_control(socket, pending),
        };
        if alive {
            self.connections.insert(token, connection);
        } else if let Connection::Stream(stream) = connection {
            self.end(*stream);
        }
    }

    fn take_stream(&mut self, connected: &mut Connected) -> bool {
        let buffer = self.buffer.get_mut(..CHUNK).unwrap_or_default();
        let received = match socket::receive(&connected.socket, buffer) {
            Ok(Some(received)) => received,
            Ok(None) => return true,
            Err(_) => return false,
        };
        if received.count == 0 {
            return false;
        }
        self.streamed += received.count as u64;
        let before = connected.sender;
        connected.sender = received.sender.or(before);
        let buffer = std::mem::take(&mut self.buffer);
        let bytes = buffer.get(..received.count).unwrap_or_default();
        let stream = &mut connected.stream;
        if before.is_some_and(|before| connected.sender.is_some_and(|sender| sender.pid != before.pid)) {
            stream.change_pid(&mut |stream, line| self.keep_line(stream, line, before));
        }
        let was_open = stream.is_open();
        let sender = connected.sender;
        let fed = stream.feed(bytes, &mut |stream, line| self.keep_line(stream, line, sender));
        self.buffer = buffer;
        if let Err(error) = &fed {
            self.say(4, &format!("A stream was closed: {error}"));
        } else if !was_open && connected.stream.is_open() {
            handover::keep(&self.place, connected);
        }
        fed.is_ok()
    }

    fn keep_line(&mut self, stream: &Stream, line: Line, sender: Option<Sender>) {
        self.forward(&line.record, line.priority, sender, Some(line.forward));
        // Only root's word counts for the unit: init connects before it gives up its rights.
        let unit = stream.unit().filter(|_| sender.is_none_or(|sender| sender.uid == 0));
        self.keep(line.record, line.priority, sender, unit);
    }

    /// A stream has ended: what is pending is its last line.
    fn end(&mut self, mut connected: Connected) {
        let sender = connected.sender;
        connected.stream.finish(&mut |stream, line| self.keep_line(stream, line, sender));
        handover::forget(&self.place, &connected);
    }

    /// Before we end: streams that init keeps will be gone on with, the others have said their last.
    pub(super) fn give_up_streams(&mut self) {
        for (_, connection) in std::mem::take(&mut self.connections) {
            match connection {
                Connection::Stream(stream) if stream.kept.is_some() => handover::save(&self.place, &stream),
                Connection::Stream(stream) => self.end(*stream),
                Connection::Control { .. } => {}
            }
        }
    }

    fn take_control(&mut self, socket: &mut UnixStream, pending: &mut Vec<u8>) -> bool {
        let Ok(count) = socket.read(&mut self.buffer) else { return false };
        if count == 0 || pending.len() + count > control::REQUEST_MAX {
            return false;
        }
        pending.extend(self.buffer.get(..count).unwrap_or_default());
        for request in control::split_requests(pending) {
            let action = control::parse(&request);
            match action {
                control::Action::Sync => {
                    // Whoever asks wants what was sent before to be there, whatever socket it waits in.
                    self.take_native();
                    self.take_syslog();
                    self.take_kernel();
                    self.take_streams();
                    self.sync();
                }
                control::Action::Rotate => self.store.rotate(),
                control::Action::MoveToDisk => self.move_to_disk(),
                control::Action::MoveToMemory => self.move_to_memory(),
                control::Action::Unknown => {}
            }
            if socket.write_all(&control::reply(action, &request)).is_err() {
                return false;
            }
        }
        true
    }

    /// Reads what waits in all streams; who goes on writing is not waited for.
    fn take_streams(&mut self) {
        self.accept(false);
        for _ in 0..TURN {
            let streams: Vec<u64> = self
                .connections
                .iter()
                .filter(|(_, connection)| matches!(connection, Connection::Stream(_)))
                .map(|(token, _)| *token)
                .collect();
            let before = self.streamed;
            for token in streams {
                self.take_connection(token);
            }
            if self.streamed == before {
                break;
            }
        }
    }

    /// Goes on with the streams that init kept while we restarted.
    pub(super) fn resume_streams(&mut self, sockets: Vec<(String, UnixStream)>) {
        let mut kept = Vec::new();
        for (name, socket) in sockets {
            if socket.set_nonblocking(true).is_err() {
                continue;
            }
            match handover::restore(&self.place, name, socket, self.config.line_max) {
                Some(connected) => {
                    kept.push(handover::state_name(&connected.socket).unwrap_or_default());
                    self.connect(Connection::Stream(Box::new(connected)));
                }
                None => self.say(4, "A stream was closed: what it was is no longer known"),
            }
        }
        handover::forget_others(&self.place, &kept);
        debug_assert!(self.next >= token::CONNECTION);
    }
}
