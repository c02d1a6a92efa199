//! Paths below a root, resolved so that no link leads out of it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// The root that paths are resolved below.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// The root at a path.
    pub fn at(path: &Path) -> Root {
        Root { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is at a path as the unit sees it, and where that really is, links followed. Opened anew each time: what is
    /// mounted since counts.
    pub fn find(&self, path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
        let root =
            openat(CWD, &self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = if inside.as_os_str().is_empty() { Path::new(".") } else { inside };
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let found = openat2(&root, inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), flags)?;
        let place = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
        Ok((found, place))
    }

    /// The same; where nothing is, a folder or an empty file is made first.
    pub fn find_or_make(&self, path: &Path, folder: bool) -> io::Result<(OwnedFd, PathBuf)> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
        let (_, place) = self.find_or_make(parent, true)?;
        let new = place.join(path.file_name().ok_or(io::ErrorKind::NotFound)?);
        if folder {
            DirBuilder::new().mode(0o755).create(&new)?;
        } else {
            File::create(&new)?;
        }
        self.find(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        fs::create_dir_all(folder.path().join("var/home")).unwrap();
        symlink("/var/home", folder.path().join("home")).unwrap();
        symlink("../../../../etc", folder.path().join("out")).unwrap();
        let (_, place) = root.find(Path::new("/home")).unwrap();
        assert_eq!(place, fs::canonicalize(folder.path()).unwrap().join("var/home"));
        assert!(root.find(Path::new("/out/passwd")).is_err());
        assert!(root.find(Path::new("/none")).is_err());
        let (_, place) = root.find_or_make(Path::new("/home/a/b"), true).unwrap();
        assert!(place.is_dir() && folder.path().join("var/home/a/b").is_dir());
        root.find_or_make(Path::new("/home/a/file"), false).unwrap();
        assert!(folder.path().join("var/home/a/file").is_file());
    }
}
