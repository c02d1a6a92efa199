//! Live boot: out of the initramfs, into the root image that it carries.
//!
//! The initramfs holds `/init` (this program) and `/root.erofs`. The image is mounted from the file as it is, without a
//! loop device (EROFS since Linux 6.12); the kernel can do that when the initramfs is a ramfs, so a tmpfs one is copied
//! over piece by piece, never held twice. Then the usual switch of roots, as switch_root(8) does it.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::unistd::execv;
use rustix::fs::{FallocateFlags, FsWord, fallocate, statfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};

const IMAGE: &str = "/root.erofs";
const COPY: &str = "/image/root.erofs";
const ROOT: &str = "/newroot";
const RAMFS: FsWord = 0x8584_58f6;
const TMPFS: FsWord = 0x0102_1994;
/// The image is moved in pieces of this size.
const PIECE: usize = 1 << 20;

/// Whether this is the initramfs of a live boot.
pub fn is_initramfs() -> bool {
    let kind = statfs("/").map(|info| info.f_type);
    matches!(kind, Ok(RAMFS | TMPFS)) && Path::new(IMAGE).is_file()
}

/// Executes `/sbin/init` of the image. Returns only when that fails.
pub fn enter() -> io::Error {
    match switch() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn switch() -> io::Result<std::convert::Infallible> {
    fs::create_dir_all(ROOT)?;
    if mount(IMAGE, ROOT, "erofs", MountFlags::RDONLY, None).is_err() {
        move_image()?;
        mount(COPY, ROOT, "erofs", MountFlags::RDONLY, None)?;
    }
    for folder in ["dev", "proc", "sys"] {
        let from = format!("/{folder}");
        if mount_move(&from, format!("{ROOT}/{folder}")).is_err() {
            // The next program mounts it again.
            let _ = unmount(&from, UnmountFlags::DETACH);
        }
    }
    // Frees the memory of this program's file once the next one runs.
    let _ = fs::remove_file("/init");
    rustix::process::chdir(ROOT)?;
    mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    rustix::process::chdir("/")?;
    let args: Vec<_> =
        std::env::args_os().skip(1).filter_map(|arg| std::ffi::CString::new(arg.as_bytes()).ok()).collect();
    let mut argv = vec![c"/sbin/init".to_owned()];
    argv.extend(args);
    execv(c"/sbin/init", &argv).map_err(io::Error::from)
}

/// Moves the image from a tmpfs to a ramfs, giving back each piece of memory as soon as it is copied.
fn move_image() -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    fs::create_dir_all("/image")?;
    mount("ramfs", "/image", "ramfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=700"))?;
    let from = File::options().read(true).write(true).open(IMAGE)?;
    let to = File::create(COPY)?;
    let mut piece = vec![0_u8; PIECE];
    let mut offset = 0_u64;
    loop {
        let length = from.read_at(&mut piece, offset)?;
        let Some(bytes) = piece.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        to.write_all_at(bytes, offset)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&from, flags, offset, length as u64)?;
        offset += length as u64;
    }
    fs::remove_file(IMAGE)
}
