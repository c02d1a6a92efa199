//! Appending entries. Space is taken from the disk before anything is changed, so a full disk never leaves half an
//! entry; what was changed is written by `flush`, at the latest when the cache is full.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::blocks;
use super::compress::{self, Compressor};
use super::layout::{self, Header, Id128, Kind, OBJECT, Timestamp, align};
use super::objects::Objects;
use super::{Error, hash};

/// The file grows by an eighth, but by no less and no more than this at a time.
const GROWTH: std::ops::RangeInclusive<u64> = 512 << 10..=8 << 20;
/// 32-bit offsets reach so far.
const COMPACT_MAX: u64 = u32::MAX as u64 & !4095;
/// Objects in one bucket; with more of them looking up gets slow, so a new file is due.
const CHAIN_MAX: u64 = 100;
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
    /// With 32-bit offsets: a third smaller, but only systemd 252 and later read it.
    pub compact: bool,
    /// Payloads of this many bytes are compressed.
    pub compress: Option<usize>,
}

/// The last array of a chain.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    /// Where it is; 0 when the chain is empty.
    offset: u64,
    /// Its slots.
    capacity: u64,
    /// Those in use.
    used: u64,
}

/// A file that is being written.
pub struct Writer {
    objects: Objects,
    /// Where the next object goes.
    tail: u64,
    max_size: u64,
    /// Numbers up to this one are taken.
    floor: u64,
    compress: Option<usize>,
    compressor: Compressor,
    /// The tail of the file's own chain, at key 0, and in the regular layout those of data seen lately.
    tails: HashMap<u64, Tail>,
    items: Vec<(u64, u64)>,
    chains: Vec<(u64, u64, Tail)>,
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
        let mut incompatible = layout::KEYED_HASH;
        if new.compact {
            incompatible |= layout::COMPACT;
        }
        if new.compress.is_some() {
            incompatible |= layout::COMPRESSED_ZSTD;
        }
        let header = Header {
            incompatible,
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
        let objects = Objects::unread(file, blocks::WRITER, header);
        let mut writer = Writer::of(objects, tail, new.max_size.max(tail + *GROWTH.start()), new.compress);
        writer.reserve(0)?;
        writer.put_head(field_table, Kind::FieldHashTable, 0, OBJECT + field_size)?;
        writer.put_head(data_table, Kind::DataHashTable, 0, OBJECT + data_size)?;
        writer.flush()?;
        Ok(writer)
    }

    fn of(objects: Objects, tail: u64, max_size: u64, compress: Option<usize>) -> Writer {
        let max_size = if objects.shape().compact { max_size.min(COMPACT_MAX) } else { max_size };
        let compress = compress.filter(|_| objects.header.incompatible & layout::COMPRESSED_ZSTD != 0);
        Writer {
            objects,
            tail,
            max_size,
            floor: 0,
            compress,
            compressor: Compressor::default(),
            tails: HashMap::new(),
            items: Vec::new(),
            chains: Vec::new(),
        }
    }

    /// Goes on with a file that was closed in order.
    ///
    /// # Errors
    /// It was not, it is another machine's, of another variant, or unsound.
    pub fn resume(
        path: &Path,
        machine_id: &Id128,
        max_size: u64,
        compress: Option<usize>,
    ) -> Result<Writer, Error> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut objects = Objects::of(file, blocks::WRITER)?;
        let header = objects.header();
        let refuse = |what| Err(Error::Corrupt { offset: 0, what });
        if header.state != layout::OFFLINE {
            return refuse("the file was not closed");
        }
        let known = layout::KEYED_HASH | layout::COMPACT | layout::COMPRESSED_ZSTD;
        if header.header_size != layout::HEADER_SIZE
            || header.incompatible & !known != 0
            || header.incompatible & layout::KEYED_HASH == 0
            || header.compatible != 0
        {
            return Err(Error::Unsupported("writing a file of another version"));
        }
        if header.machine_id != *machine_id {
            return refuse("the file is another machine's");
        }
        let tail = objects.tail()?;
        let mut writer = Writer::of(objects, tail, max_size.max(tail + 1), compress);
        let count = writer.objects.header.n_entries;
        if writer.objects.chain().len() != count {
            return refuse("entries are missing");
        }
        writer.tail_of(0, writer.objects.header.entry_array_offset, count)?;
        writer.objects.header.state = layout::ONLINE;
        writer.flush()?;
        Ok(writer)
    }

    /// The header, up to date.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.objects.header
    }

    /// Makes the next number larger than this one, which another file of the numbering has.
    pub fn skip_to(&mut self, seqnum: u64) {
        self.floor = seqnum;
    }

    /// Appends an entry. Fields given twice are stored once. In memory until `flush`.
    ///
    /// # Errors
    /// `Full` and `ClockSetBack` ask for rotation, `NoSpace` for patience; the file is sound after all of them.
    pub fn append(&mut self, time: Timestamp, boot_id: &Id128, fields: &[&[u8]]) -> Result<u64, Error> {
        let (mut items, mut chains) = (std::mem::take(&mut self.items), std::mem::take(&mut self.chains));
        items.clear();
        chains.clear();
        let appended = self.append_with(time, boot_id, fields, &mut items, &mut chains);
        (self.items, self.chains) = (items, chains);
        appended
    }

    fn append_with(
        &mut self,
        time: Timestamp,
        boot_id: &Id128,
        fields: &[&[u8]],
        items: &mut Vec<(u64, u64)>,
        chains: &mut Vec<(u64, u64, Tail)>,
    ) -> Result<u64, Error> {
        self.accepts(time, boot_id, fields)?;
        let mut xor_hash = 0;
        for payload in fields {
            let item = self.data(payload)?;
            // Fields given twice count once in the checksum too.
            if !items.contains(&item) {
                items.push(item);
                xor_hash ^= hash::jenkins(payload);
            }
        }
        items.sort_unstable();

        // Everything that can fail for want of space comes before the first link.
        let shape = self.objects.shape();
        let count = self.objects.header.n_entries;
        let main = self.tail_of(0, self.objects.header.entry_array_offset, count)?;
        let size = layout::entry::ITEMS + shape.entry_item() * items.len() as u64;
        let mut space = align(size) + self.growth_of(main);
        for (offset, _) in &*items {
            let links = self.objects.blocks.view(offset + layout::data::ENTRY_ARRAY, 16)?;
            let ([first, entries], _) = links.as_chunks::<8>() else {
                return Err(Error::Corrupt { offset: *offset, what: "data are cut off" });
            };
            let (first, entries) = (u64::from_le_bytes(*first), u64::from_le_bytes(*entries));
            let tail = match entries.checked_sub(1) {
                None => Tail::default(),
                Some(rest) => {
                    let tail = self.tail_of(*offset, first, rest)?;
                    space += self.growth_of(tail);
                    tail
                }
            };
            chains.push((*offset, entries, tail));
        }
        self.reserve(space)?;

        let seqnum = self.objects.header.tail_entry_seqnum.max(self.floor) + 1;
        let mut body = Vec::with_capacity(size as usize);
        for number in [seqnum, time.realtime, time.monotonic] {
            body.extend(number.to_le_bytes());
        }
        body.extend(boot_id);
        body.extend(u64::to_le_bytes(xor_hash));
        for (offset, hash) in &*items {
            if shape.compact {
                body.extend((*offset as u32).to_le_bytes());
            } else {
                body.extend(offset.to_le_bytes());
                body.extend(hash.to_le_bytes());
            }
        }
        let entry = self.put(Kind::Entry, 0, &body)?;

        self.link(0, main, entry)?;
        for (data, entries, tail) in &*chains {
            if *entries == 0 {
                self.set(data + layout::data::ENTRY, entry)?;
            } else {
                self.link(*data, *tail, entry)?;
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
            || header.data_chain_depth > CHAIN_MAX
            || header.field_chain_depth > CHAIN_MAX
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
        let growth = (self.objects.end / 8).clamp(*GROWTH.start(), *GROWTH.end());
        let mut size = needed.next_multiple_of(4096).max(self.objects.end + growth);
        if needed <= self.max_size {
            size = size.min(self.max_size.next_multiple_of(4096));
        }
        if self.objects.shape().compact && size > COMPACT_MAX {
            return Err(Error::Full);
        }
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
        let hash = self.objects.hash(payload);
        let lookup = self.objects.find(Kind::Data, payload, hash)?;
        if let Some(offset) = lookup.found {
            return Ok((offset, hash));
        }
        let field = self.field(name_of(payload).unwrap_or_default())?;
        let head = self.objects.blocks.u64_at(field + layout::field::HEAD_DATA)?;
        let small = self.compress.is_none_or(|least| payload.len() < least);
        let frame = if small { None } else { self.compressor.compress(payload) };
        let (flags, stored) = frame.as_deref().map_or((0, payload), |frame| (compress::ZSTD, frame));
        let mut body = Vec::with_capacity(56 + stored.len());
        for number in [hash, 0, head, 0, 0, 0] {
            body.extend(number.to_le_bytes());
        }
        if self.objects.shape().compact {
            body.extend([0; 8]);
        }
        body.extend(stored);
        let offset = self.put(Kind::Data, flags, &body)?;
        self.chain(lookup.bucket, lookup.last, offset)?;
        self.set(field + layout::field::HEAD_DATA, offset)?;
        let header = &mut self.objects.header;
        header.n_data += 1;
        header.data_chain_depth = header.data_chain_depth.max(lookup.depth);
        Ok((offset, hash))
    }

    fn field(&mut self, name: &[u8]) -> Result<u64, Error> {
        let hash = self.objects.hash(name);
        let lookup = self.objects.find(Kind::Field, name, hash)?;
        if let Some(offset) = lookup.found {
            return Ok(offset);
        }
        let mut body = Vec::with_capacity(24 + name.len());
        for number in [hash, 0, 0] {
            body.extend(number.to_le_bytes());
        }
        body.extend(name);
        let offset = self.put(Kind::Field, 0, &body)?;
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

    /// The last array of a chain of arrays with `count` entries, owned by a DATA or, with key 0, by the file.
    fn tail_of(&mut self, owner: u64, first: u64, count: u64) -> Result<Tail, Error> {
        if first == 0 {
            return Ok(Tail::default());
        }
        if let Some(tail) = self.tails.get(&owner) {
            return Ok(*tail);
        }
        if owner != 0 && self.objects.shape().compact {
            let packed = self.objects.blocks.u64_at(owner + layout::data::TAIL)?;
            let (offset, used) = (packed & u64::from(u32::MAX), packed >> 32);
            let size = self.objects.object(offset, Kind::EntryArray, layout::array::ITEMS)?;
            return Ok(Tail { offset, capacity: (size - layout::array::ITEMS) / 4, used });
        }
        let mut tail = Tail::default();
        self.objects.parts(first, |part| {
            let used = count.saturating_sub(part.index).min(part.capacity);
            tail = Tail { offset: part.offset, capacity: part.capacity, used };
            true
        })?;
        if self.tails.len() >= TAILS {
            self.tails.retain(|owner, _| *owner == 0);
        }
        self.tails.insert(owner, tail);
        Ok(tail)
    }

    /// Puts an entry into the next slot of a chain.
    fn link(&mut self, owner: u64, mut tail: Tail, entry: u64) -> Result<(), Error> {
        let item = self.objects.shape().array_item();
        if tail.used < tail.capacity {
            let at = tail.offset + layout::array::ITEMS + item * tail.used;
            self.set_number(at, entry, item)?;
            tail.used += 1;
        } else {
            let capacity = next_capacity(tail);
            let mut body = vec![0; (8 + item * capacity) as usize];
            for (to, from) in body.iter_mut().skip(8).zip(entry.to_le_bytes()).take(item as usize) {
                *to = from;
            }
            let offset = self.put(Kind::EntryArray, 0, &body)?;
            match (tail.offset, owner) {
                (0, 0) => self.objects.header.entry_array_offset = offset,
                (0, data) => self.set(data + layout::data::ENTRY_ARRAY, offset)?,
                (last, _) => self.set(last + layout::array::NEXT, offset)?,
            }
            tail = Tail { offset, capacity, used: 1 };
            self.objects.header.n_entry_arrays += 1;
        }
        let packed = tail.offset | tail.used << 32;
        match (owner, self.objects.shape().compact) {
            (0, compact) => {
                self.tails.insert(0, tail);
                self.objects.header.tail_entry_array =
                    if compact || tail.offset <= u64::from(u32::MAX) { packed } else { 0 };
                Ok(())
            }
            (data, true) => self.set(data + layout::data::TAIL, packed),
            (data, false) => {
                self.tails.insert(data, tail);
                Ok(())
            }
        }
    }

    /// Appends an object.
    fn put(&mut self, kind: Kind, flags: u8, body: &[u8]) -> Result<u64, Error> {
        let offset = self.tail;
        let size = OBJECT + body.len() as u64;
        self.reserve(align(size))?;
        self.put_head(offset, kind, flags, size)?;
        self.objects.blocks.write(offset + OBJECT, body)?;
        self.objects.header.tail_object_offset = offset;
        self.objects.header.n_objects += 1;
        self.tail = offset + align(size);
        Ok(offset)
    }

    fn put_head(&mut self, offset: u64, kind: Kind, flags: u8, size: u64) -> Result<(), Error> {
        let [a, b, c, d, e, f, g, h] = size.to_le_bytes();
        let head = [kind as u8, flags, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h];
        Ok(self.objects.blocks.write(offset, &head)?)
    }

    fn set(&mut self, offset: u64, value: u64) -> Result<(), Error> {
        self.set_number(offset, value, 8)
    }

    /// Writes a number of four or eight bytes.
    fn set_number(&mut self, offset: u64, value: u64, size: u64) -> Result<(), Error> {
        let bytes = value.to_le_bytes();
        Ok(self.objects.blocks.write(offset, bytes.get(..size as usize).unwrap_or(&bytes))?)
    }

    /// Bytes that a chain takes for one more entry.
    fn growth_of(&self, tail: Tail) -> u64 {
        if tail.used < tail.capacity {
            return 0;
        }
        align(layout::array::ITEMS + self.objects.shape().array_item() * next_capacity(tail))
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

    /// The file, for another thread to bring to the disk.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn file(&self) -> io::Result<File> {
        self.objects.blocks.file().try_clone()
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

/// Slots of the array after `tail`: twice as many, within reason.
fn next_capacity(tail: Tail) -> u64 {
    (tail.capacity * 2).clamp(4, 1 << 16)
}

/// The name in `FIELD=value`.
fn name_of(payload: &[u8]) -> Option<&[u8]> {
    let end = payload.iter().position(|byte| *byte == b'=').filter(|end| *end > 0)?;
    payload.get(..end)
}
