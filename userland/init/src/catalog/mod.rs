//! The unit directories: what the load path holds, and what `systemctl enable` and its like do to it.
//!
//! `/etc/systemd/system` is the operator's, `/run/systemd/system` lasts until the reboot, `/usr/lib/systemd/system` is
//! the image's; an earlier one hides a later one's file of the same name (systemd.unit(5), "Unit File Load Path").

mod change;
mod find;
mod index;
mod install;
mod preset;
mod state;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use unit::{Catalog, Sources, UnitFileState, UnitName};

use index::Index;

pub use preset::is_enabled as is_preset;

pub use change::{Change, ChangeError, ChangeKind, Changes, Verb};

const CONFIG: &str = "etc/systemd/system";
const RUNTIME: &str = "run/systemd/system";
/// Every folder, in order of precedence; `/lib` and `/usr/lib` may be one.
const FOLDERS: [&str; 13] = [
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    CONFIG,
    "etc/systemd/system.attached",
    RUNTIME,
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "lib/systemd/system",
    "usr/lib/systemd/system",
    "run/systemd/generator.late",
];

/// The load path below a root.
#[derive(Debug)]
pub struct Directories {
    root: PathBuf,
    /// In order of precedence.
    folders: Vec<PathBuf>,
    index: Index,
    /// When a unit's files were last read.
    read: RefCell<HashMap<UnitName, SystemTime>>,
}

impl Directories {
    /// The load path of this system.
    #[must_use]
    pub fn system() -> Directories {
        Directories::below(Path::new("/"))
    }

    /// The load path of the system below another root.
    #[must_use]
    pub fn below(root: &Path) -> Directories {
        let folders = FOLDERS.iter().map(|folder| root.join(folder)).collect();
        Directories { root: root.to_owned(), folders, index: Index::default(), read: RefCell::default() }
    }

    /// The folders, those of higher precedence first.
    #[must_use]
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Something happened, so that files may have come and gone. Until the next time, a folder is looked at once.
    pub fn look_again(&self) {
        self.index.look_again();
    }

    /// Forgets what was read of the folders: after they changed.
    pub fn forget(&self) {
        self.index.forget();
    }

    /// Whether the preset files would enable what this file holds: `Some` for every file.
    #[must_use]
    pub fn preset(&self, file: &str) -> Option<bool> {
        let name = UnitName::parse(Path::new(file).file_name()?.to_str()?).ok()?;
        Some(preset::is_enabled(&self.root, &name))
    }

    /// The unit that a name is an alias of, on disk; itself if it is none.
    #[must_use]
    pub fn resolve(&self, name: &UnitName) -> UnitName {
        self.look_again();
        self.find(name).ok().and_then(|found| found.alias_of).unwrap_or_else(|| name.clone())
    }

    /// Whether files of a unit have changed, or gone, since they were read.
    #[must_use]
    pub fn is_stale<'a>(&self, name: &UnitName, files: impl Iterator<Item = &'a String>) -> bool {
        let read = self.read.borrow().get(name).copied();
        let changed = |file: &String| fs::metadata(file).and_then(|data| data.modified()).ok();
        read.is_some_and(|read| {
            files.map(changed).any(|changed| changed.is_none_or(|changed| changed > read))
        })
    }

    /// A path as it is for those to whom the root is `/`.
    fn seen(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest))
    }

    /// Where a link leads: one step, an absolute target counted from the root. `None`: not a link.
    fn target(&self, path: &Path) -> Option<PathBuf> {
        let target = fs::read_link(path).ok()?;
        if find::is_null(&target) {
            return Some(target);
        }
        let folder = match target.strip_prefix("/") {
            Ok(rest) => return Some(self.root.join(rest)),
            Err(_) => path.parent().unwrap_or(Path::new("/")),
        };
        let mut found = folder.to_owned();
        for part in target.components() {
            match part {
                Component::ParentDir => _ = found.pop(),
                Component::Normal(name) => found.push(name),
                _ => {}
            }
        }
        Some(found)
    }

    /// A folder without links on the way to it, unless those lead out of the root.
    fn real(&self, folder: &Path) -> PathBuf {
        let root = self.root.canonicalize();
        let rest = folder.canonicalize().ok().zip(root.ok());
        let rest = rest.and_then(|(real, root)| real.strip_prefix(root).map(Path::to_owned).ok());
        rest.map_or_else(|| folder.to_owned(), |rest| self.root.join(rest))
    }

    fn config(&self, runtime: bool) -> PathBuf {
        self.root.join(if runtime { RUNTIME } else { CONFIG })
    }
}

impl Catalog for Directories {
    fn find(&self, name: &UnitName) -> Result<Sources, String> {
        self.read.borrow_mut().insert(name.clone(), SystemTime::now());
        find::sources(self, name)
    }

    fn list(&self) -> Vec<(UnitName, UnitFileState)> {
        state::all(self)
    }
}
