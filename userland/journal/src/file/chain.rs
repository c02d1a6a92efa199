//! A chain of entry arrays: the entries of the file, or those of one DATA, in order, found by their number without
//! reading those before them.

use super::Error;
use super::layout::{self, Kind};
use super::objects::Objects;

/// One array of a chain.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Part {
    /// Where it is; 0 when there is none.
    pub offset: u64,
    /// Its slots.
    pub capacity: u64,
    /// The number of its first slot in the whole chain of arrays.
    pub index: u64,
}

/// The entries of a file or of a DATA.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// A DATA has its first entry itself.
    first: Option<u64>,
    parts: Vec<Part>,
    count: u64,
}

impl Chain {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The offset of an entry; `None` behind the end and where a broken file has no offset.
    pub fn get(&self, objects: &mut Objects, number: u64) -> Option<u64> {
        if number >= self.count {
            return None;
        }
        let number = match (self.first, number) {
            (Some(first), 0) => return Some(first),
            (Some(_), number) => number - 1,
            (None, number) => number,
        };
        let after = self.parts.partition_point(|part| part.index <= number);
        let part = self.parts.get(after.checked_sub(1)?)?;
        let item = objects.shape().array_item();
        let at = part.offset + layout::array::ITEMS + number.checked_sub(part.index)? * item;
        objects.number_at(at, item).ok().filter(|offset| *offset != 0 && *offset < objects.end)
    }

    /// The number of the first entry for which `before` no longer holds; entries that cannot be read count as
    /// being before.
    pub fn partition_point(
        &self,
        objects: &mut Objects,
        mut before: impl FnMut(&mut Objects, u64) -> bool,
    ) -> u64 {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(objects, middle) {
                Some(offset) if !before(objects, offset) => high = middle,
                _ => low = middle + 1,
            }
        }
        low
    }
}

impl Objects {
    /// All entries of the file. A broken file gives those before the break.
    #[must_use]
    pub fn chain(&mut self) -> Chain {
        let (first, count) = (self.header.entry_array_offset, self.header.n_entries);
        self.chain_of(None, first, count)
    }

    /// The entries that have this data.
    ///
    /// # Errors
    /// There is no DATA object here.
    pub fn chain_with(&mut self, data: u64) -> Result<Chain, Error> {
        self.object(data, Kind::Data, self.shape().data_payload())?;
        let count = self.blocks.u64_at(data + layout::data::ENTRIES)?;
        let first = self.blocks.u64_at(data + layout::data::ENTRY)?;
        let arrays = self.blocks.u64_at(data + layout::data::ENTRY_ARRAY)?;
        if count == 0 || first == 0 || first >= self.end {
            return Ok(Chain::default());
        }
        Ok(self.chain_of(Some(first), arrays, count))
    }

    fn chain_of(&mut self, first: Option<u64>, arrays: u64, count: u64) -> Chain {
        let mut chain = Chain { first, parts: Vec::new(), count: 0 };
        let inline = u64::from(first.is_some());
        let wanted = count.saturating_sub(inline);
        // What is sound before the break is still worth reading, so an error ends the walk and no more.
        let _ = self.parts(arrays, |part| {
            chain.parts.push(part);
            part.index + part.capacity < wanted
        });
        let slots = chain.parts.last().map_or(0, |part| part.index + part.capacity);
        chain.count = wanted.min(slots) + inline;
        // Entries that are being linked while we look are not there yet.
        while chain.count > inline && chain.get(self, chain.count - 1).is_none() {
            chain.count -= 1;
        }
        chain
    }

    /// Walks a chain of arrays, as long as `each` wants more.
    pub(super) fn parts(&mut self, first: u64, mut each: impl FnMut(Part) -> bool) -> Result<(), Error> {
        let (mut offset, mut index) = (first, 0);
        let item = self.shape().array_item();
        while offset != 0 {
            let size = self.object(offset, Kind::EntryArray, layout::array::ITEMS)?;
            let capacity = (size - layout::array::ITEMS) / item;
            if !each(Part { offset, capacity, index }) {
                break;
            }
            index += capacity;
            let next = self.blocks.u64_at(offset + layout::array::NEXT)?;
            if next != 0 && next <= offset {
                return Err(Error::Corrupt { offset, what: "a chain of arrays leads backwards" });
            }
            offset = next;
        }
        Ok(())
    }
}
