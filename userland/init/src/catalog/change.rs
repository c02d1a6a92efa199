//! What `systemctl enable`, `disable`, `mask`, `preset` … do: links in the operator's folders.
//!
//! A link is made under another name and renamed into place, and the folder is flushed: after a power cut it is there
//! or not, never half. Names may be absolute paths (enable then links the file itself first).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use unit::UnitName;

use super::Directories;
use super::find::{Entry, entries, entry, is_null, read};
use super::install::Install;

/// Where `set-property` has its drop-ins.
const CONTROL: [&str; 2] = ["etc/systemd/system.control", "run/systemd/system.control"];

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Make the links that [Install] asks for.
    Enable,
    /// Remove every link to the unit.
    Disable,
    /// Disable, then enable.
    Reenable,
    /// Link to /dev/null.
    Mask,
    /// Remove that link.
    Unmask,
    /// Enable or disable, as the preset files say.
    Preset,
    /// The same, but nothing is disabled.
    PresetEnable,
    /// The same, but nothing is enabled.
    PresetDisable,
    /// Make a file outside of the load path known.
    Link,
    /// Remove masks and drop-ins.
    Revert,
}

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What.
    pub verb: Verb,
    /// Of which unit files: names, or absolute paths.
    pub names: Vec<String>,
    /// Only until the next boot.
    pub runtime: bool,
    /// Replace links that are in the way.
    pub force: bool,
}

/// Whether a link came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was made.
    Symlink,
    /// It was removed.
    Unlink,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// At least one of the files has an [Install] section.
    pub carries_install_info: bool,
    /// Each link: whether made or removed, where, and its target (empty for a removed one).
    pub done: Vec<(ChangeKind, PathBuf, PathBuf)>,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Not a unit's name.
    #[error(transparent)]
    Name(#[from] unit::NameError),
    /// There is no such file.
    #[error("Unit file {0} does not exist.")]
    Missing(String),
    /// It is masked.
    #[error("Unit file {0} is masked.")]
    Masked(String),
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// Something else is where the link would go.
    #[error("File {path} already exists{}.", target.as_ref().map(|t| format!(" and is a symlink to {}", t.display())).unwrap_or_default())]
    InTheWay {
        /// Where.
        path: PathBuf,
        /// Where it leads, if it is a link.
        target: Option<PathBuf>,
    },
    /// The file system says no.
    #[error("cannot change {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Directories {
    /// Carries a change out. What was done before an error stays.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn change(&self, change: &Change) -> Result<Changes, ChangeError> {
        let mut work = Work::new(self, change);
        let result = change.names.iter().try_for_each(|name| work.one(change.verb, name));
        self.forget();
        result.map(|()| work.changes)
    }

    /// The links that disabling a unit would remove; none of them is.
    ///
    /// # Errors
    /// There is no such unit file.
    pub fn links(&self, unit: &UnitName, runtime: bool) -> Result<Changes, ChangeError> {
        let change = Change { verb: Verb::Disable, names: Vec::new(), runtime, force: false };
        let mut work = Work::new(self, &change);
        work.only_looks = true;
        work.install(unit)?;
        work.disable(unit)?;
        Ok(work.changes)
    }

    /// Links `default.target` to a target's file.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn set_default(&self, target: &UnitName, force: bool) -> Result<Changes, ChangeError> {
        self.link_one(target, "default.target", false, force)
    }

    /// Links a unit's file below a target's `.wants` or `.requires` folder.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn add_dependency(
        &self,
        unit: &UnitName,
        target: &UnitName,
        kind: &str,
        runtime: bool,
    ) -> Result<Changes, ChangeError> {
        self.link_one(unit, &format!("{target}.{kind}/{unit}"), runtime, false)
    }

    fn link_one(
        &self,
        unit: &UnitName,
        link: &str,
        runtime: bool,
        force: bool,
    ) -> Result<Changes, ChangeError> {
        let change = Change { verb: Verb::Link, names: Vec::new(), runtime, force };
        let mut work = Work::new(self, &change);
        let (file, ..) = work.install(unit)?;
        let result = work.link(&work.config().join(link), &file);
        self.forget();
        result.map(|()| work.changes)
    }
}

struct Work<'a> {
    all: &'a Directories,
    change: &'a Change,
    changes: Changes,
    seen: BTreeSet<UnitName>,
    /// Links are found, and stay.
    only_looks: bool,
}

impl<'a> Work<'a> {
    fn new(all: &'a Directories, change: &'a Change) -> Work<'a> {
        Work { all, change, changes: Changes::default(), seen: BTreeSet::new(), only_looks: false }
    }

    fn one(&mut self, verb: Verb, given: &str) -> Result<(), ChangeError> {
        let path = Path::new(given);
        if path.is_absolute() {
            let name = UnitName::parse(path.file_name().and_then(|name| name.to_str()).unwrap_or_default())?;
            if !path.is_file() {
                return Err(ChangeError::Missing(given.to_owned()));
            }
            if !self.all.folders().iter().any(|folder| path.starts_with(folder)) {
                self.link(&self.config().join(name.as_str()), path)?;
            }
            return if verb == Verb::Link { Ok(()) } else { self.apply(verb, &name) };
        }
        self.apply(verb, &UnitName::parse(given)?)
    }

    fn apply(&mut self, verb: Verb, name: &UnitName) -> Result<(), ChangeError> {
        match verb {
            Verb::Enable => self.enable(name),
            Verb::Disable => self.disable(name),
            Verb::Reenable => {
                self.disable(name)?;
                self.seen.clear();
                self.enable(name)
            }
            Verb::Mask => self.link(&self.config().join(name.as_str()), Path::new("/dev/null")),
            Verb::Unmask => self.unmask(name),
            Verb::Preset | Verb::PresetEnable if super::preset::is_enabled(&self.all.root, name) => {
                self.enable(name)
            }
            Verb::PresetEnable => Ok(()),
            Verb::PresetDisable if super::preset::is_enabled(&self.all.root, name) => Ok(()),
            Verb::Preset | Verb::PresetDisable => self.disable(name),
            Verb::Link => Err(ChangeError::Missing(name.to_string())),
            Verb::Revert => self.revert(name),
        }
    }

    fn config(&self) -> PathBuf {
        self.all.config(self.change.runtime)
    }

    fn enable(&mut self, name: &UnitName) -> Result<(), ChangeError> {
        if !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let (file, install, name) = self.install(name)?;
        self.changes.carries_install_info |= install.asks() || !install.also.is_empty();
        // A template without an instance has nothing to start: only its aliases can be linked.
        let linked = match (&install.default_instance, name.is_template()) {
            (Some(instance), true) => Some(name.with_instance(instance)?),
            (None, true) => None,
            (_, false) => Some(name.clone()),
        };
        for alias in &install.alias {
            let alias = UnitName::parse(alias)?;
            if alias != name {
                self.link(&self.config().join(alias.as_str()), &file)?;
            }
        }
        for (owners, kind) in [(&install.wanted_by, "wants"), (&install.required_by, "requires")] {
            for owner in owners {
                let owner = UnitName::parse(owner)?;
                if let Some(linked) = &linked {
                    self.link(&self.config().join(format!("{owner}.{kind}")).join(linked.as_str()), &file)?;
                }
            }
        }
        install.also.iter().try_for_each(|also| self.enable(&UnitName::parse(also)?))
    }

    /// The unit's file, its [Install] section, and its own name.
    fn install(&self, name: &UnitName) -> Result<(PathBuf, Install, UnitName), ChangeError> {
        let mut name = name.clone();
        // what was just linked counts
        self.all.forget();
        self.all.index.refresh(self.all.folders());
        // Two steps: an alias, and what it leads to.
        for _ in 0..2 {
            let found = match entry(self.all, &name).map_err(ChangeError::Unreadable)? {
                None => name.template().map(|template| entry(self.all, &template)).transpose(),
                found => Ok(Some(found)),
            };
            match found.map_err(ChangeError::Unreadable)?.flatten() {
                None => return Err(ChangeError::Missing(name.to_string())),
                Some(Entry::Mask(_)) => return Err(ChangeError::Masked(name.to_string())),
                Some(Entry::Alias(other)) => name = other,
                Some(Entry::File(file)) => {
                    let text = read(&file).map_err(ChangeError::Unreadable)?;
                    return Ok((file, Install::read(&text.text, &name), name));
                }
            }
        }
        Err(ChangeError::Missing(name.to_string()))
    }

    fn disable(&mut self, name: &UnitName) -> Result<(), ChangeError> {
        if !self.seen.insert(name.clone()) {
            return Ok(());
        }
        let also = match self.install(name) {
            Ok((_, install, _)) => {
                self.changes.carries_install_info |= install.asks() || !install.also.is_empty();
                install.also
            }
            Err(_) => Vec::new(),
        };
        for (file, path) in entries(&self.config()) {
            let file = file.to_string_lossy().into_owned();
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap_or_default();
                let leads_here = target.file_name().is_some_and(|target| target == name.as_str());
                let linked_itself = file == name.as_str() && !is_null(&target);
                if leads_here && !is_null(&target) || linked_itself {
                    self.unlink(&path)?;
                }
            } else if file.ends_with(".wants") || file.ends_with(".requires") {
                for (link, path) in entries(&path) {
                    let link = link.to_str().and_then(|link| UnitName::parse(link).ok());
                    let is_meant = |link: UnitName| {
                        link == *name || (name.is_template() && link.template().as_ref() == Some(name))
                    };
                    if path.is_symlink() && link.is_some_and(is_meant) {
                        self.unlink(&path)?;
                    }
                }
                if !self.only_looks {
                    let _ = fs::remove_dir(&path);
                }
            }
        }
        also.iter().try_for_each(|also| self.disable(&UnitName::parse(also)?))
    }

    fn unmask(&mut self, name: &UnitName) -> Result<(), ChangeError> {
        let path = self.config().join(name.as_str());
        match fs::read_link(&path) {
            Ok(target) if is_null(&target) => self.unlink(&path),
            _ => Ok(()),
        }
    }

    fn revert(&mut self, name: &UnitName) -> Result<(), ChangeError> {
        for runtime in [false, true] {
            let folder = self.all.config(runtime);
            let path = folder.join(name.as_str());
            if fs::read_link(&path).is_ok_and(|target| is_null(&target)) {
                self.unlink(&path)?;
            }
            let drop_ins = folder.join(format!("{name}.d"));
            for (_, path) in entries(&drop_ins) {
                self.unlink(&path)?;
            }
            let _ = fs::remove_dir(drop_ins);
        }
        for folder in CONTROL {
            let drop_ins = self.all.root.join(folder).join(format!("{name}.d"));
            for (_, path) in entries(&drop_ins) {
                self.unlink(&path)?;
            }
            let _ = fs::remove_dir(drop_ins);
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &Path) -> Result<(), ChangeError> {
        let failed = |source| ChangeError::Io { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(data) if data.is_symlink() => {
                let old = fs::read_link(path).map_err(failed)?;
                if old == target {
                    return Ok(());
                }
                if !self.change.force {
                    return Err(ChangeError::InTheWay { path: path.to_owned(), target: Some(old) });
                }
                self.unlink(path)?;
            }
            Ok(_) => return Err(ChangeError::InTheWay { path: path.to_owned(), target: None }),
            Err(_) => {}
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(failed)?;
        let new = folder.join(format!(".#{}", path.file_name().unwrap_or_default().to_string_lossy()));
        let _ = fs::remove_file(&new);
        symlink(target, &new).and_then(|()| fs::rename(&new, path)).map_err(failed)?;
        flush(folder).map_err(failed)?;
        self.changes.done.push((ChangeKind::Symlink, path.to_owned(), target.to_owned()));
        Ok(())
    }

    fn unlink(&mut self, path: &Path) -> Result<(), ChangeError> {
        let failed = |source| ChangeError::Io { path: path.to_owned(), source };
        if !self.only_looks {
            fs::remove_file(path).map_err(failed)?;
            flush(path.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
        }
        self.changes.done.push((ChangeKind::Unlink, path.to_owned(), PathBuf::new()));
        Ok(())
    }
}

fn flush(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}
