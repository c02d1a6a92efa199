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
    /// A file of its own, or a link to one outside of the load path.
    File(PathBuf),
    /// A link to another unit.
    Alias(UnitName),
    /// Empty, or a link to /dev/null.
    Mask(PathBuf),
}

pub(super) fn sources(all: &Directories, name: &UnitName) -> Result<Sources, String> {
    all.index.refresh_once(all.folders());
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
        Some(Entry::Mask(path)) => {
            sources.masked = true;
            sources.fragment =
                Some(Text { path: all.seen(&path).display().to_string(), text: String::new() });
        }
        None => {}
    }
    sources.aliases = aliases(all, name);
    let names: Vec<&UnitName> = std::iter::once(name).chain(&sources.aliases).collect();
    sources.drop_ins = drop_ins(all, &names)?;
    let (wants, requires) = (linked(all, &names, "wants"), linked(all, &names, "requires"));
    (sources.wants, sources.requires) = (wants, requires);
    Ok(sources)
}

/// What the first folder that has the name has under it.
pub(super) fn entry(all: &Directories, name: &UnitName) -> Result<Option<Entry>, String> {
    for folder in all.index.with(name.as_str()) {
        let path = folder.join(name.as_str());
        match entry_at(all, &path, name) {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        }
    }
    Ok(None)
}

/// What one path is. A dangling link is nothing.
pub(super) fn entry_at(all: &Directories, path: &Path, name: &UnitName) -> io::Result<Option<Entry>> {
    let data = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
        data => data?,
    };
    if data.is_symlink() {
        let end = follow(all, path)?;
        if is_null(&end) {
            return Ok(Some(Entry::Mask(path.to_owned())));
        }
        return Ok(match alias(all, path, name) {
            Some(other) => Some(Entry::Alias(other)),
            None => end.is_file().then(|| Entry::File(path.to_owned())),
        });
    }
    if !data.is_file() {
        return Ok(None);
    }
    Ok(Some(if data.len() == 0 { Entry::Mask(path.to_owned()) } else { Entry::File(path.to_owned()) }))
}

/// The other unit that a link in a folder of the load path makes its name mean. A link that leads out of the load
/// path, or to the same name, only says where the file is.
fn alias(all: &Directories, path: &Path, name: &UnitName) -> Option<UnitName> {
    let target = all.target(path)?;
    let folder = target.parent()?;
    let known = all.folders().iter().any(|known| known == folder);
    let other = UnitName::parse(target.file_name()?.to_str()?).ok()?;
    let other = match name.instance() {
        Some(instance) if other.is_template() && !instance.is_empty() => {
            other.with_instance(instance).ok()?
        }
        _ => other,
    };
    (known && other != *name && other.unit_type() == name.unit_type()).then_some(other)
}

/// The end of a chain of links, there or not.
pub(super) fn follow(all: &Directories, path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..DEEPEST {
        let Some(target) = all.target(&path) else { return Ok(path) };
        path = target;
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
    let end = follow(all, path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if is_null(&end) {
        return Ok(Text { path: all.seen(path).display().to_string(), text: String::new() });
    }
    let mut text = read(&end)?;
    text.path = all.seen(path).display().to_string();
    Ok(text)
}

/// The folders of a suffix (`d`, `wants`…) that are about one of these names, in order of precedence: a higher folder
/// of the load path comes first, in it the more particular name, and last of all the type's own.
fn folders_for(all: &Directories, names: &[&UnitName], suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(usize, usize, PathBuf)> = Vec::new();
    let mut add = |place: usize, stem: &str| {
        let file = format!("{stem}.{suffix}");
        for folder in all.index.with(&file) {
            let rank = all.folders().iter().position(|known| *known == folder).unwrap_or_default();
            let folder = folder.join(&file);
            if folder.is_dir() {
                found.push((place, rank, all.real(&folder)));
            }
        }
    };
    for (place, name) in names.iter().enumerate() {
        name.drop_in_stems().iter().for_each(|stem| add(place, stem));
    }
    if let Some(name) = names.first() {
        add(names.len(), name.unit_type().as_str());
    }
    // stable: what is more particular stays before what is less
    found.sort_by_key(|(place, rank, _)| (*place, *rank));
    found.into_iter().map(|(_, _, folder)| folder).collect()
}

/// By file name; of equal names the first folder's. A mask hides.
pub(super) fn drop_ins(all: &Directories, names: &[&UnitName]) -> Result<Vec<Text>, String> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in folders_for(all, names, "d") {
        for (file, path) in entries(&folder) {
            if path.extension().is_some_and(|extension| extension == "conf") {
                files.entry(file).or_insert(path);
            }
        }
    }
    let there = |path: &PathBuf| follow(all, path).is_ok_and(|end| is_null(&end) || end.is_file());
    files.values().filter(|path| there(path)).map(|path| read_below(all, path)).collect()
}

/// The names in `NAME.wants/` or `.requires/`, the template's too.
fn linked(all: &Directories, names: &[&UnitName], kind: &str) -> Vec<UnitName> {
    let Some(name) = names.first() else { return Vec::new() };
    let mut found = BTreeMap::new();
    for folder in folders_for(all, names, kind) {
        for (file, path) in entries(&folder) {
            let Some(linked) = file.to_str().and_then(|file| UnitName::parse(file).ok()) else { continue };
            let masked = follow(all, &path).is_ok_and(|target| is_null(&target));
            if let Ok(linked) = linked.filled_in_for(name) {
                found.entry(linked).or_insert(path.is_symlink() && !masked);
            }
        }
    }
    found.into_iter().filter_map(|(name, wanted)| wanted.then_some(name)).collect()
}

/// The names whose links lead here.
fn aliases(all: &Directories, name: &UnitName) -> Vec<UnitName> {
    all.index.aliases(name, || {
        let mut map: HashMap<String, Vec<UnitName>> = HashMap::new();
        for alias in all.index.links() {
            if let Ok(Some(Entry::Alias(target))) = entry(all, &alias) {
                let names = map.entry(target.to_string()).or_default();
                if !names.contains(&alias) {
                    names.push(alias);
                }
            }
        }
        map
    })
}

/// The entries of a folder, sorted; none if it is not there.
pub(super) fn entries(folder: &Path) -> Vec<(OsString, PathBuf)> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<_> = read.map(|entry| (entry.file_name(), entry.path())).collect();
    all.sort();
    all
}
