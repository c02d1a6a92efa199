//! What is in the folders of the load path, so that a unit can be looked for without asking the kernel for each of the
//! many places where something about it could be.
//!
//! A folder is listed again when its time of change differs from that of the last listing: a file that was just put
//! there is found, as systemd finds it, without a daemon-reload. That is asked once for all that one event leads to:
//! the kernel's answer costs more than all the rest of a look.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use unit::UnitName;

/// The folders' entries, and the aliases among them.
#[derive(Debug, Default)]
pub(super) struct Index {
    folders: RefCell<Vec<Folder>>,
    aliases: RefCell<Option<HashMap<String, Vec<UnitName>>>>,
    /// The folders were looked at since [`Index::look_again`].
    is_fresh: Cell<bool>,
}

#[derive(Debug, Default)]
struct Folder {
    path: PathBuf,
    /// `None`: it was not there.
    changed: Option<SystemTime>,
    /// The entries, sorted, and whether each is a link. There may be thousands: a list takes the least memory.
    names: Vec<(Box<OsStr>, bool)>,
}

impl Index {
    /// Lists what changed since it was last looked at.
    pub(super) fn refresh(&self, folders: &[PathBuf]) {
        self.is_fresh.set(true);
        let mut known = self.folders.borrow_mut();
        let mut has_changed = known.len() != folders.len();
        known.resize_with(folders.len(), Folder::default);
        for (folder, path) in known.iter_mut().zip(folders) {
            let changed = fs::metadata(path).and_then(|data| data.modified()).ok();
            if folder.changed == changed && folder.path == *path {
                continue;
            }
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let is_link = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let mut names: Vec<_> =
                entries.map(|entry| (entry.file_name().into_boxed_os_str(), is_link(&entry))).collect();
            names.sort_unstable();
            names.shrink_to_fit();
            *folder = Folder { path: path.clone(), changed, names };
            has_changed = true;
        }
        if has_changed {
            self.aliases.replace(None);
        }
    }

    /// The same, unless that was done since [`Index::look_again`].
    pub(super) fn refresh_once(&self, folders: &[PathBuf]) {
        if !self.is_fresh.get() {
            self.refresh(folders);
        }
    }

    /// Something happened: what is known may be old.
    pub(super) fn look_again(&self) {
        self.is_fresh.set(false);
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.look_again();
        self.folders.borrow_mut().clear();
        self.aliases.replace(None);
    }

    /// The folders with an entry of this name, in order of precedence.
    pub(super) fn with(&self, name: &str) -> Vec<PathBuf> {
        let has_it = |folder: &&Folder| {
            folder.names.binary_search_by(|(known, _)| (**known).cmp(OsStr::new(name))).is_ok()
        };
        self.folders.borrow().iter().filter(has_it).map(|folder| folder.path.clone()).collect()
    }

    /// Every entry that is a unit's name, with its path.
    pub(super) fn units(&self) -> Vec<(UnitName, PathBuf)> {
        self.units_where(|_| true)
    }

    /// Those of them that are links.
    pub(super) fn links(&self) -> Vec<UnitName> {
        self.units_where(|is_link| is_link).into_iter().map(|(name, _)| name).collect()
    }

    fn units_where(&self, wanted: impl Fn(bool) -> bool) -> Vec<(UnitName, PathBuf)> {
        let folders = self.folders.borrow();
        let entries =
            folders.iter().flat_map(|folder| folder.names.iter().map(|entry| (&folder.path, entry)));
        let named = |(folder, (name, is_link)): (&PathBuf, &(Box<OsStr>, bool))| {
            let name = UnitName::parse(name.to_str().filter(|_| wanted(*is_link))?).ok()?;
            let path = Path::new(folder).join(name.as_str());
            Some((name, path))
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
