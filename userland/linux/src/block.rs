//! What only an ioctl(2) can say to a block device or the file system on it: its size, a partition's new length,
//! ext4's new size.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

const BLKSSZGET: libc::c_ulong = 0x1268;
const BLKPG: libc::c_ulong = 0x1269;
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;
const BLKPG_RESIZE_PARTITION: libc::c_int = 3;

/// `struct blkpg_partition` of linux/blkpg.h; lengths in bytes.
#[repr(C)]
struct Partition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of linux/blkpg.h.
#[repr(C)]
struct Request {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *mut Partition,
}

fn answer(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The length of a block device in bytes.
///
/// # Errors
/// `ENOTTY` it is no block device.
pub fn size(device: impl AsFd) -> io::Result<u64> {
    let mut bytes = 0_u64;
    // SAFETY: BLKGETSIZE64 writes one u64.
    answer(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKGETSIZE64, &raw mut bytes) })?;
    Ok(bytes)
}

/// The length of a block device's logical sector in bytes.
///
/// # Errors
/// `ENOTTY` it is no block device.
pub fn sector_size(device: impl AsFd) -> io::Result<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: BLKSSZGET writes one int.
    answer(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKSSZGET, &raw mut bytes) })?;
    u32::try_from(bytes).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Tells the kernel of a partition's new length, in use or not; `disk` is the whole disk, start and length in bytes.
///
/// # Errors
/// `EBUSY` it would overlap another one; `EINVAL` start is not the partition's start.
pub fn resize_partition(disk: impl AsFd, number: u32, start: u64, length: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let mut partition = Partition {
        start: i64::try_from(start).map_err(invalid)?,
        length: i64::try_from(length).map_err(invalid)?,
        number: i32::try_from(number).map_err(invalid)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let mut request = Request {
        operation: BLKPG_RESIZE_PARTITION,
        flags: 0,
        length: size_of::<Partition>() as libc::c_int,
        data: &raw mut partition,
    };
    // SAFETY: BLKPG reads the request and the partition it points to; both live through the call.
    answer(unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKPG, &raw mut request) })
}

/// Grows a mounted ext4 file system to this many of its blocks; `file` is anything in it.
///
/// # Errors
/// `EPERM` needs CAP_SYS_RESOURCE; `EINVAL` the device is shorter or the number is less than now.
pub fn resize_ext4(file: impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64.
    answer(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const blocks) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_no_device() {
        let file = tempfile::tempfile().unwrap();
        assert!(size(&file).is_err());
        assert!(sector_size(&file).is_err());
        assert!(resize_partition(&file, 1, 0, 512).is_err());
        assert!(resize_ext4(std::fs::File::open("/proc/self/stat").unwrap(), 1).is_err());
    }
}
