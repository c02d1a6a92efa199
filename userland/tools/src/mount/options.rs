//! The options of a mount: those for the kernel's mount(2) flags, those for the file system, and those for
//! others, such as service managers, which are left out.

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::PROPAGATIONS;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// A new mount.
    Mount,
    /// Other options for a mount.
    Remount,
    /// A folder at a second place.
    Bind,
    /// A folder and what is mounted below it at a second place.
    BindAll,
    /// A mount to another place.
    Move,
    /// How mounts spread, only.
    Propagation,
}

/// Options, sorted by who they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) action: Action,
    pub(super) flags: MountFlags,
    pub(super) propagation: Vec<MountPropagationFlags>,
    /// For the file system, separated by commas.
    pub(super) data: String,
}

impl Wanted {
    /// Reads a list of options. A later one wins over an earlier one.
    pub(super) fn parse(options: &str) -> Wanted {
        let mut wanted = Wanted {
            action: Action::Mount,
            flags: MountFlags::empty(),
            propagation: Vec::new(),
            data: String::new(),
        };
        for option in split(options) {
            wanted.apply(option);
        }
        if wanted.action == Action::Mount
            && !wanted.propagation.is_empty()
            && wanted.flags.is_empty()
            && wanted.data.is_empty()
        {
            wanted.action = Action::Propagation;
        }
        wanted
    }

    fn apply(&mut self, option: &str) {
        if let Some((flag, set)) = flag(option) {
            // The ways to keep access times exclude each other.
            let times = MountFlags::NOATIME | MountFlags::RELATIME | MountFlags::STRICTATIME;
            if set && times.contains(flag) {
                self.flags.remove(times);
            }
            self.flags.set(flag, set);
            return;
        }
        let (recursive, name) = match option.strip_prefix('r') {
            Some(rest) if PROPAGATIONS.iter().any(|(name, _)| *name == rest) => (true, rest),
            _ => (false, option),
        };
        if let Some((_, kind)) = PROPAGATIONS.iter().find(|(known, _)| *known == name) {
            let more = if recursive { MountPropagationFlags::REC } else { MountPropagationFlags::empty() };
            self.propagation.push(*kind | more);
            return;
        }
        match option {
            "remount" => self.action = Action::Remount,
            "bind" if self.action == Action::Remount => self.flags.insert(MountFlags::BIND),
            "bind" => self.action = Action::Bind,
            "rbind" => self.action = Action::BindAll,
            "move" => self.action = Action::Move,
            "" | "defaults" | "auto" | "noauto" | "nofail" | "fail" | "user" | "nouser" | "users"
            | "owner" | "group" | "_netdev" => {}
            other if other.starts_with("x-") || other.starts_with("comment=") => {}
            other => {
                if !self.data.is_empty() {
                    self.data.push(',');
                }
                self.data.push_str(other);
            }
        }
    }
}

/// Splits at commas that are not within quotation marks.
fn split(options: &str) -> Vec<&str> {
    let mut quoted = false;
    options
        .split(move |character| {
            quoted ^= character == '"';
            character == ',' && !quoted
        })
        .collect()
}

fn flag(option: &str) -> Option<(MountFlags, bool)> {
    Some(match option {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        "lazytime" => (MountFlags::LAZYTIME, true),
        "nolazytime" => (MountFlags::LAZYTIME, false),
        "silent" => (MountFlags::SILENT, true),
        "loud" => (MountFlags::SILENT, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_the_file_systems_own_options_are_told_apart() {
        let wanted = Wanted::parse("ro,nosuid,size=10%,mode=0755,defaults,nofail,x-systemd.automount");
        assert_eq!(wanted.flags, MountFlags::RDONLY | MountFlags::NOSUID);
        assert_eq!((wanted.data.as_str(), wanted.action), ("size=10%,mode=0755", Action::Mount));
    }

    #[test]
    fn a_later_option_wins() {
        assert_eq!(Wanted::parse("ro,rw").flags, MountFlags::empty());
        assert_eq!(Wanted::parse("noatime,relatime").flags, MountFlags::RELATIME);
    }

    #[test]
    fn actions_are_options_too() {
        assert_eq!(Wanted::parse("remount,ro").action, Action::Remount);
        assert_eq!(Wanted::parse("remount,bind,ro").flags, MountFlags::BIND | MountFlags::RDONLY);
        assert_eq!(Wanted::parse("rbind").action, Action::BindAll);
        let private = Wanted::parse("rprivate");
        assert_eq!(private.action, Action::Propagation);
        assert_eq!(private.propagation, [MountPropagationFlags::PRIVATE | MountPropagationFlags::REC]);
    }

    #[test]
    fn commas_in_quotation_marks_stay() {
        assert_eq!(Wanted::parse("context=\"a,b\",ro").data, "context=\"a,b\"");
    }
}
