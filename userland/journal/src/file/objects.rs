//! Reading objects. Every offset and size is checked before it is followed, and every chain must lead forward, so
//! that no file, however broken, can crash us, send us in circles or take more memory than it is big.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::blocks::{self, Blocks};
use super::layout::{self, Header, Id128, Kind, OBJECT, Shape, Timestamp, align};
use super::{Error, compress, hash};

/// The largest payload that is read into memory: 768 MiB is systemd's bound for a field, 64 MiB is ours.
const PAYLOAD_MAX: usize = 64 << 20;
/// Payloads that are remembered, and the longest of them: most entries have most of their data in common.
const REMEMBERED: usize = 4096;
const REMEMBERED_MAX: usize = 512;

/// An entry, its data by offset.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Where it lies.
    pub offset: u64,
    /// Its number.
    pub seqnum: u64,
    /// When it came.
    pub time: Timestamp,
    /// In which boot.
    pub boot_id: Id128,
    /// Checksum of its payloads.
    pub xor_hash: u64,
    /// Offsets of its data, ascending.
    pub items: Vec<u64>,
}

/// The objects of one file.
pub struct Objects {
    pub(super) blocks: Blocks,
    pub(super) header: Header,
    /// Where the last object may end: what the header says, or less when the file is cut off.
    pub(super) end: u64,
    /// Payloads by where they are.
    remembered: Vec<(u64, Arc<[u8]>)>,
}

impl Objects {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// It cannot be opened, or is no journal file that we read.
    pub fn open(path: &Path) -> Result<Objects, Error> {
        Objects::of(File::open(path)?, blocks::READER)
    }

    pub(super) fn of(file: File, cache: blocks::Cache) -> Result<Objects, Error> {
        let mut objects = Objects::unread(file, cache, Header::default());
        objects.refresh()?;
        Ok(objects)
    }

    pub(super) fn unread(file: File, cache: blocks::Cache, header: Header) -> Objects {
        Objects { blocks: Blocks::new(file, cache), header, end: 0, remembered: Vec::new() }
    }

    /// Looks again: another process may have written since.
    ///
    /// # Errors
    /// As for `open`.
    pub fn refresh(&mut self) -> Result<(), Error> {
        self.blocks.forget();
        let metadata = self.blocks.file().metadata()?;
        if !metadata.is_file() {
            return Err(Error::Unsupported("what is no regular file"));
        }
        let mut bytes = [0; layout::HEADER_SIZE as usize];
        self.blocks.read(0, &mut bytes)?;
        self.header = Header::decode(&bytes)?;
        self.end = self.header.header_size.saturating_add(self.header.arena_size).min(metadata.len());
        for (offset, length) in [
            (self.header.data_table_offset, self.header.data_table_size),
            (self.header.field_table_offset, self.header.field_table_size),
        ] {
            let fits = offset >= self.header.header_size
                && offset.checked_add(length).is_some_and(|end| end <= self.end);
            if !fits || !length.is_multiple_of(16) || length == 0 {
                return Err(Error::Corrupt { offset: 0, what: "a hash table lies outside of the file" });
            }
        }
        Ok(())
    }

    /// Gives back the memory that reading took.
    pub fn forget(&mut self) {
        self.blocks.forget();
        self.remembered = Vec::new();
    }

    /// The header as of the last look.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the file still lies where we opened it, rather than having been removed.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.blocks.file().metadata().is_ok_and(|metadata| metadata.nlink() > 0)
    }

    pub(super) fn shape(&self) -> Shape {
        self.header.shape()
    }

    /// A number of four or eight bytes.
    pub(super) fn number_at(&mut self, offset: u64, size: u64) -> Result<u64, Error> {
        if size == 8 {
            return Ok(self.blocks.u64_at(offset)?);
        }
        let bytes = self.blocks.view(offset, 4)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes))))
    }

    /// The size of an object, checked to be of this kind, of at least `least` bytes and inside of the file.
    pub(super) fn object(&mut self, offset: u64, kind: Kind, least: u64) -> Result<u64, Error> {
        let (size, flags) = self.object_with_flags(offset, kind, least)?;
        if flags != 0 && kind != Kind::Data {
            return Err(Error::Corrupt { offset, what: "an object that is no data is compressed" });
        }
        Ok(size)
    }

    fn object_with_flags(&mut self, offset: u64, kind: Kind, least: u64) -> Result<(u64, u8), Error> {
        let corrupt = |what| Error::Corrupt { offset, what };
        if offset < self.header.header_size || !offset.is_multiple_of(8) || offset >= self.end {
            return Err(corrupt("an object cannot be here"));
        }
        let Some([found, flags, _, _, _, _, _, _, size @ ..]) =
            self.blocks.view(offset, OBJECT as usize)?.first_chunk::<16>()
        else {
            return Err(corrupt("an object is cut off"));
        };
        let size = u64::from_le_bytes(*size);
        if *found != kind as u8 {
            return Err(corrupt("an object is of another kind"));
        }
        if size < least || offset.checked_add(size).is_none_or(|end| end > self.end) {
            return Err(corrupt("the size of an object is wrong"));
        }
        Ok((size, *flags))
    }

    /// The name in a FIELD.
    pub(super) fn name(&mut self, offset: u64) -> Result<Vec<u8>, Error> {
        let size = self.object(offset, Kind::Field, layout::field::PAYLOAD)? - layout::field::PAYLOAD;
        if size > PAYLOAD_MAX as u64 {
            return Err(Error::Corrupt { offset, what: "a name is larger than anything we read" });
        }
        Ok(self.blocks.view(offset + layout::field::PAYLOAD, size as usize)?.to_vec())
    }

    /// `FIELD=value`.
    ///
    /// # Errors
    /// There is no DATA object here.
    pub fn data(&mut self, offset: u64) -> Result<Arc<[u8]>, Error> {
        let place = (offset / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 20 & (REMEMBERED - 1);
        if let Some((at, payload)) = self.remembered.get(place)
            && *at == offset
        {
            return Ok(Arc::clone(payload));
        }
        let payload = self.read_data(offset)?;
        if payload.len() <= REMEMBERED_MAX {
            if self.remembered.is_empty() {
                self.remembered.resize(REMEMBERED, (0, Arc::from([])));
            }
            if let Some(slot) = self.remembered.get_mut(place) {
                *slot = (offset, Arc::clone(&payload));
            }
        }
        Ok(payload)
    }

    fn read_data(&mut self, offset: u64) -> Result<Arc<[u8]>, Error> {
        let start = self.shape().data_payload();
        let (size, flags) = self.object_with_flags(offset, Kind::Data, start)?;
        let size = size - start;
        if size > PAYLOAD_MAX as u64 {
            return Err(Error::Corrupt { offset, what: "a payload is larger than anything we read" });
        }
        let bytes = self.blocks.view(offset + start, size as usize)?;
        match flags {
            0 => Ok(bytes.into()),
            flags => compress::decompress(flags, bytes, PAYLOAD_MAX, offset).map(Into::into),
        }
    }

    /// The entry at an offset.
    ///
    /// # Errors
    /// There is none.
    pub fn entry(&mut self, offset: u64) -> Result<Entry, Error> {
        let mut entry = Entry::default();
        self.read_entry(offset, &mut entry)?;
        Ok(entry)
    }

    /// Reads the entry at an offset into one that is there already.
    ///
    /// # Errors
    /// There is none.
    pub fn read_entry(&mut self, offset: u64, entry: &mut Entry) -> Result<(), Error> {
        use layout::entry::ITEMS;
        let size = self.object(offset, Kind::Entry, ITEMS)?;
        if size > PAYLOAD_MAX as u64 {
            return Err(Error::Corrupt { offset, what: "an entry has too many fields" });
        }
        let item = self.shape().entry_item() as usize;
        let bytes = self.blocks.view(offset + OBJECT, (size - OBJECT) as usize)?;
        let corrupt = Error::Corrupt { offset, what: "an entry is cut off" };
        let Some((head, items)) = bytes.split_first_chunk::<48>() else { return Err(corrupt) };
        let (numbers, rest) = head.as_chunks::<8>();
        let [seqnum, realtime, monotonic, boot_a, boot_b, xor_hash] = numbers else { return Err(corrupt) };
        debug_assert!(rest.is_empty());
        entry.offset = offset;
        entry.seqnum = u64::from_le_bytes(*seqnum);
        entry.time =
            Timestamp { realtime: u64::from_le_bytes(*realtime), monotonic: u64::from_le_bytes(*monotonic) };
        for (to, from) in entry.boot_id.iter_mut().zip(boot_a.iter().chain(boot_b)) {
            *to = *from;
        }
        entry.xor_hash = u64::from_le_bytes(*xor_hash);
        entry.items.clear();
        entry.items.extend(items.chunks_exact(item).map(first_number));
        Ok(())
    }

    /// When the entry at an offset came.
    ///
    /// # Errors
    /// There is none.
    pub fn entry_realtime(&mut self, offset: u64) -> Result<u64, Error> {
        self.object(offset, Kind::Entry, layout::entry::ITEMS)?;
        Ok(self.blocks.u64_at(offset + layout::entry::REALTIME)?)
    }

    /// The number of the entry at an offset.
    ///
    /// # Errors
    /// There is none.
    pub fn entry_seqnum(&mut self, offset: u64) -> Result<u64, Error> {
        self.object(offset, Kind::Entry, layout::entry::ITEMS)?;
        Ok(self.blocks.u64_at(offset + layout::entry::SEQNUM)?)
    }

    /// The DATA object of `FIELD=value`.
    ///
    /// # Errors
    /// The hash table is broken.
    pub fn find_data(&mut self, payload: &[u8]) -> Result<Option<u64>, Error> {
        let hash = self.hash(payload);
        Ok(self.find(Kind::Data, payload, hash)?.found)
    }

    /// The hash by which this file finds bytes.
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        if self.header.incompatible & layout::KEYED_HASH != 0 {
            hash::keyed(&self.header.file_id, bytes)
        } else {
            hash::jenkins(bytes)
        }
    }

    pub(super) fn find(&mut self, kind: Kind, payload: &[u8], hash: u64) -> Result<Lookup, Error> {
        let (table, size, least) = match kind {
            Kind::Field => {
                (self.header.field_table_offset, self.header.field_table_size, layout::field::PAYLOAD)
            }
            _ => (self.header.data_table_offset, self.header.data_table_size, self.shape().data_payload()),
        };
        let bucket = table + hash % (size / 16).max(1) * 16;
        let mut lookup = Lookup { bucket, last: 0, depth: 0, found: None };
        let mut offset = self.blocks.u64_at(bucket)?;
        while offset != 0 {
            self.object_with_flags(offset, kind, least)?;
            // The hash, and the next of the bucket, are at the same place in both kinds.
            let links = self.blocks.view(offset + layout::data::HASH, 16)?;
            let ([found, next], _) = links.as_chunks::<8>() else {
                return Err(Error::Corrupt { offset, what: "an object is cut off" });
            };
            let (found, next) = (u64::from_le_bytes(*found), u64::from_le_bytes(*next));
            if found == hash && self.is_payload(offset, kind, payload)? {
                lookup.found = Some(offset);
                return Ok(lookup);
            }
            lookup.last = offset;
            lookup.depth += 1;
            if next != 0 && next <= offset {
                return Err(Error::Corrupt { offset, what: "a hash chain leads backwards" });
            }
            offset = next;
        }
        Ok(lookup)
    }

    fn is_payload(&mut self, offset: u64, kind: Kind, payload: &[u8]) -> Result<bool, Error> {
        let start = if kind == Kind::Field { layout::field::PAYLOAD } else { self.shape().data_payload() };
        let (size, flags) = self.object_with_flags(offset, kind, start)?;
        if flags != 0 {
            return Ok(*self.read_data(offset)? == *payload);
        }
        Ok(size - start == payload.len() as u64
            && self.blocks.view(offset + start, payload.len())? == payload)
    }

    /// The DATA objects of a field, newest first.
    ///
    /// # Errors
    /// The hash table is broken; a chain that breaks off later only ends the list.
    pub fn values_of(&mut self, field: &[u8]) -> Result<Vec<u64>, Error> {
        let hash = self.hash(field);
        let Some(object) = self.find(Kind::Field, field, hash)?.found else { return Ok(Vec::new()) };
        let mut list = Vec::new();
        let mut offset = self.blocks.u64_at(object + layout::field::HEAD_DATA)?;
        while offset != 0 && self.object(offset, Kind::Data, self.shape().data_payload()).is_ok() {
            list.push(offset);
            let next = self.blocks.u64_at(offset + layout::data::NEXT_FIELD)?;
            if next >= offset {
                break;
            }
            offset = next;
        }
        Ok(list)
    }

    /// The names of all fields.
    #[must_use]
    pub fn fields(&mut self) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for bucket in 0..self.header.field_table_size / 16 {
            let mut offset = self.blocks.u64_at(self.header.field_table_offset + bucket * 16).unwrap_or(0);
            while offset != 0 {
                let Ok(name) = self.name(offset) else { break };
                names.push(name);
                match self.blocks.u64_at(offset + layout::field::NEXT_HASH) {
                    Ok(next) if next > offset => offset = next,
                    _ => break,
                }
            }
        }
        names
    }

    /// Bytes that the file has on disk.
    ///
    /// # Errors
    /// The kernel refuses to say.
    pub fn disk_usage(&self) -> Result<u64, Error> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.blocks.file().metadata()?.blocks() * 512)
    }

    /// Where the next object goes.
    pub(super) fn tail(&mut self) -> Result<u64, Error> {
        let offset = self.header.tail_object_offset;
        let mut head = [0; OBJECT as usize];
        self.blocks.read(offset, &mut head)?;
        let [_, _, _, _, _, _, _, _, size @ ..] = head;
        let end = offset.saturating_add(align(u64::from_le_bytes(size)));
        if offset < self.header.header_size || end > self.end || end <= offset {
            return Err(Error::Corrupt { offset, what: "the last object lies outside of the file" });
        }
        Ok(end)
    }
}

/// What a hash table says of some bytes.
pub(super) struct Lookup {
    /// Where the bucket is.
    pub bucket: u64,
    /// The last object of its chain, or 0.
    pub last: u64,
    /// Objects looked at in vain.
    pub depth: u64,
    /// The object.
    pub found: Option<u64>,
}

/// The offset that an item of an entry begins with.
fn first_number(item: &[u8]) -> u64 {
    match (item.first_chunk::<8>(), item.first_chunk::<4>()) {
        (Some(offset), _) => u64::from_le_bytes(*offset),
        (None, Some(offset)) => u64::from(u32::from_le_bytes(*offset)),
        (None, None) => 0,
    }
}
