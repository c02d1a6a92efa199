//! Packing files into a tar archive while they may change.
//!
//! Every file is opened by its name in a directory that is held, and no link is followed. A file that shrinks
//! while it is read is filled up with zeros, one that grows is cut: its header has been sent.
//! Source: tar(5), with GNU's long names.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, StatxFlags, fstat, major, minor, openat, readlinkat, statat,
    statx,
};
use tar::{EntryType, Header};

/// Directories within directories; each is held open.
const DEEPEST: usize = 200;
/// What a header has room for.
const NAME: usize = 100;
const BLOCK: u64 = 512;

/// Writes one archive.
pub struct Packer<W> {
    to: W,
    /// Where files with several names were told first.
    first: HashMap<(u64, u64), Vec<u8>>,
    /// The mount that is not left; none: all that is mounted is packed, too.
    mount: Option<u64>,
}

impl<W: Write> Packer<W> {
    /// An empty archive.
    pub fn new(to: W) -> Self {
        Self { to, first: HashMap::new(), mount: None }
    }

    /// Stays on the mount of this directory; of what is mounted on it the empty place is packed.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn of_one_mount(self, root: impl AsFd) -> io::Result<Self> {
        Ok(Self { mount: Some(mount_of(root, OsStr::new("."))?), ..self })
    }

    /// Adds a file, under another name, with all that is below.
    ///
    /// # Errors
    /// When it cannot be read or sent.
    pub fn pack(mut self, parent: BorrowedFd<'_>, name: &OsStr, shown: &[u8]) -> io::Result<Self> {
        self.add(parent, name, shown, 0)?;
        Ok(self)
    }

    /// Adds all that is in a directory, but not itself.
    ///
    /// # Errors
    /// When it cannot be read or sent.
    pub fn pack_all(mut self, root: impl AsFd) -> io::Result<Self> {
        let dir = openat(root, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        self.contents(dir.as_fd(), b"", 0)?;
        Ok(self)
    }

    /// Writes the end.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn finish(mut self) -> io::Result<()> {
        self.to.write_all(&[0; 2 * BLOCK as usize])?;
        self.to.flush()
    }

    fn contents(&mut self, dir: BorrowedFd<'_>, shown: &[u8], depth: usize) -> io::Result<()> {
        let mut names: Vec<OsString> = Vec::new();
        for entry in Dir::read_from(dir)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        for name in names {
            let mut path = shown.to_vec();
            if !path.is_empty() && !path.ends_with(b"/") {
                path.push(b'/');
            }
            path.extend(name.as_bytes());
            match self.add(dir, &name, &path, depth) {
                // Gone meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn add(&mut self, parent: BorrowedFd<'_>, name: &OsStr, shown: &[u8], depth: usize) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(io::Error::other(format!("more than {DEEPEST} directories within each other")));
        }
        let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mounted = match self.mount {
            Some(own) => mount_of(parent, name)? != own,
            None => false,
        };
        let mut header = header(&stat);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let dir = openat(parent, name, flags, Mode::empty())?;
                let mut told = shown.to_vec();
                if !told.ends_with(b"/") {
                    told.push(b'/');
                }
                header.set_entry_type(EntryType::Directory);
                self.head(&mut header, &told, b"", 0)?;
                if mounted { Ok(()) } else { self.contents(dir.as_fd(), shown, depth + 1) }
            }
            FileType::RegularFile => {
                let key = (stat.st_dev, stat.st_ino);
                if let Some(first) = self.first.get(&key).cloned() {
                    header.set_entry_type(EntryType::Link);
                    return self.head(&mut header, shown, &first, 0);
                }
                if mounted {
                    return self.head(&mut header, shown, b"", 0);
                }
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = openat(parent, name, flags, Mode::empty())?;
                let now = fstat(&file)?;
                // Another file has come in its place.
                if FileType::from_raw_mode(now.st_mode) != FileType::RegularFile {
                    return Ok(());
                }
                if stat.st_nlink > 1 {
                    self.first.insert(key, shown.to_vec());
                }
                let size = u64::try_from(now.st_size).unwrap_or(0);
                self.head(&mut header, shown, b"", size)?;
                self.content(File::from(file), size)
            }
            FileType::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                let target = readlinkat(parent, name, Vec::new())?;
                self.head(&mut header, shown, target.as_bytes(), 0)
            }
            FileType::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                self.head(&mut header, shown, b"", 0)
            }
            kind @ (FileType::CharacterDevice | FileType::BlockDevice) => {
                let block = kind == FileType::BlockDevice;
                header.set_entry_type(if block { EntryType::Block } else { EntryType::Char });
                header.set_device_major(major(stat.st_rdev))?;
                header.set_device_minor(minor(stat.st_rdev))?;
                self.head(&mut header, shown, b"", 0)
            }
            // A socket means nothing without who listens.
            _ => Ok(()),
        }
    }

    fn head(&mut self, header: &mut Header, name: &[u8], link: &[u8], size: u64) -> io::Result<()> {
        for (kind, text) in [(EntryType::GNULongName, name), (EntryType::GNULongLink, link)] {
            if text.len() > NAME {
                self.long(kind, text)?;
            }
        }
        let old = header.as_old_mut();
        for (field, text) in [(&mut old.name, name), (&mut old.linkname, link)] {
            for (to, from) in field.iter_mut().zip(text) {
                *to = *from;
            }
        }
        header.set_size(size);
        header.set_cksum();
        self.to.write_all(header.as_bytes())
    }

    fn long(&mut self, kind: EntryType, text: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0);
        let size = text.len() as u64 + 1;
        self.head(&mut header, b"././@LongLink", b"", size)?;
        self.to.write_all(text)?;
        self.fill(1 + (BLOCK - size % BLOCK) % BLOCK)
    }

    fn content(&mut self, file: File, size: u64) -> io::Result<()> {
        let copied = io::copy(&mut file.take(size), &mut self.to)?;
        self.fill(size - copied + (BLOCK - size % BLOCK) % BLOCK)
    }

    fn fill(&mut self, length: u64) -> io::Result<()> {
        io::copy(&mut io::repeat(0).take(length), &mut self.to).map(drop)
    }
}

fn header(stat: &Stat) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}

fn mount_of(parent: impl AsFd, name: &OsStr) -> io::Result<u64> {
    let told = statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID)?;
    Ok(told.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_packed_is_unpacked_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let long = "n".repeat(120);
        std::fs::create_dir_all(from.join(&long)).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join(&long).join("file"), "x".repeat(700)).unwrap();
        std::fs::hard_link(from.join(&long).join("file"), from.join("again")).unwrap();
        symlink("t".repeat(130), from.join("link")).unwrap();
        std::fs::write(from.join(".wh.plain"), "").unwrap();
        let parent = File::open(dir.path()).unwrap();
        let mut bytes = Vec::new();
        let packer = Packer::new(&mut bytes);
        packer.pack(parent.as_fd(), OsStr::new("from"), b"other").unwrap().finish().unwrap();
        assert_eq!(bytes.len() % 512, 0);
        crate::layer::unpack_files(
            &bytes[..],
            crate::layer::Limits::default(),
            false,
            File::open(&to).unwrap(),
        )
        .unwrap();
        let to = to.join("other");
        assert_eq!(std::fs::read_to_string(to.join("again")).unwrap(), "x".repeat(700));
        assert_eq!(std::fs::read_link(to.join("link")).unwrap().as_os_str().len(), 130);
        assert!(to.join(&long).join("file").exists() && to.join(".wh.plain").exists());
        use std::os::unix::fs::MetadataExt;
        assert_eq!(std::fs::metadata(to.join("again")).unwrap().nlink(), 2);
    }
}
