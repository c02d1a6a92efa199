//! What a unit has without saying so: defaults, default dependencies, implicit dependencies; and what it must have.
//!
//! Source: "Implicit Dependencies" and "Default Dependencies" of systemd.unit(5) and its family.

mod mount;
mod service;

use super::Draft;
use crate::settings::{DirectoryKind, Output};
use crate::{Dependency, UnitName, UnitType};

impl Draft<'_> {
    /// Fills in what the files leave open; an error makes the unit unusable.
    pub(super) fn defaults(&mut self) -> Result<(), String> {
        match self.unit.unit_type() {
            UnitType::Service => self.service_defaults(),
            UnitType::Mount => self.mount_defaults(),
            // what shutting down itself runs in must not go with everything else
            UnitType::Slice if matches!(self.unit.name.as_str(), "-.slice" | "system.slice") => {
                self.unit.default_dependencies = false;
                let root = self.unit.name.as_str() == "-.slice";
                if self.unit.description.is_empty() {
                    self.unit.description = if root { "Root Slice" } else { "System Slice" }.into();
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

    /// Says why the unit cannot be used.
    pub(super) fn verify(&self) -> Result<(), String> {
        match self.unit.unit_type() {
            UnitType::Service => self.verify_service(),
            UnitType::Mount => self.verify_mount(),
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
        let logs = |output: Output| {
            matches!(output, Output::Journal | Output::JournalConsole | Output::Kmsg | Output::KmsgConsole)
        };
        // the log's socket is on the root itself
        let runs = matches!(self.unit.unit_type(), UnitType::Service | UnitType::Mount | UnitType::Swap)
            && self.unit.name.as_str() != "-.mount";
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

    fn implied(&mut self, kind: Dependency, name: &str) {
        if let Ok(name) = UnitName::parse(name) {
            self.add(kind, name);
        }
    }
}
