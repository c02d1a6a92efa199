//! A client of PID 1 on its own socket, `/run/systemd/private`: jobs are asked for, and waited for.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use qemu::{Error, Result};
use wire::{Message, MessageType};
use zvariant::OwnedObjectPath;

const ROOT: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const PATIENCE: Duration = Duration::from_secs(60);

/// The connection.
pub struct Manager {
    stream: UnixStream,
    input: Vec<u8>,
    serial: u32,
}

impl Manager {
    /// Connects, and asks to be told of jobs.
    pub fn connect(socket: &Path) -> Result<Manager> {
        let stream = UnixStream::connect(socket).map_err(|error| fault(&socket.display(), &error))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| fault(&"the socket", &error))?;
        let mut manager = Manager { stream, input: Vec::new(), serial: 0 };
        manager.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        // two lines of answer: what is asked for, and that we are let in
        while manager.input.iter().filter(|byte| **byte == b'\n').count() < 2 {
            manager.read()?;
        }
        let mut ends = manager.input.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let end = ends.nth(1).map_or(0, |(place, _)| place + 1);
        manager.input.drain(..end);
        let call = Message::call(ROOT, INTERFACE, "Subscribe");
        let serial = manager.call(call)?;
        manager.wait(|message| message.reply_serial == serial)?;
        Ok(manager)
    }

    /// Has a job run for a unit, and waits for its end.
    pub fn run(&mut self, method: &str, unit: &str) -> Result<()> {
        let call = Message::call(ROOT, INTERFACE, method).with(&(unit, "replace"));
        let serial = self.call(call.map_err(|error| fault(&method, &error))?)?;
        let answer = self.wait(|message| message.reply_serial == serial)?;
        if answer.kind == MessageType::Error {
            return Err(Error::Usage(format!("{method} of {unit}: {}", answer.error)));
        }
        let job: OwnedObjectPath = answer.body().map_err(|error| fault(&method, &error))?;
        self.wait(|message| {
            let ended = || message.body::<(u32, OwnedObjectPath, String, String)>().ok();
            message.member == "JobRemoved" && ended().is_some_and(|(_, ended, ..)| ended == job)
        })?;
        Ok(())
    }

    fn call(&mut self, mut message: Message) -> Result<u32> {
        self.serial += 1;
        message.serial = self.serial;
        "org.freedesktop.systemd1".clone_into(&mut message.destination);
        let bytes = message.encode().map_err(|error| fault(&"a call", &error))?;
        self.send(&bytes)?;
        Ok(self.serial)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|error| fault(&"PID 1's socket", &error))
    }

    /// Passes over messages until one is it.
    fn wait(&mut self, is_it: impl Fn(&Message) -> bool) -> Result<Message> {
        loop {
            let length = Message::length(&self.input).map_err(|error| fault(&"an answer", &error))?;
            let Some(length) = length.filter(|length| self.input.len() >= *length) else {
                self.read()?;
                continue;
            };
            let frame: Vec<u8> = self.input.drain(..length).collect();
            let message = Message::decode(&frame).map_err(|error| fault(&"an answer", &error))?;
            if let Some(message) = message.filter(&is_it) {
                return Ok(message);
            }
        }
    }

    fn read(&mut self) -> Result<()> {
        let mut bytes = [0; 16_384];
        let count = self.stream.read(&mut bytes).map_err(|error| fault(&"PID 1's answer", &error))?;
        if count == 0 {
            return Err(Error::Usage("PID 1 has closed the connection".into()));
        }
        self.input.extend_from_slice(&bytes[..count]);
        Ok(())
    }
}

fn fault(what: &dyn std::fmt::Display, error: &dyn std::fmt::Display) -> Error {
    Error::Usage(format!("{what}: {error}"))
}
