//! Who this machine is: `/etc/machine-id` (machine-id(5)) and the host name (hostname(5)).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::log::{self, Level};

const DEFAULT_NAME: &str = "corten";

/// Makes the machine-id if there is none, and sets the host name.
pub fn apply() {
    let path = Path::new("/etc/machine-id");
    let before = fs::read_to_string(path).ok().and_then(|text| valid_id(&text));
    match machine_id(path) {
        Ok(_) if before.is_none() => {
            let _ = fs::write(super::FIRST_BOOT, "");
        }
        Ok(_) => {}
        Err(error) => log::say(Level::Error, None, &format!("Cannot make /etc/machine-id: {error}")),
    }
    let text = fs::read("/etc/hostname").unwrap_or_default();
    let name = host_name(&String::from_utf8_lossy(&text));
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        log::say(Level::Warning, None, &format!("Cannot set the host name to {name}: {error}"));
    }
}

/// The machine-id in this file, made and kept if there is no valid one.
pub fn machine_id(path: &Path) -> io::Result<String> {
    if let Ok(text) = fs::read_to_string(path)
        && let Some(id) = valid_id(&text)
    {
        return Ok(id);
    }
    let mut bytes = [0_u8; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if got != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // A random UUID (RFC 9562, version 4), as systemd makes them.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_whole(path, format!("{id}\n").as_bytes(), 0o444)?;
    Ok(id)
}

/// Replaces a file so that after a power cut it has the old or the new content, whole.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".new");
    let new = folder.join(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

fn valid_id(text: &str) -> Option<String> {
    let id = text.trim_end();
    let valid =
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id.bytes().any(|b| b != b'0');
    valid.then(|| id.to_ascii_lowercase())
}

/// The name in a hostname(5) file, or the default if it is not a valid one.
fn host_name(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let name = line.unwrap_or(DEFAULT_NAME).trim_end_matches('.');
    let label = |label: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        edge(label.chars().next()) && edge(label.chars().last()) && label.chars().all(inner)
    };
    let valid = name.len() <= 64 && name.split('.').all(label);
    if valid { name.to_owned() } else { DEFAULT_NAME.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("machine-id");
        let id = machine_id(&path).unwrap();
        assert_eq!(valid_id(&id).as_deref(), Some(id.as_str()));
        assert_eq!(machine_id(&path).unwrap(), id);
        for broken in ["", "uninitialized\n", "00000000000000000000000000000000\n", "abc"] {
            fs::remove_file(&path).unwrap();
            fs::write(&path, broken).unwrap();
            assert_ne!(machine_id(&path).unwrap(), broken.trim_end());
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn host_names() {
        assert_eq!(host_name("# a machine\n\n web-1.example.com \n"), "web-1.example.com");
        assert_eq!(host_name(""), "corten");
        assert_eq!(host_name("-x"), "corten");
        assert_eq!(host_name("a b"), "corten");
        assert_eq!(host_name(&"x".repeat(65)), "corten");
    }
}
