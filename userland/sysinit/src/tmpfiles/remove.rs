//! `--remove`: what lines of type r and R name goes, and the content of folders of type D.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, OFlags, unlinkat};

use super::Failures;
use super::line::{Item, Kind};
use super::make::names;
use super::root::{Place, Root};

/// Removes what a line asks for.
pub fn one(root: &Root, item: &Item) -> Failures {
    let paths = match item.kind {
        Kind::Remove | Kind::RemoveAll if item.is_glob() => root.matches(&item.path),
        Kind::Remove | Kind::RemoveAll | Kind::EmptiedFolder => vec![item.path.clone()],
        _ => return 0,
    };
    let failed = |path: &&std::path::PathBuf| match remove(root, item, path) {
        Ok(()) => false,
        Err(error) => {
            if !item.may_fail {
                eprintln!("{}: {error}", path.display());
            }
            !item.may_fail
        }
    };
    paths.iter().filter(failed).count()
}

fn remove(root: &Root, item: &Item, path: &Path) -> io::Result<()> {
    let place = match root.place(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        place => place?,
    };
    let Some(data) = place.stat()? else { return Ok(()) };
    let folder = FileType::from_raw_mode(data.st_mode) == FileType::Directory;
    match item.kind {
        Kind::RemoveAll => tree(&place),
        Kind::EmptiedFolder if folder => empty(&place, 0),
        Kind::EmptiedFolder => Ok(()),
        _ => {
            let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            Ok(unlinkat(&place.folder, &place.name, flags)?)
        }
    }
}

/// Removes a file, or a folder with all in it.
pub fn tree(place: &Place) -> io::Result<()> {
    below(place, 0)
}

fn below(place: &Place, depth: u32) -> io::Result<()> {
    let Some(data) = place.stat()? else { return Ok(()) };
    if FileType::from_raw_mode(data.st_mode) != FileType::Directory {
        return Ok(unlinkat(&place.folder, &place.name, AtFlags::empty())?);
    }
    empty(place, depth)?;
    Ok(unlinkat(&place.folder, &place.name, AtFlags::REMOVEDIR)?)
}

fn empty(place: &Place, depth: u32) -> io::Result<()> {
    const DEEPEST: u32 = 256;
    if depth > DEEPEST {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    for name in names(place)? {
        let folder = place.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        below(&Place { folder, name }, depth + 1)?;
    }
    Ok(())
}
