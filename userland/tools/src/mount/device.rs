//! The device behind `PARTLABEL=`, `PARTUUID=`, `LABEL=` or `UUID=`.
//!
//! Partitions' labels come from sysfs. Names of file systems are in their superblocks: those of ext4 are
//! read (its documentation: ext4/globals, "Super Block"), as STATE is one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The path of what is to be mounted. Anything without a known `TAG=` is taken as it is.
pub(crate) fn resolve(what: &str) -> Result<PathBuf, String> {
    let Some((tag, value)) = what.split_once('=') else { return Ok(PathBuf::from(what)) };
    let value = value.trim_matches('"');
    let matches: fn(&str, &Path, &str) -> bool = match tag {
        "PARTLABEL" => |value, sys, _| of_uevent(sys, "PARTNAME").as_deref() == Some(value),
        "PARTUUID" => {
            |value, sys, _| of_uevent(sys, "PARTUUID").is_some_and(|uuid| uuid.eq_ignore_ascii_case(value))
        }
        "LABEL" => |value, _, node| ext4(node).is_some_and(|names| names.label == value),
        "UUID" => |value, _, node| ext4(node).is_some_and(|names| names.uuid.eq_ignore_ascii_case(value)),
        _ => return Ok(PathBuf::from(what)),
    };
    let devices = fs::read_dir("/sys/class/block").map_err(|error| format!("/sys/class/block: {error}"))?;
    for device in devices.flatten() {
        let node = format!("/dev/{}", device.file_name().to_string_lossy().replace('!', "/"));
        if matches(value, &device.path(), &node) {
            return Ok(PathBuf::from(node));
        }
    }
    Err(format!("{what}: no such device; lsblk shows those that are there"))
}

/// A line `KEY=value` of a device's `uevent`.
fn of_uevent(sys: &Path, key: &str) -> Option<String> {
    let text = fs::read_to_string(sys.join("uevent")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

/// The names of a file system.
pub(crate) struct Names {
    /// What it is called; empty if it is not.
    pub(crate) label: String,
    /// Its number.
    pub(crate) uuid: String,
}

/// The names in the superblock of an ext2, ext3 or ext4 file system.
pub(crate) fn ext4(node: &str) -> Option<Names> {
    let mut block = [0; 0x88];
    File::open(node).ok()?.read_exact_at(&mut block, 1024).ok()?;
    names(&block)
}

fn names(block: &[u8; 0x88]) -> Option<Names> {
    if block.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    let hex = |range: std::ops::Range<usize>| -> String {
        block.get(range).unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let uuid = [0x68..0x6c, 0x6c..0x6e, 0x6e..0x70, 0x70..0x72, 0x72..0x78].map(hex).join("-");
    let label = block.get(0x78..0x88)?.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Names { label: String::from_utf8_lossy(label).into_owned(), uuid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_names_of_a_real_ext4_are_read() {
        let scratch = tempfile::tempdir().unwrap();
        let image = scratch.path().join("image");
        File::create(&image).unwrap().set_len(4 << 20).unwrap();
        let uuid = "0a1b2c3d-1111-2222-3333-444455556666";
        let made = Command::new("/usr/sbin/mkfs.ext4")
            .args(["-q", "-L", "STATE", "-U", uuid])
            .arg(&image)
            .status()
            .unwrap();
        assert!(made.success());
        let names = ext4(image.to_str().unwrap()).unwrap();
        assert_eq!((names.label.as_str(), names.uuid.as_str()), ("STATE", uuid));
        assert!(super::names(&[0; 0x88]).is_none());
    }

    #[test]
    fn plain_names_are_taken_as_they_are_and_unknown_labels_are_an_error() {
        assert_eq!(resolve("tmpfs").unwrap(), Path::new("tmpfs"));
        assert_eq!(resolve("server=1:/x").unwrap(), Path::new("server=1:/x"));
        assert!(resolve("PARTLABEL=no-such-label").unwrap_err().contains("lsblk"));
    }
}
