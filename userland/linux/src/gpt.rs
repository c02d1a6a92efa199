//! The table of partitions of a disk (GPT, UEFI specification 2.10, chapter 5.3): whom a partition is, and growing the
//! last one to the end of its disk.
//!
//! Pure: reads the table from bytes and answers with writes, each of which must be on the disk before the next begins.
//! After a power cut between or within any of them the primary table is whole and either old or new, for Linux reads
//! no other: the new entries go to a free place beside the old ones, and the one sector of the header decides. So the
//! partitions must begin at least one array (32 sectors of 512 bytes) after the first one's end, which every tool that
//! aligns to 1 MiB grants.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// New ends are rounded down to this many bytes.
const ALIGNMENT: u64 = 1 << 20;
/// The largest table read, in bytes; a usual one has 16 KiB.
const LARGEST: u64 = 1 << 20;
const SIGNATURE: &[u8] = b"EFI PART";
const SMALLEST_HEADER: u32 = 92;

/// A write that must be flushed before the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Where, in bytes from the start of the disk.
    pub offset: u64,
    /// What; whole sectors.
    pub bytes: Vec<u8>,
}

/// The partition as it will be, and what makes it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// Its number, from 1.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// The writes, in order; none when the table says so already.
    pub writes: Vec<Write>,
}

/// Why the table stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// The disk could not be read.
    #[error("cannot read the partition table: {0}")]
    Read(#[from] std::io::Error),
    /// The primary table is broken.
    #[error("the partition table is not valid: {0}")]
    Invalid(&'static str),
    /// There is no partition of this name.
    #[error("there is no partition {0}")]
    Missing(String),
    /// Another partition lies behind it.
    #[error("partition {0} is not the last one of the disk")]
    NotLast(String),
    /// The new entries have no place beside the old ones.
    #[error(
        "the first partition begins too early to rewrite the table safely: it must be at sector {0} or later"
    )]
    NoRoom(u64),
}

/// The fields that a header and its entries are made of.
#[derive(Clone)]
struct Header {
    raw: Vec<u8>,
    first_usable: u64,
    last: u64,
    entries_at: u64,
    entries_size: u64,
    entry_size: usize,
}

/// What makes the partition labelled `label` reach to the end of a disk of `disk` bytes with sectors of `sector` bytes.
///
/// `read` returns the bytes at an offset.
///
/// # Errors
/// See [`GptError`]: the table is never touched then.
pub fn grow(
    read: impl Fn(u64, usize) -> std::io::Result<Vec<u8>>,
    disk: u64,
    sector: u32,
    label: &str,
) -> Result<Growth, GptError> {
    let size = u64::from(sector);
    if sector < 512 || !sector.is_power_of_two() || disk / size < 128 {
        return Err(GptError::Invalid("the disk is too small"));
    }
    let (header, mut entries) = table(read, sector)?;
    let (index, start, end, first) = locate(&entries, header.entry_size, label)?;

    let array = header.entries_size.div_ceil(size);
    let last = disk / size - 1;
    let last_usable = last - array - 1;
    let unit = (ALIGNMENT / size).max(1);
    let new_end = ((last_usable + 1) / unit * unit).saturating_sub(1).max(end);
    let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
    let mut growth =
        Growth { number, start: start * size, length: (new_end - start + 1) * size, writes: vec![] };
    if header.last == last && new_end == end {
        return Ok(growth);
    }
    if header.last > last || new_end > last_usable {
        return Err(GptError::Invalid("it describes a larger disk"));
    }

    let (low, high) = (2, 2 + array);
    let place = if header.entries_at >= high { low } else { high };
    let first_usable = header.first_usable.max(high + array);
    if first < first_usable || (place == low && header.entries_at < low + array) {
        return Err(GptError::NoRoom(high + array));
    }
    put(&mut entries, index * header.entry_size + 40, &new_end.to_le_bytes());
    let checksum = crc32fast::hash(&entries);
    entries.resize((array * size) as usize, 0);
    let sealed = |own: u64, other: u64, entries_at: u64| {
        let mut raw = header.raw.clone();
        put(&mut raw, 24, &own.to_le_bytes());
        put(&mut raw, 32, &other.to_le_bytes());
        put(&mut raw, 40, &first_usable.to_le_bytes());
        put(&mut raw, 48, &last_usable.to_le_bytes());
        put(&mut raw, 72, &entries_at.to_le_bytes());
        put(&mut raw, 88, &checksum.to_le_bytes());
        seal(&mut raw);
        raw
    };
    growth.writes = vec![
        Write { offset: (last - array) * size, bytes: entries.clone() },
        Write { offset: last * size, bytes: sealed(last, 1, last - array) },
        Write { offset: place * size, bytes: entries },
        Write { offset: size, bytes: sealed(1, last, place) },
    ];
    Ok(growth)
}

/// What reads the bytes of a device at an offset.
pub fn reader(device: &File) -> impl Fn(u64, usize) -> std::io::Result<Vec<u8>> {
    |offset, length| {
        let mut bytes = vec![0; length];
        device.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// The GUID of the partition of this number, from 1, as the kernel's `PARTUUID=` takes it.
///
/// `read` returns the bytes at an offset; the disk has sectors of `sector` bytes.
///
/// # Errors
/// The primary table cannot be read or is broken, or there is no such partition.
pub fn partition_guid(
    read: impl Fn(u64, usize) -> std::io::Result<Vec<u8>>,
    sector: u32,
    number: u32,
) -> Result<String, GptError> {
    let (header, entries) = table(read, sector)?;
    let index = (number as usize).checked_sub(1);
    let entry = index.and_then(|index| entries.chunks_exact(header.entry_size).nth(index));
    let used = |entry: &&[u8]| entry.iter().take(16).any(|byte| *byte != 0);
    let entry = entry.filter(used).ok_or_else(|| GptError::Missing(number.to_string()))?;
    // The first three groups are numbers, the last two are bytes.
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let digits = |at: &usize| format!("{:02x}", entry.get(16 + at).copied().unwrap_or_default());
    let mut guid: String = order.iter().map(digits).collect();
    for dash in [8, 13, 18, 23] {
        guid.insert(dash, '-');
    }
    Ok(guid)
}

/// The primary table.
fn table(
    read: impl Fn(u64, usize) -> std::io::Result<Vec<u8>>,
    sector: u32,
) -> Result<(Header, Vec<u8>), GptError> {
    let size = u64::from(sector);
    let header = Header::parse(read(size, sector as usize)?, size)?;
    let entries = read(header.entries_at * size, header.entries_size as usize)?;
    if crc32fast::hash(&entries) == u32_at(&header.raw, 88) {
        Ok((header, entries))
    } else {
        Err(GptError::Invalid("the entries do not match their checksum"))
    }
}

impl Header {
    fn parse(raw: Vec<u8>, sector: u64) -> Result<Header, GptError> {
        let length = u32_at(&raw, 12);
        if !raw.starts_with(SIGNATURE) || length < SMALLEST_HEADER || length as usize > raw.len() {
            return Err(GptError::Invalid("there is no header"));
        }
        let mut copy = raw.clone();
        seal(&mut copy);
        if u32_at(&copy, 16) != u32_at(&raw, 16) {
            return Err(GptError::Invalid("the header does not match its checksum"));
        }
        let entry_size = u32_at(&raw, 84);
        let entries_size = u64::from(u32_at(&raw, 80)) * u64::from(entry_size);
        let entries_at = u64_at(&raw, 72);
        if entry_size < 128 || !entry_size.is_multiple_of(8) || entries_size == 0 || entries_size > LARGEST {
            return Err(GptError::Invalid("the entries have an odd size"));
        }
        if u64_at(&raw, 24) != 1 || entries_at < 2 || entries_at > LARGEST / sector {
            return Err(GptError::Invalid("the header is not where it says"));
        }
        Ok(Header {
            first_usable: u64_at(&raw, 40),
            last: u64_at(&raw, 32),
            entries_at,
            entries_size,
            entry_size: entry_size as usize,
            raw,
        })
    }
}

/// Index, first and last sector of the labelled partition, and the first sector of all partitions.
fn locate(entries: &[u8], entry_size: usize, label: &str) -> Result<(usize, u64, u64, u64), GptError> {
    let mut found = None;
    let (mut first, mut furthest) = (u64::MAX, 0);
    for (index, entry) in entries.chunks_exact(entry_size).enumerate() {
        if entry.iter().take(16).all(|byte| *byte == 0) {
            continue;
        }
        let (start, end) = (u64_at(entry, 32), u64_at(entry, 40));
        if start > end {
            return Err(GptError::Invalid("a partition ends before it begins"));
        }
        first = first.min(start);
        furthest = furthest.max(end);
        if name_of(entry) == label {
            found = Some((index, start, end));
        }
    }
    let (index, start, end) = found.ok_or_else(|| GptError::Missing(label.to_owned()))?;
    if end < furthest {
        return Err(GptError::NotLast(label.to_owned()));
    }
    Ok((index, start, end, first))
}

fn name_of(entry: &[u8]) -> String {
    let units = entry.get(56..128).unwrap_or_default().chunks_exact(2);
    let units = units.map(|pair| pair.iter().rev().fold(0, |unit, byte| unit << 8 | u16::from(*byte)));
    char::decode_utf16(units.take_while(|unit| *unit != 0)).map(|c| c.unwrap_or('\u{fffd}')).collect()
}

/// Writes a header's own checksum into it.
fn seal(raw: &mut [u8]) {
    put(raw, 16, &[0; 4]);
    let length = (u32_at(raw, 12) as usize).min(raw.len());
    let checksum = crc32fast::hash(raw.get(..length).unwrap_or_default());
    put(raw, 16, &checksum.to_le_bytes());
}

fn put(raw: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = raw.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn u32_at(raw: &[u8], at: usize) -> u32 {
    raw.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(raw: &[u8], at: usize) -> u64 {
    raw.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    const MIB: u64 = 1 << 20;

    fn sgdisk(image: &Path, args: &[&str]) -> String {
        let out = Command::new("sgdisk").args(args).arg(image).output().expect("Debian's gdisk is installed");
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// A disk of 64 MiB with a table as the image builder makes it, put on a disk of 200 MiB.
    fn disk() -> (tempfile::NamedTempFile, u64) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 * MIB).unwrap();
        let make = ["-n1:2048:+1M", "-t1:ef02", "-c1:BIOS-BOOT", "-n2:0:+8M", "-c2:EFI-SYSTEM"];
        sgdisk(file.path(), &make);
        sgdisk(file.path(), &["-n3:0:+8M", "-c3:ROOT-A", "-n5:0:0", "-c5:STATE"]);
        file.as_file().set_len(200 * MIB).unwrap();
        (file, 200 * MIB)
    }

    fn grow_file(file: &File, disk: u64) -> Result<Growth, GptError> {
        grow(reader(file), disk, 512, "STATE")
    }

    fn apply(file: &File, writes: &[Write]) {
        for write in writes {
            file.write_all_at(&write.bytes, write.offset).unwrap();
        }
    }

    #[test]
    fn grows_to_the_end_and_stays() {
        let (image, size) = disk();
        let growth = grow_file(image.as_file(), size).unwrap();
        assert_eq!(growth.number, 5);
        apply(image.as_file(), &growth.writes);
        assert!(sgdisk(image.path(), &["-v"]).contains("No problems found"));
        let info = sgdisk(image.path(), &["-i5"]);
        assert!(info.contains("Partition name: 'STATE'"), "{info}");
        assert!(info.contains(&format!("({} sectors)", growth.length / 512)) || info.contains("Last sector"));
        let again = grow_file(image.as_file(), size).unwrap();
        assert_eq!((again.writes.len(), again.length), (0, growth.length));
        // A second, larger disk: the entries move back to their first place.
        image.as_file().set_len(300 * MIB).unwrap();
        let second = grow_file(image.as_file(), 300 * MIB).unwrap();
        assert!(second.length > growth.length);
        apply(image.as_file(), &second.writes);
        assert!(sgdisk(image.path(), &["-v"]).contains("No problems found"));
    }

    #[test]
    fn partitions_are_told_by_their_guids() {
        let (image, _) = disk();
        let guid = |number| partition_guid(reader(image.as_file()), 512, number);
        let own = "12345678-9ABC-DEF0-1122-334455667788";
        sgdisk(image.path(), &[&format!("-u3:{own}")]);
        assert_eq!(guid(3).unwrap(), own.to_lowercase());
        assert_ne!(guid(5).unwrap(), guid(3).unwrap());
        for none in [0, 4, 500] {
            assert!(matches!(guid(none), Err(GptError::Missing(_))), "{none}");
        }
    }

    #[test]
    fn a_power_cut_in_any_sector_leaves_a_valid_table() {
        let (image, size) = disk();
        let growth = grow_file(image.as_file(), size).unwrap();
        let sectors: Vec<Write> = growth
            .writes
            .iter()
            .flat_map(|write| {
                write.bytes.chunks(512).enumerate().map(|(index, bytes)| Write {
                    offset: write.offset + index as u64 * 512,
                    bytes: bytes.to_vec(),
                })
            })
            .collect();
        for done in 0..=sectors.len() {
            let torn = tempfile::NamedTempFile::new().unwrap();
            torn.as_file().set_len(size).unwrap();
            for offset in [0, 63 * MIB] {
                let mut part = vec![0; MIB as usize];
                image.as_file().read_exact_at(&mut part, offset).unwrap();
                torn.as_file().write_all_at(&part, offset).unwrap();
            }
            apply(torn.as_file(), &sectors[..done]);
            let found = grow_file(torn.as_file(), size).unwrap();
            assert_eq!(found.length, growth.length);
            assert_eq!(found.writes.is_empty(), done == sectors.len(), "after {done} sectors");
            apply(torn.as_file(), &found.writes);
            assert_eq!(grow_file(torn.as_file(), size).unwrap().writes, []);
        }
    }

    #[test]
    fn broken_tables_are_refused() {
        let (image, size) = disk();
        let file = image.as_file();
        assert!(matches!(grow(|_, n| Ok(vec![0; n]), size, 512, "STATE"), Err(GptError::Invalid(_))));
        assert!(matches!(grow(|_, n| Ok(vec![0xff; n]), size, 512, "STATE"), Err(GptError::Invalid(_))));
        assert!(matches!(grow_file(file, 32 * MIB), Err(GptError::Invalid(_))));
        file.write_all_at(b"x", 1024 + 56).unwrap();
        assert!(matches!(grow_file(file, size), Err(GptError::Invalid(_))));
    }

    #[test]
    fn only_the_last_partition_grows() {
        let (image, size) = disk();
        sgdisk(image.path(), &["-c5:OTHER", "-c3:STATE"]);
        image.as_file().set_len(size).unwrap();
        assert!(matches!(grow_file(image.as_file(), size), Err(GptError::NotLast(_))));
        sgdisk(image.path(), &["-c3:ROOT-A"]);
        assert!(matches!(grow_file(image.as_file(), size), Err(GptError::Missing(_))));
    }

    #[test]
    fn without_room_the_table_stays() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(64 * MIB).unwrap();
        sgdisk(image.path(), &["-a1", "-n1:34:+8M", "-n2:0:0", "-c2:STATE"]);
        image.as_file().set_len(100 * MIB).unwrap();
        assert!(matches!(grow_file(image.as_file(), 100 * MIB), Err(GptError::NoRoom(66))));
    }
}
