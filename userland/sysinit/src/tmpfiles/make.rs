//! `--create`: what is not there is made, and what is there gets its mode and owner.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, makedev, mkdirat, mknodat, readlinkat, renameat, symlinkat,
    unlinkat,
};

use super::line::{Item, Kind};
use super::root::{Place, Root};
use super::{Failures, remove, rights};

/// Makes what a line asks for.
pub fn one(root: &Root, item: &Item) -> Failures {
    let told = |result: io::Result<()>, path: &Path| match result {
        Ok(()) => 0,
        Err(error) => {
            if !item.may_fail {
                eprintln!("{}: {error}", path.display());
            }
            usize::from(!item.may_fail)
        }
    };
    match item.kind {
        Kind::File | Kind::Folder | Kind::EmptiedFolder | Kind::Fifo | Kind::Link => {
            told(make(root, item), &item.path)
        }
        Kind::CharacterDevice | Kind::BlockDevice | Kind::Copy => told(make(root, item), &item.path),
        Kind::Except | Kind::ExceptPath | Kind::Remove | Kind::RemoveAll => 0,
        _ => {
            let paths = if item.is_glob() { root.matches(&item.path) } else { vec![item.path.clone()] };
            paths.iter().map(|path| told(adjust(root, item, path), path)).sum()
        }
    }
}

/// Changes something that is there.
fn adjust(root: &Root, item: &Item, path: &Path) -> io::Result<()> {
    let place = match root.place(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        place => place?,
    };
    let Some(data) = place.stat()? else { return Ok(()) };
    let kind = FileType::from_raw_mode(data.st_mode);
    match item.kind {
        Kind::Write => {
            let flags = if item.plus { OFlags::APPEND } else { OFlags::empty() };
            let file = root.place(path)?.open(OFlags::WRONLY | OFlags::NOCTTY | flags, 0)?;
            return File::from(file).write_all(item.argument.as_deref().unwrap_or_default());
        }
        Kind::AdjustedFolder if kind != FileType::Directory => return Ok(()),
        Kind::ExtendedAttributes | Kind::ExtendedAttributesBelow => rights::set_attributes(&place, item)?,
        Kind::FileAttributes | Kind::FileAttributesBelow => rights::set_flags(&place, item)?,
        // Told once when the line is read; the files keep the rights of their modes.
        Kind::AccessList | Kind::AccessListBelow => return Ok(()),
        _ => rights::apply(&place, item, false)?,
    }
    if item.kind.is_deep() && kind == FileType::Directory {
        for name in names(&place)? {
            adjust(root, item, &path.join(name))?;
        }
    }
    Ok(())
}

/// The names in a folder.
pub fn names(place: &Place) -> io::Result<Vec<std::ffi::OsString>> {
    let folder = place.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(std::ffi::OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn make(root: &Root, item: &Item) -> io::Result<()> {
    let place = root.make_place(&item.path)?;
    let there = place.stat()?.map(|data| FileType::from_raw_mode(data.st_mode));
    let (kind, default) = match item.kind {
        Kind::File => (FileType::RegularFile, 0o644),
        Kind::Folder | Kind::EmptiedFolder => (FileType::Directory, 0o755),
        Kind::Fifo => (FileType::Fifo, 0o644),
        Kind::CharacterDevice => (FileType::CharacterDevice, 0o644),
        Kind::BlockDevice => (FileType::BlockDevice, 0o644),
        Kind::Link => return link(root, item, &place, there),
        _ => return copy(root, item, &place, there),
    };
    let mut there = there;
    if let Some(other) = there.filter(|there| *there != kind) {
        // A folder may be a link to one; what is else is in the way.
        let forced = item.replaces || (item.plus && kind != FileType::RegularFile);
        if !forced {
            if kind == FileType::Directory && other == FileType::Symlink && is_folder(root, &item.path) {
                return Ok(());
            }
            eprintln!("\"{}\" already exists and is not what its line says.", item.path.display());
            return Ok(());
        }
        remove::tree(&place)?;
        there = None;
    }
    let mode = item.new_mode(default);
    let new = there.is_none();
    match item.kind {
        Kind::File => file(item, &place, mode, new)?,
        Kind::Folder | Kind::EmptiedFolder if new => {
            mkdirat(&place.folder, &place.name, Mode::from_raw_mode(mode))?;
            chmod(&place, mode)?;
        }
        Kind::Fifo if new => {
            mknodat(&place.folder, &place.name, kind, Mode::from_raw_mode(mode), 0)?;
            chmod(&place, mode)?;
        }
        Kind::CharacterDevice | Kind::BlockDevice if new => {
            let text = item.text().unwrap_or_default();
            let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut parts = text.split(':');
            let device = makedev(number(parts.next()), number(parts.next()));
            mknodat(&place.folder, &place.name, kind, Mode::from_raw_mode(mode), device)?;
            chmod(&place, mode)?;
        }
        _ => {}
    }
    rights::apply(&place, item, new)
}

/// The umask counts for nothing here.
fn chmod(place: &Place, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let file = place.open(OFlags::PATH, 0)?;
    std::fs::set_permissions(Root::of_descriptor(&file), std::fs::Permissions::from_mode(mode))
}

fn is_folder(root: &Root, path: &Path) -> bool {
    root.place(&path.join(".")).is_ok()
}

fn file(item: &Item, place: &Place, mode: u32, new: bool) -> io::Result<()> {
    if !new && !item.plus {
        return Ok(());
    }
    let flags = if new { OFlags::CREATE | OFlags::EXCL } else { OFlags::TRUNC };
    let file = place.open(OFlags::WRONLY | OFlags::NOCTTY | flags, mode)?;
    if new {
        fchmod(&file, Mode::from_raw_mode(mode))?;
    }
    File::from(file).write_all(item.argument.as_deref().unwrap_or_default())
}

fn link(root: &Root, item: &Item, place: &Place, there: Option<FileType>) -> io::Result<()> {
    let target = std::ffi::OsStr::from_bytes(item.argument.as_deref().unwrap_or_default());
    let _ = root;
    match there {
        None => symlinkat(target, &place.folder, &place.name)?,
        Some(FileType::Symlink)
            if readlinkat(&place.folder, &place.name, Vec::new())?.to_bytes() == target.as_bytes() => {}
        Some(kind) if item.plus || item.replaces => {
            if kind == FileType::Directory {
                remove::tree(place)?;
            }
            // Beside it first, so that there is never nothing.
            let mut name = std::ffi::OsString::from(".");
            name.push(&place.name);
            name.push(".new");
            match unlinkat(&place.folder, &name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            symlinkat(target, &place.folder, &name)?;
            renameat(&place.folder, &name, &place.folder, &place.name)?;
        }
        // What is there stays.
        Some(_) => return Ok(()),
    }
    rights::apply(place, item, there.is_none())
}

fn copy(root: &Root, item: &Item, place: &Place, there: Option<FileType>) -> io::Result<()> {
    let empty = there == Some(FileType::Directory) && names(place)?.is_empty();
    if there.is_none() || empty {
        let source = std::ffi::OsStr::from_bytes(item.argument.as_deref().unwrap_or_default());
        // Nothing to copy is no failure: the factory has not everything.
        let from = match root.place(Path::new(source)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            from => from?,
        };
        if from.stat()?.is_none() {
            return Ok(());
        }
        copy_tree(&from, place, 0)?;
    }
    rights::apply(place, item, there.is_none())
}

fn copy_tree(from: &Place, to: &Place, depth: u32) -> io::Result<()> {
    const DEEPEST: u32 = 64;
    let Some(data) = from.stat()? else { return Ok(()) };
    let mode = data.st_mode & 0o7777;
    let raw = Mode::from_raw_mode(mode);
    match FileType::from_raw_mode(data.st_mode) {
        FileType::Directory if depth < DEEPEST => {
            match mkdirat(&to.folder, &to.name, raw) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let open = |place: &Place| place.open(OFlags::RDONLY | OFlags::DIRECTORY, 0);
            for name in names(from)? {
                let inner = |place: &Place| -> io::Result<Place> {
                    Ok(Place { folder: open(place)?, name: name.clone() })
                };
                copy_tree(&inner(from)?, &inner(to)?, depth + 1)?;
            }
        }
        FileType::RegularFile => {
            let mut source = File::from(from.open(OFlags::RDONLY | OFlags::NONBLOCK, 0)?);
            let mut target = File::from(to.open(OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, mode)?);
            io::copy(&mut source, &mut target)?;
        }
        FileType::Symlink => {
            let target = readlinkat(&from.folder, &from.name, Vec::new())?;
            symlinkat(&target, &to.folder, &to.name)?;
        }
        kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
            mknodat(&to.folder, &to.name, kind, raw, data.st_rdev)?;
        }
        _ => return Ok(()),
    }
    let copied = to.open(OFlags::PATH, 0)?;
    let (uid, gid) = (rustix::fs::Uid::from_raw(data.st_uid), rustix::fs::Gid::from_raw(data.st_gid));
    rustix::fs::chownat(&copied, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(data.st_mode) != FileType::Symlink {
        chmod(to, mode)?;
    }
    Ok(())
}
