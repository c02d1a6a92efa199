//! The disk under a file system and its partitions by label, as sysfs tells them: no device is opened, but where it is
//! said.
//!
//! `/` may be on a device-mapper device (dm-verity): its `slaves` lead to the partition, the partition's parent folder
//! is the disk. Labels are the GPT names in `PARTNAME=` of a partition's `uevent`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::block;
use crate::gpt::{self, GptError};

/// Sysfs counts in units of 512 bytes, whatever the disk's sectors are.
const SYSFS_SECTOR: u64 = 512;
/// Devices stacked deeper than this are taken for a loop.
const DEEPEST: usize = 8;

/// A disk with a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its device node, for instance `/dev/vda`.
    pub node: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

/// A partition of a [`Disk`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the table, from 1.
    pub number: u32,
    /// Its label in the table; empty if there is none.
    pub label: String,
    /// Its device node, for instance `/dev/vda5`.
    pub node: PathBuf,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Why there is no disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file system is not on a disk: tmpfs, a live boot, a network.
    #[error("{path} is not on a disk (device {major}:{minor})")]
    NoDisk {
        /// What was asked for.
        path: PathBuf,
        /// The device number's first part.
        major: u32,
        /// The device number's second part.
        minor: u32,
    },
    /// Sysfs cannot be read or does not look as expected.
    #[error("cannot read {path}: {source}")]
    Sysfs {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Disk {
    /// The disk that holds this path's file system.
    ///
    /// # Errors
    /// The path does not exist, is not on a disk, or sysfs is not mounted.
    pub fn under(path: &Path) -> Result<Disk, DiskError> {
        Disk::find(path, Path::new("/sys"), Path::new("/dev"))
    }

    /// As [`Disk::under`], with sysfs and the device nodes elsewhere.
    ///
    /// # Errors
    /// As [`Disk::under`].
    pub fn find(path: &Path, sys: &Path, dev: &Path) -> Result<Disk, DiskError> {
        let device =
            fs::metadata(path).map_err(|source| DiskError::Sysfs { path: path.to_owned(), source })?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        Disk::of_number(sys, dev, major, minor)
            .map_err(|error| error.unwrap_or(DiskError::NoDisk { path: path.to_owned(), major, minor }))
    }

    /// The GUID of a partition in the disk's table, as the kernel's `PARTUUID=` takes it. The device is opened and read.
    ///
    /// # Errors
    /// The table cannot be read or is broken.
    pub fn partition_guid(&self, number: u32) -> Result<String, GptError> {
        let device = File::open(&self.node)?;
        gpt::partition_guid(gpt::reader(&device), block::sector_size(&device)?, number)
    }

    /// The disk of a device number: `Err(None)` when there is none under it.
    fn of_number(sys: &Path, dev: &Path, major: u32, minor: u32) -> Result<Disk, Option<DiskError>> {
        let link = sys.join(format!("dev/block/{major}:{minor}"));
        let mut folder = match fs::canonicalize(&link) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound && sys.join("dev/block").is_dir() => {
                return Err(None);
            }
            Err(source) => return Err(Some(DiskError::Sysfs { path: link, source })),
        };
        for _ in 0..DEEPEST {
            if folder.join("partition").exists() {
                let parent = folder.parent().unwrap_or(&folder).to_owned();
                return Disk::read(&parent, dev).map_err(Some);
            }
            let slave = fs::read_dir(folder.join("slaves")).ok().and_then(|mut all| all.next()?.ok());
            match slave {
                Some(slave) => {
                    let path = slave.path();
                    folder = fs::canonicalize(&path).map_err(|source| DiskError::Sysfs { path, source })?;
                }
                None => return Disk::read(&folder, dev).map_err(Some),
            }
        }
        Err(None)
    }

    /// The partition with this label.
    #[must_use]
    pub fn partition(&self, label: &str) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.label == label)
    }

    fn read(folder: &Path, dev: &Path) -> Result<Disk, DiskError> {
        let uevent = read(&folder.join("uevent"))?;
        let mut partitions = Vec::new();
        let entries = fs::read_dir(folder)
            .map_err(|source| DiskError::Sysfs { path: folder.to_owned(), source })?
            .flatten();
        for entry in entries {
            let path = entry.path();
            if path.join("partition").exists() {
                partitions.push(Partition::read(&path, dev)?);
            }
        }
        partitions.sort_by_key(|partition| partition.number);
        let node = dev.join(field(&uevent, "DEVNAME"));
        Ok(Disk { node, bytes: number(&folder.join("size"))?.saturating_mul(SYSFS_SECTOR), partitions })
    }
}

impl Partition {
    fn read(folder: &Path, dev: &Path) -> Result<Partition, DiskError> {
        let uevent = read(&folder.join("uevent"))?;
        let path = folder.join("partition");
        let order = u32::try_from(number(&path)?).map_err(|_| bad_number(&path))?;
        Ok(Partition {
            number: order,
            label: field(&uevent, "PARTNAME").to_owned(),
            node: dev.join(field(&uevent, "DEVNAME")),
            start: number(&folder.join("start"))?.saturating_mul(SYSFS_SECTOR),
            bytes: number(&folder.join("size"))?.saturating_mul(SYSFS_SECTOR),
        })
    }
}

fn read(path: &Path) -> Result<String, DiskError> {
    fs::read_to_string(path).map_err(|source| DiskError::Sysfs { path: path.to_owned(), source })
}

fn number(path: &Path) -> Result<u64, DiskError> {
    read(path)?.trim().parse().map_err(|_| bad_number(path))
}

fn bad_number(path: &Path) -> DiskError {
    DiskError::Sysfs { path: path.to_owned(), source: io::ErrorKind::InvalidData.into() }
}

fn field<'a>(uevent: &'a str, key: &str) -> &'a str {
    uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A sysfs with a disk `vda`, its partitions, and `dm-0` on the third.
    fn sysfs(root: &Path) {
        let vda = root.join("devices/pci/virtio1/block/vda");
        let put = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(vda.join("uevent"), "MAJOR=253\nMINOR=0\nDEVNAME=vda\nDEVTYPE=disk\n");
        put(vda.join("size"), "2048000\n");
        for (number, label) in [(1, "BIOS-BOOT"), (3, "ROOT-A"), (5, "STATE")] {
            let folder = vda.join(format!("vda{number}"));
            put(folder.join("partition"), &format!("{number}\n"));
            put(folder.join("start"), &format!("{}\n", number * 2048));
            put(folder.join("size"), "2048\n");
            let uevent = format!("DEVNAME=vda{number}\nPARTN={number}\nPARTUUID=AB\nPARTNAME={label}\n");
            put(folder.join("uevent"), &uevent);
        }
        let dm = root.join("devices/virtual/block/dm-0");
        fs::create_dir_all(dm.join("slaves")).unwrap();
        symlink(vda.join("vda3"), dm.join("slaves/vda3")).unwrap();
        fs::create_dir_all(root.join("dev/block")).unwrap();
        symlink(&dm, root.join("dev/block/254:0")).unwrap();
        symlink(&vda, root.join("dev/block/253:0")).unwrap();
        symlink(vda.join("vda5"), root.join("dev/block/253:5")).unwrap();
    }

    #[test]
    fn verity_leads_to_the_disk() {
        let root = tempfile::tempdir().unwrap();
        sysfs(root.path());
        for (major, minor) in [(254, 0), (253, 5), (253, 0)] {
            let disk = Disk::of_number(root.path(), Path::new("/dev"), major, minor).unwrap();
            assert_eq!(disk.node, Path::new("/dev/vda"));
            assert_eq!(disk.bytes, 2_048_000 * 512);
            let state = disk.partition("STATE").unwrap();
            assert_eq!((state.number, state.start, state.bytes), (5, 5 * 2048 * 512, 2048 * 512));
            assert_eq!(state.node, Path::new("/dev/vda5"));
            assert_eq!(disk.partition("ROOT-C"), None);
        }
    }

    #[test]
    fn no_disk_and_no_sysfs_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        sysfs(root.path());
        assert!(matches!(Disk::of_number(root.path(), Path::new("/dev"), 0, 42), Err(None)));
        let nothing = root.path().join("nothing");
        assert!(matches!(
            Disk::of_number(&nothing, Path::new("/dev"), 254, 0),
            Err(Some(DiskError::Sysfs { .. }))
        ));
    }

    #[test]
    fn garbage_in_sysfs_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        sysfs(root.path());
        fs::write(root.path().join("devices/pci/virtio1/block/vda/vda5/start"), "x").unwrap();
        assert!(Disk::of_number(root.path(), Path::new("/dev"), 253, 0).is_err());
    }
}
