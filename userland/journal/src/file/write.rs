//! Appending entries. Space is taken from the disk before anything is changed, so a full disk never leaves half an
//! entry; what was changed is written by `flush`, at the latest when the cache is full.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::blocks::Blocks;
use super::layout::{self, Header, Id128, Kind, OBJECT, Timestamp, align};
use super::objects::Objects;
use super::{Error, hash};

/// The file grows by this much at a time.
const GROWTH: u64 = 512 << 10;
/// Buckets for the names of fields.
const FIELD_BUCKETS: u64 = 333;
/// Tails of entry arrays that are remembered.
const TAILS: usize = 512;

/// What a new file starts with.
#[derive(Debug, Clone, Copy)]
pub struct NewFile {
    /// Its own id, random.
    pub file_id: Id128,
    /// Whose it is.
    pub machine_id: Id128,
    /// The numbering that it goes on with.
    pub seqnum_id: Id128,
    /// The last number given out.
    pub seqnum: u64,
    /// The most bytes that it may grow to.
    pub max_size: u64,
}

/// The last array of a chain.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    /// Where it is; 0 when the chain is empty.
    offset: u64,
    /// Its slots.
    capacity: u64,
    /// The index of its first slot in the whole chain.
    index: u64,
}

/// A file that is being written.
pub struct Writer {
    objects: Objects,
    /// Where the next object goes.
    tail: u64,
    max_size: u64,
    /// The tail of the file's own chain, at key 0, and of those of data seen lately.
    tails: HashMap<u64, Tail>,
}

impl Writer {
    /// Makes a file; it must not exist yet.
    ///
    /// # Errors
    /// What open(2) and fallocate(2) say.
    pub fn create(path: &Path, new: &NewFile) -> Result<Writer, Error> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o640).open(path)?;
        let made = Writer::format(file, new);
        if made.is_err() {
            // An empty file would look like a corrupted one; that it goes away is a courtesy.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    fn format(file: File, new: &NewFile) -> Result<Writer, Error> {
        // As systemd does: a DATA object takes 768 bytes with what belongs to it, the table is three quarters full.
        let data_size = (new.max_size / 768 * 4 / 3).max(2047) * 16;
        let field_size = FIELD_BUCKETS * 16;
        let field_table = layout::HEADER_SIZE;
        let data_table = field_table + OBJECT + field_size;
        let tail = data_table + OBJECT + data_size;
        let header = Header {
            incompatible: layout::KEYED_HASH,
            state: layout::ONLINE,
            file_id: new.file_id,
            machine_id: new.machine_id,
            seqnum_id: new.seqnum_id,
            header_size: layout::HEADER_SIZE,
            data_table_offset: data_table + OBJECT,
            data_table_size: data_size,
            field_table_offset: field_table + OBJECT,
            field_table_size: field_size,
            tail_object_offset: data_table,
            n_objects: 2,
            tail_entry_seqnum: new.seqnum,
            ..Header::default()
        };
        let objects = Objects { blocks: Blocks::new(file), header, end: 0 };
        let mut writer =
            Writer { objects, tail, max_size: new.max_size.max(tail + GROWTH), tails: HashMap::new() };
        writer.reserve(0)?;
        writer.put_head(field_table, Kind::FieldHashTable, OBJECT + field_size)?;
        writer.put_head(data_table, Kind::DataHashTable, OBJECT + data_size)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Goes on with a file that was closed in order.
    ///
    /// # Errors
    /// It was not, it is another machine's, of another variant, or unsound.
    pub fn resume(path: &Path, machine_id: &Id128, max_size: u64) -> Result<Writer, Error> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut objects = Objects::of(file)?;
        let header = objects.header();
        let refuse = |what| Err(Error::Corrupt { offset: 0, what });
        if header.state != layout::OFFLINE {
            return refuse("the file was not closed");
        }
        if header.header_size != layout::HEADER_SIZE
            || header.incompatible != layout::KEYED_HASH
            || header.compatible != 0
        {
            return Err(Error::Unsupported("writing a file of another version"));
        }
        if header.machine_id != *machine_id {
            return refuse("the file is another machine's");
        }
        let tail = objects.tail()?;
        let mut writer = Writer { objects, tail, max_size: max_size.max(tail + 1), tails: HashMap::new() };
        let count = writer.objects.header.n_entries;
        let last = writer.tail_of(0, writer.objects.header.entry_array_offset)?;
        if count > last.index + last.capacity {
            return refuse("entries are missing");
        }
        writer.objects.header.state = layout::ONLINE;
        writer.flush()?;
        Ok(writer)
    }

    /// The header, up to date.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.objects.header
    }

    /// Appends an entry. Fields given twice are stored once. In memory until `flush`.
    ///
    /// # Errors
    /// `Full` and `ClockSetBack` ask for rotation, `NoSpace` for patience; the file is sound after all of them.
    pub fn append(&mut self, time: Timestamp, boot_id: &Id128, fields: &[&[u8]]) -> Result<u64, Error> {
        self.accepts(time, boot_id, fields)?;
        let mut xor_hash = 0;
        let mut items = Vec::with_capacity(fields.len());
        for payload in fields {
            items.push(self.data(payload)?);
        }
        items.sort_unstable();
        items.dedup();

        // Everything that can fail for want of space comes before the first link.
        let count = self.objects.header.n_entries;
        let main = self.tail_of(0, self.objects.header.entry_array_offset)?;
        let mut space = align(layout::entry::ITEMS + 16 * items.len() as u64) + growth_of(main, count);
        let mut chains = Vec::with_capacity(items.len());
        for (offset, _) in &items {
            let entries = self.objects.u64_at(offset + layout::data::ENTRIES)?;
            let first = self.objects.u64_at(offset + layout::data::ENTRY_ARRAY)?;
            let tail = self.tail_of(*offset, first)?;
            if entries > 0 {
                space += growth_of(tail, entries - 1);
            }
            chains.push((*offset, entries, tail));
        }
        self.reserve(space)?;

        let seqnum = self.objects.header.tail_entry_seqnum + 1;
        let mut body = Vec::with_capacity(48 + 16 * items.len());
        for number in [seqnum, time.realtime, time.monotonic] {
            body.extend(number.to_le_bytes());
        }
        body.extend(boot_id);
        // Fields given twice count once in the checksum too.
        let mut counted = Vec::with_capacity(fields.len());
        for payload in fields {
            if !counted.contains(payload) {
                counted.push(*payload);
                xor_hash ^= hash::jenkins(payload);
            }
        }
        body.extend(u64::to_le_bytes(xor_hash));
        for (offset, hash) in &items {
            body.extend(offset.to_le_bytes());
            body.extend(hash.to_le_bytes());
        }
        let entry = self.put(Kind::Entry, &body)?;

        self.link(0, main, count, entry)?;
        for (data, entries, tail) in chains {
            match entries.checked_sub(1) {
                None => self.set(data + layout::data::ENTRY, entry)?,
                Some(index) => self.link(data, tail, index, entry)?,
            }
            self.set(data + layout::data::ENTRIES, entries + 1)?;
        }
        let header = &mut self.objects.header;
        header.n_entries += 1;
        header.tail_entry_seqnum = seqnum;
        header.tail_entry_realtime = time.realtime;
        header.tail_entry_monotonic = time.monotonic;
        header.boot_id = *boot_id;
        if count == 0 {
            header.head_entry_seqnum = seqnum;
            header.head_entry_realtime = time.realtime;
        }
        Ok(seqnum)
    }

    /// Refuses what would break the order or the bounds of the file.
    fn accepts(&mut self, time: Timestamp, boot_id: &Id128, fields: &[&[u8]]) -> Result<(), Error> {
        if fields.is_empty() || fields.iter().any(|field| name_of(field).is_none()) {
            return Err(Error::BadEntry);
        }
        let header = &self.objects.header;
        if header.n_entries > 0
            && (time.realtime < header.tail_entry_realtime
                || (*boot_id == header.boot_id && time.monotonic < header.tail_entry_monotonic))
        {
            return Err(Error::ClockSetBack);
        }
        if header.n_data > header.data_table_size / 16 / 4 * 3
            || header.n_fields > header.field_table_size / 16 / 4 * 3
        {
            return Err(Error::Full);
        }
        let payloads: u64 = fields.iter().map(|field| field.len() as u64 + 256).sum();
        self.reserve(payloads)
    }

    /// Makes sure that this many more bytes fit.
    fn reserve(&mut self, bytes: u64) -> Result<(), Error> {
        let needed = self.tail.saturating_add(bytes);
        if needed <= self.objects.end {
            return Ok(());
        }
        if needed > self.max_size && self.objects.header.n_entries > 0 {
            return Err(Error::Full);
        }
        let size = needed.next_multiple_of(GROWTH);
        let file = self.objects.blocks.file();
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => {}
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => return Err(Error::NoSpace),
            Err(Errno::OPNOTSUPP) => file.set_len(size)?,
            Err(error) => return Err(io::Error::from(error).into()),
        }
        self.objects.end = size;
        self.objects.header.arena_size = size - layout::HEADER_SIZE;
        Ok(())
    }

    /// The DATA object of a payload and its hash, made when there is none.
    fn data(&mut self, payload: &[u8]) -> Result<(u64, u64), Error> {
        let lookup = self.objects.find(Kind::Data, payload)?;
        if let Some(offset) = lookup.found {
            return Ok((offset, lookup.hash));
        }
        let field = self.field(name_of(payload).unwrap_or_default())?;
        let head = self.objects.u64_at(field + layout::field::HEAD_DATA)?;
        let mut body = Vec::with_capacity(48 + payload.len());
        for number in [lookup.hash, 0, head, 0, 0, 0] {
            body.extend(number.to_le_bytes());
        }
        body.extend(payload);
        let offset = self.put(Kind::Data, &body)?;
        self.chain(lookup.bucket, lookup.last, offset)?;
        self.set(field + layout::field::HEAD_DATA, offset)?;
        let header = &mut self.objects.header;
        header.n_data += 1;
        header.data_chain_depth = header.data_chain_depth.max(lookup.depth);
        Ok((offset, lookup.hash))
    }

    fn field(&mut self, name: &[u8]) -> Result<u64, Error> {
        let lookup = self.objects.find(Kind::Field, name)?;
        if let Some(offset) = lookup.found {
            return Ok(offset);
        }
        let mut body = Vec::with_capacity(24 + name.len());
        for number in [lookup.hash, 0, 0] {
            body.extend(number.to_le_bytes());
        }
        body.extend(name);
        let offset = self.put(Kind::Field, &body)?;
        self.chain(lookup.bucket, lookup.last, offset)?;
        let header = &mut self.objects.header;
        header.n_fields += 1;
        header.field_chain_depth = header.field_chain_depth.max(lookup.depth);
        Ok(offset)
    }

    /// Hangs a new DATA or FIELD at the end of its bucket: both have their chain at the same place.
    fn chain(&mut self, bucket: u64, last: u64, offset: u64) -> Result<(), Error> {
        if last == 0 {
            self.set(bucket, offset)?;
        } else {
            self.set(last + layout::data::NEXT_HASH, offset)?;
        }
        self.set(bucket + 8, offset)
    }

    /// The last array of a chain, owned by a DATA or, with key 0, by the file.
    fn tail_of(&mut self, owner: u64, first: u64) -> Result<Tail, Error> {
        if let Some(tail) = self.tails.get(&owner) {
            return Ok(*tail);
        }
        let mut tail = Tail::default();
        self.objects.arrays(first, |_, offset, capacity, index| {
            tail = Tail { offset, capacity, index };
            Ok(())
        })?;
        if self.tails.len() >= TAILS {
            self.tails.clear();
        }
        self.tails.insert(owner, tail);
        Ok(tail)
    }

    /// Puts an entry into slot `index` of a chain.
    fn link(&mut self, owner: u64, mut tail: Tail, index: u64, entry: u64) -> Result<(), Error> {
        if index >= tail.index + tail.capacity {
            let capacity = next_capacity(tail);
            let mut body = vec![0; 8 + 8 * capacity as usize];
            if let Some(first) = body.get_mut(8..16) {
                first.copy_from_slice(&entry.to_le_bytes());
            }
            let offset = self.put(Kind::EntryArray, &body)?;
            match (tail.offset, owner) {
                (0, 0) => self.objects.header.entry_array_offset = offset,
                (0, data) => self.set(data + layout::data::ENTRY_ARRAY, offset)?,
                (last, _) => self.set(last + layout::array::NEXT, offset)?,
            }
            tail = Tail { offset, capacity, index };
            self.tails.insert(owner, tail);
            self.objects.header.n_entry_arrays += 1;
            return Ok(());
        }
        let slot = index
            .checked_sub(tail.index)
            .ok_or(Error::Corrupt { offset: tail.offset, what: "entries are missing" })?;
        self.set(tail.offset + layout::array::ITEMS + 8 * slot, entry)
    }

    /// Appends an object.
    fn put(&mut self, kind: Kind, body: &[u8]) -> Result<u64, Error> {
        let offset = self.tail;
        let size = OBJECT + body.len() as u64;
        self.reserve(align(size))?;
        self.put_head(offset, kind, size)?;
        self.objects.blocks.write(offset + OBJECT, body)?;
        self.objects.header.tail_object_offset = offset;
        self.objects.header.n_objects += 1;
        self.tail = offset + align(size);
        Ok(offset)
    }

    fn put_head(&mut self, offset: u64, kind: Kind, size: u64) -> Result<(), Error> {
        let mut head = [0; OBJECT as usize];
        if let Some((first, rest)) = head.split_first_mut() {
            *first = kind as u8;
            if let Some(at) = rest.get_mut(7..) {
                at.copy_from_slice(&size.to_le_bytes());
            }
        }
        Ok(self.objects.blocks.write(offset, &head)?)
    }

    fn set(&mut self, offset: u64, value: u64) -> Result<(), Error> {
        Ok(self.objects.blocks.write(offset, &value.to_le_bytes())?)
    }

    /// Hands everything to the kernel: readers see it, and it survives our death.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.objects.blocks.write(0, &self.objects.header.encode())?;
        Ok(self.objects.blocks.flush()?)
    }

    /// Brings everything to the disk: it survives a power cut.
    ///
    /// # Errors
    /// What write(2) and fdatasync(2) say.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        Ok(self.objects.blocks.file().sync_data()?)
    }

    /// Closes the file in order, to go on with it later, or for ever when `archive`.
    ///
    /// # Errors
    /// What write(2), fdatasync(2) and ftruncate(2) say.
    pub fn close(mut self, archive: bool) -> Result<(), Error> {
        let size = self.tail.next_multiple_of(4096);
        if size < self.objects.end {
            self.objects.end = size;
            self.objects.header.arena_size = size - layout::HEADER_SIZE;
        }
        self.sync()?;
        self.objects.blocks.file().set_len(size)?;
        self.objects.header.state = if archive { layout::ARCHIVED } else { layout::OFFLINE };
        self.sync()
    }

    /// Bytes of disk space taken.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.objects.end
    }
}

/// Bytes that a chain with `count` entries takes for one more.
fn growth_of(tail: Tail, count: u64) -> u64 {
    if count >= tail.index + tail.capacity { layout::array::ITEMS + 8 * next_capacity(tail) } else { 0 }
}

/// Slots of the array after `tail`: twice as many, within reason.
fn next_capacity(tail: Tail) -> u64 {
    (tail.capacity * 2).clamp(4, 1 << 16)
}

/// The name in `FIELD=value`.
fn name_of(payload: &[u8]) -> Option<&[u8]> {
    let end = payload.iter().position(|byte| *byte == b'=').filter(|end| *end > 0)?;
    payload.get(..end)
}
