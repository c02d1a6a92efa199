//! The promise that the image holds one program: every ELF file is the binary itself and static, nothing else is a
//! program or a script, and nothing may change its user on execution.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{At, Error, Result};

const BINARY: &str = "usr/bin/corten";
const ELF: &[u8] = b"\x7fELF";
const INTERPRETER: u32 = 3;

/// What a scan saw.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Files and folders.
    pub entries: usize,
    /// Symbolic links to the binary.
    pub applets: usize,
}

/// Scans a root tree.
///
/// # Errors
/// [`Error::Scan`] with every finding; or the tree cannot be read.
pub fn scan(tree: &Path) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut findings = Vec::new();
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .at("list", &folder)?;
        entries.sort();
        for path in entries {
            let meta = fs::symlink_metadata(&path).at("read", &path)?;
            let name = path.strip_prefix(tree).unwrap_or(&path).to_owned();
            seen.entries += 1;
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).at("read", &path)?;
                seen.applets += usize::from(name.starts_with("usr/bin") && target == Path::new("corten"));
            } else if meta.is_file() {
                if let Some(finding) = judge(&path, &name, meta.permissions().mode())? {
                    findings.push(format!("/{}: {finding}", name.display()));
                }
            } else {
                findings.push(format!("/{}: neither file, folder nor link", name.display()));
            }
        }
    }
    if !tree.join(BINARY).is_file() {
        findings.push(format!("/{BINARY}: missing"));
    }
    if findings.is_empty() { Ok(seen) } else { Err(Error::Scan(findings)) }
}

fn judge(path: &Path, name: &Path, mode: u32) -> Result<Option<String>> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(4096).read_to_end(&mut head)).at("read", path)?;
    let is_ours = name == Path::new(BINARY);
    Ok(match (head.starts_with(ELF), is_ours) {
        (true, true) if has_interpreter(&head) => {
            Some("is not static: it names a program interpreter".to_owned())
        }
        (true, true) => None,
        (true, false) => Some("is a program that is not ours".to_owned()),
        (false, true) => Some("is not an ELF program".to_owned()),
        (false, false) if head.starts_with(b"#!") => Some("is a script".to_owned()),
        (false, false) if mode & 0o111 != 0 => Some("is executable, but not our binary".to_owned()),
        (false, false) if mode & 0o6000 != 0 => Some("changes its user or group when executed".to_owned()),
        (false, false) => None,
    })
}

/// Has the ELF file a PT_INTERP header, or can that not be told?
fn has_interpreter(head: &[u8]) -> bool {
    let number = |at: usize, length: usize| -> Option<usize> {
        let bytes = head.get(at..at.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let all = || -> Option<bool> {
        let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        for index in 0..count {
            if number(table.checked_add(size * index)?, 4)? == INTERPRETER as usize {
                return Some(true);
            }
        }
        Some(false)
    };
    all().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn finds_every_foreign_program() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("usr/bin");
        fs::create_dir_all(&bin).unwrap();
        // A static ELF of two program headers that are no interpreter.
        let mut elf = vec![0; 200];
        elf[..4].copy_from_slice(ELF);
        (elf[32], elf[54], elf[56]) = (64, 56, 2);
        fs::write(bin.join("corten"), &elf).unwrap();
        symlink("corten", bin.join("ls")).unwrap();
        fs::write(folder.path().join("note"), "text").unwrap();
        assert_eq!(scan(folder.path()).unwrap(), Seen { entries: 5, applets: 1 });

        elf[64 + 56] = 3;
        fs::write(bin.join("corten"), &elf).unwrap();
        fs::write(bin.join("other"), &elf).unwrap();
        fs::write(folder.path().join("script"), "#!/bin/sh\n").unwrap();
        let path = folder.path().join("plain");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let Error::Scan(findings) = scan(folder.path()).unwrap_err() else { panic!("another error") };
        let all = findings.join("\n");
        for expected in [
            "/usr/bin/corten: is not static",
            "/usr/bin/other: is a program",
            "/script: is a script",
            "/plain: is executable",
        ] {
            assert!(all.contains(expected), "{all}");
        }
    }
}
