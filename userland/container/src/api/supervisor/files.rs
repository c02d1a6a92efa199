//! `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf` of a container: files beside its record, mounted into it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use oci_spec::runtime::{Mount, Spec};
use serde_json::json;

use super::net::Net;
use crate::api::create::Host;
use crate::state::Record;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Writes them and adds them to the configuration, unless something else is to be mounted there.
///
/// # Errors
/// When they cannot be written.
pub fn add(spec: &mut Spec, dir: &Path, record: &Record, host: &Host, net: Option<&Net>) -> io::Result<()> {
    let hostname = spec.hostname().clone().unwrap_or_else(|| record.short_id().to_owned());
    let machine = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let texts = [
        ("hostname", format!("{hostname}\n")),
        ("hosts", hosts(&hostname, host, net)),
        ("resolv.conf", resolvers(&machine, host, net.is_some())),
    ];
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    for (name, text) in texts {
        let target = Path::new("/etc").join(name);
        if mounts.iter().any(|mount| mount.destination() == &target) {
            continue;
        }
        let path = dir.join(name);
        fs::write(&path, text)?;
        set_readable(&path)?;
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

fn hosts(hostname: &str, host: &Host, net: Option<&Net>) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for entry in host.extra_hosts.iter().flatten() {
        if let Some((name, address)) = entry.split_once(':') {
            let gateway = || net.and_then(|net| net.gateway()).map(|address| address.to_string());
            let address = if address == "host-gateway" { gateway() } else { Some(address.to_owned()) };
            if let Some(address) = address {
                let _ = writeln!(text, "{address}\t{name}");
            }
        }
    }
    if let Some(net) = net {
        let _ = writeln!(text, "{}\t{hostname}", net.address());
        for (address, names) in net.neighbours() {
            let _ = writeln!(text, "{address}\t{}", names.join(" "));
        }
    }
    text
}

/// The machine's name servers, but for those on its loopback, which a network of its own does not reach.
fn resolvers(machine: &str, host: &Host, own_network: bool) -> String {
    let asked = host.dns.iter().flatten().map(|server| format!("nameserver {server}\n")).collect::<String>();
    let reachable = |line: &&str| {
        let server = line.trim().strip_prefix("nameserver").map(str::trim);
        !own_network || !server.is_some_and(|server| server.starts_with("127.") || server == "::1")
    };
    let mut kept: String = machine
        .lines()
        .filter(|line| asked.is_empty() || !line.trim().starts_with("nameserver"))
        .filter(reachable)
        .map(|line| format!("{line}\n"))
        .collect();
    kept.insert_str(0, &asked);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_cannot_be_reached_are_left_out() {
        let machine = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.2.3\nsearch example.org\n";
        let host = Host::default();
        assert_eq!(resolvers(machine, &host, true), "# by hand\nnameserver 10.0.2.3\nsearch example.org\n");
        assert_eq!(resolvers(machine, &host, false), machine);
        let own: Host = serde_json::from_value(serde_json::json!({ "Dns": ["192.0.2.1"] })).unwrap();
        assert_eq!(resolvers(machine, &own, true), "nameserver 192.0.2.1\n# by hand\nsearch example.org\n");
        let text =
            hosts("box", &serde_json::from_value(json!({ "ExtraHosts": ["db:192.0.2.2"] })).unwrap(), None);
        assert!(text.contains("192.0.2.2\tdb\n") && text.starts_with("127.0.0.1\tlocalhost\n"));
    }
}
