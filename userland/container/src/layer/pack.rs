//! From a directory that overlayfs wrote to the archive of a layer.
//!
//! What overlayfs marks with a character device 0/0 and an extended attribute becomes a whiteout of OCI's
//! form again. Entries come in the order of their names, with owners as numbers and times in whole seconds, so
//! that the same directory gives the same archive. Every path is opened from the descriptor of its directory and
//! no link is followed: the container whose directory it is may still run.
//! Sources: OCI image specification, "Image Layer Filesystem Changeset"; pax(1), "pax Interchange Format".

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, major, minor, openat, readlinkat,
    statat,
};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::extract::{OVERLAY_OPAQUE, XATTR_PREFIX, may_set};
use super::whiteout::{OPAQUE, PREFIX};

const OVERLAY_REDIRECT: &str = "trusted.overlay.redirect";
const XATTR_LIMIT: usize = 64 << 10;
/// Deeper than any path that the kernel resolves in one go.
const DEPTH_LIMIT: usize = 2048;
/// What fits in the field of a name.
const NAME: usize = 100;
/// What fits in the field of a size, and of an owner.
const SIZE: u64 = 0o77_777_777_777;
const OWNER: u64 = 0o7_777_777;

/// Why a directory cannot become an archive.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file.
    #[error("{operation} {path:?}: {source}")]
    Read {
        /// What was tried.
        operation: &'static str,
        /// With what, relative to the directory.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A directory that was renamed in a way that a layer cannot say.
    #[error("{0:?} was renamed by overlayfs in place, which the archive of a layer cannot say")]
    Redirect(PathBuf),
    /// Directories without end.
    #[error("{0:?} is too deep")]
    Deep(PathBuf),
    /// Who wanted the archive does not take it.
    #[error("cannot write the archive: {0}")]
    Write(#[from] io::Error),
}

/// What the attributes of a file say.
#[derive(Default)]
struct Marks {
    kept: Vec<(String, Vec<u8>)>,
    opaque: bool,
    redirect: bool,
}

struct Packer<W: Write> {
    tar: Builder<W>,
    /// Where a file with several names was met first, by its number.
    links: HashMap<(u64, u64), Vec<u8>>,
}

/// Writes what is in `dir`, but not the directory itself, as the archive of a layer.
///
/// # Errors
/// When it cannot be read, or `out` does not take it.
pub fn pack<W: Write>(dir: impl AsFd, out: W) -> Result<W, PackError> {
    let read =
        |source: Errno| PackError::Read { operation: "open", path: PathBuf::new(), source: source.into() };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(dir, ".", flags, Mode::empty()).map_err(read)?;
    let mut packer = Packer { tar: Builder::new(out), links: HashMap::new() };
    if marks(&dir, Path::new("/"))?.opaque {
        packer.empty(OPAQUE.as_bytes())?;
    }
    packer.directory(&dir, Path::new(""), 0)?;
    Ok(packer.tar.into_inner()?)
}

impl<W: Write> Packer<W> {
    fn directory(&mut self, dir: &OwnedFd, path: &Path, depth: usize) -> Result<(), PackError> {
        let read = |operation, path: &Path| {
            let path = path.to_owned();
            move |source: Errno| PackError::Read { operation, path, source: source.into() }
        };
        if depth > DEPTH_LIMIT {
            return Err(PackError::Deep(path.to_owned()));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).map_err(read("list", path))? {
            let entry = entry.map_err(read("list", path))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort();
        for name in names {
            let own = path.join(OsStr::from_bytes(name.to_bytes()));
            let stat = match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // Gone while we looked: the container runs.
                Err(Errno::NOENT) => continue,
                other => other.map_err(read("look at", &own))?,
            };
            self.entry(dir, &name, &own, &stat, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        path: &Path,
        stat: &Stat,
        depth: usize,
    ) -> Result<(), PackError> {
        let read = |operation| {
            move |source: Errno| PackError::Read { operation, path: path.to_owned(), source: source.into() }
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let own = path.as_os_str().as_bytes();
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let number = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&number).cloned() {
                return self.header(EntryType::Link, own, &first, 0, stat, &[]);
            }
            self.links.insert(number, own.to_vec());
        }
        let open = |flags| {
            openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(read("open"))
        };
        match kind {
            FileType::Directory => {
                let child = open(OFlags::RDONLY | OFlags::DIRECTORY)?;
                let marks = marks(&child, path)?;
                let mut slashed = own.to_vec();
                slashed.push(b'/');
                self.header(EntryType::Directory, &slashed, b"", 0, stat, &marks.kept)?;
                if marks.redirect {
                    return Err(PackError::Redirect(path.to_owned()));
                }
                if marks.opaque {
                    slashed.extend(OPAQUE.as_bytes());
                    self.empty(&slashed)?;
                }
                self.directory(&child, path, depth + 1)
            }
            FileType::RegularFile => {
                let file = open(OFlags::RDONLY | OFlags::NONBLOCK)?;
                let marks = marks(&file, path)?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.header(EntryType::Regular, own, b"", size, stat, &marks.kept)?;
                self.content(File::from(file), size)
            }
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new()).map_err(read("read"))?;
                self.header(EntryType::Symlink, own, target.to_bytes(), 0, stat, &[])
            }
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                let mut hidden = PREFIX.as_bytes().to_vec();
                hidden.extend(name.to_bytes());
                let path = path.with_file_name(OsStr::from_bytes(&hidden));
                self.empty(path.as_os_str().as_bytes())
            }
            FileType::CharacterDevice => self.header(EntryType::Char, own, b"", 0, stat, &[]),
            FileType::BlockDevice => self.header(EntryType::Block, own, b"", 0, stat, &[]),
            FileType::Fifo => self.header(EntryType::Fifo, own, b"", 0, stat, &[]),
            // A socket is nothing without the process behind it.
            FileType::Socket | FileType::Unknown => Ok(()),
        }
    }

    /// Exactly `size` bytes, whatever happens to the file meanwhile.
    fn content(&mut self, file: File, size: u64) -> Result<(), PackError> {
        let out = self.tar.get_mut();
        let copied = io::copy(&mut file.take(size), out)?;
        let padding = size.next_multiple_of(512) - copied;
        io::copy(&mut io::repeat(0).take(padding), out)?;
        Ok(())
    }

    fn header(
        &mut self,
        kind: EntryType,
        path: &[u8],
        target: &[u8],
        size: u64,
        stat: &Stat,
        attributes: &[(String, Vec<u8>)],
    ) -> Result<(), PackError> {
        let mut header = Header::new_ustar();
        let mut extended: Vec<(String, Vec<u8>)> = Vec::new();
        let mut text = |field: &mut [u8], value: &[u8], name: &str| {
            let fits = value.len().min(NAME);
            let (to, from) = (field.get_mut(..fits), value.get(..fits));
            if let (Some(to), Some(from)) = (to, from) {
                to.copy_from_slice(from);
            }
            if value.len() > NAME {
                extended.push((name.to_owned(), value.to_vec()));
            }
        };
        text(&mut header.as_old_mut().name, path, "path");
        text(&mut header.as_old_mut().linkname, target, "linkpath");
        let mut number = |value: u64, limit: u64, name: &str| {
            if value > limit {
                extended.push((name.to_owned(), value.to_string().into_bytes()));
            }
            value.min(limit)
        };
        let size = number(size, SIZE, "size");
        let uid = number(u64::from(stat.st_uid), OWNER, "uid");
        let gid = number(u64::from(stat.st_gid), OWNER, "gid");
        header.set_size(size);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_entry_type(kind);
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(major(stat.st_rdev))?;
            header.set_device_minor(minor(stat.st_rdev))?;
        }
        header.set_cksum();
        for (name, value) in attributes {
            extended.push((format!("{XATTR_PREFIX}{name}"), value.clone()));
        }
        if !extended.is_empty() {
            let pairs = extended.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            self.tar.append_pax_extensions(pairs)?;
        }
        self.tar.get_mut().write_all(header.as_bytes())?;
        Ok(())
    }

    /// An empty file of root's: a whiteout.
    fn empty(&mut self, path: &[u8]) -> Result<(), PackError> {
        let mut header = Header::new_ustar();
        let mut extended = None;
        match header.as_old_mut().name.get_mut(..path.len()) {
            Some(field) => field.copy_from_slice(path),
            None => extended = Some(("path", path)),
        }
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_mtime(0);
        header.set_cksum();
        if let Some(pair) = extended {
            self.tar.append_pax_extensions([pair])?;
        }
        self.tar.get_mut().write_all(header.as_bytes())?;
        Ok(())
    }
}

fn marks(file: &OwnedFd, path: &Path) -> Result<Marks, PackError> {
    let read = |source: Errno| PackError::Read {
        operation: "read the attributes of",
        path: path.to_owned(),
        source: source.into(),
    };
    let mut list = vec![0; XATTR_LIMIT];
    let length = match flistxattr(file, list.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(Marks::default()),
        other => other.map_err(read)?,
    };
    let mut marks = Marks::default();
    let names =
        list.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty());
    for name in names.filter_map(|name| std::str::from_utf8(name).ok()) {
        if name != OVERLAY_OPAQUE && name != OVERLAY_REDIRECT && !may_set(name) {
            continue;
        }
        let mut value = vec![0; XATTR_LIMIT];
        let length = match fgetxattr(file, name, value.as_mut_slice()) {
            Err(Errno::NODATA) => continue,
            other => other.map_err(read)?,
        };
        value.truncate(length);
        match name {
            OVERLAY_OPAQUE => marks.opaque = value == b"y",
            OVERLAY_REDIRECT => marks.redirect = true,
            name => marks.kept.push((name.to_owned(), value)),
        }
    }
    marks.kept.sort();
    Ok(marks)
}
