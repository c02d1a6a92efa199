//! OpenSSH's extensions to the protocol.
//!
//! Source: OpenSSH's PROTOCOL, section 4.

use std::fs;
use std::io;
use std::path::Path;

use super::handles::{Handles, MOST};
use super::{MOST_READ, path, real};

/// The extensions and their versions.
pub(super) const ALL: &[(&str, &str)] = &[
    ("posix-rename@openssh.com", "1"),
    ("statvfs@openssh.com", "2"),
    ("hardlink@openssh.com", "1"),
    ("fsync@openssh.com", "1"),
    ("limits@openssh.com", "1"),
    ("expand-path@openssh.com", "1"),
];

/// The longest request: that of a write of the most bytes.
const MOST_PACKET: u64 = 256 << 10;

/// The answer to an extension.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// It was done.
    Done,
    /// A path.
    Name(String),
    /// The extension's own answer.
    Bytes(Vec<u8>),
}

/// Carries out the extension `name`.
pub(super) fn run(name: &str, data: &[u8], handles: &Handles) -> io::Result<Reply> {
    let mut data = data;
    match name {
        "posix-rename@openssh.com" => {
            let (old, new) = (text(&mut data)?, text(&mut data)?);
            fs::rename(path(&old), path(&new))?;
            Ok(Reply::Done)
        }
        "hardlink@openssh.com" => {
            let (old, new) = (text(&mut data)?, text(&mut data)?);
            fs::hard_link(path(&old), path(&new))?;
            Ok(Reply::Done)
        }
        "fsync@openssh.com" => {
            handles.get_file(&text(&mut data)?)?.sync_all()?;
            Ok(Reply::Done)
        }
        "statvfs@openssh.com" => statvfs(path(&text(&mut data)?)),
        "limits@openssh.com" => Ok(numbers(&[MOST_PACKET, MOST_READ.into(), MOST_READ.into(), MOST as u64])),
        "expand-path@openssh.com" => {
            let name = text(&mut data)?;
            let home = || std::env::var("HOME").unwrap_or_else(|_| "/".to_owned());
            let whole = match name.strip_prefix('~') {
                Some("") => home(),
                Some(rest) if rest.starts_with('/') => format!("{}{rest}", home()),
                Some(_) => return Err(io::Error::other("the homes of other users are not looked up")),
                None => name,
            };
            Ok(Reply::Name(real(path(&whole))?.to_string_lossy().into_owned()))
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn statvfs(path: &Path) -> io::Result<Reply> {
    let about = rustix::fs::statvfs(path)?;
    Ok(numbers(&[
        about.f_bsize,
        about.f_frsize,
        about.f_blocks,
        about.f_bfree,
        about.f_bavail,
        about.f_files,
        about.f_ffree,
        about.f_favail,
        about.f_fsid,
        // The protocol knows read-only (1) and no set-user-ID (2), which are Linux's own bits.
        about.f_flag.bits() & 3,
        about.f_namemax,
    ]))
}

fn numbers(numbers: &[u64]) -> Reply {
    Reply::Bytes(numbers.iter().flat_map(|number| number.to_be_bytes()).collect())
}

/// The next string: four bytes of length, then the text.
fn text(data: &mut &[u8]) -> io::Result<String> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the request ends in the middle of a name");
    let (length, rest) = data.split_first_chunk::<4>().ok_or_else(malformed)?;
    let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(malformed)?;
    *data = rest;
    String::from_utf8(text.to_vec()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(texts: &[&str]) -> Vec<u8> {
        texts.iter().flat_map(|text| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()).collect()
    }

    #[test]
    fn a_rename_replaces_what_is_there() {
        let scratch = tempfile::tempdir().unwrap();
        let (old, new) = (scratch.path().join("old"), scratch.path().join("new"));
        fs::write(&old, "1").unwrap();
        fs::write(&new, "2").unwrap();
        let data = packed(&[old.to_str().unwrap(), new.to_str().unwrap()]);
        assert_eq!(run("posix-rename@openssh.com", &data, &Handles::default()).unwrap(), Reply::Done);
        assert_eq!(fs::read_to_string(new).unwrap(), "1");
    }

    #[test]
    fn unknown_extensions_are_unsupported() {
        let error = run("copy-data", &[], &Handles::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_failing(bytes: Vec<u8>) {
            let mut data = bytes.as_slice();
            while text(&mut data).is_ok() {}
        }
    }
}
