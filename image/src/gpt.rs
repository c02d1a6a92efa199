//! GUID partition tables (UEFI specification 2.10, chapter 5): a protective MBR, the primary table, the backup table.
//!
//! Sectors have 512 bytes, an array holds 128 entries, partitions begin at multiples of 1 MiB: far enough behind the
//! array that the table can later be rewritten on the running machine.

use std::fmt;

use ring::digest::{SHA256, digest};

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
const ARRAY_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
const HEADER: usize = 92;
/// Bit 2 of the attributes: a BIOS may boot from it. GRUB does not ask; some firmware does.
const LEGACY_BOOT: u64 = 1 << 2;

/// A globally unique identifier, kept as its digits are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guid([u8; 16]);

impl Guid {
    /// From the digits in the order in which they are written.
    #[must_use]
    pub const fn from_digits(digits: [u8; 16]) -> Guid {
        Guid(digits)
    }

    /// From a number, for constants: `0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B`.
    #[must_use]
    pub const fn from_number(number: u128) -> Guid {
        Guid(number.to_be_bytes())
    }

    /// The same for the same text, marked as a name-based one (RFC 9562, version 8).
    #[must_use]
    pub fn from_text(text: &str) -> Guid {
        let mut guid = [0; 16];
        guid.iter_mut().zip(digest(&SHA256, text.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
        guid[6] = guid[6] & 0x0f | 0x80;
        guid[8] = guid[8] & 0x3f | 0x80;
        Guid(guid)
    }

    /// As the table holds it: the first three fields little-endian.
    fn on_disk(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.0;
        let mut disk = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
        disk[8..].copy_from_slice(&rest);
        disk
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A partition of the table.
#[derive(Debug, Clone)]
pub struct Partition {
    /// Its label.
    pub label: &'static str,
    /// What kind it is.
    pub kind: Guid,
    /// Its own identifier: PARTUUID.
    pub guid: Guid,
    /// Its first sector.
    pub first: u64,
    /// Its length in sectors.
    pub sectors: u64,
}

/// A table for a disk of a certain length.
#[derive(Debug, Clone)]
pub struct Table {
    /// The disk's identifier.
    pub guid: Guid,
    /// The disk's length in sectors.
    pub sectors: u64,
    /// The partitions in order.
    pub partitions: Vec<Partition>,
}

impl Table {
    /// What goes to the disk: offsets in bytes, and bytes. The first sector's boot code is left to the boot loader.
    #[must_use]
    pub fn writes(&self) -> Vec<(u64, Vec<u8>)> {
        let array = self.array();
        let last = self.sectors - 1;
        vec![
            (0, self.protective_mbr()),
            (SECTOR, self.header(1, last, 2, &array)),
            (2 * SECTOR, array.clone()),
            ((last - ARRAY_SECTORS) * SECTOR, array.clone()),
            (last * SECTOR, self.header(last, 1, last - ARRAY_SECTORS, &array)),
        ]
    }

    fn protective_mbr(&self) -> Vec<u8> {
        let mut mbr = vec![0; SECTOR as usize];
        let sectors = u32::try_from(self.sectors - 1).unwrap_or(u32::MAX);
        // Not bootable, from CHS 0/0/2, type EE, to the end of what CHS can say.
        mbr[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
        mbr[454..458].copy_from_slice(&1u32.to_le_bytes());
        mbr[458..462].copy_from_slice(&sectors.to_le_bytes());
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        mbr
    }

    fn array(&self) -> Vec<u8> {
        let mut array = vec![0; ENTRIES * ENTRY];
        for (entry, partition) in array.chunks_mut(ENTRY).zip(&self.partitions) {
            entry[..16].copy_from_slice(&partition.kind.on_disk());
            entry[16..32].copy_from_slice(&partition.guid.on_disk());
            entry[32..40].copy_from_slice(&partition.first.to_le_bytes());
            entry[40..48].copy_from_slice(&(partition.first + partition.sectors - 1).to_le_bytes());
            let attributes = if partition.label == "BIOS-BOOT" { LEGACY_BOOT } else { 0 };
            entry[48..56].copy_from_slice(&attributes.to_le_bytes());
            let name = partition.label.encode_utf16().flat_map(u16::to_le_bytes).take(72);
            entry[56..].iter_mut().zip(name).for_each(|(to, from)| *to = from);
        }
        array
    }

    fn header(&self, at: u64, other: u64, array_at: u64, array: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(SECTOR as usize);
        header.extend(b"EFI PART\x00\x00\x01\x00");
        header.extend((HEADER as u32).to_le_bytes());
        header.extend([0; 8]); // its checksum, and four reserved bytes
        header.extend(at.to_le_bytes());
        header.extend(other.to_le_bytes());
        header.extend((2 + ARRAY_SECTORS).to_le_bytes());
        header.extend((self.sectors - ARRAY_SECTORS - 2).to_le_bytes());
        header.extend(self.guid.on_disk());
        header.extend(array_at.to_le_bytes());
        header.extend((ENTRIES as u32).to_le_bytes());
        header.extend((ENTRY as u32).to_le_bytes());
        header.extend(crc32fast::hash(array).to_le_bytes());
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(SECTOR as usize, 0);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    #[test]
    fn sgdisk_finds_nothing_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(64 << 20).unwrap();
        let guid = Guid::from_text("a partition");
        let partitions = vec![
            Partition {
                label: "BIOS-BOOT",
                kind: Guid::from_number(0x21686148_6449_6E6F_744E_656564454649),
                guid,
                first: 2048,
                sectors: 2048,
            },
            Partition {
                label: "STATE",
                kind: Guid::from_number(0x0FC63DAF_8483_4772_8E79_3D69D8477DE4),
                guid: Guid::from_text("another"),
                first: 4096,
                sectors: 8192,
            },
        ];
        let table = Table { guid: Guid::from_text("the disk"), sectors: (64 << 20) / SECTOR, partitions };
        for (offset, bytes) in table.writes() {
            file.write_all_at(&bytes, offset).unwrap();
        }
        let sgdisk = |args: &[&str]| {
            let output = Command::new("/usr/sbin/sgdisk").args(args).arg(&path).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let verdict = sgdisk(&["--verify"]);
        assert!(verdict.contains("No problems found"), "{verdict}");
        let list = sgdisk(&["--print"]);
        assert!(list.contains("EF02  BIOS-BOOT") && list.contains("8300  STATE"), "{list}");
        let first = sgdisk(&["--info=1"]);
        assert!(first.contains(&guid.to_string().to_uppercase()), "{first}");
    }

    #[test]
    fn a_guid_is_written_as_it_is_read() {
        let guid = Guid::from_number(0xC12A7328_F81F_11D2_BA4B_00A0C93EC93B);
        assert_eq!(guid.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(guid.on_disk()[..8], [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11]);
    }
}
