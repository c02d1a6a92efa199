//! The watch over the paths of path units: inotify(7) on each path and on the folders on the way to it.
//!
//! It tells that something happened; what that means the engine looks up itself.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use rustix::fs::inotify::{self, ReadFlags, WatchFlags};
use unit::settings::PathKind;
use unit::{Event, Unit, UnitName};

use crate::dbus::glob;

/// Events taken in before others have their turn: who writes without end must not keep PID 1.
const AT_ONCE: usize = 4096;

/// The watches of all path units.
#[derive(Debug, Default)]
pub struct Paths {
    inotify: Option<OwnedFd>,
    units: BTreeMap<UnitName, Arc<Unit>>,
    watches: BTreeMap<i32, Vec<Watch>>,
}

/// Why a folder or file is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watch {
    unit: UnitName,
    flags: WatchFlags,
    /// In a folder on the way: the name that matters.
    name: Option<String>,
    /// The path itself, where a change is what is waited for.
    changes: bool,
}

impl Paths {
    /// None watched yet.
    #[must_use]
    pub fn new() -> Paths {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Paths { inotify: inotify::init(flags).ok(), ..Paths::default() }
    }

    /// Readable when something happened.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Makes the folders of MakeDirectory=; what fails shows when it is watched.
    pub fn make(unit: &Unit) {
        let Some(settings) = unit.path() else { return };
        for (kind, path) in &settings.paths {
            if !matches!(kind, PathKind::Exists | PathKind::ExistsGlob) {
                let _ = DirBuilder::new().recursive(true).mode(settings.directory_mode).create(path);
            }
        }
    }

    /// Watches a unit's paths. The answer is one event now, and more as things happen.
    pub fn watch(&mut self, unit: &Arc<Unit>) -> Event {
        self.units.insert(unit.name.clone(), unit.clone());
        self.set(unit);
        Event::PathTouched { unit: unit.name.clone(), changed: false }
    }

    /// The units whose paths are watched.
    #[must_use]
    pub fn watched(&self) -> Vec<UnitName> {
        self.units.keys().cloned().collect()
    }

    /// No longer watches them.
    pub fn unwatch(&mut self, unit: &UnitName) {
        self.units.remove(unit);
        for watches in self.watches.values_mut() {
            watches.retain(|watch| watch.unit != *unit);
        }
        let unused: Vec<i32> = self
            .watches
            .iter()
            .filter(|(_, watches)| watches.is_empty())
            .map(|(number, _)| *number)
            .collect();
        for number in unused {
            self.watches.remove(&number);
            if let Some(inotify) = &self.inotify {
                let _ = inotify::remove_watch(inotify, number);
            }
        }
    }

    /// Sets the watches of a unit along each of its paths, as far as there is something.
    fn set(&mut self, unit: &Unit) {
        let Some(settings) = unit.path() else { return };
        for (kind, path) in &settings.paths {
            let mut place = String::from("/");
            let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
            loop {
                let next = names.next();
                let wild = next.is_some_and(|name| *kind == PathKind::ExistsGlob && glob::is_pattern(name));
                let on_the_way = next.is_some();
                let watch = Watch {
                    unit: unit.name.clone(),
                    flags: if on_the_way { way() } else { end(*kind) },
                    name: next.filter(|_| !wild).map(str::to_owned),
                    changes: !on_the_way && matches!(kind, PathKind::Changed | PathKind::Modified),
                };
                if !self.add(&place, watch) || wild {
                    break;
                }
                let Some(name) = next else { break };
                if place != "/" {
                    place.push('/');
                }
                place.push_str(name);
            }
        }
    }

    fn add(&mut self, place: &str, watch: Watch) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let Ok(number) = inotify::add_watch(inotify, place, watch.flags | WatchFlags::MASK_ADD) else {
            return false;
        };
        let watches = self.watches.entry(number).or_default();
        if !watches.contains(&watch) {
            watches.push(watch);
        }
        true
    }

    /// What happened since the last call, each unit once.
    pub fn touched(&mut self) -> Vec<Event> {
        let Some(inotify) = &self.inotify else { return Vec::new() };
        let mut found: BTreeMap<UnitName, bool> = BTreeMap::new();
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        for _ in 0..AT_ONCE {
            let Ok(event) = reader.next() else { break };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                // something was missed: let all look
                found.extend(self.units.keys().map(|unit| (unit.clone(), false)));
                continue;
            }
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            for watch in self.watches.get(&event.wd()).into_iter().flatten() {
                let meant = event.events().bits() & watch.flags.bits() != 0
                    || event.events().contains(ReadFlags::IGNORED);
                let other = watch.name.is_some() && name.is_some() && watch.name != name;
                if meant && !other {
                    let changes = watch.changes && !event.events().contains(ReadFlags::IGNORED);
                    *found.entry(watch.unit.clone()).or_default() |= changes;
                }
            }
            if event.events().contains(ReadFlags::IGNORED) {
                self.watches.remove(&event.wd());
            }
        }
        // what has appeared is to be watched too
        for unit in found.keys() {
            if let Some(unit) = self.units.get(unit).cloned() {
                self.set(&unit);
            }
        }
        found.into_iter().map(|(unit, changed)| Event::PathTouched { unit, changed }).collect()
    }
}

/// In a folder on the way to a path.
fn way() -> WatchFlags {
    WatchFlags::MOVE_SELF
        | WatchFlags::DELETE_SELF
        | WatchFlags::ATTRIB
        | WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
}

/// At the path itself.
fn end(kind: PathKind) -> WatchFlags {
    let gone = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ATTRIB;
    let entries = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
    match kind {
        PathKind::Exists | PathKind::ExistsGlob => gone,
        PathKind::DirectoryNotEmpty => gone | WatchFlags::CREATE | WatchFlags::MOVED_TO,
        PathKind::Changed => gone | entries | WatchFlags::CLOSE_WRITE,
        PathKind::Modified => gone | entries | WatchFlags::CLOSE_WRITE | WatchFlags::MODIFY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use unit::{Sources, Text};

    fn path_unit(lines: &str) -> Arc<Unit> {
        let text = Text { path: "/x.path".into(), text: format!("[Path]\n{lines}\n") };
        let sources = Sources { fragment: Some(text), ..Sources::default() };
        Arc::new(unit::load::load(
            &UnitName::parse("x.path").unwrap(),
            &Ok(sources),
            None,
            &Default::default(),
        ))
    }

    /// Whether the unit heard, and of a change of the path itself.
    fn heard(paths: &mut Paths) -> (bool, bool) {
        let events = paths.touched();
        let changed = events.iter().any(|event| matches!(event, Event::PathTouched { changed: true, .. }));
        (!events.is_empty(), changed)
    }

    #[test]
    fn what_happens_to_a_path_and_on_the_way_to_it_is_heard() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().display().to_string();
        let mut paths = Paths::new();
        paths.watch(&path_unit(&format!("PathChanged={base}/a/b/file")));
        assert_eq!(heard(&mut paths), (false, false));
        fs::write(root.path().join("other"), "").unwrap();
        assert_eq!(heard(&mut paths), (false, false), "a neighbour is nobody's business");
        fs::create_dir(root.path().join("a")).unwrap();
        assert_eq!(heard(&mut paths), (true, false));
        fs::create_dir(root.path().join("a/b")).unwrap();
        assert_eq!(heard(&mut paths), (true, false));
        fs::write(root.path().join("a/b/file"), "1").unwrap();
        assert!(heard(&mut paths).0);
        fs::write(root.path().join("a/b/file"), "2").unwrap();
        assert_eq!(heard(&mut paths), (true, true));
        fs::remove_dir_all(root.path().join("a")).unwrap();
        assert!(heard(&mut paths).0);
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        assert!(heard(&mut paths).0, "a new folder of an old name is watched again");
        heard(&mut paths);
        fs::write(root.path().join("a/b/file"), "1").unwrap();
        assert!(heard(&mut paths).0);
        paths.unwatch(&UnitName::parse("x.path").unwrap());
        fs::write(root.path().join("a/b/file"), "3").unwrap();
        assert_eq!(heard(&mut paths), (false, false));
    }

    #[test]
    fn a_folder_fills_and_a_pattern_matches() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().display().to_string();
        let unit = path_unit(&format!(
            "DirectoryNotEmpty={base}/spool\nPathExistsGlob={base}/*.flag\nMakeDirectory=yes"
        ));
        let mut paths = Paths::new();
        Paths::make(&unit);
        assert!(root.path().join("spool").is_dir());
        paths.watch(&unit);
        heard(&mut paths);
        fs::write(root.path().join("spool/1"), "").unwrap();
        assert_eq!(heard(&mut paths), (true, false));
        fs::write(root.path().join("x.flag"), "").unwrap();
        assert_eq!(heard(&mut paths), (true, false));
    }
}
