//! Paths in a container: the kernel resolves each beneath the container's root, so that no link leads out of it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use serde_json::{Value, json};

/// Bits of Go's `os.FileMode`, which clients read.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_PIPE: u32 = 1 << 25;
const GO_SOCKET: u32 = 1 << 24;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_CHARACTER: u32 = 1 << 21;
const GO_STICKY: u32 = 1 << 20;

/// A file of a container; a link is itself.
#[derive(Debug)]
pub struct Place {
    parent: OwnedFd,
    name: OsString,
    shown: Vec<u8>,
}

/// Without `.` and `..`, which mean what they say, not what a link makes of them.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

fn open(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), how)?)
}

/// The directory of this path; links are followed.
///
/// # Errors
/// When there is none.
pub fn directory(root: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    open(root, &clean(path), OFlags::RDONLY | OFlags::DIRECTORY)
}

impl Place {
    /// Looks it up. A path that ends with a slash or `/.` is a directory, also behind a link.
    ///
    /// # Errors
    /// When it is not there.
    pub fn find(root: impl AsFd, path: &str) -> io::Result<Self> {
        let clean = clean(path);
        let contents = path.ends_with("/.");
        let place = match clean.file_name() {
            Some(name) if !contents && !path.ends_with('/') => {
                let parent = clean.parent().unwrap_or(Path::new(""));
                let parent = open(root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
                Self { parent, name: name.to_owned(), shown: name.as_bytes().to_vec() }
            }
            name => {
                let parent = open(root, &clean, OFlags::PATH | OFlags::DIRECTORY)?;
                let shown = match name {
                    _ if contents => b".".to_vec(),
                    None => b"/".to_vec(),
                    Some(name) => name.as_bytes().to_vec(),
                };
                Self { parent, name: ".".into(), shown }
            }
        };
        statat(&place.parent, &place.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(place)
    }

    /// The directory that it is in.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// Its name there.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Its name in an archive.
    pub fn shown(&self) -> &[u8] {
        &self.shown
    }

    /// What it is, as clients are told.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stat(&self) -> io::Result<Value> {
        let stat = statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let target = match kind {
            FileType::Symlink => {
                readlinkat(&self.parent, &self.name, Vec::new())?.to_string_lossy().into_owned()
            }
            _ => String::new(),
        };
        let nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
        let time =
            jiff::Timestamp::from_nanosecond(nanos).map_or_else(|_| String::new(), |time| time.to_string());
        Ok(json!({
            "name": String::from_utf8_lossy(&self.shown), "size": stat.st_size, "mode": go_mode(stat.st_mode),
            "mtime": time, "linkTarget": target,
        }))
    }
}

fn go_mode(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => GO_DIRECTORY,
        FileType::Symlink => GO_SYMLINK,
        FileType::BlockDevice => GO_DEVICE,
        FileType::CharacterDevice => GO_DEVICE | GO_CHARACTER,
        FileType::Fifo => GO_PIPE,
        FileType::Socket => GO_SOCKET,
        _ => 0,
    };
    let bit = |of: u32, go: u32| if mode & of == 0 { 0 } else { go };
    kind | mode & 0o777 | bit(0o4000, GO_SETUID) | bit(0o2000, GO_SETGID) | bit(0o1000, GO_STICKY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_path_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(root.join("a/f"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        symlink("../../../secret", root.join("up")).unwrap();
        symlink(dir.path(), root.join("away")).unwrap();
        symlink("/a", root.join("own")).unwrap();
        let held = std::fs::File::open(&root).unwrap();
        let find = |path: &str| Place::find(&held, path).map(|place| place.stat().unwrap());
        assert_eq!(find("/own/f").unwrap()["size"], 6);
        assert_eq!(find("own/../a/./f").unwrap()["size"], 6);
        let link = find("/up").unwrap();
        assert_eq!(
            (link["linkTarget"].as_str(), link["mode"].as_u64()),
            (Some("../../../secret"), Some(0o777 | u64::from(GO_SYMLINK)))
        );
        for out in ["/../secret", "/away/secret", "/up/", "/away/.", "/a/f/", "/nothing", "a/../../secret"] {
            assert!(find(out).is_err(), "{out}");
        }
        let shown = |path: &str| Place::find(&held, path).unwrap().shown;
        assert_eq!([shown("/"), shown("/a"), shown("/a/"), shown("/own/.")], [&b"/"[..], b"a", b"a", b"."]);
        assert!(directory(&held, "/own").is_ok() && directory(&held, "/away").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_path_stays_inside(path in "[./a]{0,20}") {
            prop(&path);
        }
    }

    fn prop(path: &str) {
        assert!(clean(path).components().all(|one| matches!(one, Component::Normal(_))), "{path}");
    }
}
