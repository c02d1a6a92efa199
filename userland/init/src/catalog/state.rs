//! The state of every unit file, as `systemctl list-unit-files` shows it.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};

use unit::{UnitFileState, UnitName};

use super::find::{Entry, drop_ins, entry_at, follow, read};
use super::install::Install;
use super::{Directories, RUNTIME};

/// Every unit file with its state, by name.
pub(super) fn all(all: &Directories) -> Vec<(UnitName, UnitFileState)> {
    all.index.refresh(all.folders());
    let mut found = BTreeMap::new();
    let links = Links::read(all);
    for (name, _) in all.index.units() {
        if !found.contains_key(&name)
            && let Some(state) = state_with(all, &links, &name)
        {
            found.insert(name, state);
        }
    }
    found.into_iter().collect()
}

impl Directories {
    /// The state of one unit file; `None`: there is none of this name (and none of its template's).
    #[must_use]
    pub fn state(&self, name: &UnitName) -> Option<UnitFileState> {
        self.index.refresh(self.folders());
        state_with(self, &Links::read(self), name)
    }
}

/// Where generators write.
const GENERATED: [&str; 3] =
    ["run/systemd/generator.early", "run/systemd/generator", "run/systemd/generator.late"];

/// The links in the operator's folders, and until the next boot in those of generators: under which name, to which
/// file name.
struct Links {
    config: Vec<Link>,
    runtime: Vec<Link>,
}

/// A link: its name, where it is, and the name of what it leads to, once that was asked.
struct Link {
    name: String,
    path: PathBuf,
    target: OnceCell<OsString>,
}

impl Links {
    fn read(all: &Directories) -> Links {
        let mut runtime = links_in(&all.config(true));
        runtime.extend(GENERATED.iter().flat_map(|folder| links_in(&all.root.join(folder))));
        Links { config: links_in(&all.config(false)), runtime }
    }
}

impl Link {
    fn target(&self) -> &OsStr {
        let read = || {
            let target = fs::read_link(&self.path).unwrap_or_default();
            target.file_name().unwrap_or_default().to_owned()
        };
        self.target.get_or_init(read)
    }
}

fn links_in(folder: &Path) -> Vec<Link> {
    let mut links = Vec::new();
    for (name, entry) in listed(folder) {
        if is_link(&entry) {
            let link = link(name, &entry);
            // A link of the file's own name makes it known, not enabled.
            if link.target() != OsStr::new(&link.name) {
                links.push(link);
            }
        } else if name.ends_with(".wants") || name.ends_with(".requires") {
            let inside = listed(&entry.path()).into_iter().filter(|(_, entry)| is_link(entry));
            links.extend(inside.map(|(name, entry)| link(name, &entry)));
        }
    }
    links
}

/// The entries of a folder by name, sorted. What an entry is, the listing says: a unit's state is asked for often,
/// and there may be thousands of files.
fn listed(folder: &Path) -> BTreeMap<String, DirEntry> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry)).collect()
}

fn is_link(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_symlink())
}

fn link(name: String, entry: &DirEntry) -> Link {
    Link { name, path: entry.path(), target: OnceCell::new() }
}

fn state_with(all: &Directories, links: &Links, name: &UnitName) -> Option<UnitFileState> {
    let names: Vec<UnitName> = std::iter::once(name.clone()).chain(name.template()).collect();
    for asked in &names {
        for folder in all.index.with(asked.as_str()) {
            let path = folder.join(asked.as_str());
            let runtime = folder == all.root.join(RUNTIME);
            match entry_at(all, &path, asked) {
                Err(_) => return Some(UnitFileState::Bad),
                Ok(None) => {}
                Ok(Some(Entry::Mask(_))) if runtime => return Some(UnitFileState::MaskedRuntime),
                Ok(Some(Entry::Mask(_))) => return Some(UnitFileState::Masked),
                Ok(Some(Entry::Alias(_))) => return Some(UnitFileState::Alias),
                Ok(Some(Entry::File(path))) => return Some(of_file(all, links, name, &path)),
            }
        }
    }
    None
}

fn of_file(all: &Directories, links: &Links, name: &UnitName, path: &Path) -> UnitFileState {
    let found = follow(all, path).ok().and_then(|target| Some((read(&target).ok()?.text, target)));
    let Some((text, target)) = found else { return UnitFileState::Bad };
    let inside = |folder: &str| path.starts_with(all.root.join(folder));
    if GENERATED.into_iter().any(inside) {
        return UnitFileState::Generated;
    }
    if inside("run/systemd/transient") {
        return UnitFileState::Transient;
    }
    let mut install = Install::default();
    let mut whole = install.read_more(&text, name);
    for drop_in in drop_ins(all, &[name]).unwrap_or_default() {
        whole &= install.read_more(&drop_in.text, name);
    }
    if !whole {
        return UnitFileState::Bad;
    }
    // The names under which [Install] would link it.
    let mut names = install.alias.clone();
    names.push(name.to_string());
    let default = install.default_instance.as_deref().filter(|_| name.is_template());
    names.extend(default.and_then(|instance| name.with_instance(instance).ok()).map(|name| name.to_string()));
    let enabled = |links: &[Link]| links.iter().any(|link| names.contains(&link.name));
    if enabled(&links.config) {
        return UnitFileState::Enabled;
    }
    if enabled(&links.runtime) {
        return UnitFileState::EnabledRuntime;
    }
    let outside = !all.folders().iter().any(|folder| target.starts_with(folder));
    if path.is_symlink() && outside {
        return if inside(RUNTIME) { UnitFileState::LinkedRuntime } else { UnitFileState::Linked };
    }
    let mut others = links.config.iter().chain(&links.runtime);
    match (install.asks(), install.also.is_empty()) {
        // Linked, but under other names: another instance, another alias.
        _ if others.any(|link| link.target() == OsStr::new(name.as_str())) => UnitFileState::Indirect,
        (true, _) => UnitFileState::Disabled,
        (false, false) => UnitFileState::Indirect,
        (false, true) => UnitFileState::Static,
    }
}
