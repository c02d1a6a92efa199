//! The system's answers to conditions, and what the engine looks up while it handles an event.
//!
//! Everything here reads small files of the kernel's or of ours; nothing waits for a device or the network.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use unit::{Pid, User};

use crate::dbus::glob;
use crate::prepare::CommandLine;
use crate::users::Users;

/// Patterns match at most this many paths.
const MOST: usize = 1024;
/// Environment and PID files longer than this are cut, in bytes.
const LONGEST: u64 = 1 << 20;

/// The running system.
#[derive(Debug, Default)]
pub struct System {
    command_line: CommandLine,
    first_boot: bool,
}

impl System {
    /// A system started with this command line.
    #[must_use]
    pub fn new(command_line: CommandLine, first_boot: bool) -> System {
        System { command_line, first_boot }
    }
}

/// The paths that an absolute path or pattern matches.
fn expand(pattern: &str) -> Vec<PathBuf> {
    if !glob::is_pattern(pattern) {
        let path = PathBuf::from(pattern);
        return if path.exists() { vec![path] } else { Vec::new() };
    }
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for path in found {
            if glob::is_pattern(part) {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
                let hidden = part.starts_with('.');
                let names =
                    names.filter(|name| glob::matches(part, name) && (hidden || !name.starts_with('.')));
                next.extend(names.map(|name| path.join(name)));
            } else if path.join(part).exists() {
                next.push(path.join(part));
            }
        }
        next.sort();
        next.truncate(MOST);
        found = next;
    }
    found
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

impl unit::Probe for System {
    fn path_exists(&self, path: &str) -> bool {
        !expand(path).is_empty()
    }

    fn is_directory(&self, path: &str) -> bool {
        Path::new(path).is_dir()
    }

    fn is_symlink(&self, path: &str) -> bool {
        Path::new(path).is_symlink()
    }

    fn is_mount_point(&self, path: &str) -> bool {
        crate::prepare::is_mount_point(Path::new(path))
    }

    fn is_writable(&self, path: &str) -> bool {
        let flags = rustix::fs::statvfs(path).map(|info| info.f_flag);
        flags.is_ok_and(|flags| !flags.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    fn is_directory_not_empty(&self, path: &str) -> bool {
        fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
    }

    fn is_file_not_empty(&self, path: &str) -> bool {
        fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() > 0)
    }

    fn is_executable(&self, path: &str) -> bool {
        fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    }

    fn kernel_command_line(&self) -> Vec<String> {
        self.command_line.words().to_vec()
    }

    fn virtualization(&self) -> Option<(String, bool)> {
        let vendor = read("/sys/class/dmi/id/sys_vendor").unwrap_or_default();
        let product = read("/sys/class/dmi/id/product_name").unwrap_or_default();
        let hypervisor = read("/proc/cpuinfo").is_some_and(|text| text.contains(" hypervisor"));
        let name = match (vendor.trim(), product.trim()) {
            (_, "KVM") => "kvm",
            ("QEMU", _) if Path::new("/dev/kvm").exists() || hypervisor => "qemu",
            ("QEMU", _) => "qemu",
            ("Amazon EC2", _) => "amazon",
            ("Google", _) => "google",
            (vendor, _) if vendor.starts_with("VMware") => "vmware",
            ("innotek GmbH" | "Oracle Corporation", _) => "oracle",
            ("Microsoft Corporation", "Virtual Machine") => "microsoft",
            ("Xen", _) => "xen",
            _ if hypervisor => "vm-other",
            _ => return None,
        };
        Some((name.to_owned(), false))
    }

    fn on_ac_power(&self) -> bool {
        let supplies = fs::read_dir("/sys/class/power_supply").into_iter().flatten().flatten();
        let mains: Vec<bool> = supplies
            .filter(|entry| read(entry.path().join("type")).is_some_and(|kind| kind.trim() == "Mains"))
            .map(|entry| read(entry.path().join("online")).is_none_or(|online| online.trim() == "1"))
            .collect();
        mains.is_empty() || mains.contains(&true)
    }

    fn first_boot(&self) -> bool {
        self.first_boot
    }

    fn cgroup_controllers(&self) -> Vec<String> {
        let text = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn capabilities(&self) -> u64 {
        let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
    }

    fn security(&self, name: &str) -> bool {
        let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
        match name {
            "uefi-secureboot" => {
                let path = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
                fs::read(path).is_ok_and(|bytes| bytes.get(4) == Some(&1))
            }
            "audit" => false,
            "tpm2" => Path::new("/sys/class/tpm/tpm0").exists(),
            name => modules.trim().split(',').any(|module| module == name),
        }
    }

    fn memory(&self) -> u64 {
        let info = rustix::system::sysinfo();
        info.totalram.saturating_mul(u64::from(info.mem_unit))
    }

    fn cpus(&self) -> u64 {
        std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64)
    }

    fn user(&self, name: &str) -> Option<User> {
        Users::read(Path::new("/")).user(name).map(|user| User {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            home: user.home.display().to_string(),
            shell: user.shell,
        })
    }

    fn group(&self, name: &str) -> Option<u32> {
        Users::read(Path::new("/")).group(name)
    }

    fn environment_files(&self, pattern: &str) -> Result<Vec<String>, String> {
        let files = expand(pattern);
        if files.is_empty() {
            return Err(format!("no file matches {pattern}"));
        }
        let text = |path: &PathBuf| read(path).ok_or_else(|| format!("cannot read {}", path.display()));
        files.iter().map(text).collect()
    }

    fn pid_file(&self, path: &str) -> Option<Pid> {
        let data = fs::metadata(path).ok()?;
        let pid = Pid(read(path)?.lines().next()?.trim().parse().ok().filter(|pid| *pid > 1)?);
        // Somebody else's word counts only about root's process: the engine checks the cgroup.
        let owner = fs::metadata(format!("/proc/{}", pid.0)).ok()?.uid();
        (data.uid() == 0 || data.uid() == owner).then_some(pid)
    }

    fn is_alive(&self, pid: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.0)).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    fn processes(&self, cgroup: &str) -> Vec<Pid> {
        let all: BTreeSet<u32> = crate::cgroup::processes_in(cgroup).into_iter().collect();
        all.into_iter().map(Pid).filter(|pid| self.is_alive(*pid)).collect()
    }

    fn modified(&self, path: &str) -> Option<unit::Usec> {
        let time = fs::metadata(path).ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(time.as_micros()).ok()
    }

    fn time_zone(&self, name: Option<&str>) -> Option<jiff::tz::TimeZone> {
        match name {
            None => Some(jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC)),
            Some("UTC") => Some(jiff::tz::TimeZone::UTC),
            Some(name) => jiff::tz::TimeZone::get(name).ok(),
        }
    }

    fn random_id(&self) -> u128 {
        let mut bytes = [0; 16];
        let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        u128::from_ne_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unit::Probe;

    #[test]
    fn patterns_match_paths() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a1/x")).unwrap();
        fs::create_dir_all(root.path().join("a2")).unwrap();
        fs::write(root.path().join("a2/x"), "1").unwrap();
        let base = root.path().display().to_string();
        assert_eq!(expand(&format!("{base}/a*/x")).len(), 2);
        let system = System::default();
        assert!(system.path_exists(&format!("{base}/a?")));
        assert!(!system.path_exists(&format!("{base}/b*")));
        assert!(system.is_file_not_empty(&format!("{base}/a2/x")));
        assert!(system.environment_files(&format!("{base}/none")).is_err());
        assert_eq!(system.environment_files(&format!("{base}/a2/x")).unwrap(), ["1"]);
    }

    #[test]
    fn pid_files_are_not_trusted_with_nonsense() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pid");
        let of = |text: &str| {
            fs::write(&path, text).unwrap();
            System::default().pid_file(&path.display().to_string())
        };
        assert_eq!(of(&format!("{}\n", std::process::id())), Some(Pid(std::process::id())));
        for bad in ["", "x", "0", "1", "-5", "99999999999"] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert!(System::default().is_alive(Pid(std::process::id())));
        assert!(!System::default().is_alive(Pid(u32::MAX)));
    }
}
