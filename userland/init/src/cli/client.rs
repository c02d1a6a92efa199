//! The client's end of `/run/systemd/private`: a blocking call and answer, and the signals that come in between.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zvariant::Type;

use crate::dbus::{NAME, ROOT};
use wire::message::LONGEST;
use wire::{Malformed, Message, MessageType};

/// What can go wrong between client and manager.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The manager is not there.
    #[error("Cannot reach the manager at {path}: {why}. Is this machine running Corten's init?")]
    Unreachable {
        /// The socket.
        path: String,
        /// Why.
        why: io::Error,
    },
    /// The connection broke.
    #[error("Connection to the manager lost: {0}")]
    Lost(#[from] io::Error),
    /// What came is no D-Bus.
    #[error("The manager's answer cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// The manager says no.
    #[error("{text}")]
    Refused {
        /// The error's name.
        name: String,
        /// What it says.
        text: String,
    },
}

impl Trouble {
    /// The D-Bus error's name, if the manager refused.
    pub fn name(&self) -> &str {
        match self {
            Trouble::Refused { name, .. } => name,
            _ => "",
        }
    }
}

/// A connection to the manager.
pub struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    serial: u32,
    signals: VecDeque<Message>,
}

impl Client {
    /// Connects and authenticates.
    ///
    /// # Errors
    /// Nobody is there, or it does not let us in.
    pub fn connect(path: &Path) -> Result<Client, Trouble> {
        let unreachable = |why| Trouble::Unreachable { path: path.display().to_string(), why };
        let mut stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let mut client = Client { stream, input: Vec::new(), serial: 0, signals: VecDeque::new() };
        let (first, second) = (client.line()?, client.line()?);
        if first != "DATA" || !second.starts_with("OK ") {
            return Err(unreachable(io::Error::other(format!("it answers {second:?}"))));
        }
        Ok(client)
    }

    /// Calls a method of the manager.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn manager<A, R>(&mut self, member: &str, arguments: &A) -> Result<R, Trouble>
    where
        A: Serialize + Type,
        R: DeserializeOwned + Type,
    {
        self.call(Message::call(ROOT, "org.freedesktop.systemd1.Manager", member).with(arguments)?)
    }

    /// Calls a method and waits for its answer. Signals that come before it are kept.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn call<R: DeserializeOwned + Type>(&mut self, mut call: Message) -> Result<R, Trouble> {
        self.serial += 1;
        call.serial = self.serial;
        if call.destination.is_empty() {
            call.destination = NAME.into();
        }
        wire::connection::write(&self.stream, &call)?;
        loop {
            let answer = self.receive()?;
            match answer.kind {
                MessageType::Return if answer.reply_serial == self.serial => return Ok(answer.body()?),
                MessageType::Error if answer.reply_serial == self.serial => {
                    let text = answer.body().unwrap_or_else(|_| answer.error.clone());
                    return Err(Trouble::Refused { name: answer.error, text });
                }
                MessageType::Signal => self.signals.push_back(answer),
                _ => {}
            }
        }
    }

    /// The next signal.
    ///
    /// # Errors
    /// The connection broke.
    pub fn signal(&mut self) -> Result<Message, Trouble> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let message = self.receive()?;
            if message.kind == MessageType::Signal {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self) -> Result<Message, Trouble> {
        loop {
            if let Some(length) = Message::length(&self.input)?
                && let Some(frame) = self.input.get(..length)
            {
                let message = Message::decode(frame)?;
                self.input.drain(..length);
                match message {
                    Some(message) => return Ok(message),
                    None => continue,
                }
            }
            self.fill()?;
        }
    }

    fn line(&mut self) -> Result<String, Trouble> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(self.input.get(..end).unwrap_or_default()).into_owned();
                self.input.drain(..end + 2);
                return Ok(line);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Trouble> {
        let mut gulp = [0u8; 16 << 10];
        let length = self.stream.read(&mut gulp)?;
        if length == 0 || self.input.len() > 2 * LONGEST {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.input.extend_from_slice(gulp.get(..length).unwrap_or_default());
        Ok(())
    }
}
