//! Paths below a root: opened step by step, so that no link leads out of it and nothing is followed at the end.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat, openat2, statat};

/// Patterns as the shell's: a leading dot and a slash are only matched by themselves.
pub const SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The root of a tree.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

/// A path's folder, opened, and its name there.
#[derive(Debug)]
pub struct Place {
    /// The folder.
    pub folder: OwnedFd,
    /// The name; `.` for the root itself.
    pub name: OsString,
}

impl Place {
    /// What is there, links not followed; `None`: nothing.
    pub fn stat(&self) -> io::Result<Option<Stat>> {
        match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(data) => Ok(Some(data)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens it.
    pub fn open(&self, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.folder, &self.name, flags, Mode::from_raw_mode(mode))?)
    }
}

impl Root {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Root> {
        let fd = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Root { fd, path: path.to_owned() })
    }

    fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.fd, inside, flags, Mode::empty(), resolve)?)
    }

    /// The place of a path.
    pub fn place(&self, path: &Path) -> io::Result<Place> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok(Place { folder: self.folder(parent)?, name: name.to_owned() }),
            _ => Ok(Place { folder: self.folder(Path::new("/"))?, name: ".".into() }),
        }
    }

    /// The same; folders on the way are made, with mode 0755.
    pub fn make_place(&self, path: &Path) -> io::Result<Place> {
        if let Some(parent) = path.parent() {
            self.make_folder(parent)?;
        }
        self.place(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found.map(|_| ()),
        }
        let place = self.make_place(path)?;
        match mkdirat(&place.folder, &place.name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Every path that matches a pattern, as below the root; braces are alternatives.
    pub fn matches(&self, pattern: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for pattern in alternatives(&pattern.to_string_lossy()) {
            let top = Pattern::escape(self.path.to_string_lossy().trim_end_matches('/'));
            let paths = glob::glob_with(&format!("{top}{pattern}"), SHELL);
            for path in paths.into_iter().flatten().flatten() {
                if let Ok(inside) = path.strip_prefix(&self.path) {
                    found.push(Path::new("/").join(inside));
                }
            }
        }
        found
    }

    /// A path of the running system that stands for an open file.
    pub fn of_descriptor(fd: impl AsFd) -> PathBuf {
        format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()).into()
    }

    /// Where a path of the tree is on the running system.
    pub fn outside(&self, path: &Path) -> PathBuf {
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// `a{b,c}` is `ab` and `ac`.
pub fn alternatives(pattern: &str) -> Vec<String> {
    const MOST: usize = 256;
    let inner = pattern.find('{').and_then(|open| Some((open, open + pattern.get(open..)?.find('}')?)));
    let Some((open, close)) = inner else { return vec![pattern.to_owned()] };
    let (before, after) =
        (pattern.get(..open).unwrap_or_default(), pattern.get(close + 1..).unwrap_or_default());
    let words = pattern.get(open + 1..close).unwrap_or_default().split(',');
    words.flat_map(|word| alternatives(&format!("{before}{word}{after}"))).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_alternatives() {
        assert_eq!(alternatives("/a/{b,c}/{d,}"), ["/a/b/d", "/a/b/", "/a/c/d", "/a/c/"]);
        assert_eq!(alternatives("/a{b"), ["/a{b"]);
    }

    #[test]
    fn links_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert!(root.place(Path::new("/link/passwd")).is_err());
        root.make_place(Path::new("/a/b/c")).unwrap();
        assert!(folder.path().join("a/b").is_dir());
    }
}
