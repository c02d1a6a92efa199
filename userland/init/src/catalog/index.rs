//! What is in the folders of the load path, so that a unit can be looked for without asking the kernel for each of the
//! many places where something about it could be.
//!
//! A folder is listed again when its time of change differs from that of the last listing: a file that was just put
//! there is found, as systemd finds it, without a daemon-reload.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use unit::UnitName;

/// The folders' entries, and the aliases among them.
#[derive(Debug, Default)]
pub(super) struct Index {
    folders: RefCell<Vec<Folder>>,
    aliases: RefCell<Option<HashMap<String, Vec<UnitName>>>>,
}

#[derive(Debug, Default)]
struct Folder {
    path: PathBuf,
    /// `None`: it was not there.
    changed: Option<SystemTime>,
    names: BTreeSet<OsString>,
}

impl Index {
    /// Lists what changed since it was last looked at.
    pub(super) fn refresh(&self, folders: &[PathBuf]) {
        let mut known = self.folders.borrow_mut();
        known.resize_with(folders.len(), Folder::default);
        for (folder, path) in known.iter_mut().zip(folders) {
            let changed = fs::metadata(path).and_then(|data| data.modified()).ok();
            if folder.changed == changed && folder.path == *path {
                continue;
            }
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            *folder = Folder {
                path: path.clone(),
                changed,
                names: entries.map(|entry| entry.file_name()).collect(),
            };
            self.aliases.replace(None);
        }
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.folders.borrow_mut().clear();
        self.aliases.replace(None);
    }

    /// The folders with an entry of this name, in order of precedence.
    pub(super) fn with(&self, name: &str) -> Vec<PathBuf> {
        let folders = self.folders.borrow();
        let found = folders.iter().filter(|folder| folder.names.contains(OsStr::new(name)));
        found.map(|folder| folder.path.clone()).collect()
    }

    /// Every entry that is a unit's name, with its path.
    pub(super) fn units(&self) -> Vec<(UnitName, PathBuf)> {
        let folders = self.folders.borrow();
        let entries = folders.iter().flat_map(|folder| folder.names.iter().map(|name| (&folder.path, name)));
        let named = |(folder, name): (&PathBuf, &OsString)| {
            Some((UnitName::parse(name.to_str()?).ok()?, Path::new(folder).join(name)))
        };
        entries.filter_map(named).collect()
    }

    /// The other names of a unit, from who is linked to whom; `read` is asked if that is not known.
    pub(super) fn aliases(
        &self,
        name: &UnitName,
        read: impl FnOnce() -> HashMap<String, Vec<UnitName>>,
    ) -> Vec<UnitName> {
        let mut known = self.aliases.borrow_mut();
        known.get_or_insert_with(read).get(name.as_str()).cloned().unwrap_or_default()
    }
}
