//! What the face needs from the manager: the seam between D-Bus and the engine.
//!
//! Plain names and numbers on both sides, so that the dispatcher runs against the real manager, and in tests
//! against a made-up one.

use std::os::fd::OwnedFd;

use unit::{JobMode, KillWhom, Shutdown, Verb};

use super::property::Facts;

/// A line of `list-units`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its own name, whatever alias it was asked by.
    pub id: String,
    /// Description=, or the name.
    pub description: String,
    /// `loaded`, `not-found`, …
    pub load: &'static str,
    /// `active`, …
    pub active: &'static str,
    /// `running`, …
    pub sub: &'static str,
    /// The job queued for it, and what it does.
    pub job: Option<(u32, &'static str)>,
}

/// A line of `list-jobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number.
    pub id: u32,
    /// Its unit.
    pub unit: String,
    /// `start`, …
    pub kind: &'static str,
    /// `waiting`, `running`.
    pub state: &'static str,
}

/// A refusal: a D-Bus error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// The error's name.
    pub name: &'static str,
    /// What the caller reads.
    pub text: String,
}

impl Failure {
    /// With this name and text.
    pub fn new(name: &'static str, text: impl Into<String>) -> Failure {
        Failure { name, text: text.into() }
    }

    /// The arguments are wrong.
    pub fn arguments(text: impl Into<String>) -> Failure {
        Failure::new("org.freedesktop.DBus.Error.InvalidArgs", text)
    }

    /// The unit is not there.
    pub fn no_such_unit(name: &str) -> Failure {
        Failure::new("org.freedesktop.systemd1.NoSuchUnit", format!("Unit {name} not found."))
    }
}

/// What to do with unit files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileVerb {
    /// Link as [Install] says.
    Enable,
    /// Remove the links.
    Disable,
    /// Remove, then link.
    Reenable,
    /// Link to /dev/null.
    Mask,
    /// Remove that link.
    Unmask,
    /// As the preset files say.
    Preset,
    /// The same, but nothing is disabled.
    PresetEnable,
    /// The same, but nothing is enabled.
    PresetDisable,
    /// Make a file outside of the load path known.
    Link,
    /// Remove everything that overrides the vendor's file.
    Revert,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileChanges {
    /// At least one of the files has an [Install] section.
    pub carries_install_info: bool,
    /// `symlink` or `unlink`, the link, its target.
    pub done: Vec<(String, String, String)>,
}

/// Properties with the values that they are to have.
pub type Settings = [(String, zvariant::OwnedValue)];

/// A process of a unit: cgroup, pid, command line.
pub type Process = (String, u32, String);

/// The manager, as the face sees it. Unit names are valid names when they come here.
pub trait World {
    /// A unit in memory.
    fn unit(&self, name: &str) -> Option<Listed>;
    /// Whether a unit is in memory and active.
    fn is_active(&self, name: &str) -> bool {
        self.unit(name).is_some_and(|unit| unit.active == "active")
    }
    /// Brings a unit into memory, a missing one too.
    fn load(&mut self, name: &str) -> Option<Listed>;
    /// Every unit in memory.
    fn units(&self) -> Vec<Listed>;
    /// The true properties of a unit in memory, of all its interfaces.
    fn facts(&self, name: &str) -> Facts;
    /// Those of them that are known anyway, and this one: not every question is worth a look at the disk.
    fn facts_for(&self, name: &str, _property: &str) -> Facts {
        self.facts(name)
    }
    /// Those of them that change while it runs, and others that are known without a look at the disk.
    fn state_facts(&self, name: &str) -> Facts {
        self.facts(name)
    }
    /// The manager's own.
    fn manager_facts(&self) -> Facts;
    /// Every job.
    fn jobs(&self) -> Vec<Job>;
    /// Cancels a job; false: there is none of this number.
    fn cancel(&mut self, job: u32) -> bool;
    /// Asks for a job. The ticket comes back in [`Notice::Queued`] or [`Notice::Refused`].
    fn submit(&mut self, verb: Verb, name: &str, mode: JobMode) -> u64;
    /// Sends a signal to processes of a unit.
    fn kill(&mut self, name: &str, whom: KillWhom, signal: i32);
    /// Forgets that a unit, or that all units, failed.
    fn reset_failed(&mut self, name: Option<&str>);
    /// The unit that a process belongs to.
    fn unit_of(&self, pid: u32) -> Option<String>;
    /// The processes of a unit and of what is below it.
    fn processes(&self, name: &str) -> Vec<Process>;
    /// Every unit file and its state.
    fn unit_files(&self) -> Vec<(String, &'static str)>;
    /// The state of one.
    fn unit_file_state(&self, name: &str) -> Option<&'static str>;
    /// Changes unit files; takes effect with `reload`.
    ///
    /// # Errors
    /// As the file system says, or a file is in the way.
    fn change_unit_files(
        &mut self,
        verb: FileVerb,
        names: &[String],
        runtime: bool,
        force: bool,
    ) -> Result<FileChanges, Failure>;
    /// What `default.target` leads to.
    fn default_target(&self) -> Option<String>;
    /// daemon-reload.
    fn reload(&mut self);
    /// Executes PID 1 anew after this event.
    fn reexecute(&mut self);
    /// Goes down at once, without stopping units.
    fn power(&mut self, how: Shutdown);
    /// Sets properties of a unit by drop-ins; `runtime`: until the next boot.
    ///
    /// # Errors
    /// A property is unknown or its value wrong, or the file system says no.
    fn set_properties(&mut self, name: &str, runtime: bool, properties: &Settings) -> Result<(), Failure>;
    /// Makes a unit that lasts until it is down. `handed`: what its streams are.
    ///
    /// # Errors
    /// There is such a unit, a property is wrong, or the file system says no.
    fn make_transient(
        &mut self,
        name: &str,
        properties: &Settings,
        handed: Vec<OwnedFd>,
    ) -> Result<(), Failure>;
    /// Moves processes into a unit's cgroup, or one below it.
    ///
    /// # Errors
    /// The unit has none.
    fn attach(&mut self, name: &str, below: &str, pids: &[u32]) -> Result<(), Failure>;
    /// A scope's creator lets go of it.
    fn abandon(&mut self, name: &str);
    /// Stops the processes of a unit where they are, or lets them go on.
    ///
    /// # Errors
    /// It has none.
    fn freeze(&mut self, name: &str, frozen: bool) -> Result<(), Failure>;
    /// Removes a unit's directories of these kinds.
    ///
    /// # Errors
    /// It is up, or there are none.
    fn clean(&mut self, name: &str, kinds: &[String]) -> Result<(), Failure>;
    /// Links `default.target`.
    ///
    /// # Errors
    /// As the file system says, or a link is in the way.
    fn set_default_target(&mut self, name: &str, force: bool) -> Result<FileChanges, Failure>;
    /// Links units to a target: `wants` or `requires`.
    ///
    /// # Errors
    /// As the file system says, or there is no such file.
    fn add_dependency(
        &mut self,
        names: &[String],
        target: &str,
        kind: &str,
        runtime: bool,
    ) -> Result<FileChanges, Failure>;
    /// The links that disabling a unit would remove.
    ///
    /// # Errors
    /// There is no such file.
    fn unit_file_links(&self, name: &str, runtime: bool) -> Result<Vec<String>, Failure>;
    /// The users that are there only while a unit runs: numbers and names.
    fn dynamic_users(&self) -> Vec<(u32, String)>;
    /// Everything that is known, for people to read.
    fn dump(&self) -> String;
    /// Whether what starts and stops is said on the console.
    fn set_show_status(&mut self, show: bool);
    /// The most that is logged: `info`, `debug`, …
    fn log_level(&self) -> &'static str;
    /// Logs up to that level from now on; false: there is none of this name.
    fn set_log_level(&mut self, level: &str) -> bool;
    /// Where what is logged goes: `journal-or-kmsg`, `console`, …
    fn log_target(&self) -> &'static str;
    /// Logs there from now on; false: there is none of this name.
    fn set_log_target(&mut self, target: &str) -> bool;
    /// Keeps a unit in memory while this name is on the bus.
    fn hold(&mut self, name: &str, holder: &str);
    /// That name lets go of the unit.
    fn release(&mut self, name: &str, holder: &str);
    /// Whether anybody holds a unit.
    fn has_holders(&self) -> bool;
    /// The names on the bus that services are waited for by.
    fn bus_names(&self) -> Vec<String> {
        Vec::new()
    }
    /// The one of a unit in memory, if Type=dbus waits for it.
    fn bus_name_of(&self, _unit: &str) -> Option<String> {
        None
    }
    /// A name on the bus has an owner now, or none any more.
    fn bus_name(&mut self, _name: &str, _owned: bool) {}
    /// The names on the bus that hold units.
    fn holders(&self) -> Vec<String> {
        Vec::new()
    }
    /// That name is gone from the bus, and lets go of everything.
    fn unref(&mut self, holder: &str);
    /// The variables that services inherit.
    fn environment(&self) -> Vec<String>;
    /// Sets some (`NAME=value`), removes some (names or whole assignments).
    fn change_environment(&mut self, unset: &[String], set: &[String]);
}

/// What happened in the manager, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A job was queued.
    Queued {
        /// Its number.
        job: u32,
        /// The request that it answers.
        ticket: Option<u64>,
        /// Its unit.
        unit: String,
    },
    /// A job ended.
    Done {
        /// Its number.
        job: u32,
        /// Its unit.
        unit: String,
        /// `done`, `failed`, …
        result: &'static str,
    },
    /// No job came of a request.
    Refused {
        /// The request.
        ticket: u64,
        /// Why.
        failure: Failure,
    },
    /// A unit changed.
    Changed(String),
    /// A unit was brought into memory.
    Loaded(String),
    /// The boot is over; how long its parts took, in µs: firmware, loader, kernel, initrd, userspace, all.
    StartupFinished([u64; 6]),
    /// A unit is no longer in memory.
    Forgotten(String),
    /// Unit files are being read again, or that is over.
    Reloading(bool),
    /// Links in the unit directories changed.
    UnitFilesChanged,
}
