//! `--clean`: what has not been used for longer than its line allows goes.
//!
//! What stays: other file systems, what has a line of its own, files with the sticky bit, locked files and folders,
//! living sockets, device nodes, `lost+found` and quota files of a file system's root.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use glob::Pattern;
use rustix::fs::{
    AtFlags, FileType, FlockOperation, OFlags, StatxFlags, StatxTimestamp, Timespec, Timestamps, flock,
    futimens, statx, unlinkat,
};

use super::Failures;
use super::age::{Age, Times};
use super::line::{Item, Kind};
use super::make::names;
use super::root::{Place, Root, SHELL, alternatives};

const STICKY: u16 = 0o1000;
const DEEPEST: u32 = 256;

/// Cleans what a line is about.
pub fn one(root: &Root, item: &Item, all: &[Item]) -> Failures {
    let Some(age) = &item.age else { return 0 };
    let paths = match item.kind {
        Kind::Except => return 0,
        _ if item.is_glob() => root.matches(&item.path),
        _ => vec![item.path.clone()],
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    let cleaner =
        Cleaner { root, all, age, now: u64::try_from(now).unwrap_or(u64::MAX), sockets: living_sockets() };
    let failed = |path: &&PathBuf| match cleaner.begin(path) {
        Ok(()) => false,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            !item.may_fail
        }
    };
    paths.iter().filter(failed).count()
}

struct Cleaner<'a> {
    root: &'a Root,
    all: &'a [Item],
    age: &'a Age,
    now: u64,
    sockets: HashSet<PathBuf>,
}

impl Cleaner<'_> {
    fn begin(&self, path: &Path) -> io::Result<()> {
        let place = match self.root.place(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            place => place?,
        };
        let Some(data) = place.stat()? else { return Ok(()) };
        if FileType::from_raw_mode(data.st_mode) != FileType::Directory {
            return Ok(());
        }
        let above = statx(&place.folder, ".", AtFlags::empty(), StatxFlags::BASIC_STATS)?;
        let own = statx(&place.folder, &place.name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        let is_mount = (above.stx_dev_major, above.stx_dev_minor) != (own.stx_dev_major, own.stx_dev_minor);
        self.folder(
            &place,
            path,
            (own.stx_dev_major, own.stx_dev_minor),
            is_mount,
            self.age.keep_first_level,
            0,
        )
    }

    fn folder(
        &self,
        place: &Place,
        path: &Path,
        device: (u32, u32),
        is_mount: bool,
        keep: bool,
        depth: u32,
    ) -> io::Result<()> {
        if depth > DEEPEST {
            return Ok(());
        }
        let opened = place.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        let before = rustix::fs::fstat(&opened)?;
        let mut removed = false;
        for name in names(place)? {
            let inner = path.join(&name);
            let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
            let Ok(data) = statx(&opened, &name, AtFlags::SYMLINK_NOFOLLOW, flags) else { continue };
            let elsewhere = (data.stx_dev_major, data.stx_dev_minor) != device;
            if elsewhere || self.has_own_line(&inner) {
                continue;
            }
            let kind = FileType::from_raw_mode(data.stx_mode.into());
            let child = Place { folder: opened.try_clone()?, name };
            removed |= match kind {
                FileType::Directory => {
                    let lost = is_mount && child.name == "lost+found" && data.stx_uid == 0;
                    !lost && self.inner_folder(&child, &inner, device, times(&data), keep, depth)?
                }
                _ => {
                    let quota = is_mount
                        && data.stx_uid == 0
                        && (child.name == "aquota.user" || child.name == "aquota.group");
                    let stays = data.stx_mode & STICKY != 0
                        || quota
                        || matches!(kind, FileType::CharacterDevice | FileType::BlockDevice)
                        || (kind == FileType::Socket && self.sockets.contains(&self.root.outside(&inner)));
                    !stays && !keep && self.file(&child, kind, times(&data))?
                }
            };
        }
        if removed {
            // Cleaning is no use of the folder: its own age goes on.
            let time = |seconds: i64, nanoseconds: u64| Timespec {
                tv_sec: seconds,
                tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
            };
            let times = Timestamps {
                last_access: time(before.st_atime, before.st_atime_nsec),
                last_modification: time(before.st_mtime, before.st_mtime_nsec),
            };
            let _ = futimens(&opened, &times);
        }
        Ok(())
    }

    fn inner_folder(
        &self,
        child: &Place,
        path: &Path,
        device: (u32, u32),
        times: Times,
        keep: bool,
        depth: u32,
    ) -> io::Result<bool> {
        // Whoever holds a lock on a folder wants it left alone.
        let lock = child.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        self.folder(child, path, device, false, false, depth + 1)?;
        if keep || !self.age.is_over(times, true, self.now) {
            return Ok(false);
        }
        match unlinkat(&child.folder, &child.name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::NOENT | rustix::io::Errno::BUSY) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn file(&self, child: &Place, kind: FileType, times: Times) -> io::Result<bool> {
        if !self.age.is_over(times, false, self.now) {
            return Ok(false);
        }
        if kind == FileType::RegularFile
            && let Ok(file) = child.open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOATIME, 0)
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            return Ok(false);
        }
        match unlinkat(&child.folder, &child.name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether another line is about this very path, by name or by a pattern.
    fn has_own_line(&self, path: &Path) -> bool {
        let matches =
            |pattern: &str| Pattern::new(pattern).is_ok_and(|one| one.matches_path_with(path, SHELL));
        self.all.iter().any(|item| {
            item.kind.owns()
                && if item.is_glob() {
                    alternatives(&item.path.to_string_lossy()).iter().any(|pattern| matches(pattern))
                } else {
                    item.path == path
                }
        })
    }
}

fn times(data: &rustix::fs::Statx) -> Times {
    let usec = |time: StatxTimestamp| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000_000).saturating_add(u64::from(time.tv_nsec / 1000))
    };
    let has_birth = StatxFlags::from_bits_retain(data.stx_mask).contains(StatxFlags::BTIME);
    Times {
        access: usec(data.stx_atime),
        birth: if has_birth { usec(data.stx_btime) } else { 0 },
        change: usec(data.stx_ctime),
        modification: usec(data.stx_mtime),
    }
}

/// The sockets that somebody listens on, unix(7).
fn living_sockets() -> HashSet<PathBuf> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().filter_map(|line| Some(line.get(line.find(" /")? + 1..)?.into())).collect()
}
