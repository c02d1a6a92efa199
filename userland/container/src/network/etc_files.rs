//! `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf` of a container: files beside its record, mounted into it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use oci_spec::runtime::{Mount, Spec};
use serde_json::json;

use super::namespace::Namespace;
use super::resolver;
use crate::state::Record;

/// Where the machine's own is.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What of names a container is told beyond what the machine knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Name servers in place of the machine's.
    pub servers: Vec<String>,
    /// Domains to look in, in place of the machine's.
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    pub options: Vec<String>,
    /// `NAME:ADDRESS` for `/etc/hosts`; `host-gateway` is an address, too.
    pub hosts: Vec<String>,
}

/// How a container reaches name servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As the machine does.
    Machine,
    /// From a network of its own, without the machine's loopback.
    Network,
    /// By the resolver in its own network.
    Resolver,
}

/// Writes them and adds them to the configuration, unless something else is to be mounted there. `shared` is the
/// directory of the container whose network this one is in.
///
/// # Errors
/// When they cannot be written.
pub fn add(
    spec: &mut Spec,
    dir: &Path,
    record: &Record,
    names: &Names,
    network: (Option<&Namespace>, Reach),
    shared: Option<&Path>,
) -> io::Result<()> {
    let hostname = spec.hostname().clone().unwrap_or_else(|| record.short_id().to_owned());
    let machine = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let texts = [
        ("hostname", format!("{hostname}\n")),
        ("hosts", hosts(&hostname, names, network.0)),
        ("resolv.conf", resolvers(&machine, names, network.1)),
    ];
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (name, text) in texts {
        let target = Path::new("/etc").join(name);
        if mounts.iter().any(|mount| mount.destination() == &target) {
            continue;
        }
        // Who is in another's network has the other's names.
        let others = shared.map(|dir| dir.join(name)).filter(|path| path.exists());
        let path = match others {
            Some(path) => path,
            None => {
                let path = dir.join(name);
                fs::write(&path, text)?;
                set_readable(&path)?;
                path
            }
        };
        let access =
            if spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true)) { "ro" } else { "rw" };
        let mount: Mount = serde_json::from_value(json!({
            "destination": target, "type": "bind", "source": path, "options": ["bind", "rprivate", access, "nodev"],
        }))?;
        mounts.push(mount);
    }
    spec.set_mounts(Some(mounts));
    Ok(())
}

fn set_readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn hosts(hostname: &str, names: &Names, network: Option<&Namespace>) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for entry in &names.hosts {
        if let Some((name, address)) = entry.split_once(':') {
            let gateway = || network.and_then(Namespace::gateway).map(|address| address.to_string());
            let address = if address == "host-gateway" { gateway() } else { Some(address.to_owned()) };
            if let Some(address) = address {
                let _ = writeln!(text, "{address}\t{name}");
            }
        }
    }
    for address in network.map(Namespace::addresses).unwrap_or_default() {
        let _ = writeln!(text, "{address}\t{hostname}");
    }
    text
}

/// The servers that a container asks beyond its own resolver, in the order to be asked.
#[must_use]
pub fn servers(machine: &str, names: &Names) -> Vec<String> {
    if !names.servers.is_empty() {
        return names.servers.clone();
    }
    let lines = machine.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.map(|server| server.trim().to_owned()).collect()
}

fn resolvers(machine: &str, names: &Names, reach: Reach) -> String {
    let mut text = String::new();
    let all = match reach {
        Reach::Resolver => vec![resolver::ADDRESS.to_string()],
        _ => servers(machine, names),
    };
    // The machine's loopback is another than the container's.
    let is_loopback = |server: &str| server.starts_with("127.") || server == "::1";
    for server in all.iter().filter(|server| reach != Reach::Network || !is_loopback(server)) {
        let _ = writeln!(text, "nameserver {server}");
    }
    let of_machine = |word: &str| {
        let lines = machine.lines().filter_map(|line| line.trim().strip_prefix(word));
        lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    for (word, own) in [("search", &names.search), ("options", &names.options)] {
        let values: Vec<String> = if own.is_empty() { of_machine(word) } else { own.clone() };
        if !values.is_empty() {
            let _ = writeln!(text, "{word} {}", values.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_cannot_be_reached_are_left_out() {
        let machine = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.2.3\nsearch example.org\n";
        let none = Names::default();
        assert_eq!(resolvers(machine, &none, Reach::Network), "nameserver 10.0.2.3\nsearch example.org\n");
        let all = "nameserver 127.0.0.53\nnameserver 10.0.2.3\nsearch example.org\n";
        assert_eq!(resolvers(machine, &none, Reach::Machine), all);
        let own = Names {
            servers: vec!["192.0.2.1".into()],
            search: vec!["here".into()],
            options: vec!["ndots:0".into()],
            ..Names::default()
        };
        let text = "nameserver 192.0.2.1\nsearch here\noptions ndots:0\n";
        assert_eq!(resolvers(machine, &own, Reach::Network), text);
        assert_eq!(resolvers(machine, &none, Reach::Resolver), "nameserver 127.0.0.11\nsearch example.org\n");
    }

    #[test]
    fn hosts_that_were_asked_for_are_there() {
        let names = Names { hosts: vec!["db:192.0.2.2".into(), "six:fd00::1".into()], ..Names::default() };
        let text = hosts("box", &names, None);
        assert!(text.contains("192.0.2.2\tdb\nfd00::1\tsix\n") && text.starts_with("127.0.0.1\tlocalhost\n"));
    }
}
