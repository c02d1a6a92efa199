//! What is mounted, and what could be: the kernel's own tables.
//!
//! Source: proc_pid_mountinfo(5), proc_filesystems(5).

use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    /// What is mounted.
    pub(super) source: String,
    /// Where.
    pub(super) target: PathBuf,
    /// The kind of file system.
    pub(super) kind: String,
    /// The options of the mount and of the file system.
    options: String,
    /// The options of the mount alone.
    pub(super) own: String,
    /// The numbers of its device, such as `254:0`.
    pub(super) device: String,
}

impl fmt::Display for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} type {} ({})", self.source, self.target.display(), self.kind, self.options)
    }
}

/// All mounts that this process sees, in the order they were made.
pub(super) fn read() -> Result<Vec<Mounted>, String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
    Ok(text.lines().filter_map(parse).collect())
}

/// `36 35 98:0 /root /target rw,noatime master:1 - ext4 /dev/sda rw,errors=continue`
fn parse(line: &str) -> Option<Mounted> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(2);
    let (device, _root, target, own) = (mount.next()?, mount.next()?, mount.next()?, mount.next()?);
    let mut file_system = file_system.split(' ');
    let (kind, source, of_all) = (file_system.next()?, file_system.next()?, file_system.next()?);
    let mut options: Vec<&str> = own.split(',').collect();
    for option in of_all.split(',') {
        // The mount's own word on ro and rw stands.
        if !matches!(option, "ro" | "rw") && !options.contains(&option) {
            options.push(option);
        }
    }
    Some(Mounted {
        source: String::from_utf8_lossy(&unescape(source)).into_owned(),
        target: std::ffi::OsString::from_vec(unescape(target)).into(),
        kind: kind.to_owned(),
        options: options.join(","),
        own: own.to_owned(),
        device: device.to_owned(),
    })
}

/// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// The kinds of file system that are on devices.
pub(super) fn kinds_on_devices() -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string("/proc/filesystems")
        .map_err(|error| format!("/proc/filesystems: {error}"))?;
    Ok(text.lines().filter(|line| !line.starts_with("nodev")).map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo_is_shown_as_mount_shows_it() {
        let line =
            r"36 35 98:0 /mnt1 /mnt\0402\134 ro,noatime master:1 - ext4 /dev/root rw,errors=continue,noatime";
        let mounted = parse(line).unwrap();
        assert_eq!(mounted.to_string(), r"/dev/root on /mnt 2\ type ext4 (ro,noatime,errors=continue)");
        assert_eq!(parse("36 35 98:0 / /"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_root_of_this_process_is_in_the_table() {
        assert!(read().unwrap().iter().any(|mounted| mounted.target.as_os_str() == "/"));
    }
}
