//! The open files and folders of a client.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, ReadDir};
use std::io;
use std::path::PathBuf;

/// The most that may be open at once.
pub(super) const MOST: usize = 128;

#[derive(Debug)]
enum Open {
    File(File),
    Folder { entries: ReadDir, path: PathBuf, begun: bool },
}

/// What is open, by the name that the client has for it.
#[derive(Debug, Default)]
pub(super) struct Handles {
    open: HashMap<String, Open>,
    next: u64,
}

impl Handles {
    /// A name for an open file.
    pub(super) fn file(&mut self, file: File) -> io::Result<String> {
        self.add(Open::File(file))
    }

    /// A name for an open folder.
    pub(super) fn folder(&mut self, entries: ReadDir, path: PathBuf) -> io::Result<String> {
        self.add(Open::Folder { entries, path, begun: false })
    }

    fn add(&mut self, open: Open) -> io::Result<String> {
        if self.open.len() >= MOST {
            return Err(io::Error::other(format!("more than {MOST} files are open")));
        }
        self.next += 1;
        let name = self.next.to_string();
        self.open.insert(name.clone(), open);
        Ok(name)
    }

    /// The file of this name.
    pub(super) fn get_file(&self, name: &str) -> io::Result<&File> {
        match self.open.get(name) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(io::Error::other("no such open file")),
        }
    }

    /// Up to `most` further names and paths in the folder of this handle, `.` and `..` first.
    pub(super) fn names(&mut self, name: &str, most: usize) -> io::Result<Vec<(OsString, PathBuf)>> {
        let Some(Open::Folder { entries, path, begun }) = self.open.get_mut(name) else {
            return Err(io::Error::other("no such open folder"));
        };
        let mut names = Vec::new();
        if !std::mem::replace(begun, true) {
            names.extend([".", ".."].map(|name| (OsString::from(name), path.join(name))));
        }
        for entry in entries.take(most) {
            let entry = entry?;
            names.push((entry.file_name(), entry.path()));
        }
        Ok(names)
    }

    /// Closes what has this name.
    pub(super) fn close(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name).map(drop).ok_or_else(|| io::Error::other("nothing open has this name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_bounded_and_never_used_twice() {
        let mut handles = Handles::default();
        let open = || File::open("/dev/null").unwrap();
        let first = handles.file(open()).unwrap();
        for _ in 1..MOST {
            handles.file(open()).unwrap();
        }
        assert!(handles.file(open()).is_err());
        handles.close(&first).unwrap();
        assert!(handles.close(&first).is_err() && handles.get_file(&first).is_err());
        assert_ne!(handles.file(open()).unwrap(), first);
        assert!(handles.names("2", 10).is_err());
    }
}
