//! Where everything lies: the header, the kinds of objects, the offsets of their members. All integers are
//! little-endian. Source: JOURNAL_FILE_FORMAT, "Header" and "Objects".

use super::Error;

/// A 128-bit id: of a machine, a boot, a file, a numbering.
pub type Id128 = [u8; 16];

/// Bytes of the header that we write: systemd 252's.
pub const HEADER_SIZE: u64 = 264;
/// The smallest header that has all that reading needs (systemd 187 to 245 wrote smaller ones).
pub const HEADER_SIZE_MIN: u64 = 208;
/// The first bytes of every file.
pub const SIGNATURE: &[u8; 8] = b"LPKSHHRH";
/// Compatible flag: the file has seals, TAG objects, which we pass over.
pub const SEALED: u32 = 1;
/// Incompatible flag: some data are compressed with XZ.
pub const COMPRESSED_XZ: u32 = 1;
/// Incompatible flag: some data are compressed with LZ4.
pub const COMPRESSED_LZ4: u32 = 1 << 1;
/// Incompatible flag: data and fields are hashed with the file's id as key.
pub const KEYED_HASH: u32 = 1 << 2;
/// Incompatible flag: some data are compressed with Zstandard.
pub const COMPRESSED_ZSTD: u32 = 1 << 3;
/// Incompatible flag: 32-bit offsets.
pub const COMPACT: u32 = 1 << 4;
/// All that a reader has to know of and that we do.
const KNOWN: u32 = COMPRESSED_XZ | COMPRESSED_LZ4 | KEYED_HASH | COMPRESSED_ZSTD | COMPACT;

/// Where the two layouts differ: the regular one has 64-bit offsets, the compact one, of at most 4 GiB, 32-bit ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// 32-bit offsets.
    pub compact: bool,
}

impl Shape {
    /// Where the payload of a DATA begins. The compact one has the tail of its chain of arrays before it.
    #[must_use]
    pub fn data_payload(self) -> u64 {
        if self.compact { data::PAYLOAD + 8 } else { data::PAYLOAD }
    }

    /// Bytes of an item of an ENTRY: the offset of a DATA, and in the regular layout its hash.
    #[must_use]
    pub fn entry_item(self) -> u64 {
        if self.compact { 4 } else { 16 }
    }

    /// Bytes of a slot of an ENTRY_ARRAY.
    #[must_use]
    pub fn array_item(self) -> u64 {
        if self.compact { 4 } else { 8 }
    }
}

/// Closed in order.
pub const OFFLINE: u8 = 0;
/// Being written, or left behind by a crash.
pub const ONLINE: u8 = 1;
/// Never written again.
pub const ARCHIVED: u8 = 2;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One `FIELD=value`.
    Data = 1,
    /// The name of a field.
    Field = 2,
    /// A time and a list of data.
    Entry = 3,
    /// Finds data.
    DataHashTable = 4,
    /// Finds fields.
    FieldHashTable = 5,
    /// Offsets of entries.
    EntryArray = 6,
}

/// Bytes in front of every object: kind, flags, size.
pub const OBJECT: u64 = 16;
/// Members of a DATA object.
pub mod data {
    /// Its hash.
    pub const HASH: u64 = 16;
    /// The next of its bucket.
    pub const NEXT_HASH: u64 = 24;
    /// The next of its field.
    pub const NEXT_FIELD: u64 = 32;
    /// The first entry that has it.
    pub const ENTRY: u64 = 40;
    /// The others.
    pub const ENTRY_ARRAY: u64 = 48;
    /// How many.
    pub const ENTRIES: u64 = 56;
    /// `FIELD=value`, in the regular layout; in the compact one the last array, and how many of its slots are used.
    pub const PAYLOAD: u64 = 64;
    /// The last array, in the compact layout.
    pub const TAIL: u64 = 64;
}
/// Members of a FIELD object.
pub mod field {
    /// Its hash.
    pub const HASH: u64 = 16;
    /// The next of its bucket.
    pub const NEXT_HASH: u64 = 24;
    /// The newest data of it.
    pub const HEAD_DATA: u64 = 32;
    /// The name.
    pub const PAYLOAD: u64 = 40;
}
/// Members of an ENTRY object.
pub mod entry {
    /// Counts all entries of a numbering.
    pub const SEQNUM: u64 = 16;
    /// Microseconds since 1970.
    pub const REALTIME: u64 = 24;
    /// Microseconds since boot.
    pub const MONOTONIC: u64 = 32;
    /// Which boot.
    pub const BOOT_ID: u64 = 40;
    /// Checksum of all payloads.
    pub const XOR_HASH: u64 = 56;
    /// Pairs of offset and hash.
    pub const ITEMS: u64 = 64;
}
/// Members of an ENTRY_ARRAY object.
pub mod array {
    /// The next array.
    pub const NEXT: u64 = 16;
    /// Offsets of entries.
    pub const ITEMS: u64 = 24;
}

/// The next multiple of eight.
#[must_use]
pub fn align(size: u64) -> u64 {
    size.saturating_add(7) & !7
}

/// When something happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Microseconds since 1970.
    pub realtime: u64,
    /// Microseconds since boot.
    pub monotonic: u64,
}

/// The header, its numbers in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// Flags a writer must know.
    pub compatible: u32,
    /// Flags a reader must know.
    pub incompatible: u32,
    /// [`OFFLINE`], [`ONLINE`] or [`ARCHIVED`].
    pub state: u8,
    /// The file's own id, key of its hash.
    pub file_id: Id128,
    /// Whose it is.
    pub machine_id: Id128,
    /// The boot of the last entry.
    pub boot_id: Id128,
    /// The numbering that its sequence numbers belong to.
    pub seqnum_id: Id128,
    /// Bytes of this header.
    pub header_size: u64,
    /// Bytes after it.
    pub arena_size: u64,
    /// The buckets of data, not their object.
    pub data_table_offset: u64,
    /// Bytes of the buckets.
    pub data_table_size: u64,
    /// The buckets of fields.
    pub field_table_offset: u64,
    /// Bytes of the buckets.
    pub field_table_size: u64,
    /// The last object.
    pub tail_object_offset: u64,
    /// Objects of all kinds.
    pub n_objects: u64,
    /// Entries.
    pub n_entries: u64,
    /// The sequence number of the last entry.
    pub tail_entry_seqnum: u64,
    /// Of the first.
    pub head_entry_seqnum: u64,
    /// The first array of the file's entries.
    pub entry_array_offset: u64,
    /// Microseconds since 1970 of the first entry.
    pub head_entry_realtime: u64,
    /// Of the last.
    pub tail_entry_realtime: u64,
    /// Microseconds since boot of the last entry.
    pub tail_entry_monotonic: u64,
    /// DATA objects.
    pub n_data: u64,
    /// FIELD objects.
    pub n_fields: u64,
    /// TAG objects: seals, which we do not make.
    pub n_tags: u64,
    /// ENTRY_ARRAY objects.
    pub n_entry_arrays: u64,
    /// The longest chain of a bucket of data.
    pub data_chain_depth: u64,
    /// The longest chain of a bucket of fields.
    pub field_chain_depth: u64,
    /// The last array of the file's entries, and in the high half how many of its slots are used.
    pub tail_entry_array: u64,
}

impl Header {
    /// Where this file's layout differs.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape { compact: self.incompatible & COMPACT != 0 }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_SIZE as usize);
        bytes.extend(SIGNATURE);
        bytes.extend(self.compatible.to_le_bytes());
        bytes.extend(self.incompatible.to_le_bytes());
        bytes.extend([self.state, 0, 0, 0, 0, 0, 0, 0]);
        for id in [&self.file_id, &self.machine_id, &self.boot_id, &self.seqnum_id] {
            bytes.extend(id);
        }
        let mut copy = self.clone();
        for number in copy.numbers() {
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    /// Reads a header, which may be of another version and thus shorter or longer.
    ///
    /// # Errors
    /// It is none, or of a variant that we do not read.
    pub fn decode(bytes: &[u8]) -> Result<Header, Error> {
        let mut rest = bytes;
        let corrupt = |what| Error::Corrupt { offset: 0, what };
        if take::<8>(&mut rest) != Some(*SIGNATURE) {
            return Err(corrupt("no journal file"));
        }
        let mut header = Header::default();
        let short = || corrupt("the header is cut off");
        header.compatible = take(&mut rest).map(u32::from_le_bytes).ok_or_else(short)?;
        header.incompatible = take(&mut rest).map(u32::from_le_bytes).ok_or_else(short)?;
        [header.state, ..] = take::<8>(&mut rest).ok_or_else(short)?;
        for id in [&mut header.file_id, &mut header.machine_id, &mut header.boot_id, &mut header.seqnum_id] {
            *id = take(&mut rest).ok_or_else(short)?;
        }
        header.header_size = take(&mut rest).map(u64::from_le_bytes).ok_or_else(short)?;
        if header.header_size < HEADER_SIZE_MIN || !header.header_size.is_multiple_of(8) {
            return Err(corrupt("the size of the header is wrong"));
        }
        let present = (header.header_size - 88) / 8;
        for (number, _) in header.numbers().into_iter().zip(0..present).skip(1) {
            *number = take(&mut rest).map(u64::from_le_bytes).ok_or_else(short)?;
        }
        if header.incompatible & !KNOWN != 0 {
            return Err(Error::Unsupported("a file of a newer format"));
        }
        Ok(header)
    }

    fn numbers(&mut self) -> [&mut u64; 22] {
        [
            &mut self.header_size,
            &mut self.arena_size,
            &mut self.data_table_offset,
            &mut self.data_table_size,
            &mut self.field_table_offset,
            &mut self.field_table_size,
            &mut self.tail_object_offset,
            &mut self.n_objects,
            &mut self.n_entries,
            &mut self.tail_entry_seqnum,
            &mut self.head_entry_seqnum,
            &mut self.entry_array_offset,
            &mut self.head_entry_realtime,
            &mut self.tail_entry_realtime,
            &mut self.tail_entry_monotonic,
            &mut self.n_data,
            &mut self.n_fields,
            &mut self.n_tags,
            &mut self.n_entry_arrays,
            &mut self.data_chain_depth,
            &mut self.field_chain_depth,
            &mut self.tail_entry_array,
        ]
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_comes_back() {
        let mut header =
            Header { incompatible: KEYED_HASH, state: ONLINE, file_id: [7; 16], ..Header::default() };
        for (index, number) in header.numbers().into_iter().enumerate() {
            *number = index as u64;
        }
        header.header_size = HEADER_SIZE;
        let bytes = header.encode();
        assert_eq!(bytes.len() as u64, HEADER_SIZE);
        assert_eq!(Header::decode(&bytes).unwrap(), header);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(Header::decode(b"").is_err());
        assert!(Header::decode(&[0; 256]).is_err());
        let mut bytes = Header { header_size: HEADER_SIZE, ..Header::default() }.encode();
        bytes[12] = 1 << 5;
        assert!(matches!(Header::decode(&bytes), Err(Error::Unsupported(_))), "a flag of the future");
        bytes[12] = 0;
        bytes.truncate(100);
        assert!(matches!(Header::decode(&bytes), Err(Error::Corrupt { .. })));
    }
}
