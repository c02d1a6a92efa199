//! What a unit has without saying so: defaults, default dependencies, implicit dependencies; and what it must have.
//!
//! Source: "Implicit Dependencies" and "Default Dependencies" of systemd.unit(5) and its family.

mod mount;
mod service;

use super::Draft;
use crate::settings::{DirectoryKind, Input, Output};
use crate::{Dependency, INFINITY, UnitName, UnitType};

impl Draft<'_> {
    /// Fills in what the files leave open; an error makes the unit unusable.
    pub(super) fn defaults(&mut self) -> Result<(), String> {
        let usable = match self.unit.unit_type() {
            UnitType::Service => {
                self.service_defaults();
                Ok(())
            }
            UnitType::Mount => {
                self.mount_defaults();
                Ok(())
            }
            UnitType::Socket => self.socket_defaults(),
            UnitType::Timer => self.timer_defaults(),
            UnitType::Path => self.path_defaults(),
            UnitType::Automount => self.automount_defaults(),
            UnitType::Swap => self.swap_defaults(),
            // what shutting down itself runs in must not go with everything else
            UnitType::Slice if matches!(self.unit.name.as_str(), "-.slice" | "system.slice") => {
                self.unit.default_dependencies = false;
                let root = self.unit.name.as_str() == "-.slice";
                if self.unit.description.is_empty() {
                    self.unit.description = if root { "Root Slice" } else { "System Slice" }.into();
                }
                Ok(())
            }
            UnitType::Device => {
                if self.unit.job_running_timeout == INFINITY {
                    self.unit.job_running_timeout = self.context.host.defaults.device_job_timeout();
                }
                Ok(())
            }
            UnitType::Scope if self.unit.name.as_str() == "init.scope" => {
                self.unit.default_dependencies = false;
                if self.unit.description.is_empty() {
                    self.unit.description = "System and Service Manager".into();
                }
                Ok(())
            }
            _ => Ok(()),
        };
        super::exec::implied(self);
        self.left_open();
        if self.unit.unit_type() != UnitType::Slice {
            self.cgroup.tasks_max.get_or_insert(self.context.host.defaults.tasks_max);
        }
        if self.unit.unit_type() != UnitType::Slice {
            self.processes();
        }
        self.slice();
        if self.unit.default_dependencies {
            self.default_dependencies();
        }
        usable
    }

    /// What the manager's configuration says of processes for those that say nothing.
    fn left_open(&mut self) {
        let defaults = &self.context.host.defaults;
        let exec = &mut self.exec;
        defaults.complete(&mut exec.limits);
        exec.scheduling.oom_score_adjust = exec.scheduling.oom_score_adjust.or(defaults.oom_score_adjust);
        let from_nobody = matches!(exec.input, Input::Null | Input::File(_) | Input::Data);
        if exec.output.is_none() && from_nobody && defaults.output != Output::Journal {
            exec.output = Some(defaults.output.clone());
        }
        if exec.error.is_none() && defaults.error != Output::Inherit {
            exec.error = Some(defaults.error.clone());
        }
    }

    /// Says why the unit cannot be used.
    pub(super) fn verify(&self) -> Result<(), String> {
        match self.unit.unit_type() {
            UnitType::Service => self.verify_service(),
            UnitType::Mount => self.verify_mount(),
            UnitType::Socket => self.verify_socket(),
            UnitType::Timer => self.verify_timer(),
            UnitType::Path => self.verify_path(),
            UnitType::Swap => self.verify_swap(),
            _ => Ok(()),
        }
        .map_err(|why| format!("{}: {why} Refusing.", self.unit.name))
    }

    /// Ties a unit that can be used to its slice.
    pub(super) fn attach(&mut self) {
        // the root of all mounts is there before any slice
        if self.unit.name.as_str() != "-.mount"
            && let Some(slice) = self.cgroup.slice.clone()
        {
            self.implied(Dependency::Slice, &slice);
            self.implied(Dependency::Requires, &slice);
            self.implied(Dependency::After, &slice);
        }
    }

    /// What the settings of processes imply.
    fn processes(&mut self) {
        let mut paths: Vec<String> = Vec::new();
        let mut late = false;
        paths.extend(
            self.exec
                .working_directory
                .iter()
                .filter(|dir| !dir.missing_ok)
                .filter_map(|dir| dir.path.clone()),
        );
        paths.extend(self.exec.root_directory.clone());
        let sandbox = &self.exec.sandbox;
        let tmp = sandbox.private_tmp;
        if tmp {
            paths.push("/var/tmp".into());
        }
        let given = |name: &Option<String>| name.iter().cloned().collect::<Vec<_>>();
        paths.extend(given(&sandbox.network_namespace).into_iter().chain(given(&sandbox.ipc_namespace)));
        for set in &self.exec.directories {
            paths.extend(set.names.iter().map(|name| format!("{}/{name}", set.kind.parent())));
            // they may be on a root file system that is yet to become writable
            let kept = matches!(set.kind, DirectoryKind::State | DirectoryKind::Cache | DirectoryKind::Logs);
            if kept && !set.names.is_empty() {
                late = true;
            }
        }
        if late {
            self.implied(Dependency::After, "systemd-remount-fs.service");
        }
        for path in paths {
            // the settings hold only absolute paths
            let _ = self.requires_mounts_for(&path);
        }
        if tmp {
            self.implied(Dependency::Wants, "tmp.mount");
            self.implied(Dependency::After, "tmp.mount");
            self.implied(Dependency::After, "systemd-tmpfiles-setup.service");
        }
        let logs = |output: Output| {
            matches!(output, Output::Journal | Output::JournalConsole | Output::Kmsg | Output::KmsgConsole)
        };
        let runs = match self.unit.unit_type() {
            // the log's socket is on the root itself
            UnitType::Mount if self.unit.name.as_str() == "-.mount" => false,
            UnitType::Service | UnitType::Mount | UnitType::Swap => true,
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
                    (None, Some(_)) => format!("system-{}.slice", crate::name::escape(name.prefix())),
                    (None, None) if self.is_extrinsic() => "-.slice".into(),
                    (None, None) => "system.slice".into(),
                }
            }
            _ => return,
        };
        self.cgroup.slice = Some(slice);
    }

    /// It is there longer than the system is up: nothing that starts or stops it is implied.
    fn is_extrinsic(&self) -> bool {
        self.unit.name.is_perpetual()
            || (self.unit.unit_type() == UnitType::Mount && self.mount_is_extrinsic())
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
            // a target is not stopped by the one that stops everything else
            UnitType::Target if self.unit.name.as_str() == "shutdown.target" => return,
            UnitType::Device => return,
            _ => {}
        }
        self.implied(Conflicts, "shutdown.target");
        self.implied(Before, "shutdown.target");
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
