//! com.coreos.update1 on the system bus: who watches the engine, and who may tell it to go on.
//!
//! Everybody may ask how it is; only root and the members of `sudo` may make it check or take a release back, and
//! only root may name another server or force a release that has failed.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use accounts::Accounts;
use wire::{Malformed, Message, MessageType};

use crate::engine::{Ask, Input, Report};
use crate::peer::{BusError, Peer};

/// The name on the bus.
pub const NAME: &str = "com.coreos.update1";
/// The object.
pub const PATH: &str = "/com/coreos/update1";
/// Its interface.
pub const INTERFACE: &str = "com.coreos.update1.Manager";
/// Who may tell the engine to go on, beside root.
const GROUP: &str = "sudo";
/// Until the bus is tried again.
const AGAIN: Duration = Duration::from_secs(5);
const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
const INTROSPECTION: &str = r#"<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<node>
 <interface name="com.coreos.update1.Manager">
  <method name="AttemptUpdate"/>
  <method name="AttemptUpdateFrom">
   <arg name="app_version" type="s" direction="in"/>
   <arg name="omaha_url" type="s" direction="in"/>
   <arg name="force" type="b" direction="in"/>
  </method>
  <method name="ResetStatus"/>
  <method name="GetTrouble"><arg name="trouble" type="s" direction="out"/></method>
  <method name="GetStatus">
   <arg name="last_checked_time" type="x" direction="out"/>
   <arg name="progress" type="d" direction="out"/>
   <arg name="current_operation" type="s" direction="out"/>
   <arg name="new_version" type="s" direction="out"/>
   <arg name="new_size" type="x" direction="out"/>
  </method>
  <signal name="StatusUpdate">
   <arg name="last_checked_time" type="x"/>
   <arg name="progress" type="d"/>
   <arg name="current_operation" type="s"/>
   <arg name="new_version" type="s"/>
   <arg name="new_size" type="x"/>
  </signal>
 </interface>
 <interface name="org.freedesktop.DBus.Introspectable">
  <method name="Introspect"><arg name="data" type="s" direction="out"/></method>
 </interface>
 <interface name="org.freedesktop.DBus.Peer"><method name="Ping"/></interface>
</node>
"#;

/// What the engine shares with the bus's thread.
#[derive(Debug)]
pub struct Face {
    report: Arc<Mutex<Report>>,
    wake: io::PipeWriter,
}

impl Face {
    /// Begins to serve, in a thread of its own. A bus that goes away is waited for.
    ///
    /// # Errors
    /// There are no descriptors or threads.
    pub fn serve(bus: PathBuf, report: Report, inputs: Sender<Input>) -> io::Result<Face> {
        let (woken, wake) = io::pipe()?;
        rustix::io::ioctl_fionbio(&woken, true)?;
        rustix::io::ioctl_fionbio(&wake, true)?;
        let report = Arc::new(Mutex::new(report));
        let service = Service { report: Arc::clone(&report), inputs, woken };
        thread::Builder::new().name("bus".to_owned()).spawn(move || service.run(&bus))?;
        Ok(Face { report, wake })
    }

    /// Tells those who watch.
    pub fn show(&self, report: &Report) {
        report.clone_into(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
        // A full pipe wakes as well.
        let _ = io::Write::write(&mut &self.wake, b"x");
    }
}

struct Service {
    report: Arc<Mutex<Report>>,
    inputs: Sender<Input>,
    woken: io::PipeReader,
}

impl Service {
    fn run(&self, bus: &Path) {
        let mut complained = false;
        loop {
            match self.serve(bus) {
                Ok(()) => return,
                Err(error) if !complained => {
                    eprintln!("update-engine: {error}; it is tried again");
                    complained = true;
                }
                Err(_) => {}
            }
            thread::sleep(AGAIN);
        }
    }

    /// Until the bus is gone, or the engine.
    fn serve(&self, bus: &Path) -> Result<(), BusError> {
        let mut peer = Peer::connect(bus)?;
        peer.driver("RequestName", |call| call.with(&(NAME, 0_u32)))?;
        let mut shown = Report::default();
        loop {
            if let Some(message) = peer.next(None, &[self.woken.as_fd()])?
                && message.kind == MessageType::Call
            {
                let answer = self.answer(&mut peer, &message);
                if message.wants_reply() {
                    peer.send(answer?.to(&message.sender))?;
                }
            }
            let mut bytes = [0; 64];
            match (&self.woken).read(&mut bytes) {
                Ok(0) => return Ok(()),
                _ => self.tell(&mut peer, &mut shown)?,
            }
        }
    }

    fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells of what has changed; of a download, each hundredth.
    fn tell(&self, peer: &mut Peer, shown: &mut Report) -> Result<(), BusError> {
        let report = self.report();
        let rounded =
            |report: &Report| Report { progress: (report.progress * 100.0).floor(), ..report.clone() };
        if rounded(&report) != rounded(shown) {
            peer.send(with_report(Message::signal(PATH, INTERFACE, "StatusUpdate"), &report)?)?;
            *shown = report;
        }
        Ok(())
    }

    fn answer(&self, peer: &mut Peer, call: &Message) -> Result<Message, BusError> {
        let reply = Message::reply(call.serial);
        let member = (call.interface.as_str(), call.member.as_str());
        Ok(match member {
            (INTERFACE | "", "GetStatus") => with_report(reply, &self.report())?,
            (INTERFACE | "", "GetTrouble") => reply.with(&self.report().trouble.as_str())?,
            (INTERFACE | "", "AttemptUpdate") => {
                self.command(peer, call, true, Input::Asked(Ask { on_demand: true, ..Ask::default() }))
            }
            (INTERFACE | "", "AttemptUpdateFrom") => match call.body::<(String, String, bool)>() {
                Ok((version, server, force)) => {
                    let some = |text: String| (!text.is_empty()).then_some(text);
                    let ask = Ask { on_demand: true, server: some(server), version: some(version), force };
                    self.command(peer, call, false, Input::Asked(ask))
                }
                Err(error) => Message::refusal(
                    call.serial,
                    "org.freedesktop.DBus.Error.InvalidArgs",
                    &error.to_string(),
                ),
            },
            (INTERFACE | "", "ResetStatus") => self.command(peer, call, true, Input::Reset),
            ("org.freedesktop.DBus.Introspectable", "Introspect") => reply.with(&INTROSPECTION)?,
            ("org.freedesktop.DBus.Peer", "Ping") => reply,
            _ => {
                let text = format!("There is no method {}.{} here", call.interface, call.member);
                Message::refusal(call.serial, "org.freedesktop.DBus.Error.UnknownMethod", &text)
            }
        })
    }

    /// Hands on what somebody wants, if they may.
    fn command(&self, peer: &mut Peer, call: &Message, operators: bool, input: Input) -> Message {
        let uid = peer
            .driver("GetConnectionUnixUser", |ask| ask.with(&call.sender.as_str()))
            .and_then(|answer| Ok(answer.body::<u32>()?));
        if !uid.is_ok_and(|uid| uid == 0 || (operators && is_operator(uid))) {
            let whom = if operators { "root and members of the group sudo" } else { "root" };
            return Message::refusal(call.serial, DENIED, &format!("Only {whom} may do that"));
        }
        // The engine's thread goes before this one.
        let _ = self.inputs.send(input);
        Message::reply(call.serial)
    }
}

fn is_operator(uid: u32) -> bool {
    Accounts::read(Path::new("/etc"))
        .is_ok_and(|accounts| accounts.user_by_id(uid).is_some_and(|user| accounts.is_member(user, GROUP)))
}

fn with_report(message: Message, report: &Report) -> Result<Message, Malformed> {
    message.with(&(
        report.last_checked,
        report.progress,
        report.status.name(),
        report.new_version.as_str(),
        report.new_size,
    ))
}
