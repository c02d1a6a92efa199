//! A mount's defaults and dependencies, and what makes one unusable; systemd.mount(5).

use super::super::Draft;
use crate::{Dependency, UnitName, UnitType, name};

/// File systems that come over the network.
const NETWORK: &[&str] = &[
    "afs",
    "ceph",
    "cifs",
    "smb3",
    "smbfs",
    "sshfs",
    "ncpfs",
    "ncp",
    "nfs",
    "nfs4",
    "gfs",
    "gfs2",
    "glusterfs",
    "pvfs2",
    "ocfs2",
    "lustre",
    "davfs",
];
/// Where the manager itself mounts what programs rely on.
const OF_THE_MANAGER: &[&str] = &[
    "/proc",
    "/sys",
    "/dev",
    "/sys/kernel/security",
    "/sys/fs/smackfs",
    "/dev/shm",
    "/dev/pts",
    "/run",
    "/sys/fs/cgroup",
    "/sys/fs/pstore",
    "/sys/firmware/efi/efivars",
    "/sys/fs/bpf",
];

impl Draft<'_> {
    pub(super) fn mount_defaults(&mut self) {
        use Dependency::{After, Before, Requires, StopPropagatedFrom, Wants};
        if self.mount.place.is_empty() {
            self.mount.place = self.unit.name.to_path().unwrap_or_default();
        }
        if self.unit.name.as_str() == "-.mount" {
            self.unit.default_dependencies = false;
            if self.unit.description.is_empty() {
                self.unit.description = "Root Mount".into();
            }
        }
        let (place, what) = (self.mount.place.clone(), self.mount.what.clone());
        if place != "/" {
            let parent = place.rsplit_once('/').map_or("", |(parent, _)| parent);
            let _ = self.requires_mounts_for(if parent.is_empty() { "/" } else { parent });
        }
        let from_file = self.unit.fragment.is_some();
        let (bind, network) = (self.has_option(&["bind", "rbind"]), self.is_network());
        if from_file && what.starts_with('/') && (bind || self.has_option(&["loop"]) || !network) {
            let _ = self.requires_mounts_for(&what);
        }
        let is_device = ["/dev/", "/sys/"].iter().any(|folder| what.starts_with(folder));
        if from_file && !bind && is_device && what != "/dev/root" && place != "/" {
            if let Ok(device) = UnitName::from_path(&what, UnitType::Device) {
                for kind in [After, Requires, StopPropagatedFrom] {
                    self.add(kind, device.clone());
                }
            }
            if what.starts_with("/dev/") {
                self.implied(After, &format!("blockdev@{}.target", name::escape_path(&what)));
            }
        }
        let quota = ["usrquota", "grpquota", "quota", "usrjquota", "grpjquota"];
        if from_file && !bind && !network && self.has_option(&quota) {
            for service in ["systemd-quotacheck.service", "quotaon.service"] {
                self.implied(Before, service);
                self.implied(Wants, service);
            }
        }
    }

    pub(super) fn verify_mount(&self) -> Result<(), String> {
        match UnitName::from_path(&self.mount.place, UnitType::Mount) {
            Ok(expected) if expected == self.unit.name => {}
            _ => return Err("Where= setting doesn't match unit name.".into()),
        }
        if self.unit.fragment.is_some() && OF_THE_MANAGER.contains(&self.mount.place.as_str()) {
            return Err(format!("Cannot create mount unit for API file system {}.", self.mount.place));
        }
        if self.unit.fragment.is_some() && self.mount.what.is_empty() && !self.unit.name.is_perpetual() {
            return Err("What= setting is missing.".into());
        }
        Ok(())
    }

    /// What is mounted there stays until the machine goes down.
    pub(super) fn mount_is_extrinsic(&self) -> bool {
        let place = self.mount.place.as_str();
        let kept = ["/run/initramfs", "/proc", "/sys", "/dev"];
        let below = |root: &&str| {
            place.strip_prefix(*root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // mounted by nobody's unit file: whoever mounted it, or the end of PID 1, unmounts it
        matches!(place, "/" | "/usr") || kept.iter().any(below) || self.has_option(&["x-initrd.mount"])
    }

    pub(super) fn mount_dependencies(&mut self) {
        use Dependency::{After, Before, Conflicts, Wants};
        // mounted by nobody's unit file: whoever mounted it, or the end of PID 1, unmounts it
        if self.mount_is_extrinsic() || self.unit.fragment.is_none() {
            return;
        }
        let network = self.is_network();
        if network {
            self.implied(After, "network.target");
            self.implied(After, "network-online.target");
            self.implied(Wants, "network-online.target");
        }
        let before = if network { "remote-fs.target" } else { "local-fs.target" };
        self.implied(After, if network { "remote-fs-pre.target" } else { "local-fs-pre.target" });
        if !self.has_option(&["nofail"]) {
            self.implied(Before, before);
        }
        self.implied(Before, "umount.target");
        self.implied(Conflicts, "umount.target");
        // what it holds may be swapped out
        if self.mount.fs_type == "tmpfs" {
            self.implied(After, "swap.target");
        }
    }

    fn is_network(&self) -> bool {
        let kind = self.mount.fs_type.as_str();
        self.has_option(&["_netdev"]) || NETWORK.contains(&kind.strip_prefix("fuse.").unwrap_or(kind))
    }

    fn has_option(&self, names: &[&str]) -> bool {
        self.mount
            .options
            .split(',')
            .any(|option| names.contains(&option.split_once('=').map_or(option, |(name, _)| name)))
    }
}
