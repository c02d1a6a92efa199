//! What a cgroup's processes may reach: devices and network addresses, decided by programs in the kernel (bpf(2)).
//!
//! A program says yes or no for a cgroup and all below it; a child's program can only take away. Programs are loaded
//! when a unit's settings ask for them, put in place of the old ones when the settings change, and go with the cgroup.

mod addresses;
mod code;
mod devices;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::AsFd;

use crate::handover::{Inherited, Kept};
use linux::bpf::{Kind, Program};
use unit::settings::{AddressPrefix, CgroupSettings, Device, DevicePolicy};

/// The part of a unit's settings that programs carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    policy: DevicePolicy,
    devices: Vec<Device>,
    allow: Vec<AddressPrefix>,
    deny: Vec<AddressPrefix>,
}

impl Wanted {
    fn of(settings: &CgroupSettings) -> Wanted {
        Wanted {
            policy: settings.device_policy,
            devices: settings.device_allow.clone(),
            allow: settings.ip_allow.clone(),
            deny: settings.ip_deny.clone(),
        }
    }

    /// The programs, by what they decide.
    fn code(&self) -> Vec<(Kind, Vec<u64>)> {
        let mut all = Vec::new();
        if self.policy != DevicePolicy::Auto || !self.devices.is_empty() {
            all.push((Kind::Device, devices::program(&devices::rules(self.policy, &self.devices))));
        }
        if !self.deny.is_empty() {
            for kind in [Kind::Ingress, Kind::Egress] {
                all.push((kind, addresses::program(kind, &self.allow, &self.deny)));
            }
        }
        all
    }
}

/// The programs of all cgroups, written down: what each decides.
pub type Saved = BTreeMap<String, Vec<(String, Kept)>>;

/// The programs of all cgroups, and what they carry out; `None`: of PID 1 before it executed itself anew.
#[derive(Debug, Default)]
pub struct Guards(HashMap<String, (Option<Wanted>, Vec<Program>)>);

impl Guards {
    /// Puts in place what the settings ask for. Does nothing when that is there already.
    ///
    /// # Errors
    /// The kernel takes no such programs. Then the settings are not in force; they are not tried again until they
    /// change.
    pub fn apply(&mut self, path: &str, cgroup: impl AsFd, settings: &CgroupSettings) -> io::Result<()> {
        let wanted = Wanted::of(settings);
        if self
            .0
            .get(path)
            .map_or_else(|| wanted.code().is_empty(), |(have, _)| have.as_ref() == Some(&wanted))
        {
            return Ok(());
        }
        let old = self.0.remove(path).map(|(_, programs)| programs).unwrap_or_default();
        let loaded = load(&wanted, &cgroup);
        let (programs, result) = match loaded {
            Ok(programs) => (programs, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        // After the new ones are there: no moment without.
        for program in old {
            let _ = program.detach(&cgroup);
        }
        self.0.insert(path.to_owned(), (Some(wanted), programs));
        result
    }

    /// Writes the programs down for PID 1 executed anew.
    #[must_use]
    pub fn save(&self) -> Saved {
        let word = |kind| Kind::ALL.iter().find(|(_, it)| *it == kind).map_or("", |(word, _)| word);
        let saved = |it: &Program| (word(it.kind()).to_owned(), Kept::of(it));
        self.0.iter().map(|(path, (_, all))| (path.clone(), all.iter().map(saved).collect())).collect()
    }

    /// Takes them over: they stay until the settings are applied the next time.
    pub fn restore(&mut self, saved: Saved, inherited: &mut Inherited) {
        for (path, programs) in saved {
            let again = |(word, kept): &(String, Kept)| {
                let (_, kind) = Kind::ALL.iter().find(|(it, _)| it == word)?;
                Some(Program::again(*kind, inherited.take(kept)?))
            };
            self.0.insert(path, (None, programs.iter().filter_map(again).collect()));
        }
    }

    /// Forgets a cgroup that is gone, and all below it.
    pub fn forget(&mut self, path: &str) {
        let is_in = |known: &str| {
            known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0.retain(|known, _| !is_in(known));
    }
}

fn load(wanted: &Wanted, cgroup: &impl AsFd) -> io::Result<Vec<Program>> {
    let mut programs = Vec::new();
    for (kind, code) in wanted.code() {
        let program = Program::load(kind, &code)?;
        program.attach(cgroup)?;
        programs.push(program);
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's own check is the only one that counts; without the right to ask it, nothing is shown.
    #[test]
    fn the_kernel_takes_the_programs() {
        let prefix = |text: &str, length| AddressPrefix::new(text.parse().unwrap(), length).unwrap();
        let device = |path: &str, write| Device { path: path.into(), read: true, write, make: false };
        let wanted = Wanted {
            policy: DevicePolicy::Closed,
            devices: vec![device("char-*", false), device("block-*", true)],
            allow: vec![prefix("127.0.0.0", 8), prefix("::1", 128), prefix("fe80::", 64)],
            deny: vec![prefix("0.0.0.0", 0), prefix("::", 0), prefix("10.0.0.0", 9)],
        };
        for (kind, code) in wanted.code() {
            match Program::load(kind, &code) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_root() => {}
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                loaded => drop(loaded.unwrap_or_else(|error| panic!("{kind:?}: {error}"))),
            }
        }
    }

    fn is_root() -> bool {
        rustix::process::getuid().is_root()
    }
}
