//! The one table of methods: which interface of which object takes what, gives what, and who may call it.
//!
//! A call finds its object by [`path`](super::path), its method by name in the object's tables, is checked
//! (argument types, and uid 0 for what changes things) and then run. Sources: org.freedesktop.systemd1(5) for
//! names and types; the D-Bus specification for the standard interfaces.

mod files;
mod introspect;
mod jobs;
mod listing;
mod login;
mod properties;
mod settings;
mod system;
mod users;

use unit::UnitName;

pub use login::{Inhibitors, Saved as SavedInhibitor};

use super::path::Object;
use super::world::{Failure, Listed, World};
use wire::{Body, Fds, Malformed, Message};

/// A call on its way.
pub struct Call<'a> {
    /// What came.
    pub message: &'a Message,
    /// The caller's uid, from the kernel.
    pub uid: u32,
    /// The caller's pid, from the kernel.
    pub pid: u32,
    /// The caller's unique name, if it is on the bus.
    pub name: Option<&'a str>,
    /// It may bring units into memory.
    pub may_load: bool,
    /// How many units it brought into memory.
    pub loaded: u32,
    /// Who does not want the machine to go down.
    pub inhibitors: &'a mut Inhibitors,
    /// The manager.
    pub world: &'a mut dyn World,
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// Here it is.
    Now(Body),
    /// Here it is, with descriptors.
    With(Body, Fds),
    /// When the manager has queued or refused the job with this ticket: the job's path.
    Later(u64),
    /// The same, and then all that `EnqueueUnitJob` tells of the job.
    LaterInFull(u64),
    /// None: the caller waits until it is disconnected.
    Never,
}

type Outcome = Result<Answer, Failure>;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Anybody,
    Root,
}

/// A method.
struct Method {
    name: &'static str,
    takes: &'static str,
    gives: &'static str,
    access: Access,
    run: fn(&mut Call<'_>, &Object) -> Outcome,
}

/// A method that reads.
const fn reads(
    name: &'static str,
    takes: &'static str,
    gives: &'static str,
    run: fn(&mut Call<'_>, &Object) -> Outcome,
) -> Method {
    Method { name, takes, gives, access: Access::Anybody, run }
}

/// A method that changes something.
const fn changes(
    name: &'static str,
    takes: &'static str,
    gives: &'static str,
    run: fn(&mut Call<'_>, &Object) -> Outcome,
) -> Method {
    Method { name, takes, gives, access: Access::Root, run }
}

/// An interface and its methods.
type Methods = (&'static str, &'static [&'static [Method]]);

const STANDARD: [Methods; 3] = [
    ("org.freedesktop.DBus.Peer", &[system::PEER]),
    ("org.freedesktop.DBus.Introspectable", &[introspect::METHODS]),
    ("org.freedesktop.DBus.Properties", &[properties::METHODS]),
];

/// The interfaces of an object, the standard ones first. The properties' tables are `property`'s.
fn interfaces(object: &Object) -> Vec<Methods> {
    let mut interfaces = STANDARD.to_vec();
    match object {
        Object::Manager => interfaces.push((
            "org.freedesktop.systemd1.Manager",
            &[
                listing::MANAGER,
                jobs::MANAGER,
                settings::MANAGER,
                files::MANAGER,
                system::MANAGER,
                users::MANAGER,
            ],
        )),
        Object::Unit(name) => {
            interfaces.push(("org.freedesktop.systemd1.Unit", &[jobs::UNIT, settings::UNIT]));
            let own = super::property::of_type(name).0;
            match own {
                "org.freedesktop.systemd1.Scope" => {
                    interfaces.push((own, &[listing::TYPED, settings::TYPED, settings::SCOPE]));
                }
                "org.freedesktop.systemd1.Service" => {
                    interfaces.push((own, &[listing::TYPED, settings::TYPED, settings::SERVICE]));
                }
                _ => interfaces.push((own, &[listing::TYPED, settings::TYPED])),
            }
        }
        Object::Job(_) => interfaces.push(("org.freedesktop.systemd1.Job", &[jobs::JOB])),
        Object::Login => interfaces.push(("org.freedesktop.login1.Manager", &[login::MANAGER])),
        Object::LogControl => interfaces.push(("org.freedesktop.LogControl1", &[])),
        Object::Node => {}
    }
    interfaces
}

/// Runs a call.
///
/// # Errors
/// What the caller is told.
pub fn dispatch(call: &mut Call<'_>) -> Outcome {
    let message = call.message;
    let no_object = || {
        Failure::new(
            "org.freedesktop.DBus.Error.UnknownObject",
            format!("Unknown object '{}'.", message.path),
        )
    };
    let mut object = Object::parse(&message.path).ok_or_else(no_object)?;
    if object == Object::Unit("self".into()) {
        object = Object::Unit(call.world.unit_of(call.pid).ok_or_else(no_object)?);
    }
    let interfaces = interfaces(&object);
    let named = |(name, _): &&Methods| message.interface.is_empty() || *name == message.interface;
    if !interfaces.iter().any(|interface| named(&interface)) {
        let text = format!("Unknown interface {}.", message.interface);
        return Err(Failure::new("org.freedesktop.DBus.Error.UnknownInterface", text));
    }
    let mut methods =
        interfaces.iter().filter(named).flat_map(|(_, tables)| tables.iter().copied().flatten());
    let method = methods.find(|method| method.name == message.member).ok_or_else(|| {
        let text = format!("Unknown method {} or interface {}.", message.member, message.interface);
        Failure::new("org.freedesktop.DBus.Error.UnknownMethod", text)
    })?;
    if method.takes != message.signature {
        let text = format!(
            "Invalid arguments '{}' to call {}, expecting '{}'.",
            message.signature, method.name, method.takes
        );
        return Err(Failure::arguments(text));
    }
    if method.access == Access::Root && call.uid != 0 {
        let text = format!("Access denied: {} needs root.", method.name);
        return Err(Failure::new("org.freedesktop.DBus.Error.AccessDenied", text));
    }
    (method.run)(call, &object)
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Failure {
        Failure::arguments(error.to_string())
    }
}

/// Nothing to say but that it is done.
fn done() -> Outcome {
    Ok(Answer::Now(Body::EMPTY))
}

/// These values.
fn values<T: serde::Serialize + zvariant::Type>(value: &T) -> Outcome {
    Ok(Answer::Now(Body::of(value)?))
}

impl Call<'_> {
    /// A valid unit name.
    fn name(&self, name: &str) -> Result<UnitName, Failure> {
        UnitName::parse(name).map_err(|_| Failure::arguments(format!("Unit name {name} is not valid.")))
    }

    /// A unit, brought into memory if it is not there.
    fn unit(&mut self, name: &str) -> Result<Listed, Failure> {
        let name = self.name(name)?;
        if let Some(listed) = self.world.unit(name.as_str()) {
            return Ok(listed);
        }
        if !self.may_load {
            let text = "Too many units were asked for that are not loaded.";
            return Err(Failure::new("org.freedesktop.DBus.Error.LimitsExceeded", text));
        }
        self.loaded += 1;
        self.world.load(name.as_str()).ok_or_else(|| Failure::no_such_unit(name.as_str()))
    }
}
