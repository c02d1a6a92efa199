//! Units and settings that clients make at run time: files in the folders of the load path that are for them.
//!
//! A transient unit is a file in `/run/systemd/transient`, so that it survives a reload and there is one loader; it
//! is taken away once the unit is down and nobody on the bus holds it. `set-property` writes a drop-in for each
//! property into `system.control`, and what concerns the cgroup takes effect at once. Source:
//! org.freedesktop.systemd1(5), systemd.unit(5) "Unit File Load Path".

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use unit::{ActiveState, Event, LoadState, UnitName};

use crate::face::News;
use crate::manager::Manager;

/// Where transient units are.
const TRANSIENT: &str = "/run/systemd/transient";
/// Where settings are that last, and those that last until the reboot.
const CONTROL: [&str; 2] = ["/etc/systemd/system.control", "/run/systemd/system.control"];

/// Who holds which unit in memory: names on the bus.
pub type Holders = BTreeMap<UnitName, BTreeSet<String>>;

/// Why a file of ours was not made.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// There is such a unit.
    #[error("Unit {0} was already loaded or has a fragment file.")]
    Exists(UnitName),
    /// The loader does not take it.
    #[error("{0}")]
    Bad(String),
    /// The disk does not.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Manager {
    /// Makes a unit of this text and loads it. `handed`: descriptors that the text speaks of, kept while it is there.
    ///
    /// # Errors
    /// It is there already, the loader complains, or it cannot be written.
    pub fn make_transient(
        &mut self,
        name: &UnitName,
        text: &str,
        handed: Vec<OwnedFd>,
    ) -> Result<(), Failed> {
        self.forget_transient(name);
        let known = self.engine.status(name).is_some_and(|status| {
            status.load != LoadState::NotFound || !status.active.is_down() || status.job.is_some()
        });
        if known || self.catalog.state(name).is_some() {
            return Err(Failed::Exists(name.clone()));
        }
        let path = Path::new(TRANSIENT).join(name.as_str());
        self.check(name, &path, text)?;
        write(&path, text)?;
        self.catalog.forget();
        if !handed.is_empty() {
            self.streams.insert(name.clone(), handed);
        }
        self.handle(Event::Forget { unit: name.clone() });
        self.load(name);
        let status = self.engine.status(name);
        match status.filter(|status| status.load != LoadState::Loaded) {
            None => Ok(()),
            Some(status) => {
                self.remove_transient(name);
                Err(Failed::Bad(status.load_error.unwrap_or_default()))
            }
        }
    }

    /// Writes a drop-in for a unit: `name` is the property's.
    ///
    /// # Errors
    /// The loader complains, or it cannot be written.
    pub fn set_property(
        &mut self,
        unit: &UnitName,
        runtime: bool,
        name: &str,
        text: &str,
    ) -> Result<(), Failed> {
        let folder = if self.is_transient(unit) {
            Path::new(TRANSIENT)
        } else {
            Path::new(CONTROL.get(usize::from(runtime)).copied().unwrap_or_default())
        };
        let path = folder.join(format!("{unit}.d")).join(format!("50-{name}.conf"));
        self.check(unit, &path, text)?;
        write(&path, text)
    }

    /// Takes settings over that were just written: definitions are read anew, a running unit's cgroup is set.
    pub fn take_properties_over(&mut self, unit: &UnitName) {
        self.catalog.forget();
        self.handle(Event::Reload);
        let Some(status) = self.engine.status(unit) else { return };
        if let Some(cgroup) = status.cgroup.filter(|cgroup| self.tree.exists(cgroup)) {
            let resources = std::sync::Arc::clone(&status.definition.cgroup);
            let action = unit::Action::ConfigureCgroup { unit: unit.clone(), cgroup, resources };
            self.carry_out(action);
        }
        self.tell(News::Changed { unit: unit.clone() });
    }

    /// What the loader would say to a file of this text.
    fn check(&self, name: &UnitName, path: &Path, text: &str) -> Result<(), Failed> {
        let fragment = unit::Text { path: path.display().to_string(), text: text.to_owned() };
        let sources = unit::Sources { fragment: Some(fragment), ..unit::Sources::default() };
        let unit = unit::load::load(name, &Ok(sources), None, self.host());
        // Lines that cannot be used; what is only told of the whole unit is no reason to refuse it.
        let line = format!("{}:", path.display());
        let wrong = |warning: &&String| warning.starts_with(&line);
        match unit.warnings.iter().find(wrong) {
            Some(warning) => Err(Failed::Bad(warning.clone())),
            None => Ok(()),
        }
    }

    /// Whether a unit's files have changed since they were read.
    #[must_use]
    pub fn is_stale(&self, unit: &unit::Unit) -> bool {
        let files = unit.fragment.iter().chain(&unit.drop_ins).chain(&unit.source_path);
        self.catalog.is_stale(&unit.name, files)
    }

    /// Whether the unit was made at run time.
    pub fn is_transient(&self, name: &UnitName) -> bool {
        self.engine.definition(name).is_some_and(made_at_run_time)
    }

    /// Somebody on the bus wants the unit to stay in memory.
    pub fn hold(&mut self, unit: UnitName, holder: &str) {
        self.holders.entry(unit).or_default().insert(holder.to_owned());
    }

    /// Somebody no longer does.
    pub fn release(&mut self, unit: &UnitName, holder: &str) {
        if let Some(holders) = self.holders.get_mut(unit) {
            holders.remove(holder);
            if holders.is_empty() {
                self.holders.remove(unit);
            }
        }
        self.forget_transient(unit);
    }

    /// Somebody is gone from the bus.
    pub fn release_all(&mut self, holder: &str) {
        let held: Vec<UnitName> = self
            .holders
            .iter()
            .filter(|(_, holders)| holders.contains(holder))
            .map(|(unit, _)| unit.clone())
            .collect();
        for unit in held {
            self.release(&unit, holder);
        }
    }

    /// Takes a transient unit away if it is down, without a job, and nobody holds it.
    pub fn forget_transient(&mut self, name: &UnitName) {
        // nothing else is looked at for the many that are not transient: this comes after every change of every unit
        if !self.engine.definition(name).is_some_and(made_at_run_time) {
            return;
        }
        let Some(status) = self.engine.status(name) else { return };
        let name = &status.definition.name;
        let collected = match status.active {
            ActiveState::Inactive => true,
            ActiveState::Failed => status.definition.collect_failed,
            _ => false,
        };
        if collected && status.job.is_none() && !self.holders.contains_key(name) {
            self.remove_transient(name);
        }
    }

    /// Takes away those of the transient units that these news have brought down.
    pub fn collect(&mut self, news: &[News]) {
        let settled: BTreeSet<&UnitName> = news
            .iter()
            .filter_map(|news| match news {
                News::Changed { unit } | News::Done { unit, .. } => Some(unit),
                _ => None,
            })
            .collect();
        for unit in settled {
            self.forget_transient(unit);
        }
    }

    fn remove_transient(&mut self, name: &UnitName) {
        let folder = Path::new(TRANSIENT);
        self.streams.remove(name);
        let _ = fs::remove_file(folder.join(name.as_str()));
        let _ = fs::remove_dir_all(folder.join(format!("{name}.d")));
        self.catalog.forget();
        self.handle(Event::Forget { unit: name.clone() });
        self.tell(News::Forgotten { unit: name.clone() });
    }
}

fn made_at_run_time(unit: &unit::Unit) -> bool {
    unit.fragment.as_ref().is_some_and(|path| path.starts_with(TRANSIENT))
}

/// Writes a file whole or not at all, and its folder if need be.
fn write(path: &Path, text: &str) -> Result<(), Failed> {
    let failed = |source| Failed::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let fresh = path.with_extension("new~");
    let done = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path));
    done.inspect_err(|_| _ = fs::remove_file(&fresh)).map_err(failed)
}
