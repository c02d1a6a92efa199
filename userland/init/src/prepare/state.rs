//! STATE: found on the disk that root is on, grown to that disk's end, mounted on `/var`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use linux::disk::{Disk, DiskError, Partition};
use linux::gpt;
use rustix::mount::{MountFlags, mount as mount_device};

use super::api;
use crate::log::{self, Level};

const LABEL: &str = "STATE";
const VAR: &str = "/var";
/// How often and how long a device that is not there yet is waited for: 10 s in all.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// Mounts STATE on `/var`, as large as the disk allows.
pub fn mount() -> Result<(), String> {
    if api::is_mount_point(Path::new(VAR)) {
        return Ok(());
    }
    let (disk, state) = wait().map_err(|error| error.to_string())?;
    let bytes = match grow_partition(&disk, &state) {
        Ok(bytes) => bytes,
        Err(error) => {
            let text =
                format!("Cannot grow {}: {error}; going on with the size it has", state.node.display());
            log::say(Level::Warning, None, &text);
            state.bytes
        }
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    mount_device(&state.node, VAR, "ext4", flags, Some(c"errors=remount-ro"))
        .map_err(|error| format!("cannot mount {} on {VAR}: {error}", state.node.display()))?;
    if let Err(error) = grow_file_system(bytes) {
        log::say(Level::Warning, None, &format!("Cannot grow the file system on {VAR}: {error}"));
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum StateError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{0} has no partition labelled {LABEL}")]
    NoPartition(String),
    #[error("{0} did not appear")]
    NoNode(String),
}

/// The disk under `/` and its STATE partition, waited for a bounded time.
fn wait() -> Result<(Disk, Partition), StateError> {
    let mut last = None;
    for _ in 0..TRIES {
        let found = find();
        match found {
            // No disk will come under a root that is on none.
            Ok(_) | Err(StateError::Disk(DiskError::NoDisk { .. })) => return found,
            Err(error) => last = Some(error),
        }
        sleep(PAUSE);
    }
    Err(last.unwrap_or_else(|| StateError::NoNode(LABEL.to_owned())))
}

fn find() -> Result<(Disk, Partition), StateError> {
    let disk = Disk::under(Path::new("/"))?;
    let node = disk.node.display().to_string();
    let state = disk.partition(LABEL).cloned().ok_or(StateError::NoPartition(node))?;
    if !state.node.exists() {
        return Err(StateError::NoNode(state.node.display().to_string()));
    }
    Ok((disk, state))
}

#[derive(Debug, thiserror::Error)]
enum GrowError {
    #[error(transparent)]
    Table(#[from] gpt::GptError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Makes the partition end with the disk, in the table and in the kernel; returns its length in bytes.
fn grow_partition(disk: &Disk, state: &Partition) -> Result<u64, GrowError> {
    let device = OpenOptions::new().read(true).write(true).open(&disk.node)?;
    let (size, sector) = (linux::block::size(&device)?, linux::block::sector_size(&device)?);
    let growth = gpt::grow(gpt::reader(&device), size, sector, LABEL)?;
    for write in &growth.writes {
        device.write_all_at(&write.bytes, write.offset)?;
        device.sync_all()?;
    }
    if growth.number != state.number || growth.start != state.start {
        return Err(io::Error::other("the kernel's partitions are not those of the table").into());
    }
    if growth.length > state.bytes {
        linux::block::resize_partition(&device, growth.number, growth.start, growth.length)?;
        log::say(Level::Info, None, &format!("Grew {} to {} MiB", state.node.display(), growth.length >> 20));
    }
    Ok(growth.length.max(state.bytes))
}

/// Lets the mounted ext4 fill its partition.
fn grow_file_system(bytes: u64) -> io::Result<()> {
    let block = u64::try_from(rustix::fs::statfs(VAR)?.f_bsize).unwrap_or(0);
    let blocks = bytes.checked_div(block).ok_or(io::ErrorKind::InvalidData)?;
    linux::block::resize_ext4(File::open(VAR)?, blocks)
}
