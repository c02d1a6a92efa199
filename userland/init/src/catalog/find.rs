//! What the load path holds for one name: the file, the drop-ins, the links.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use unit::{Sources, Text, UnitName};

use super::Directories;

/// A unit file longer than this is refused, in bytes.
const LONGEST: u64 = 1 << 20;
/// Links that lead from one to another more often than this are a loop.
const DEEPEST: usize = 16;

/// What a folder has under a name.
pub(super) enum Entry {
    /// A file of its own, or a link to one of the same name elsewhere.
    File(PathBuf),
    /// A link to another unit.
    Alias(UnitName),
    /// Empty, or a link to /dev/null.
    Mask,
}

pub(super) fn sources(all: &Directories, name: &UnitName) -> Result<Sources, String> {
    let mut sources = Sources::default();
    let own = entry(all, name)?;
    let found = match (own, name.template()) {
        (Some(found), _) => Some(found),
        (None, Some(template)) => match entry(all, &template)? {
            // The instance of an alias template is an alias of the other template's instance.
            Some(Entry::Alias(other)) => match other.with_instance(name.instance().unwrap_or_default()) {
                Ok(other) => Some(Entry::Alias(other)),
                Err(error) => return Err(error.to_string()),
            },
            found => found,
        },
        (None, None) => None,
    };
    match found {
        Some(Entry::File(path)) => sources.fragment = Some(read_below(all, &path)?),
        Some(Entry::Alias(other)) => {
            sources.alias_of = Some(other);
            return Ok(sources);
        }
        Some(Entry::Mask) => sources.masked = true,
        None => {}
    }
    sources.drop_ins = drop_ins(all, name)?;
    sources.wants = linked(all, name, "wants");
    sources.requires = linked(all, name, "requires");
    sources.aliases = aliases(all, name);
    Ok(sources)
}

/// What the first folder that has the name has under it.
pub(super) fn entry(all: &Directories, name: &UnitName) -> Result<Option<Entry>, String> {
    for folder in all.folders() {
        let path = folder.join(name.as_str());
        match entry_at(&path, name) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
    }
    Ok(None)
}

/// What one path is. A dangling link is nothing.
pub(super) fn entry_at(path: &Path, name: &UnitName) -> io::Result<Option<Entry>> {
    let data = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
        data => data?,
    };
    if data.is_symlink() {
        let target = follow(path)?;
        if is_null(&target) {
            return Ok(Some(Entry::Mask));
        }
        let target_name = target.file_name().and_then(|name| UnitName::parse(name.to_str()?).ok());
        let same = |other: &UnitName| other == name || name.template().as_ref() == Some(other);
        return match target_name {
            Some(other) if !same(&other) => Ok(Some(Entry::Alias(other))),
            _ if !target.exists() => Ok(None),
            _ => Ok(Some(Entry::File(target))),
        };
    }
    if !data.is_file() {
        return Ok(None);
    }
    Ok(Some(if data.len() == 0 { Entry::Mask } else { Entry::File(path.to_owned()) }))
}

/// The end of a chain of links, there or not.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..DEEPEST {
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
        if is_null(&path) {
            return Ok(path);
        }
    }
    Err(io::Error::other("too many links"))
}

pub(super) fn is_null(path: &Path) -> bool {
    path == Path::new("/dev/null")
}

pub(super) fn read(path: &Path) -> Result<Text, String> {
    let failed = |error: io::Error| format!("cannot read {}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("{} is longer than {LONGEST} bytes", path.display()));
    }
    Ok(Text { path: path.display().to_string(), text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// Reads a file; its path is told as those who live below the root see it.
fn read_below(all: &Directories, path: &Path) -> Result<Text, String> {
    let mut text = read(path)?;
    text.path = all.seen(path).display().to_string();
    Ok(text)
}

/// By file name; of equal names the more particular folder's and then the higher one's. A mask hides.
fn drop_ins(all: &Directories, name: &UnitName) -> Result<Vec<Text>, String> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in name.drop_in_directories() {
        for root in all.folders() {
            for (file, path) in entries(&root.join(&folder)) {
                if path.extension().is_some_and(|extension| extension == "conf") {
                    files.entry(file).or_insert(path);
                }
            }
        }
    }
    files.retain(|_, path| !follow(path).is_ok_and(|end| is_null(&end)) && path.is_file());
    files.values().map(|path| read_below(all, path)).collect()
}

/// The names in `NAME.wants/` or `.requires/`, the template's too.
fn linked(all: &Directories, name: &UnitName, kind: &str) -> Vec<UnitName> {
    let mut found = BTreeMap::new();
    for owner in std::iter::once(name.clone()).chain(name.template()) {
        for root in all.folders() {
            for (file, path) in entries(&root.join(format!("{owner}.{kind}"))) {
                let Some(linked) = file.to_str().and_then(|file| UnitName::parse(file).ok()) else {
                    continue;
                };
                let masked = fs::read_link(&path).is_ok_and(|target| is_null(&target));
                let linked = match name.instance() {
                    Some(instance) if linked.is_template() => linked.with_instance(instance).ok(),
                    _ if linked.is_template() => None,
                    _ => Some(linked),
                };
                if let Some(linked) = linked {
                    found.entry(linked).or_insert(!masked);
                }
            }
        }
    }
    found.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect()
}

/// The names whose links lead here.
fn aliases(all: &Directories, name: &UnitName) -> Vec<UnitName> {
    let mut cache = all.aliases.borrow_mut();
    let map = cache.get_or_insert_with(|| {
        let mut map: HashMap<String, Vec<UnitName>> = HashMap::new();
        for folder in all.folders() {
            for (file, path) in entries(folder) {
                let Some(alias) = file.to_str().and_then(|file| UnitName::parse(file).ok()) else { continue };
                if path.is_symlink()
                    && let Ok(Some(Entry::Alias(target))) = entry(all, &alias)
                {
                    let names = map.entry(target.to_string()).or_default();
                    if !names.contains(&alias) {
                        names.push(alias);
                    }
                }
            }
        }
        map
    });
    map.get(name.as_str()).cloned().unwrap_or_default()
}

/// The entries of a folder, sorted; none if it is not there.
pub(super) fn entries(folder: &Path) -> Vec<(OsString, PathBuf)> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<_> = read.map(|entry| (entry.file_name(), entry.path())).collect();
    all.sort();
    all
}
