//! Whose namespaces a container is in: its own, the machine's, or another container's.

use serde_json::{Value, json};

use super::{Network, Options};

/// Where a container's namespace of one kind comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Made for it.
    #[default]
    Own,
    /// The machine's.
    Machine,
    /// That of the running container of this name, joined when it starts.
    Container(String),
}

impl Origin {
    /// Reads a mode of the Engine API; none if it is no such mode.
    #[must_use]
    pub fn parse(mode: &str) -> Option<Self> {
        match mode {
            "" | "private" | "shareable" | "none" => Some(Self::Own),
            "host" => Some(Self::Machine),
            other => {
                let name = other.strip_prefix("container:").filter(|name| !name.is_empty())?;
                Some(Self::Container(name.to_owned()))
            }
        }
    }

    /// The container whose it is.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Container(name) => Some(name),
            _ => None,
        }
    }
}

/// The kinds that a caller chooses; the file system is always its own, and the network has [`Network`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Processes.
    pub pid: Origin,
    /// System V and POSIX inter-process communication, with `/dev/shm`.
    pub ipc: Origin,
    /// Host name.
    pub uts: Origin,
    /// The view of cgroups.
    pub cgroup: Origin,
}

/// `linux.namespaces` of a configuration.
pub(super) fn listed(options: &Options) -> Vec<Value> {
    let own = &options.namespaces;
    let mut kinds = vec!["mount"];
    for (kind, origin) in [("pid", &own.pid), ("ipc", &own.ipc), ("uts", &own.uts), ("cgroup", &own.cgroup)] {
        if *origin != Origin::Machine {
            kinds.push(kind);
        }
    }
    if options.network != Network::Host {
        kinds.push("network");
    }
    kinds.iter().map(|kind| json!({ "type": kind })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_or_refused() {
        assert_eq!(Origin::parse("host"), Some(Origin::Machine));
        assert_eq!(Origin::parse("container:x"), Some(Origin::Container("x".into())));
        assert_eq!(["", "private", "shareable"].map(Origin::parse), [const { Some(Origin::Own) }; 3]);
        assert_eq!(["container:", "hosts", "Host", "ns:/x"].map(Origin::parse), [const { None }; 4]);
    }

    #[test]
    fn what_is_the_machines_is_not_made() {
        let namespaces =
            Namespaces { pid: Origin::Machine, ipc: Origin::Container("x".into()), ..Namespaces::default() };
        let options = Options { namespaces, network: Network::Host, ..Options::default() };
        let kinds = listed(&options).iter().map(|one| one["type"].to_string()).collect::<String>();
        assert_eq!(kinds, "\"mount\"\"ipc\"\"uts\"\"cgroup\"");
    }
}
