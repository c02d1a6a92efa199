//! What does not change while the system runs: names and identifiers for specifiers and conditions.

use std::fs;
use std::path::Path;

use unit::Host;
use unit::settings::Defaults;

/// The identifiers of a system that does not run: what its own files say of it, on this machine's kernel.
#[must_use]
pub fn below(root: &Path) -> Host {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    Host {
        machine_id: text("etc/machine-id").trim().to_owned(),
        hostname: text("etc/hostname").trim().to_owned(),
        os_release: os_release(&text("etc/os-release")),
        defaults: crate::configuration::read(root).defaults,
        ..read()
    }
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reads it all; what is not there stays empty.
#[must_use]
pub fn read() -> Host {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let uname = rustix::system::uname();
    let architecture = match uname.machine().to_str() {
        Ok("x86_64") => "x86-64",
        Ok("aarch64") => "arm64",
        _ => "unknown",
    };
    Host {
        machine_id: text("/etc/machine-id").trim().to_owned(),
        boot_id: text("/proc/sys/kernel/random/boot_id").trim().replace('-', ""),
        hostname: uname.nodename().to_string_lossy().into_owned(),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        architecture: architecture.to_owned(),
        os_release: os_release(&text("/etc/os-release")),
        environment: vec![("PATH".to_owned(), PATH.to_owned()), ("LANG".to_owned(), "C.UTF-8".to_owned())],
        started: crate::manager::now().1,
        defaults: Defaults::default(),
    }
}

/// os-release(5): assignments, quoted or not.
fn os_release(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, value) = line.trim().split_once('=')?;
        let value = value.trim_matches(['"', '\'']);
        (!name.starts_with('#')).then(|| (name.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn os_release_values_lose_their_quotes() {
        let found = super::os_release("# x=1\nID=corten\nVERSION_ID=\"0.1\"\nrubbish\n");
        let want = [("ID", "corten"), ("VERSION_ID", "0.1")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(found, want);
    }
}
