//! Reading objects. Every offset and size is checked before it is followed, and every chain must lead forward, so
//! that no file, however broken, can crash us, send us in circles or take more memory than it is big.

use std::fs::File;
use std::path::Path;

use super::blocks::Blocks;
use super::layout::{self, Header, Id128, Kind, OBJECT, Timestamp, align};
use super::{Error, hash};

/// The largest payload that is read into memory: 16 MiB.
const PAYLOAD_MAX: u64 = 16 << 20;

/// An entry, its data by offset.
#[derive(Debug, Clone)]
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
}

impl Objects {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// It cannot be opened, or is no journal file that we read.
    pub fn open(path: &Path) -> Result<Objects, Error> {
        Objects::of(File::open(path)?)
    }

    pub(super) fn of(file: File) -> Result<Objects, Error> {
        let mut objects = Objects { blocks: Blocks::new(file), header: Header::default(), end: 0 };
        objects.refresh()?;
        Ok(objects)
    }

    /// Looks again: another process may have written since.
    ///
    /// # Errors
    /// As for `open`.
    pub fn refresh(&mut self) -> Result<(), Error> {
        self.blocks.forget();
        let mut bytes = [0; layout::HEADER_SIZE as usize];
        self.blocks.read(0, &mut bytes)?;
        self.header = Header::decode(&bytes)?;
        let size = self.blocks.file().metadata()?.len();
        self.end = self.header.header_size.saturating_add(self.header.arena_size).min(size);
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

    /// The header as of the last look.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn u64_at(&mut self, offset: u64) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.blocks.read(offset, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The size of an object, checked to be of this kind, of at least `least` bytes and inside of the file.
    pub(super) fn object(&mut self, offset: u64, kind: Kind, least: u64) -> Result<u64, Error> {
        let corrupt = |what| Error::Corrupt { offset, what };
        if offset < self.header.header_size || !offset.is_multiple_of(8) || offset >= self.end {
            return Err(corrupt("an object cannot be here"));
        }
        let mut head = [0; OBJECT as usize];
        self.blocks.read(offset, &mut head)?;
        let [found, flags, _, _, _, _, _, _, size @ ..] = head;
        let size = u64::from_le_bytes(size);
        if found != kind as u8 {
            return Err(corrupt("an object is of another kind"));
        }
        if size < least || offset.checked_add(size).is_none_or(|end| end > self.end) {
            return Err(corrupt("the size of an object is wrong"));
        }
        if flags != 0 {
            return Err(Error::Unsupported("compressed data"));
        }
        Ok(size)
    }

    fn payload(&mut self, offset: u64, kind: Kind, start: u64) -> Result<Vec<u8>, Error> {
        let size = self.object(offset, kind, start)? - start;
        if size > PAYLOAD_MAX {
            return Err(Error::Corrupt { offset, what: "a payload is larger than anything we read" });
        }
        let mut bytes = vec![0; size as usize];
        self.blocks.read(offset + start, &mut bytes)?;
        Ok(bytes)
    }

    /// `FIELD=value`.
    ///
    /// # Errors
    /// There is no DATA object here.
    pub fn data(&mut self, offset: u64) -> Result<Vec<u8>, Error> {
        self.payload(offset, Kind::Data, layout::data::PAYLOAD)
    }

    /// The entry at an offset.
    ///
    /// # Errors
    /// There is none.
    pub fn entry(&mut self, offset: u64) -> Result<Entry, Error> {
        use layout::entry::{BOOT_ID, ITEMS, MONOTONIC, REALTIME, SEQNUM, XOR_HASH};
        let size = self.object(offset, Kind::Entry, ITEMS)?;
        let count = (size - ITEMS) / 16;
        if count > PAYLOAD_MAX / 16 {
            return Err(Error::Corrupt { offset, what: "an entry has too many fields" });
        }
        let mut boot_id = [0; 16];
        self.blocks.read(offset + BOOT_ID, &mut boot_id)?;
        let mut bytes = vec![0; count as usize * 16];
        self.blocks.read(offset + ITEMS, &mut bytes)?;
        let items = bytes.as_chunks::<16>().0.iter().map(first_u64).collect();
        Ok(Entry {
            offset,
            seqnum: self.u64_at(offset + SEQNUM)?,
            time: Timestamp {
                realtime: self.u64_at(offset + REALTIME)?,
                monotonic: self.u64_at(offset + MONOTONIC)?,
            },
            boot_id,
            xor_hash: self.u64_at(offset + XOR_HASH)?,
            items,
        })
    }

    /// When the entry at an offset came.
    ///
    /// # Errors
    /// There is none.
    pub fn entry_realtime(&mut self, offset: u64) -> Result<u64, Error> {
        self.object(offset, Kind::Entry, layout::entry::ITEMS)?;
        self.u64_at(offset + layout::entry::REALTIME)
    }

    /// Walks a chain of arrays and calls `each` with the offset, the capacity and the index of the first slot of
    /// every one.
    pub(super) fn arrays(
        &mut self,
        first: u64,
        mut each: impl FnMut(&mut Objects, u64, u64, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut offset, mut index) = (first, 0);
        while offset != 0 {
            let size = self.object(offset, Kind::EntryArray, layout::array::ITEMS)?;
            let capacity = (size - layout::array::ITEMS) / 8;
            each(self, offset, capacity, index)?;
            index += capacity;
            let next = self.u64_at(offset + layout::array::NEXT)?;
            if next != 0 && next <= offset {
                return Err(Error::Corrupt { offset, what: "a chain of arrays leads backwards" });
            }
            offset = next;
        }
        Ok(())
    }

    /// Adds the entries of a chain of arrays to `list`, as many as are sound, from the one with index `from`;
    /// the chain has `count`.
    fn collect(&mut self, first: u64, from: u64, count: u64, list: &mut Vec<u64>) {
        // What is sound before the break is still worth reading, so the error ends the walk and no more.
        let _ = self.arrays(first, |objects, offset, capacity, index| {
            let start = from.clamp(index, index + capacity);
            let end = count.clamp(start, index + capacity);
            let mut bytes = vec![0; (end - start) as usize * 8];
            objects.blocks.read(offset + layout::array::ITEMS + (start - index) * 8, &mut bytes)?;
            for item in bytes.as_chunks::<8>().0 {
                let item = u64::from_le_bytes(*item);
                if item != 0 && item < objects.end {
                    list.push(item);
                }
            }
            if index + capacity >= count { Err(Error::Full) } else { Ok(()) }
        });
    }

    /// The offsets of all entries, in order. A broken file gives those before the break.
    #[must_use]
    pub fn entries(&mut self) -> Vec<u64> {
        self.entries_from(0)
    }

    /// The offsets of all entries but the first `from`, in order.
    #[must_use]
    pub fn entries_from(&mut self, from: u64) -> Vec<u64> {
        let mut list = Vec::new();
        self.collect(self.header.entry_array_offset, from, self.header.n_entries, &mut list);
        list
    }

    /// The offsets of the entries that have this data, in order.
    ///
    /// # Errors
    /// There is no DATA object here.
    pub fn entries_with(&mut self, data: u64) -> Result<Vec<u64>, Error> {
        self.object(data, Kind::Data, layout::data::PAYLOAD)?;
        let count = self.u64_at(data + layout::data::ENTRIES)?;
        let first = self.u64_at(data + layout::data::ENTRY)?;
        let array = self.u64_at(data + layout::data::ENTRY_ARRAY)?;
        let mut list = Vec::new();
        if count > 0 && first != 0 && first < self.end {
            list.push(first);
        }
        self.collect(array, 0, count.saturating_sub(1), &mut list);
        Ok(list)
    }

    /// The DATA object of `FIELD=value`.
    ///
    /// # Errors
    /// The hash table is broken.
    pub fn find_data(&mut self, payload: &[u8]) -> Result<Option<u64>, Error> {
        Ok(self.find(Kind::Data, payload)?.found)
    }

    pub(super) fn find(&mut self, kind: Kind, payload: &[u8]) -> Result<Lookup, Error> {
        let (table, size, next_at, start) = match kind {
            Kind::Field => (
                self.header.field_table_offset,
                self.header.field_table_size,
                layout::field::NEXT_HASH,
                layout::field::PAYLOAD,
            ),
            _ => (
                self.header.data_table_offset,
                self.header.data_table_size,
                layout::data::NEXT_HASH,
                layout::data::PAYLOAD,
            ),
        };
        let hash = hash::keyed(&self.header.file_id, payload);
        let bucket = table + hash % (size / 16).max(1) * 16;
        let mut lookup = Lookup { hash, bucket, last: 0, depth: 0, found: None };
        let mut offset = self.u64_at(bucket)?;
        while offset != 0 {
            let size = self.object(offset, kind, start)?;
            // The hash is at the same place in both kinds.
            if self.u64_at(offset + layout::data::HASH)? == hash
                && size - start == payload.len() as u64
                && self.payload(offset, kind, start)? == payload
            {
                lookup.found = Some(offset);
                return Ok(lookup);
            }
            lookup.last = offset;
            lookup.depth += 1;
            let next = self.u64_at(offset + next_at)?;
            if next != 0 && next <= offset {
                return Err(Error::Corrupt { offset, what: "a hash chain leads backwards" });
            }
            offset = next;
        }
        Ok(lookup)
    }

    /// The DATA objects of a field, newest first.
    ///
    /// # Errors
    /// The hash table is broken; a chain that breaks off later only ends the list.
    pub fn values_of(&mut self, field: &[u8]) -> Result<Vec<u64>, Error> {
        let Some(object) = self.find(Kind::Field, field)?.found else { return Ok(Vec::new()) };
        let mut list = Vec::new();
        let mut offset = self.u64_at(object + layout::field::HEAD_DATA)?;
        while offset != 0 && self.object(offset, Kind::Data, layout::data::PAYLOAD).is_ok() {
            list.push(offset);
            let next = self.u64_at(offset + layout::data::NEXT_FIELD)?;
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
            let mut offset = self.u64_at(self.header.field_table_offset + bucket * 16).unwrap_or(0);
            while offset != 0 {
                let Ok(name) = self.payload(offset, Kind::Field, layout::field::PAYLOAD) else { break };
                names.push(name);
                match self.u64_at(offset + layout::field::NEXT_HASH) {
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
    pub hash: u64,
    /// Where the bucket is.
    pub bucket: u64,
    /// The last object of its chain, or 0.
    pub last: u64,
    /// Objects looked at in vain.
    pub depth: u64,
    /// The object.
    pub found: Option<u64>,
}

fn first_u64(bytes: &[u8; 16]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
}
