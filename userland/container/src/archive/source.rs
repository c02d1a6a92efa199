//! Where the parts of an image lie: within a tar archive, packed or not, or in a directory.
//!
//! An archive has its parts in any order. One that is not packed is a file in which they are found again; what
//! is packed, or comes from a pipe, is first written into a file without a name. Names from an archive are only
//! ever compared, never opened.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use tar::EntryType;

use super::ArchiveError;
use crate::layer::compressed;
use crate::store::Store;

/// Files of an archive: a layer or two hundred, times some hundred images.
const FILES_LIMIT: usize = 100_000;
/// Bytes of an archive, unpacked once.
const BYTES_LIMIT: u64 = 256 << 30;
/// How many links lead from one to the next, at most.
const LINKS: usize = 8;

/// Where the parts of images are.
#[derive(Debug)]
pub enum Source {
    /// In an archive that is not packed.
    Archive {
        /// The archive.
        file: Arc<File>,
        /// Where each file's content is: from where, how many bytes.
        files: HashMap<String, (u64, u64)>,
        /// Links among its files.
        links: HashMap<String, String>,
    },
    /// In a directory.
    Directory(OwnedFd),
}

impl Source {
    /// What this path is: a directory, or an archive.
    ///
    /// # Errors
    /// When it is neither.
    pub fn open(store: &Store, path: &Path) -> Result<Self, ArchiveError> {
        let failed = |source: io::Error| ArchiveError::Io { path: path.to_owned(), source };
        if path.is_dir() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            return Ok(Self::Directory(
                open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?,
            ));
        }
        let file = File::open(path).map_err(failed)?;
        let mut first = [0; 4];
        let regular = file.metadata().map_err(failed)?.is_file();
        let plain = regular
            && file.read_at(&mut first, 0).map_err(failed)? == first.len()
            && compressed::detect(&first) == crate::registry::manifest::Compression::None;
        if plain { Self::index(file) } else { Self::read(store, BufReader::new(file)) }
    }

    /// An archive, packed or not, that comes as a stream.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(store: &Store, input: impl io::BufRead) -> Result<Self, ArchiveError> {
        let mut file = store.scratch()?;
        let plain = compressed::any(input).map_err(ArchiveError::Unreadable)?;
        let copied = io::copy(&mut plain.take(BYTES_LIMIT), &mut file).map_err(ArchiveError::Unreadable)?;
        if copied == BYTES_LIMIT {
            return Err(ArchiveError::Bomb("more than 256 GiB"));
        }
        file.seek(SeekFrom::Start(0)).map_err(ArchiveError::Unreadable)?;
        Self::index(file)
    }

    fn index(file: File) -> Result<Self, ArchiveError> {
        let (mut files, mut links) = (HashMap::new(), HashMap::new());
        let mut archive = tar::Archive::new(&file);
        for entry in archive.entries_with_seek().map_err(ArchiveError::Unreadable)? {
            let entry = entry.map_err(ArchiveError::Unreadable)?;
            if files.len() + links.len() >= FILES_LIMIT {
                return Err(ArchiveError::Bomb("more than 100,000 files"));
            }
            let path = entry.path().map_err(ArchiveError::Unreadable)?;
            let Some(name) = clean(Path::new(""), &path) else { continue };
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    files.insert(name, (entry.raw_file_position(), entry.size()));
                }
                EntryType::Symlink | EntryType::Link => {
                    let symbolic = entry.header().entry_type() == EntryType::Symlink;
                    let from = path.parent().filter(|_| symbolic).unwrap_or(Path::new(""));
                    let target = entry.link_name().map_err(ArchiveError::Unreadable)?;
                    if let Some(target) = target.and_then(|target| clean(from, &target)) {
                        links.insert(name, target);
                    }
                }
                _ => {}
            }
        }
        Ok(Self::Archive { file: Arc::new(file), files, links })
    }

    /// A file of it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn file(&self, name: &str) -> Result<Part, ArchiveError> {
        let missing = || ArchiveError::Missing(name.chars().take(200).collect());
        match self {
            Self::Archive { file, files, links } => {
                let mut name = clean(Path::new(""), Path::new(name)).ok_or_else(missing)?;
                for _ in 0..LINKS {
                    match links.get(&name) {
                        Some(target) => name.clone_from(target),
                        None => break,
                    }
                }
                let (from, length) = *files.get(&name).ok_or_else(missing)?;
                Ok(Part { file: Arc::clone(file), at: from, end: from.saturating_add(length) })
            }
            Self::Directory(dir) => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
                let file = openat2(dir, name, flags, Mode::empty(), resolve).map_err(|_| missing())?;
                let file = File::from(file);
                let meta = file.metadata().map_err(ArchiveError::Unreadable)?;
                if !meta.is_file() {
                    return Err(missing());
                }
                Ok(Part { file: Arc::new(file), at: 0, end: meta.len() })
            }
        }
    }

    /// A small file of it, whole.
    ///
    /// # Errors
    /// When it is not there or larger than `limit`.
    pub fn document(&self, name: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut part = self.file(name)?;
        if part.length() > limit {
            return Err(ArchiveError::Bomb("a document larger than any of its kind"));
        }
        let mut bytes = Vec::new();
        part.read_to_end(&mut bytes).map_err(ArchiveError::Unreadable)?;
        Ok(bytes)
    }

    /// Whether it has this file.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.file(name).is_ok()
    }
}

/// The content of one file.
#[derive(Debug)]
pub struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Part {
    /// Bytes that are left.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.length()).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..length).unwrap_or_default(), self.at)?;
        if read == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// A name without `.` and `..`, as seen from a directory of the archive; none if it leads out or is no text.
fn clean(from: &Path, path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for component in from.components().chain(path.components()) {
        match component {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::CurDir => {}
            Component::RootDir => parts.clear(),
            Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_one_form() {
        let clean = |from: &str, path: &str| clean(Path::new(from), Path::new(path));
        assert_eq!(clean("", "./a//b/../c"), Some("a/c".to_owned()));
        assert_eq!(clean("a", "../b/layer.tar"), Some("b/layer.tar".to_owned()));
        assert_eq!(clean("a", "/b"), Some("b".to_owned()));
        assert_eq!((clean("", "../a"), clean("", "/"), clean("a", "../../b")), (None, None, None));
    }

    #[test]
    fn links_in_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        for (name, target) in [("a", "b"), ("b", "a"), ("c", "x/../d")] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, name, target).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_cksum();
        tar.append_data(&mut header, "./d", &b"here"[..]).unwrap();
        let bytes = tar.into_inner().unwrap();
        let source = Source::read(&store, bytes.as_slice()).unwrap();
        assert!(!source.has("a"));
        assert_eq!(source.document("c", 4).unwrap(), b"here");
        assert!(matches!(source.document("c", 3), Err(ArchiveError::Bomb(_))));
        assert!(Source::read(&store, &b"rubbish, but long enough for a header".repeat(40)[..]).is_err());
    }
}
