//! What a configuration sets through files below `/proc`: kernel parameters and security labels.
//!
//! They are reached by a descriptor of the machine's own `/proc`, opened before any file of the image can be in the
//! way, so a write cannot be led elsewhere (CVE-2025-52881, CVE-2019-19921). A file of the kernel's parameters is
//! that of the namespaces of who opens it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat2, readlinkat};

use super::birth::has;
use super::process::StartError;

/// The machine's `/proc`.
pub struct KernelFiles(OwnedFd);

impl KernelFiles {
    /// Opens it.
    ///
    /// # Errors
    /// When it is none.
    pub fn open() -> io::Result<Self> {
        let proc = super::inside::machine("/proc")?;
        if fstatfs(&proc)?.f_type != PROC_SUPER_MAGIC {
            return Err(io::Error::other("/proc is not the kernel's"));
        }
        Ok(Self(proc))
    }

    /// Our own number, as the machine sees it.
    #[must_use]
    pub fn own_pid(&self) -> Option<u32> {
        readlinkat(&self.0, "self", Vec::new()).ok()?.to_str().ok()?.parse().ok()
    }

    fn write(&self, path: &Path, value: &str) -> io::Result<()> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let file = openat2(&self.0, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)?;
        rustix::io::write(&file, value.as_bytes())?;
        Ok(())
    }

    /// Sets what the configuration asks for.
    ///
    /// # Errors
    /// When a parameter is the whole machine's, or the kernel refuses.
    pub fn configure(&self, spec: &Spec) -> Result<(), StartError> {
        let failed = |what: String, error: io::Error| StartError::Setup(what, error);
        let parameters = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
        for (name, value) in parameters.into_iter().flatten() {
            let what = format!("sysctl {name}");
            if !is_own(spec, name) {
                let error = io::Error::other("it is not in a namespace of the container's own");
                return Err(failed(what, error));
            }
            let path = Path::new("sys").join(name.replace('.', "/"));
            self.write(&path, value).map_err(|error| failed(what, error))?;
        }
        let Some(process) = spec.process() else { return Ok(()) };
        self.label(process).map_err(|(what, error)| failed(what, error))
    }

    /// Gives the program that is executed next its labels.
    fn label(&self, process: &oci_spec::runtime::Process) -> Result<(), (String, io::Error)> {
        let missing =
            |what: &str| io::Error::new(io::ErrorKind::Unsupported, format!("this kernel has no {what}"));
        if let Some(profile) = process.apparmor_profile().as_ref().filter(|profile| !profile.is_empty()) {
            let what = format!("apparmorProfile {profile}");
            if !Path::new("/sys/module/apparmor").exists() && profile != "unconfined" {
                return Err((what, missing("AppArmor")));
            }
            if profile != "unconfined" {
                let paths = ["self/attr/apparmor/exec", "self/attr/exec"];
                let text = format!("exec {profile}");
                let written = self
                    .write(Path::new(paths[0]), &text)
                    .or_else(|_| self.write(Path::new(paths[1]), &text));
                written.map_err(|error| (what, error))?;
            }
        }
        if let Some(label) = process.selinux_label().as_ref().filter(|label| !label.is_empty()) {
            let what = format!("selinuxLabel {label}");
            if !Path::new("/sys/fs/selinux/enforce").exists() {
                return Err((what, missing("SELinux")));
            }
            self.write(Path::new("self/attr/exec"), label).map_err(|error| (what, error))?;
        }
        Ok(())
    }
}

/// Whether a parameter belongs to a namespace that is the container's own.
fn is_own(spec: &Spec, name: &str) -> bool {
    const OF_IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let own = |kind| has(spec, kind, false) || has(spec, kind, true);
    if name.contains('/') || name.contains("..") {
        return false;
    }
    if name.starts_with("net.") {
        own(LinuxNamespaceType::Network)
    } else if OF_IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        own(LinuxNamespaceType::Ipc)
    } else if ["kernel.domainname", "kernel.hostname"].contains(&name) {
        own(LinuxNamespaceType::Uts)
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_containers_own_can_be_set() {
        let spec: Spec = serde_json::from_str(
            r#"{"ociVersion":"1.2.0","linux":{"namespaces":[{"type":"network"},{"type":"mount"}]}}"#,
        )
        .unwrap();
        assert!(is_own(&spec, "net.ipv4.ip_forward"));
        for whole in
            ["kernel.panic", "kernel.sem", "net./../kernel.panic", "vm.swappiness", "kernel.core_pattern"]
        {
            assert!(!is_own(&spec, whole), "{whole}");
        }
    }

    #[test]
    fn writes_do_not_leave_proc() {
        let kernel = KernelFiles::open().unwrap();
        assert!(kernel.write(Path::new("../tmp/x"), "").is_err());
        assert!(kernel.write(Path::new("self/root/tmp/x"), "").is_err());
        assert_eq!(kernel.own_pid(), Some(std::process::id()));
    }
}
