//! The state of every unit file, as `systemctl list-unit-files` shows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use unit::{UnitFileState, UnitName};

use super::find::{Entry, entries, entry_at, is_null, read};
use super::install::Install;
use super::{Directories, RUNTIME};

/// Every unit file with its state, by name.
pub(super) fn all(all: &Directories) -> Vec<(UnitName, UnitFileState)> {
    let mut found = BTreeMap::new();
    let links = Links::read(all);
    for folder in all.folders() {
        for (file, _) in entries(folder) {
            if let Some(name) = file.to_str().and_then(|file| UnitName::parse(file).ok()) {
                if !found.contains_key(&name)
                    && let Some(state) = state_with(all, &links, &name)
                {
                    found.insert(name, state);
                }
            }
        }
    }
    found.into_iter().collect()
}

impl Directories {
    /// The state of one unit file; `None`: there is none of this name (and none of its template's).
    #[must_use]
    pub fn state(&self, name: &UnitName) -> Option<UnitFileState> {
        state_with(self, &Links::read(self), name)
    }
}

/// Which names are linked by `.wants`, `.requires` or an alias in the operator's folders.
struct Links {
    config: Vec<String>,
    runtime: Vec<String>,
}

impl Links {
    fn read(all: &Directories) -> Links {
        Links { config: links_in(&all.config(false)), runtime: links_in(&all.config(true)) }
    }
}

fn links_in(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for (file, path) in entries(folder) {
        let file = file.to_string_lossy().into_owned();
        if path.is_symlink() {
            // An alias stands for the unit that it leads to.
            let target = fs::read_link(&path).unwrap_or_default();
            let target = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if target != file {
                names.push(target);
            }
        } else if file.ends_with(".wants") || file.ends_with(".requires") {
            let links = entries(&path).into_iter().filter(|(_, path)| path.is_symlink());
            names.extend(links.map(|(name, _)| name.to_string_lossy().into_owned()));
        }
    }
    names
}

fn state_with(all: &Directories, links: &Links, name: &UnitName) -> Option<UnitFileState> {
    let names: Vec<UnitName> = std::iter::once(name.clone()).chain(name.template()).collect();
    for asked in &names {
        for folder in all.folders() {
            let path = folder.join(asked.as_str());
            let runtime = *folder == all.root.join(RUNTIME);
            match entry_at(&path, asked) {
                Err(_) => return Some(UnitFileState::Bad),
                Ok(None) => {}
                Ok(Some(Entry::Mask)) if runtime => return Some(UnitFileState::MaskedRuntime),
                Ok(Some(Entry::Mask)) => return Some(UnitFileState::Masked),
                Ok(Some(Entry::Alias(_))) => return Some(UnitFileState::Alias),
                Ok(Some(Entry::File(target))) => {
                    return Some(of_file(all, links, name, &path, &target, runtime));
                }
            }
        }
    }
    None
}

fn of_file(
    all: &Directories,
    links: &Links,
    name: &UnitName,
    path: &Path,
    target: &Path,
    runtime: bool,
) -> UnitFileState {
    let is_linked = |links: &[String]| {
        links.iter().any(|link| {
            let instance = || UnitName::parse(link).ok()?.template();
            link == name.as_str() || (name.is_template() && instance().as_ref() == Some(name))
        })
    };
    if is_linked(&links.config) {
        return UnitFileState::Enabled;
    }
    if is_linked(&links.runtime) {
        return UnitFileState::EnabledRuntime;
    }
    let outside = !all.folders().iter().any(|folder| target.starts_with(folder));
    if path.is_symlink() && outside && !is_null(target) {
        return if runtime { UnitFileState::LinkedRuntime } else { UnitFileState::Linked };
    }
    match read(target) {
        Err(_) => UnitFileState::Bad,
        Ok(text) => {
            let install = Install::read(&text.text, name);
            match (install.asks(), install.also.is_empty()) {
                (true, _) => UnitFileState::Disabled,
                (false, false) => UnitFileState::Indirect,
                (false, true) => UnitFileState::Static,
            }
        }
    }
}
