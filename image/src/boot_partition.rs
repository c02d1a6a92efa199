//! The EFI-SYSTEM partition and GRUB: made with mtools, so without mounting anything.
//!
//! GRUB finds its files on the disk and partition that it was itself loaded from, so two disks with the same image in
//! one machine do not confuse it.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use update_engine::grubenv::Block;
use update_engine::slots::Slots;
use update_engine::verity;

use crate::error::{At, Error, Result};
use crate::root::Root;
use crate::tool::Tool;

const GRUB: &str = "/usr/lib/grub";
const MODULES: &[&str] = &[
    "part_gpt",
    "fat",
    "configfile",
    "loadenv",
    "test",
    "echo",
    "linux",
    "serial",
    "terminal",
    "normal",
    "reboot",
    "sleep",
    "minicmd",
    "boot",
];
const VOLUME_ID: &str = "c0a7e5f1";

/// A file of the partition: where, and what is in it.
type Content = (&'static str, Vec<u8>);

/// GRUB's two parts for BIOS: the boot sector's code and the core image.
#[derive(Debug)]
pub struct Bios {
    /// 440 bytes at most of the first sector.
    pub boot_sector: Vec<u8>,
    /// The content of BIOS-BOOT.
    pub core: Vec<u8>,
}

impl Bios {
    /// Makes both, for a core image at this sector of the disk. `work` is a folder for scratch files.
    ///
    /// # Errors
    /// GRUB is missing or of an unknown kind.
    pub fn make(first_sector: u64, work: &Path, time: u64) -> Result<Bios> {
        let core_path = work.join("core.img");
        mkimage("i386-pc", "(,gpt2)/grub", &["biosdisk"], &core_path, time)?;
        let boot_path = Path::new(GRUB).join("i386-pc/boot.img");
        let mut boot_sector = fs::read(&boot_path).at("read", &boot_path)?;
        boot_sector.truncate(440);
        let mut core = fs::read(&core_path).at("read", &core_path)?;
        // Where the boot sector finds the core's first sector, and that one the rest: GRUB's boot.S and diskboot.S.
        put(&mut boot_sector, 0x5c, first_sector, &boot_path)?;
        put(&mut core, 0x1f4, first_sector + 1, &core_path)?;
        Ok(Bios { boot_sector, core })
    }
}

fn put(image: &mut [u8], at: usize, sector: u64, path: &Path) -> Result<()> {
    match image.get_mut(at..at + 8) {
        Some(place) => {
            place.copy_from_slice(&sector.to_le_bytes());
            Ok(())
        }
        None => Err(Error::Input { path: path.to_owned(), message: "is too short to be GRUB's".to_owned() }),
    }
}

fn mkimage(platform: &str, prefix: &str, more: &[&str], output: &Path, time: u64) -> Result<()> {
    let folder = Path::new(GRUB).join(platform);
    if !folder.join("normal.mod").is_file() {
        let package = if platform == "i386-pc" { "grub-pc-bin" } else { "grub-efi-amd64-bin" };
        return Err(Error::MissingFile { path: folder, package: package.to_owned() });
    }
    Tool::new("grub-mkimage", time)
        .args(["--format", platform, "--prefix", prefix])
        .arg("--directory")
        .arg(&folder)
        .arg("--output")
        .arg(output)
        .args(MODULES)
        .args(more)
        .run()
}

/// What the partition is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// `image/grub/grub.cfg`.
    pub grub_cfg: &'a Path,
    /// The bzImage.
    pub kernel: &'a Path,
    /// The root image of slot A.
    pub root: &'a Root,
    /// The kernel's arguments of the manifest.
    pub kernel_arguments: &'a [String],
    /// The partition's length in MiB.
    pub size: u64,
    /// The time of its files.
    pub time: u64,
}

/// Makes the partition in a file of its own.
///
/// # Errors
/// A tool is missing or fails.
pub fn make(inputs: &Inputs<'_>, work: &Path, path: &Path) -> Result<()> {
    let efi_path = work.join("bootx64.efi");
    mkimage("x86_64-efi", "/grub", &["efi_gop", "chain"], &efi_path, inputs.time)?;
    let read = |path: &Path| fs::read(path).at("read", path);
    let contents: Vec<Content> = vec![
        ("EFI/BOOT/BOOTX64.EFI", read(&efi_path)?),
        ("grub/grub.cfg", read(inputs.grub_cfg)?),
        ("grub/grubenv", environment()?),
        ("corten/a/boot.cfg", boot_cfg(inputs.root, inputs.kernel_arguments).into_bytes()),
        ("corten/a/vmlinuz", read(inputs.kernel)?),
    ];
    let needed = contents.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() + (4 << 20);
    if needed > inputs.size << 20 {
        let room = inputs.size << 20;
        return Err(Error::TooLarge { what: "EFI-SYSTEM".to_owned(), needed, room });
    }

    let file = File::create(path).at("create", path)?;
    file.set_len(inputs.size << 20).at("extend", path)?;
    drop(file);
    Tool::new("mkfs.vfat", inputs.time)
        .args(["--invariant", "-F32", "-i", VOLUME_ID, "-n", "EFI-SYSTEM"])
        .arg(path)
        .run()?;
    let folders = ["EFI", "EFI/BOOT", "grub", "corten", "corten/a", "corten/b"];
    Tool::new("mmd", inputs.time)
        .arg("-i")
        .arg(path)
        .args(folders.map(|folder| format!("::{folder}")))
        .run()?;
    for (index, (name, bytes)) in contents.into_iter().enumerate() {
        let source: PathBuf = work.join(format!("content-{index}"));
        fs::write(&source, bytes).at("write", &source)?;
        let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(inputs.time));
        File::options()
            .write(true)
            .open(&source)
            .and_then(|file| file.set_times(times))
            .at("set the time of", &source)?;
        Tool::new("mcopy", inputs.time)
            .args(["-m", "-i"])
            .arg(path)
            .arg(&source)
            .arg(format!("::{name}"))
            .run()?;
    }
    Ok(())
}

fn environment() -> Result<Vec<u8>> {
    let mut block = Block::default();
    let bytes = Slots::new_disk().write(&mut block).and_then(|()| block.to_bytes());
    match bytes {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(error) => Err(Error::Input { path: "grub/grubenv".into(), message: error.to_string() }),
    }
}

/// What a slot brings along: the kernel's arguments belong to the release, not to the disk.
fn boot_cfg(root: &Root, kernel_arguments: &[String]) -> String {
    let partition = root.partition_guid().to_string();
    verity::boot_cfg(kernel_arguments, &partition, root.data_blocks, &root.root_hash, &root.salt)
}
