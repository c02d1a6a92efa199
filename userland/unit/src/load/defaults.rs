//! What a unit has without saying so: defaults, default dependencies, implicit dependencies.

use super::Draft;
use crate::settings::{DirectoryKind, KillMode, NotifyAccess, Output, ServiceType};
use crate::{Dependency, INFINITY, Role, UnitName, UnitType};

/// DefaultDeviceTimeoutSec=: how long a job waits for a device.
const DEVICE_TIMEOUT: crate::Usec = 90_000_000;

impl Draft<'_> {
    /// Fills in and checks; an error makes the unit unusable.
    pub(super) fn defaults(&mut self) -> Result<(), String> {
        match self.unit.unit_type() {
            UnitType::Service => self.service_defaults()?,
            UnitType::Mount => self.mount_defaults()?,
            UnitType::Socket => self.socket_defaults()?,
            UnitType::Timer => self.timer_defaults()?,
            UnitType::Path => self.path_defaults()?,
            UnitType::Automount => self.automount_defaults()?,
            UnitType::Swap => self.swap_defaults()?,
            // what shutting down itself runs in must not go with everything else
            UnitType::Slice if matches!(self.unit.name.as_str(), "-.slice" | "system.slice") => {
                self.unit.default_dependencies = false;
                self.unit.refuse_manual_stop = true;
                let root = self.unit.name.as_str() == "-.slice";
                if self.unit.description.is_empty() {
                    self.unit.description = if root { "Root Slice" } else { "System Slice" }.into();
                }
            }
            UnitType::Device => {
                self.unit.default_dependencies = false;
                if self.unit.job_running_timeout == INFINITY {
                    self.unit.job_running_timeout = DEVICE_TIMEOUT;
                }
            }
            UnitType::Scope if self.unit.name.as_str() == "init.scope" => {
                self.unit.default_dependencies = false;
                self.unit.refuse_manual_stop = true;
                self.cgroup.slice = Some("-.slice".into());
                if self.unit.description.is_empty() {
                    self.unit.description = "System and Service Manager".into();
                }
            }
            _ => {}
        }
        if self.unit.unit_type() != UnitType::Slice {
            self.processes();
        }
        self.slice();
        if self.unit.default_dependencies {
            self.default_dependencies();
        }
        Ok(())
    }

    fn service_defaults(&mut self) -> Result<(), String> {
        let service = &mut self.service;
        let name = &self.unit.name;
        let starts = service.commands(Role::Start).len();
        if !self.set.contains("Type") {
            service.kind = match (&service.bus_name, starts) {
                (Some(_), _) => ServiceType::Dbus,
                (None, 0) => ServiceType::Oneshot,
                _ => ServiceType::Simple,
            };
        }
        let oneshot = service.kind == ServiceType::Oneshot;
        if starts == 0
            && service.commands(Role::Stop).is_empty()
            && self.unit.success_action == Default::default()
        {
            return Err(format!(
                "{name}: Service has no ExecStart=, ExecStop=, or SuccessAction=. Refusing."
            ));
        }
        if starts == 0 && !oneshot {
            return Err(format!(
                "{name}: Service has no ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
            ));
        }
        if starts == 0 && !service.remain_after_exit && self.unit.success_action == Default::default() {
            return Err(format!(
                "{name}: Service has no ExecStart= setting, which is only allowed for RemainAfterExit=yes services. Refusing."
            ));
        }
        if starts > 1 && !oneshot {
            return Err(format!(
                "{name}: Service has more than one ExecStart= setting, which is only allowed for Type=oneshot services. Refusing."
            ));
        }
        if oneshot {
            use crate::settings::Restart::{Always, OnSuccess};
            if matches!(service.restart, Always | OnSuccess) {
                return Err(format!(
                    "{name}: Service has Restart= set to either always or on-success, which isn't allowed for Type=oneshot services. Refusing."
                ));
            }
            if !self.set.contains("TimeoutStartSec") {
                service.timeout_start = INFINITY;
            }
        }
        if service.kind == ServiceType::Dbus && service.bus_name.is_none() {
            return Err(format!(
                "{name}: Service is of type D-Bus but no D-Bus service name has been specified. Refusing."
            ));
        }
        let speaks = service.kind == ServiceType::Notify || service.watchdog > 0;
        if speaks && service.notify_access == NotifyAccess::None {
            service.notify_access = NotifyAccess::Main;
        }
        if self.unit.kill.mode == KillMode::None {
            self.unit.warnings.push(format!("{name}: KillMode=none leaves processes behind."));
        }
        Ok(())
    }

    fn mount_defaults(&mut self) -> Result<(), String> {
        let name = self.unit.name.clone();
        if self.mount.place.is_empty() {
            self.mount.place = name.to_path().ok_or_else(|| format!("{name} is not the name of a path"))?;
        }
        let place = self.mount.place.clone();
        match UnitName::from_path(&place, UnitType::Mount) {
            Ok(expected) if expected == name => {}
            _ => return Err(format!("Where= setting ({place}) doesn't match unit name {name}. Refusing.")),
        }
        if self.unit.fragment.is_some() && self.mount.what.is_empty() {
            return Err(format!("{name}: What= setting is missing. Refusing."));
        }
        let parent = place.rsplit_once('/').map_or("", |(parent, _)| parent);
        if place != "/" {
            let parent = if parent.is_empty() { "/" } else { parent };
            self.requires_mounts_for(parent)?;
        }
        let what = self.mount.what.clone();
        let bind = self.mount.options.split(',').any(|option| matches!(option, "bind" | "rbind"));
        if (bind || self.options_have("loop")) && what.starts_with('/') {
            self.requires_mounts_for(&what)?;
        }
        Ok(())
    }

    fn options_have(&self, name: &str) -> bool {
        self.mount.options.split(',').any(|option| option == name)
    }

    /// What the settings of processes imply.
    fn processes(&mut self) {
        let mut paths: Vec<String> = Vec::new();
        paths.extend(
            self.exec
                .working_directory
                .iter()
                .filter(|dir| !dir.missing_ok)
                .filter_map(|dir| dir.path.clone()),
        );
        paths.extend(self.exec.root_directory.clone());
        for set in &self.exec.directories {
            if set.kind != DirectoryKind::Configuration {
                paths.extend(set.names.iter().map(|name| format!("{}/{name}", set.kind.parent())));
            }
        }
        for path in paths {
            // the settings hold only absolute paths
            let _ = self.requires_mounts_for(&path);
        }
        let logs = |output: Output| {
            matches!(output, Output::Journal | Output::JournalConsole | Output::Kmsg | Output::KmsgConsole)
        };
        let runs = match self.unit.unit_type() {
            UnitType::Service | UnitType::Swap => true,
            UnitType::Socket => !self.socket.commands.is_empty(),
            _ => false,
        };
        if runs && (logs(self.exec.stdout()) || logs(self.exec.stderr())) {
            self.implied(Dependency::After, "systemd-journald.socket");
        }
    }

    /// Every unit with processes is in a slice; a slice is in its parent.
    fn slice(&mut self) {
        let name = &self.unit.name;
        let slice = match name.unit_type() {
            UnitType::Slice => match name.stem().rsplit_once('-') {
                _ if name.as_str() == "-.slice" => return,
                Some((parent, _)) if !parent.is_empty() => format!("{parent}.slice"),
                _ => "-.slice".to_string(),
            },
            UnitType::Service | UnitType::Mount | UnitType::Socket | UnitType::Swap | UnitType::Scope => {
                match (&self.cgroup.slice, name.instance()) {
                    (Some(slice), _) => slice.clone(),
                    (None, Some(_)) if name.unit_type() == UnitType::Service => {
                        format!("system-{}.slice", crate::name::escape(name.prefix()))
                    }
                    (None, _) => "system.slice".into(),
                }
            }
            _ => return,
        };
        self.cgroup.slice = Some(slice.clone());
        // the root of all mounts is there before any slice
        if name.as_str() != "-.mount" {
            self.implied(Dependency::Slice, &slice);
            self.implied(Dependency::Requires, &slice);
            self.implied(Dependency::After, &slice);
        }
    }

    fn default_dependencies(&mut self) {
        use Dependency::{After, Before, Conflicts, Requires};
        match self.unit.unit_type() {
            UnitType::Service => {
                for (kind, name) in
                    [(Requires, "sysinit.target"), (After, "sysinit.target"), (After, "basic.target")]
                {
                    self.implied(kind, name);
                }
            }
            UnitType::Socket | UnitType::Timer | UnitType::Path => {
                self.implied(Requires, "sysinit.target");
                self.implied(After, "sysinit.target");
                self.implied(
                    Before,
                    match self.unit.unit_type() {
                        UnitType::Socket => "sockets.target",
                        UnitType::Timer => "timers.target",
                        _ => "paths.target",
                    },
                );
            }
            UnitType::Automount => {
                self.implied(Before, "local-fs.target");
                self.implied(After, "local-fs-pre.target");
                self.implied(Before, "umount.target");
                self.implied(Conflicts, "umount.target");
                return;
            }
            UnitType::Swap => {
                self.implied(Before, "swap.target");
                self.implied(Before, "umount.target");
                self.implied(Conflicts, "umount.target");
                return;
            }
            UnitType::Mount => return self.mount_dependencies(),
            _ => {}
        }
        self.implied(Conflicts, "shutdown.target");
        self.implied(Before, "shutdown.target");
    }

    fn mount_dependencies(&mut self) {
        use Dependency::{After, Before, Conflicts, Wants};
        // mounted by nobody's unit file: whoever mounted it, or the end of PID 1, unmounts it
        let place = self.mount.place.as_str();
        let system = ["/proc", "/sys", "/dev", "/run"].iter().any(|root| {
            place.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if matches!(place, "/" | "/usr" | "/etc" | "/var") || system || self.unit.fragment.is_none() {
            return;
        }
        let network = self.options_have("_netdev")
            || matches!(
                self.mount.fs_type.as_str(),
                "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "glusterfs" | "ncpfs"
            );
        if network {
            self.implied(After, "remote-fs-pre.target");
            self.implied(After, "network.target");
            self.implied(After, "network-online.target");
            self.implied(Wants, "network-online.target");
        } else {
            self.implied(After, "local-fs-pre.target");
        }
        if !self.options_have("nofail") {
            self.implied(Before, if network { "remote-fs.target" } else { "local-fs.target" });
        }
        self.implied(Before, "umount.target");
        self.implied(Conflicts, "umount.target");
    }

    pub(super) fn requires_mounts_for(&mut self, path: &str) -> Result<(), String> {
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(format!("\"{path}\" is not an absolute path"));
        }
        self.unit.mounts_for.insert(path.to_string());
        Ok(())
    }

    pub(super) fn implied(&mut self, kind: Dependency, name: &str) {
        if let Ok(name) = UnitName::parse(name) {
            self.add(kind, name);
        }
    }
}
