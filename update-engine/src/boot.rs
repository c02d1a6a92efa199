//! The boot loader's block on the running machine: the partition EFI-SYSTEM of the disk that `/` is on, mounted for
//! as long as it takes at a folder of its own below `/run`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use linux::disk::{Disk, DiskError};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::grubenv::{self, Block, BlockError};
use crate::slots::{Slot, Slots};

const LABEL: &str = "EFI-SYSTEM";
const FOLDER: &str = "/run/update-engine";
/// How often, and how far apart, a mount is tried again while another process has the partition.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const GRUBENV: &str = "grub/grubenv";

/// Why the boot loader's state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The disk under `/` cannot be found.
    #[error("cannot find the disk that / is on: {0}")]
    Disk(#[from] DiskError),
    /// The disk is not one that Corten's builder made.
    #[error("{0} has no partition labelled {LABEL}")]
    NoPartition(PathBuf),
    /// A file or mount operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The block makes no sense.
    #[error("{path}: {source}")]
    Block {
        /// The block's path on the partition.
        path: PathBuf,
        /// What is wrong.
        source: BlockError,
    },
}

/// What kind of boot this is, from the kernel's command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booted {
    /// From this slot of a disk.
    Slot(Slot),
    /// From memory.
    Live,
    /// Not by our boot loader.
    Unknown,
}

impl Booted {
    /// Reads the words of a kernel command line; the last `corten.slot=` counts.
    #[must_use]
    pub fn parse(command_line: &str) -> Booted {
        let words = || command_line.split_ascii_whitespace();
        if words().any(|word| word == "corten.live") {
            return Booted::Live;
        }
        words()
            .filter_map(|word| word.strip_prefix("corten.slot="))
            .next_back()
            .and_then(Slot::parse)
            .map_or(Booted::Unknown, Booted::Slot)
    }

    /// How the running system was booted.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn now() -> Result<Booted, BootError> {
        let path = Path::new("/proc/cmdline");
        let text = fs::read_to_string(path).map_err(|source| failed("read", path, source))?;
        Ok(Booted::parse(&text))
    }
}

/// The EFI-SYSTEM partition, mounted; unmounted when dropped.
#[derive(Debug)]
pub struct BootPartition {
    folder: PathBuf,
    mounted: bool,
}

impl BootPartition {
    /// Finds and mounts it.
    ///
    /// # Errors
    /// No disk, no such partition, or the mount fails.
    pub fn mount(writable: bool) -> Result<BootPartition, BootError> {
        let disk = Disk::under(Path::new("/"))?;
        let partition = disk.partition(LABEL).ok_or_else(|| BootError::NoPartition(disk.node.clone()))?;
        // A folder for each process: two of them must not unmount each other's view.
        let folder = Path::new(FOLDER).join(format!("esp-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        if !writable {
            flags |= MountFlags::RDONLY;
        }
        // A file system that is mounted read-only elsewhere cannot be mounted for writing, nor the other way round.
        for _ in 0..BUSY_TRIES {
            match mount(&partition.node, &folder, "vfat", flags, Some(c"umask=0077")) {
                Ok(()) => return Ok(BootPartition { folder, mounted: true }),
                Err(Errno::BUSY) => thread::sleep(BUSY_PAUSE),
                Err(error) => return Err(failed("mount", &partition.node, error.into())),
            }
        }
        Err(failed("mount", &partition.node, Errno::BUSY.into()))
    }

    /// The files of the partition in a folder, for tests.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &Path) -> BootPartition {
        BootPartition { folder: folder.to_owned(), mounted: false }
    }

    /// Where a file of this slot is.
    #[must_use]
    pub fn file(&self, slot: Slot, name: &str) -> PathBuf {
        self.folder.join(format!("corten/{slot}")).join(name)
    }

    /// Replaces a file of a slot: the new one has its name only when it is on the disk. FAT may lose the old one when
    /// the power goes at that moment, so this is for slots that may not be booted.
    ///
    /// # Errors
    /// The partition is full or broken, or `content` fails.
    pub fn replace<E: From<BootError>>(
        &self,
        slot: Slot,
        name: &str,
        content: impl FnOnce(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        let (path, new) = (self.file(slot, name), self.file(slot, &format!("{name}.new")));
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(|source| failed("create", folder, source))?;
        let file = File::create(&new).map_err(|source| failed("create", &new, source))?;
        content(&file)?;
        file.sync_all().map_err(|source| failed("write", &new, source))?;
        fs::rename(&new, &path).map_err(|source| failed("rename", &new, source))?;
        let flushed = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(flushed.map_err(|source| failed("write", folder, source))?)
    }

    /// Reads the block.
    ///
    /// # Errors
    /// The file cannot be read or is no block.
    pub fn read(&self) -> Result<Block, BootError> {
        let path = self.folder.join(GRUBENV);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(grubenv::SIZE as u64 + 1).read_to_end(&mut bytes))
            .map_err(|source| failed("read", &path, source))?;
        Block::parse(&bytes).map_err(|source| BootError::Block { path: GRUBENV.into(), source })
    }

    /// Changes the state of the slots. A block that is damaged is made anew by who marks a slot good, not here.
    ///
    /// # Errors
    /// The block cannot be read or written.
    pub fn change(&self, how: impl FnOnce(Slots) -> Slots) -> Result<(), BootError> {
        let mut block = self.read()?;
        let slots = how(Slots::read(&block));
        slots.write(&mut block).map_err(|source| BootError::Block { path: GRUBENV.into(), source })?;
        self.write(&block)
    }

    /// Writes the block over the old one: one write to the same sector, then to the disk.
    ///
    /// # Errors
    /// The variables do not fit, or the disk fails.
    pub fn write(&self, block: &Block) -> Result<(), BootError> {
        let bytes = block.to_bytes().map_err(|source| BootError::Block { path: GRUBENV.into(), source })?;
        let path = self.folder.join(GRUBENV);
        // Never create or truncate: GRUB finds the block where it has always been.
        let write = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()
        };
        write().map_err(|source| failed("write", &path, source))
    }
}

impl Drop for BootPartition {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        if let Err(error) = unmount(&self.folder, UnmountFlags::empty()) {
            eprintln!("cannot unmount {}: {error}", self.folder.display());
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> BootError {
    BootError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_kinds_of_boot() {
        assert_eq!(Booted::parse("root=/dev/dm-0 ro corten.slot=b quiet\n"), Booted::Slot(Slot::B));
        assert_eq!(Booted::parse("corten.slot=a corten.slot=b"), Booted::Slot(Slot::B));
        assert_eq!(Booted::parse("console=ttyS0 corten.live"), Booted::Live);
        assert_eq!(Booted::parse("corten.slot=c"), Booted::Unknown);
        assert_eq!(Booted::parse("xcorten.slot=a"), Booted::Unknown);
    }
}
