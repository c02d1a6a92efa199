//! How much room a directory of journal files may take, and the archives that have to go when it takes more.
//! Source: journald.conf(5), "SystemMaxUse=" and its neighbours.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Bounds;

const MIB: u64 = 1 << 20;
/// All files together, when nothing else is said: a tenth of the file system, within these bounds.
const USE: std::ops::RangeInclusive<u64> = MIB..=4096 * MIB;
/// This much is taken even of a full disk.
const USE_LEAST: u64 = 16 * MIB;
/// Of the file system 15 percent are left to others, but no more than this.
const KEEP_FREE_MOST: u64 = 4096 * MIB;
/// One file: an eighth of all, within these bounds.
const FILE: std::ops::RangeInclusive<u64> = 512 << 10..=128 * MIB;
/// Archives at most.
const FILES: u64 = 100;

/// The bounds of one directory, as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that all files may take.
    pub limit: u64,
    /// Bytes that the configuration allows at most.
    pub max_use: u64,
    /// Bytes of one file.
    pub file_max: u64,
    /// Files at most.
    pub max_files: u64,
    /// Bytes that the files take now.
    pub used: u64,
}

impl Space {
    /// The bounds of a directory.
    ///
    /// # Errors
    /// The file system cannot be asked.
    pub fn of(directory: &Path, bounds: &Bounds) -> io::Result<Space> {
        let disk = rustix::fs::statvfs(directory)?;
        let size = disk.f_blocks.saturating_mul(disk.f_frsize);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(Space::calculate(size, free, used(directory), bounds))
    }

    fn calculate(size: u64, free: u64, used: u64, bounds: &Bounds) -> Space {
        let max_use = bounds.max_use.unwrap_or_else(|| (size / 10).clamp(*USE.start(), *USE.end())).max(MIB);
        let keep_free = bounds.keep_free.unwrap_or_else(|| (size / 100 * 15).min(KEEP_FREE_MOST));
        let available = used.saturating_add(free.saturating_sub(keep_free));
        let limit = max_use.min(available.max(USE_LEAST.min(max_use)));
        let file_max = bounds
            .max_file_size
            .unwrap_or_else(|| (max_use / 8).clamp(*FILE.start(), *FILE.end()))
            .clamp(*FILE.start(), (max_use / 2).max(*FILE.start()));
        Space { limit, max_use, file_max, max_files: bounds.max_files.unwrap_or(FILES), used }
    }
}

/// A file that is no longer written.
#[derive(Debug)]
pub struct Archive {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes on disk.
    pub size: u64,
    /// Microseconds since 1970 of its first entry, as its name says, else of its last change.
    pub time: u64,
}

fn is_journal(name: &str) -> bool {
    name.ends_with(".journal") || name.ends_with(".journal~")
}

/// Bytes that all journal files of a directory take.
fn used(directory: &Path) -> u64 {
    let items = fs::read_dir(directory).into_iter().flatten().flatten();
    let journals = items.filter(|item| is_journal(&item.file_name().to_string_lossy()));
    journals.filter_map(|item| item.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

/// The archives of a directory, oldest first.
#[must_use]
pub fn archives(directory: &Path) -> Vec<Archive> {
    let mut list = Vec::new();
    for item in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = item.file_name();
        let name = name.to_string_lossy();
        if !is_journal(&name) || !name.contains('@') && !name.ends_with('~') {
            continue;
        }
        let Ok(metadata) = item.metadata() else { continue };
        let changed = u64::try_from(metadata.mtime()).unwrap_or(0).saturating_mul(1_000_000);
        let time = time_in(&name).unwrap_or(changed);
        list.push(Archive { path: item.path(), size: metadata.blocks() * 512, time });
    }
    list.sort_by(|a, b| (a.time, &a.path).cmp(&(b.time, &b.path)));
    list
}

/// The time in `system@ID-NUMBER-TIME.journal` or `system@TIME-RANDOM.journal~`.
fn time_in(name: &str) -> Option<u64> {
    let (_, rest) = name.split_once('@')?;
    let part = match rest.strip_suffix(".journal~") {
        Some(rest) => rest.split('-').next()?,
        None => rest.strip_suffix(".journal")?.rsplit('-').next()?,
    };
    u64::from_str_radix(part, 16).ok()
}

/// Removes the oldest archives until all files of the directory take no more than `size` bytes, are no more than
/// `files`, and no archive begins before `oldest`, in microseconds since 1970. Says what was removed, or not.
pub fn vacuum(
    directory: &Path,
    size: Option<u64>,
    files: Option<u64>,
    oldest: Option<u64>,
) -> Vec<(Archive, io::Result<()>)> {
    let archives = archives(directory);
    let mut total = used(directory);
    let count = |list: &[Archive]| list.len() as u64;
    let active = {
        let items = fs::read_dir(directory).into_iter().flatten().flatten();
        let all = items.filter(|item| is_journal(&item.file_name().to_string_lossy())).count() as u64;
        all.saturating_sub(count(&archives))
    };
    let mut left = count(&archives) + active;
    let mut removed = Vec::new();
    for archive in archives {
        let too_big = size.is_some_and(|size| total > size);
        let too_many = files.is_some_and(|files| left > files);
        let too_old = oldest.is_some_and(|oldest| archive.time < oldest);
        if !too_big && !too_many && !too_old {
            break;
        }
        let result = fs::remove_file(&archive.path);
        if result.is_ok() {
            total = total.saturating_sub(archive.size);
            left -= 1;
        }
        removed.push((archive, result));
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_disk() {
        let none = Bounds::default();
        let space = Space::calculate(100 << 30, 50 << 30, 0, &none);
        assert_eq!((space.limit, space.file_max), (4 << 30, 128 << 20));
        let space = Space::calculate(1 << 30, 1 << 29, 0, &none);
        assert_eq!((space.limit, space.file_max), ((1 << 30) / 10, (1 << 30) / 80));
        let full = Space::calculate(1 << 30, 0, 50 << 20, &none);
        assert_eq!(full.limit, 50 << 20, "on a full disk it grows no more");
        let full = Space::calculate(1 << 30, 0, 0, &none);
        assert_eq!(full.limit, 16 << 20, "but something is always kept");
        let small = Bounds { max_use: Some(2 << 20), ..none };
        let space = Space::calculate(1 << 30, 1 << 30, 0, &small);
        assert_eq!((space.limit, space.file_max), (2 << 20, 512 << 10));
    }

    #[test]
    fn names_tell_the_time() {
        assert_eq!(
            time_in("system@00000000000000000000000000000001-0000000000000005-00000000000000ff.journal"),
            Some(255)
        );
        assert_eq!(time_in("user-1000@00000000000000ff-1234567812345678.journal~"), Some(255));
        assert_eq!(time_in("system.journal"), None);
    }

    #[test]
    fn the_oldest_go_first() {
        let directory = tempfile::tempdir().unwrap();
        for number in 1..=5_u64 {
            let name = format!("system@{:032x}-{number:016x}-{number:016x}.journal", 1);
            fs::write(directory.path().join(name), vec![1; 8192]).unwrap();
        }
        fs::write(directory.path().join("system.journal"), vec![1; 8192]).unwrap();
        fs::write(directory.path().join("notes.txt"), vec![1; 8192]).unwrap();
        let left = || archives(directory.path()).iter().map(|archive| archive.time).collect::<Vec<_>>();
        assert_eq!(vacuum(directory.path(), None, None, Some(2)).len(), 1);
        assert_eq!(left(), [2, 3, 4, 5]);
        vacuum(directory.path(), None, Some(4), None);
        assert_eq!(left(), [3, 4, 5]);
        vacuum(directory.path(), Some(2 * 8192), None, None);
        assert_eq!(left(), [5]);
        vacuum(directory.path(), Some(0), None, None);
        assert!(left().is_empty() && directory.path().join("system.journal").exists());
    }
}
