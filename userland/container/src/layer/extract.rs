//! Writing the entries of a tar archive beneath a directory, and nowhere else.
//!
//! The kernel resolves every path from the directory's descriptor with `RESOLVE_IN_ROOT`: a symbolic link
//! or `..` in an archive leads back into the directory, whatever it says and whenever it was made. The last
//! component is never followed: what is there is removed, then made new. Attributes that steer overlayfs
//! itself are not taken from an archive. Sources: tar(5), openat2(2), xattr(7).

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, ftruncate, futimens, linkat, makedev, mkdirat, mknodat, openat, openat2,
    statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use tar::EntryType;

use super::Limits;
use super::metered::Metered;
use super::recipe::Shared;
use super::whiteout::{Meaning, meaning};

const COPY_BUFFER: usize = 256 << 10;
const HOLE: usize = 4096;
pub(super) const XATTR_PREFIX: &str = "SCHILY.xattr.";
pub(super) const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";

/// Why an archive cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The archive is broken.
    #[error("the archive cannot be read: {0}")]
    Archive(#[source] io::Error),
    /// A name that leads elsewhere or nowhere.
    #[error("entry {0:?} has a path that no layer may have")]
    Path(PathBuf),
    /// A whiteout of nothing.
    #[error("{0:?} is no valid whiteout")]
    Whiteout(String),
    /// An entry of a kind that no layer may have.
    #[error("entry {path:?} is of the unknown kind {kind:?}")]
    Kind {
        /// Its name.
        path: PathBuf,
        /// Its kind.
        kind: EntryType,
    },
    /// It would take the place of a directory.
    #[error("cannot overwrite directory {0:?} with non-directory")]
    Directory(PathBuf),
    /// It would be a directory in the place of something else.
    #[error("cannot overwrite non-directory {0:?} with directory")]
    NoDirectory(PathBuf),
    /// More than allowed.
    #[error("it unpacks to more than {limit} {what}: refused as a bomb")]
    Bomb {
        /// The limit.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// It could not be written.
    #[error("{operation} {path:?}: {source}")]
    Write {
        /// What was tried.
        operation: &'static str,
        /// For which entry.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Writes one archive into one directory.
pub(super) struct Extractor<'a> {
    root: OwnedFd,
    recorder: Shared<'a>,
    limits: Limits,
    /// Whether names can be whiteouts: in a layer.
    whiteouts: bool,
    /// Whether a directory may become something else, and something else a directory.
    keep_kinds: bool,
    /// Directories whose times are set last, since writing into them changes them.
    times: Vec<(PathBuf, Timestamps)>,
    buffer: Vec<u8>,
}

/// What an entry's header says, checked.
struct Attributes {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    times: Timestamps,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl<'a> Extractor<'a> {
    pub(super) fn new(
        root: BorrowedFd<'_>,
        limits: Limits,
        recorder: Shared<'a>,
    ) -> Result<Self, ExtractError> {
        let root = root.try_clone_to_owned().map_err(ExtractError::Archive)?;
        let (times, buffer) = (Vec::new(), vec![0; COPY_BUFFER]);
        Ok(Self { root, recorder, limits, whiteouts: true, keep_kinds: false, times, buffer })
    }

    /// The same for an archive that is no layer: every name is a plain one. With `keep_kinds` a directory that is
    /// there stays one, and what is none does not become one.
    pub(super) fn plain(self, keep_kinds: bool) -> Self {
        Self { whiteouts: false, keep_kinds, ..self }
    }

    /// Takes all entries, and hands the reader back for what follows the archive.
    pub(super) fn run<R: Read>(&mut self, reader: Metered<R>) -> Result<Metered<R>, ExtractError> {
        let meter = reader.meter();
        let mut archive = tar::Archive::new(reader);
        let (mut bytes, mut count) = (0_u64, 0_u64);
        meter.allow_headers();
        for entry in archive.entries().map_err(ExtractError::Archive)? {
            let mut entry = entry.map_err(ExtractError::Archive)?;
            count += 1;
            if count > self.limits.entries {
                return Err(ExtractError::Bomb { limit: self.limits.entries, what: "entries" });
            }
            bytes = bytes.saturating_add(entry.size());
            if bytes > self.limits.bytes {
                return Err(ExtractError::Bomb { limit: self.limits.bytes, what: "bytes" });
            }
            meter.allow_content(entry.size());
            self.entry(&mut entry)?;
            io::copy(&mut entry, &mut io::sink()).map_err(ExtractError::Archive)?;
            meter.allow_headers();
        }
        for (path, times) in std::mem::take(&mut self.times).into_iter().rev() {
            // Gone again by a later entry: then there is nothing to set.
            if let Ok(dir) = self.open_dir(&path) {
                futimens(&dir, &times).map_err(|error| write_error("set the times of", &path, error))?;
            }
        }
        meter.allow_content(u64::MAX);
        Ok(archive.into_inner())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), ExtractError> {
        let raw = entry.path_bytes().into_owned();
        let path = clean(Path::new(OsStr::from_bytes(&raw)))?;
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let attributes = attributes(entry, &path)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The root of the layer itself.
            return if kind == EntryType::Directory { self.finish_dir(&path, attributes) } else { Ok(()) };
        };
        let parent_path = path.parent().unwrap_or(Path::new("")).to_owned();
        let parent = self.make_parent(&parent_path)?;
        if let Some(text) = name.to_str().filter(|_| self.whiteouts) {
            match meaning(text)? {
                Meaning::Plain => {}
                Meaning::Bookkeeping => return Ok(()),
                Meaning::Opaque => {
                    let dir =
                        self.open_dir(&parent_path).map_err(|e| write_error("open", &parent_path, e))?;
                    return fsetxattr(&dir, OVERLAY_OPAQUE, b"y", XattrFlags::empty())
                        .map_err(|error| write_error("make opaque", &parent_path, error));
                }
                Meaning::Gone(gone) => return self.hide(&parent, gone, &path),
            }
        }
        let wrote = |operation| {
            let path = path.clone();
            move |error: Errno| write_error(operation, &path, error)
        };
        if self.keep_kinds {
            refuse_other_kind(&parent, &name, &path, kind)?;
        }
        if kind == EntryType::Directory {
            if make_room_for_dir(&parent, &name).map_err(wrote("replace"))? {
                self.recorder.borrow_mut().give_up();
            }
            return self.finish_dir(&path, attributes);
        }
        if make_room(&parent, &name, &path)? {
            self.recorder.borrow_mut().give_up();
        }
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&parent, &name, flags, Mode::RUSR | Mode::WUSR).map_err(wrote("create"))?;
                if kind != EntryType::GNUSparse {
                    self.recorder.borrow_mut().file(&path, entry.size());
                }
                self.content(entry, &file, &path)?;
                finish_file(&file, &attributes).map_err(wrote("set the attributes of"))
            }
            EntryType::Symlink => {
                let target = link_name(entry, &path)?;
                symlinkat(OsStr::from_bytes(&target), &parent, &name).map_err(wrote("link"))?;
                finish_by_name(&parent, &name, &attributes, true).map_err(wrote("set the attributes of"))
            }
            EntryType::Link => {
                let target = clean(Path::new(OsStr::from_bytes(&link_name(entry, &path)?)))?;
                self.hard_link(&target, &parent, &name, &path)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let (kind, device) = match kind {
                    EntryType::Fifo => (FileType::Fifo, 0),
                    other => {
                        let header = entry.header();
                        let major = header.device_major().map_err(ExtractError::Archive)?.unwrap_or(0);
                        let minor = header.device_minor().map_err(ExtractError::Archive)?.unwrap_or(0);
                        let block = other == EntryType::Block;
                        let kind = if block { FileType::BlockDevice } else { FileType::CharacterDevice };
                        (kind, makedev(major, minor))
                    }
                };
                mknodat(&parent, &name, kind, Mode::RUSR | Mode::WUSR, device).map_err(wrote("make"))?;
                finish_by_name(&parent, &name, &attributes, false).map_err(wrote("set the attributes of"))
            }
            kind => Err(ExtractError::Kind { path, kind }),
        }
    }

    /// The directory that an entry lies in, made if no entry made it before.
    fn make_parent(&self, path: &Path) -> Result<OwnedFd, ExtractError> {
        match self.open_dir(path) {
            Ok(dir) => return Ok(dir),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(write_error("open the directory", path, error)),
        }
        let mut so_far = PathBuf::new();
        for component in path.components() {
            let parent = self.open_dir(&so_far).map_err(|error| write_error("open", &so_far, error))?;
            match mkdirat(&parent, component.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(write_error("create", path, error)),
            }
            so_far.push(component);
        }
        self.open_dir(path).map_err(|error| write_error("open", path, error))
    }

    fn open_dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    fn finish_dir(&mut self, path: &Path, attributes: Attributes) -> Result<(), ExtractError> {
        let wrote = |error| write_error("set the attributes of", path, error);
        let dir = self.open_dir(path).map_err(wrote)?;
        fchown(&dir, Some(attributes.uid), Some(attributes.gid)).map_err(wrote)?;
        fchmod(&dir, attributes.mode).map_err(wrote)?;
        set_xattrs(&dir, &attributes.xattrs).map_err(wrote)?;
        self.times.push((path.to_owned(), attributes.times));
        Ok(())
    }

    fn hide(&self, parent: &OwnedFd, gone: &str, path: &Path) -> Result<(), ExtractError> {
        match statat(parent, gone, AtFlags::SYMLINK_NOFOLLOW) {
            // Added by this very layer: it stays, the whiteout is about the layers below.
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                mknodat(parent, gone, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
                    .map_err(|error| write_error("make the whiteout", path, error))
            }
            Err(error) => Err(write_error("look at", path, error)),
        }
    }

    fn hard_link(
        &self,
        target: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
    ) -> Result<(), ExtractError> {
        let wrote = |error| write_error("link", path, error);
        let from_name = target.file_name().ok_or_else(|| ExtractError::Path(target.to_owned()))?;
        let from = self.open_dir(target.parent().unwrap_or(Path::new(""))).map_err(wrote)?;
        // Without AT_SYMLINK_FOLLOW a link to a link is a link to that link, not to what it points to.
        linkat(&from, from_name, parent, name, AtFlags::empty()).map_err(wrote)
    }

    /// Writes the content; pages of zeroes become holes.
    fn content<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        file: &OwnedFd,
        path: &Path,
    ) -> Result<(), ExtractError> {
        let mut at = 0_u64;
        loop {
            let filled = fill(entry, &mut self.buffer).map_err(ExtractError::Archive)?;
            let chunk = self.buffer.get(..filled).unwrap_or_default();
            if chunk.is_empty() {
                break;
            }
            for page in chunk.chunks(HOLE.max(chunk.len() / 16)) {
                if page.iter().any(|byte| *byte != 0) {
                    write_at(file, page, at).map_err(|error| write_error("write", path, error))?;
                }
                at += page.len() as u64;
            }
        }
        if at != entry.size() {
            return Err(ExtractError::Archive(io::ErrorKind::UnexpectedEof.into()));
        }
        ftruncate(file, at).map_err(|error| write_error("write", path, error))
    }
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn write_at(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = bytes.get(written..).unwrap_or_default();
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The path of an entry relative to the layer's root, without `.` and `..`.
fn clean(path: &Path) -> Result<PathBuf, ExtractError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(ExtractError::Path(path.to_owned())),
        }
    }
    Ok(clean)
}

fn link_name<R: Read>(entry: &tar::Entry<'_, R>, path: &Path) -> Result<Vec<u8>, ExtractError> {
    let name = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
    if name.is_empty() { Err(ExtractError::Path(path.to_owned())) } else { Ok(name) }
}

fn attributes<R: Read>(entry: &mut tar::Entry<'_, R>, path: &Path) -> Result<Attributes, ExtractError> {
    let header = entry.header();
    let id = |id: io::Result<u64>| {
        let id = id.map_err(ExtractError::Archive)?;
        // The largest number means "unchanged" to the kernel.
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(|| ExtractError::Path(path.to_owned()))
    };
    let mode = header.mode().map_err(ExtractError::Archive)?;
    let seconds = i64::try_from(header.mtime().map_err(ExtractError::Archive)?).unwrap_or(0);
    let (mut uid, mut gid) = (id(header.uid())?, id(header.gid())?);
    let mut modified = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let mut xattrs = Vec::new();
    for extension in entry.pax_extensions().map_err(ExtractError::Archive)?.into_iter().flatten() {
        let extension = extension.map_err(ExtractError::Archive)?;
        let (Ok(key), value) = (extension.key(), extension.value_bytes()) else { continue };
        let text = || std::str::from_utf8(value).unwrap_or_default();
        match key {
            "uid" => uid = id(text().parse().map_err(io::Error::other))?,
            "gid" => gid = id(text().parse().map_err(io::Error::other))?,
            "mtime" => modified = parse_time(text()).unwrap_or(modified),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX).filter(|name| may_set(name)) {
                    xattrs.push((name.to_owned(), value.to_vec()));
                }
            }
        }
    }
    let times = Timestamps { last_access: modified, last_modification: modified };
    Ok(Attributes {
        mode: Mode::from_raw_mode(mode & 0o7777),
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(gid),
        times,
        xattrs,
    })
}

/// Attributes that describe a file, but none that steer the file system or a security module.
pub(super) fn may_set(name: &str) -> bool {
    name == "security.capability" || (name.starts_with("user.") && !name.starts_with("user.overlay."))
}

/// Seconds since 1970 with a fraction, as an extended header has them.
fn parse_time(text: &str) -> Option<Timespec> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let (seconds, mut nanos) = (whole.parse::<i64>().ok()?, digits.parse::<i64>().ok()?);
    if !(0..1_000_000_000).contains(&nanos) {
        nanos = 0;
    }
    Some(Timespec { tv_sec: seconds, tv_nsec: nanos })
}

/// An error if what is called `name` is a directory and is not to be one, or the other way round.
fn refuse_other_kind(
    parent: &OwnedFd,
    name: &OsStr,
    path: &Path,
    wanted: EntryType,
) -> Result<(), ExtractError> {
    let Ok(found) = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
    let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    match (is_directory, wanted == EntryType::Directory) {
        (true, false) => Err(ExtractError::Directory(path.to_owned())),
        (false, true) => Err(ExtractError::NoDirectory(path.to_owned())),
        _ => Ok(()),
    }
}

/// Sees to it that `name` is a directory of its own, keeping one that is there. Returns whether it was a file.
fn make_room_for_dir(parent: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    let mode = Mode::from_raw_mode(0o755);
    match mkdirat(parent, name, mode) {
        Err(Errno::EXIST) => {
            let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                return Ok(false);
            }
            unlinkat(parent, name, AtFlags::empty())?;
            mkdirat(parent, name, mode).map(|()| true)
        }
        other => other.map(|()| false),
    }
}

/// Sees to it that nothing is called `name`. Returns whether something was that the archive had put there.
fn make_room(parent: &OwnedFd, name: &OsStr, path: &Path) -> Result<bool, ExtractError> {
    let wrote = |error| write_error("replace", path, error);
    let found = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        other => other.map_err(wrote)?,
    };
    // An empty directory may become a file; a full one may not: no honest archive does that.
    let directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    unlinkat(parent, name, flags).map_err(wrote)?;
    let whiteout = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0;
    Ok(!whiteout)
}

/// The owner first, since changing it clears set-user-id bits and capabilities.
fn finish_file(file: &OwnedFd, attributes: &Attributes) -> Result<(), Errno> {
    fchown(file, Some(attributes.uid), Some(attributes.gid))?;
    fchmod(file, attributes.mode)?;
    set_xattrs(file, &attributes.xattrs)?;
    futimens(file, &attributes.times)
}

fn finish_by_name(parent: &OwnedFd, name: &OsStr, attributes: &Attributes, link: bool) -> Result<(), Errno> {
    chownat(parent, name, Some(attributes.uid), Some(attributes.gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !link {
        // What was made just now in a directory nobody else writes to; chmod has no "nofollow".
        rustix::fs::chmodat(parent, name, attributes.mode, AtFlags::empty())?;
    }
    utimensat(parent, name, &attributes.times, AtFlags::SYMLINK_NOFOLLOW)
}

fn set_xattrs(file: impl AsFd, xattrs: &[(String, Vec<u8>)]) -> Result<(), Errno> {
    for (name, value) in xattrs {
        match fsetxattr(file.as_fd(), name.as_str(), value, XattrFlags::empty()) {
            // A file system without them (tmpfs knows no user attributes before Linux 6.6).
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn write_error(operation: &'static str, path: &Path, error: Errno) -> ExtractError {
    ExtractError::Write { operation, path: path.to_owned(), source: error.into() }
}
