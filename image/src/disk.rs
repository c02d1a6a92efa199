//! The disk image: partitions in a sparse file, as a machine's disk looks before its first boot.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::boot_partition::Bios;
use crate::error::{At, Error, Result};
use crate::gpt::{Guid, Partition, SECTOR, Table};
use crate::manifest::Manifest;
use crate::root::Root;
use crate::tool::Tool;

const MIB: u64 = 1 << 20;
/// Content is copied in pieces; those without a set bit stay holes.
const PIECE: usize = 64 << 10;

const BIOS_BOOT: Guid = Guid::from_number(0x21686148_6449_6E6F_744E_656564454649);
const EFI_SYSTEM: Guid = Guid::from_number(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);
const LINUX_ROOT_X86_64: Guid = Guid::from_number(0x4F68BCE3_E8CD_4DB1_96E7_FBCAF984B709);
const LINUX: Guid = Guid::from_number(0x0FC63DAF_8483_4772_8E79_3D69D8477DE4);

/// The places of the partitions.
#[must_use]
pub fn layout(manifest: &Manifest, root: &Root) -> Table {
    let sizes = manifest.partitions;
    let own = |label: &str| Guid::from_text(&format!("{} {label}", manifest.name));
    let mut first = MIB / SECTOR;
    let mut place = |label: &'static str, kind, guid, size: u64| {
        let partition = Partition { label, kind, guid, first, sectors: size * MIB / SECTOR };
        first += partition.sectors;
        partition
    };
    let partitions = vec![
        place("BIOS-BOOT", BIOS_BOOT, own("BIOS-BOOT"), sizes.bios_boot),
        place("EFI-SYSTEM", EFI_SYSTEM, own("EFI-SYSTEM"), sizes.efi_system),
        place("ROOT-A", LINUX_ROOT_X86_64, root.partition_guid(), sizes.root),
        place("ROOT-B", LINUX_ROOT_X86_64, own("ROOT-B"), sizes.root),
        place("STATE", LINUX, own("STATE"), sizes.state),
    ];
    Table { guid: own("disk"), sectors: first + MIB / SECTOR, partitions }
}

/// Makes the disk. `boot_partition` is the content of EFI-SYSTEM.
///
/// # Errors
/// A part does not fit, a tool is missing or fails, or the file cannot be written.
pub fn make(manifest: &Manifest, root: &Root, boot_partition: &Path, work: &Path, path: &Path) -> Result<()> {
    let table = layout(manifest, root);
    let file = File::create(path).at("create", path)?;
    file.set_len(table.sectors * SECTOR).at("extend", path)?;
    for (offset, bytes) in table.writes() {
        file.write_all_at(&bytes, offset).at("write", path)?;
    }
    for partition in &table.partitions {
        match partition.label {
            "BIOS-BOOT" => {
                let bios = Bios::make(partition.first, work, manifest.time)?;
                fits(partition, bios.core.len() as u64)?;
                file.write_all_at(&bios.boot_sector, 0).at("write", path)?;
                file.write_all_at(&bios.core, partition.first * SECTOR).at("write", path)?;
            }
            "EFI-SYSTEM" => copy(boot_partition, &file, partition, path)?,
            "ROOT-A" => copy(&root.path, &file, partition, path)?,
            "STATE" => {
                let state = work.join("state.ext4");
                make_state(manifest, partition.sectors * SECTOR, &state)?;
                copy(&state, &file, partition, path)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The seed of STATE: small on the wire, but with the block size, journal and inode ratio of a large file system, for
/// growing keeps them.
fn make_state(manifest: &Manifest, bytes: u64, path: &Path) -> Result<()> {
    let file = File::create(path).at("create", path)?;
    file.set_len(bytes).at("extend", path)?;
    let guid = Guid::from_text(&format!("{} STATE file system", manifest.name));
    Tool::new("mkfs.ext4", manifest.time)
        .args(["-q", "-F", "-b", "4096", "-N", "8192", "-J", "size=16", "-m", "1", "-L", "STATE"])
        .args(["-U", &guid.to_string()])
        .args(["-E", &format!("hash_seed={guid},lazy_itable_init=1,root_owner=0:0,nodiscard")])
        .arg(path)
        .run()
}

fn fits(partition: &Partition, needed: u64) -> Result<()> {
    let room = partition.sectors * SECTOR;
    if needed > room {
        return Err(Error::TooLarge { what: partition.label.to_owned(), needed, room });
    }
    Ok(())
}

/// Copies a file into a partition, without its empty pieces.
fn copy(from: &Path, disk: &File, partition: &Partition, disk_path: &Path) -> Result<()> {
    fits(partition, fs::metadata(from).at("read", from)?.len())?;
    let mut source = File::open(from).at("open", from)?;
    let mut piece = vec![0; PIECE];
    let mut offset = partition.first * SECTOR;
    loop {
        let count = source.read(&mut piece).at("read", from)?;
        let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        if bytes.iter().any(|byte| *byte != 0) {
            disk.write_all_at(bytes, offset).at("write", disk_path)?;
        }
        offset += count as u64;
    }
}
