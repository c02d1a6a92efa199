//! The options of a mount, sorted by who they are for: the mount, its place in the tree, the file system.
//!
//! Sources: OCI runtime specification "Linux mount options", mount(8), mount_setattr(2).

use linux::mount_attr::{MountAttributes as Attributes, Propagation};

/// A mount's options, sorted by who they are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Attributes to have.
    pub set: Attributes,
    /// Attributes named as not to have, which a copied mount may bring along.
    pub clear: Attributes,
    /// The same for all mounts below, too.
    pub set_below: Attributes,
    /// The same for all mounts below, too.
    pub clear_below: Attributes,
    /// Whether it is a copy of what is mounted elsewhere.
    pub bind: bool,
    /// Whether the copy has what is mounted below, too.
    pub recursive: bool,
    /// How mounts travel, in the order asked; the flag tells of all mounts below.
    pub propagation: Vec<(Propagation, bool)>,
    /// Whether a memory file system begins with what the image has there.
    pub copy_up: bool,
    /// Whether owners are mapped as the configuration says; the flag tells of all mounts below.
    pub map_owners: Option<bool>,
    /// `key` or `key=value` for the file system itself.
    pub data: Vec<(String, Option<String>)>,
}

/// Names of attributes, and whether the name sets or clears.
const ATTRIBUTES: &[(&str, Attributes, bool)] = &[
    ("ro", Attributes::READ_ONLY, true),
    ("rw", Attributes::READ_ONLY, false),
    ("nosuid", Attributes::NO_SUID, true),
    ("suid", Attributes::NO_SUID, false),
    ("nodev", Attributes::NO_DEV, true),
    ("dev", Attributes::NO_DEV, false),
    ("noexec", Attributes::NO_EXEC, true),
    ("exec", Attributes::NO_EXEC, false),
    ("nodiratime", Attributes::NO_DIR_ATIME, true),
    ("diratime", Attributes::NO_DIR_ATIME, false),
    ("nosymfollow", Attributes::NO_SYMLINK_FOLLOW, true),
    ("symfollow", Attributes::NO_SYMLINK_FOLLOW, false),
    ("noatime", Attributes::NO_ATIME, true),
    ("atime", Attributes::NO_ATIME, false),
    ("strictatime", Attributes::STRICT_ATIME, true),
    ("nostrictatime", Attributes::STRICT_ATIME, false),
    // What a mount has without any of them; the kernel has had no other way since 2.6.30.
    ("relatime", Attributes::NONE, true),
    ("norelatime", Attributes::NONE, true),
];

const PROPAGATIONS: &[(&str, Propagation)] = &[
    ("private", Propagation::Private),
    ("slave", Propagation::Slave),
    ("shared", Propagation::Shared),
    ("unbindable", Propagation::Unbindable),
];

/// Flags of the file system rather than the mount; those that clear say what is so anyway.
const OF_THE_FILE_SYSTEM: [&str; 5] = ["sync", "dirsync", "mand", "lazytime", "silent"];
const NO_EFFECT: [&str; 9] =
    ["defaults", "async", "nomand", "nolazytime", "loud", "remount", "rbind", "bind", "newinstance"];

/// Every name that has a meaning of its own, for `features`.
pub fn known() -> Vec<String> {
    let plain = ATTRIBUTES.iter().map(|(name, ..)| (*name).to_owned());
    let below = ATTRIBUTES.iter().map(|(name, ..)| format!("r{name}"));
    let travel = PROPAGATIONS.iter().flat_map(|(name, _)| [(*name).to_owned(), format!("r{name}")]);
    let rest = OF_THE_FILE_SYSTEM.iter().chain(&NO_EFFECT).chain(&["tmpcopyup", "idmap", "ridmap"]);
    let mut all: Vec<String> =
        plain.chain(below).chain(travel).chain(rest.map(|name| (*name).to_owned())).collect();
    all.retain(|name| name != "newinstance");
    all.sort();
    all
}

impl MountOptions {
    /// Sorts them.
    #[must_use]
    pub fn parse(options: &[impl AsRef<str>]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.take(option.as_ref());
        }
        parsed
    }

    fn take(&mut self, option: &str) {
        let below = option.strip_prefix('r');
        let find = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        let travel = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name);
        if let Some((_, attribute, set)) = find(option) {
            change((&mut self.set, &mut self.clear), *attribute, *set);
        } else if let Some((_, attribute, set)) = below.and_then(find) {
            change((&mut self.set_below, &mut self.clear_below), *attribute, *set);
        } else if let Some((_, how)) = travel(option) {
            self.propagation.push((*how, false));
        } else if let Some((_, how)) = below.and_then(travel) {
            self.propagation.push((*how, true));
        } else {
            match option {
                "bind" => self.bind = true,
                "rbind" => (self.bind, self.recursive) = (true, true),
                "tmpcopyup" => self.copy_up = true,
                "idmap" => self.map_owners = Some(false),
                "ridmap" => self.map_owners = Some(true),
                // Every new devpts is an instance of its own since Linux 4.7.
                _ if NO_EFFECT.contains(&option) => {}
                other => self.data.push(match other.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (other.to_owned(), None),
                }),
            }
        }
    }
}

/// Of two opposite options the last one holds.
fn change((set, clear): (&mut Attributes, &mut Attributes), attribute: Attributes, sets: bool) {
    let is_atime = attribute == Attributes::NONE
        || attribute == Attributes::NO_ATIME
        || attribute == Attributes::STRICT_ATIME;
    if sets && is_atime {
        // A choice of three: the kernel wants the old one cleared.
        *set = set.without(Attributes::ANY_ATIME);
        *clear = clear.with(Attributes::ANY_ATIME);
        *set = set.with(attribute);
    } else if is_atime {
        *set = set.without(attribute);
        *clear = clear.with(Attributes::ANY_ATIME);
    } else if sets {
        (*set, *clear) = (set.with(attribute), clear.without(attribute));
    } else {
        (*set, *clear) = (set.without(attribute), clear.with(attribute));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted_by_who_they_are_for() {
        let parsed =
            MountOptions::parse(&["nosuid", "ro", "rbind", "rslave", "mode=755", "huge", "newinstance"]);
        assert_eq!(parsed.set, Attributes::READ_ONLY.with(Attributes::NO_SUID));
        assert!(parsed.bind && parsed.recursive);
        assert_eq!(parsed.propagation, [(Propagation::Slave, true)]);
        assert_eq!(parsed.data, [("mode".to_owned(), Some("755".to_owned())), ("huge".to_owned(), None)]);
    }

    #[test]
    fn the_last_of_opposite_options_holds() {
        let parsed = MountOptions::parse(&["ro", "rw", "nodev", "noatime", "relatime"]);
        assert_eq!(
            (parsed.set, parsed.clear),
            (Attributes::NO_DEV, Attributes::READ_ONLY.with(Attributes::ANY_ATIME))
        );
        let below = MountOptions::parse(&["rro", "rnosuid", "rdev"]);
        assert_eq!(below.set_below, Attributes::READ_ONLY.with(Attributes::NO_SUID));
        assert_eq!(below.clear_below, Attributes::NO_DEV);
        assert!(below.set.is_empty() && below.data.is_empty());
    }

    #[test]
    fn every_known_name_is_none_of_the_file_systems_but_for_its_flags() {
        for name in known() {
            let parsed = MountOptions::parse(&[&name]);
            assert!(parsed.data.is_empty() || OF_THE_FILE_SYSTEM.contains(&name.as_str()), "{name}");
        }
    }
}
