//! The initramfs of a live boot: a cpio archive ("newc", see the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`) of two files, `/init` and `/root.erofs`, compressed.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::error::{At, Result};
use crate::root::Root;
use crate::tool::Tool;

const REGULAR: u32 = 0o100_000;

/// Makes the initramfs.
///
/// # Errors
/// A file cannot be read or written; zstd is missing or fails.
pub fn make(binary: &Path, root: &Root, time: u64, work: &Path, path: &Path) -> Result<()> {
    let program = fs::read(binary).at("read", binary)?;
    let archive =
        cpio(&[("init", REGULAR | 0o755, &program), ("root.erofs", REGULAR | 0o644, &root.data()?)], time);
    let plain = work.join("initramfs.cpio");
    fs::write(&plain, archive).at("write", &plain)?;
    compress(&plain, path, time)
}

/// Compresses a file as small as the kernel can still unpack it: its window is at most 128 MiB, and the binary, which
/// is in the archive twice, must lie within it. One worker or many give the same bytes; none would not.
///
/// # Errors
/// zstd is missing or fails.
pub fn compress(from: &Path, to: &Path, time: u64) -> Result<()> {
    Tool::new("zstd", time).args(["-q", "-19", "--long=27", "-T1", "-f", "-o"]).args([to, from]).run()
}

fn cpio(files: &[(&str, u32, &[u8])], time: u64) -> Vec<u8> {
    let mut archive = Vec::new();
    for (index, (name, mode, content)) in files.iter().enumerate() {
        entry(&mut archive, index as u32 + 1, name, *mode, content, time);
    }
    entry(&mut archive, 0, "TRAILER!!!", 0, &[], 0);
    archive
}

fn entry(archive: &mut Vec<u8>, inode: u32, name: &str, mode: u32, content: &[u8], time: u64) {
    let length = content.len() as u32;
    let name_length = name.len() as u32 + 1;
    // inode, mode, user, group, links, time, length, device, device number, name's length, checksum
    let fields = [inode, mode, 0, 0, 1, time as u32, length, 0, 0, 0, 0, name_length, 0];
    let mut header = "070701".to_owned();
    for field in fields {
        let _ = write!(header, "{field:08X}");
    }
    archive.extend(header.as_bytes());
    archive.extend(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn cpio_unpacks_what_was_packed() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        fs::write(
            &archive,
            cpio(&[("init", REGULAR | 0o755, b"odd"), ("root.erofs", REGULAR | 0o644, b"four")], 7),
        )
        .unwrap();
        let status = Command::new("cpio")
            .args(["--extract", "--quiet", "--preserve-modification-time"])
            .stdin(Stdio::from(fs::File::open(&archive).unwrap()))
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(fs::read(folder.path().join("init")).unwrap(), b"odd");
        assert_eq!(fs::read(folder.path().join("root.erofs")).unwrap(), b"four");
    }
}
