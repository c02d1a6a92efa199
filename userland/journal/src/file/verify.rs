//! Looking for damage: every object is read, every hash computed again, every chain followed, and what the header
//! counts is counted. Source: JOURNAL_FILE_FORMAT.

use super::layout::{self, Kind, OBJECT, align};
use super::objects::Objects;
use super::{Error, hash};

/// What was found sound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All objects.
    pub objects: u64,
    /// Entries.
    pub entries: u64,
    /// Data.
    pub data: u64,
    /// Names of fields.
    pub fields: u64,
    /// Arrays of entries.
    pub arrays: u64,
    /// Seals, which are passed over.
    pub tags: u64,
}

/// Where the objects of each kind lie, in order.
#[derive(Default)]
struct Found {
    entries: Vec<u64>,
    data: Vec<u64>,
    fields: Vec<u64>,
    arrays: Vec<u64>,
}

fn corrupt<T>(offset: u64, what: &'static str) -> Result<T, Error> {
    Err(Error::Corrupt { offset, what })
}

impl Objects {
    /// Checks the whole file. A file that is being written may change meanwhile.
    ///
    /// # Errors
    /// The first damage.
    pub fn verify(&mut self) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        let mut found = Found::default();
        let mut offset = self.header.header_size;
        let last = self.header.tail_object_offset;
        while last != 0 && offset <= last {
            let (kind, size) = self.any_object(offset)?;
            counts.objects += 1;
            match kind {
                1 => found.data.push(offset),
                2 => found.fields.push(offset),
                3 => found.entries.push(offset),
                4 | 5 => {}
                6 => found.arrays.push(offset),
                7 => counts.tags += 1,
                _ => return corrupt(offset, "an object of no known kind"),
            }
            let next = offset + align(size);
            if offset < last && next > last {
                return corrupt(offset, "objects overlap");
            }
            offset = next;
        }
        counts.entries = found.entries.len() as u64;
        counts.data = found.data.len() as u64;
        counts.fields = found.fields.len() as u64;
        counts.arrays = found.arrays.len() as u64;
        self.verify_header(&counts)?;
        for offset in &found.fields {
            self.verify_field(*offset)?;
        }
        self.verify_entries(&found)?;
        for offset in &found.data {
            self.verify_data(*offset, &found)?;
        }
        self.verify_table(Kind::Data, &found.data)?;
        self.verify_table(Kind::Field, &found.fields)?;
        Ok(counts)
    }

    fn any_object(&mut self, offset: u64) -> Result<(u8, u64), Error> {
        let head = self.blocks.view(offset, OBJECT as usize)?;
        let Some([kind, _, _, _, _, _, _, _, size @ ..]) = head.first_chunk::<16>() else {
            return corrupt(offset, "an object is cut off");
        };
        let size = u64::from_le_bytes(*size);
        if size < OBJECT || offset.checked_add(size).is_none_or(|end| end > self.end) {
            return corrupt(offset, "the size of an object is wrong");
        }
        Ok((*kind, size))
    }

    fn verify_header(&self, counts: &Counts) -> Result<(), Error> {
        let header = &self.header;
        for (said, found, what) in [
            (header.n_objects, counts.objects, "the header miscounts the objects"),
            (header.n_entries, counts.entries, "the header miscounts the entries"),
            (header.n_data, counts.data, "the header miscounts the data"),
            (header.n_fields, counts.fields, "the header miscounts the fields"),
            (header.n_entry_arrays, counts.arrays, "the header miscounts the arrays"),
        ] {
            // Before these were counted the header ended.
            let counted = header.header_size >= 216;
            if said != found && (counted || said != 0) {
                return corrupt(0, what);
            }
        }
        Ok(())
    }

    fn verify_field(&mut self, offset: u64) -> Result<(), Error> {
        let name = self.name(offset)?;
        if self.hash(&name) != self.blocks.u64_at(offset + layout::field::HASH)? {
            return corrupt(offset, "the hash of a field is wrong");
        }
        Ok(())
    }

    fn verify_entries(&mut self, found: &Found) -> Result<(), Error> {
        let chain = self.chain();
        if chain.len() != found.entries.len() as u64 {
            return corrupt(self.header.entry_array_offset, "entries are missing in the chain of the file");
        }
        let (mut seqnum, mut realtime) = (0, 0);
        for (number, offset) in (0..).zip(&found.entries) {
            if chain.get(self, number) != Some(*offset) {
                return corrupt(*offset, "the chain of the file does not have an entry in its place");
            }
            let entry = self.entry(*offset)?;
            if entry.seqnum <= seqnum {
                return corrupt(*offset, "entries are not in order");
            }
            if entry.time.realtime < realtime {
                return corrupt(*offset, "the time of an entry is before that of the one before");
            }
            (seqnum, realtime) = (entry.seqnum, entry.time.realtime);
            let mut xor_hash = 0;
            for item in &entry.items {
                if found.data.binary_search(item).is_err() {
                    return corrupt(*offset, "an entry has data that are none");
                }
                let payload = self.data(*item)?;
                xor_hash ^= hash::jenkins(&payload);
            }
            if xor_hash != entry.xor_hash {
                return corrupt(*offset, "the checksum of an entry is wrong");
            }
        }
        let (head, tail) = (self.header.head_entry_seqnum, self.header.tail_entry_seqnum);
        if let (Some(first), Some(last)) = (found.entries.first(), found.entries.last())
            && (self.entry_seqnum(*first)? != head || self.entry_seqnum(*last)? != tail)
        {
            return corrupt(0, "the header has other sequence numbers than the entries");
        }
        Ok(())
    }

    fn verify_data(&mut self, offset: u64, found: &Found) -> Result<(), Error> {
        let payload = self.data(offset)?;
        if self.hash(&payload) != self.blocks.u64_at(offset + layout::data::HASH)? {
            return corrupt(offset, "the hash of data is wrong");
        }
        if payload.iter().position(|byte| *byte == b'=').is_none_or(|end| end == 0) {
            return corrupt(offset, "data without a field");
        }
        let said = self.blocks.u64_at(offset + layout::data::ENTRIES)?;
        let chain = self.chain_with(offset)?;
        if chain.len() != said {
            return corrupt(offset, "entries are missing in the chain of data");
        }
        let mut last = 0;
        for number in 0..chain.len() {
            let entry = chain.get(self, number).unwrap_or(0);
            if entry <= last || found.entries.binary_search(&entry).is_err() {
                return corrupt(offset, "the chain of data has what is no entry, or not in order");
            }
            last = entry;
        }
        Ok(())
    }

    fn verify_table(&mut self, kind: Kind, objects: &[u64]) -> Result<(), Error> {
        let (table, size) = match kind {
            Kind::Field => (self.header.field_table_offset, self.header.field_table_size),
            _ => (self.header.data_table_offset, self.header.data_table_size),
        };
        let mut count = 0;
        for bucket in 0..size / 16 {
            let (mut offset, mut last) = (self.blocks.u64_at(table + bucket * 16)?, 0);
            while offset != 0 {
                if offset <= last || objects.binary_search(&offset).is_err() {
                    return corrupt(offset, "a bucket has what does not belong there");
                }
                if self.blocks.u64_at(offset + layout::data::HASH)? % (size / 16) != bucket {
                    return corrupt(offset, "an object is in the wrong bucket");
                }
                last = offset;
                count += 1;
                offset = self.blocks.u64_at(offset + layout::data::NEXT_HASH)?;
            }
            if self.blocks.u64_at(table + bucket * 16 + 8)? != last {
                return corrupt(table + bucket * 16, "a bucket does not know its last object");
            }
        }
        if count != objects.len() as u64 {
            return corrupt(table, "a hash table does not have all objects");
        }
        Ok(())
    }
}
