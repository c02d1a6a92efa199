//! The file in blocks: a cache between us and the kernel, so that the many eight-byte reads and changes of the
//! format cost few system calls. No mapping: a file cut off under us gives zeros instead of a signal, and a disk
//! that fails gives an error.
//!
//! `flush` writes the highest block first and the header's last: what points is written after what it points to,
//! so a reader that looks meanwhile, or after we were killed, sees whole entries.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// How a file is cached: bytes of a block, a power of two, and blocks in memory.
#[derive(Debug, Clone, Copy)]
pub struct Cache {
    block: usize,
    limit: usize,
}

/// For one who reads much of a file: few calls, at most 8 MiB.
pub const READER: Cache = Cache { block: 16 << 10, limit: 512 };
/// For the one who writes it: changes are small and everywhere, so blocks are pages; at most 8 MiB, so that the hash
/// table of a file of the usual size has room.
pub const WRITER: Cache = Cache { block: 4 << 10, limit: 2048 };

struct Block {
    number: u64,
    bytes: Box<[u8]>,
    /// What has changed.
    dirty: Range<usize>,
    used: bool,
}

/// Block numbers are their own hash, but for a multiplication that spreads them.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

/// A file through a cache.
pub struct Blocks {
    file: File,
    cache: Cache,
    blocks: Vec<Block>,
    places: HashMap<u64, usize, BuildHasherDefault<Spread>>,
    /// The place used last: mostly the next one too.
    last: usize,
    /// Where the search for a block to drop goes on.
    hand: usize,
    /// For what spans blocks.
    scratch: Vec<u8>,
    /// The places of blocks that have changed.
    changed: Vec<usize>,
}

impl Blocks {
    pub fn new(file: File, cache: Cache) -> Blocks {
        Blocks {
            file,
            cache,
            blocks: Vec::new(),
            places: HashMap::default(),
            last: 0,
            hand: 0,
            scratch: Vec::new(),
            changed: Vec::new(),
        }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// The bytes of a range; what lies behind the end of the file is zero.
    pub fn view(&mut self, offset: u64, size: usize) -> io::Result<&[u8]> {
        let start = (offset % self.cache.block as u64) as usize;
        if start + size <= self.cache.block {
            let block = self.block(offset / self.cache.block as u64)?;
            return block.bytes.get(start..start + size).ok_or_else(lost);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.resize(size, 0);
        let read = self.read(offset, &mut scratch);
        self.scratch = scratch;
        read?;
        Ok(&self.scratch)
    }

    /// The number at an offset.
    pub fn u64_at(&mut self, offset: u64) -> io::Result<u64> {
        let bytes = self.view(offset, 8)?;
        Ok(bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    /// Fills `into`; what lies behind the end of the file is zero.
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            let (number, inside) = self.part(offset, done, into.len())?;
            let part = done..done + inside.len();
            done = part.end;
            let block = self.block(number)?;
            if let (Some(from), Some(to)) = (block.bytes.get(inside), into.get_mut(part)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// Changes bytes, in memory until the next `flush`.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let (number, inside) = self.part(offset, done, bytes.len())?;
            let part = done..done + inside.len();
            done = part.end;
            let place = self.place(number)?;
            let block = self.blocks.get_mut(place).ok_or_else(lost)?;
            block.dirty = if block.dirty.is_empty() {
                self.changed.push(place);
                inside.clone()
            } else {
                block.dirty.start.min(inside.start)..block.dirty.end.max(inside.end)
            };
            if let (Some(to), Some(from)) = (block.bytes.get_mut(inside), bytes.get(part)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// The block in which a range of `size` bytes goes on after `done` of them, and the range inside of it.
    fn part(&self, offset: u64, done: usize, size: usize) -> io::Result<(u64, Range<usize>)> {
        let width = self.cache.block;
        let position =
            offset.checked_add(done as u64).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let start = (position % width as u64) as usize;
        Ok((position / width as u64, start..start + (width - start).min(size - done)))
    }

    fn block(&mut self, number: u64) -> io::Result<&mut Block> {
        let place = self.place(number)?;
        self.blocks.get_mut(place).ok_or_else(lost)
    }

    /// Where a block is, read if need be.
    fn place(&mut self, number: u64) -> io::Result<usize> {
        let known = match self.blocks.get(self.last) {
            Some(block) if block.number == number => Some(self.last),
            _ => self.places.get(&number).copied(),
        };
        let place = match known {
            Some(place) => place,
            None => self.fetch(number)?,
        };
        self.last = place;
        self.blocks.get_mut(place).ok_or_else(lost)?.used = true;
        Ok(place)
    }

    fn fetch(&mut self, number: u64) -> io::Result<usize> {
        let width = self.cache.block;
        let place = if self.blocks.len() < self.cache.limit {
            let bytes = vec![0; width].into_boxed_slice();
            self.blocks.push(Block { number: u64::MAX, bytes, dirty: 0..0, used: false });
            self.blocks.len() - 1
        } else {
            self.spare()?
        };
        let block = self.blocks.get_mut(place).ok_or_else(lost)?;
        self.places.remove(&block.number);
        block.number = u64::MAX;
        let count = read_at_most(&self.file, number.saturating_mul(width as u64), &mut block.bytes)?;
        if let Some(behind) = block.bytes.get_mut(count..) {
            behind.fill(0);
        }
        block.number = number;
        self.places.insert(number, place);
        Ok(place)
    }

    /// The place of a block that was not used since the hand last passed it, and that has nothing to write.
    fn spare(&mut self) -> io::Result<usize> {
        for _ in 0..2 * self.blocks.len() {
            self.hand = (self.hand + 1) % self.blocks.len().max(1);
            let Some(block) = self.blocks.get_mut(self.hand) else { break };
            if block.dirty.is_empty() && !std::mem::take(&mut block.used) {
                return Ok(self.hand);
            }
        }
        self.flush()?;
        Ok(self.hand)
    }

    /// Writes what changed, from the end of the file to its start.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut changed = std::mem::take(&mut self.changed);
        let number = |place: &usize| self.blocks.get(*place).map_or(0, |block| block.number);
        changed.sort_unstable_by_key(|place| std::cmp::Reverse(number(place)));
        let mut result = Ok(());
        changed.retain(|place| {
            let Some(block) = self.blocks.get_mut(*place).filter(|_| result.is_ok()) else { return true };
            let bytes = block.bytes.get(block.dirty.clone()).unwrap_or_default();
            let offset = block.number.wrapping_mul(self.cache.block as u64) + block.dirty.start as u64;
            result = self.file.write_all_at(bytes, offset);
            if result.is_ok() {
                block.dirty = 0..0;
            }
            result.is_err()
        });
        self.changed.append(&mut changed);
        result
    }

    /// Forgets what was read, to see what another process has written since.
    pub fn forget(&mut self) {
        self.blocks.retain(|block| !block.dirty.is_empty());
        self.changed = (0..self.blocks.len()).collect();
        self.places = self.blocks.iter().enumerate().map(|(place, block)| (block.number, place)).collect();
    }
}

fn lost() -> io::Error {
    io::Error::other("a block is lost")
}

/// How much there was to read.
fn read_at_most(file: &File, offset: u64, mut into: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while !into.is_empty() {
        match file.read_at(into, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => {
                into = into.get_mut(count..).unwrap_or_default();
                done += count;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Behind the largest offset there is nothing.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_cache_holds_comes_back() {
        let mut blocks = Blocks::new(tempfile::tempfile().unwrap(), Cache { block: 4096, limit: 100 });
        for number in 0..1000_u64 {
            blocks.write(number * 4093, &number.to_le_bytes()).unwrap();
        }
        blocks.flush().unwrap();
        assert!(blocks.blocks.len() <= 100);
        blocks.forget();
        for number in 0..1000_u64 {
            assert_eq!(blocks.u64_at(number * 4093).unwrap(), number);
        }
    }

    #[test]
    fn behind_the_end_is_zero() {
        let mut blocks = Blocks::new(tempfile::tempfile().unwrap(), READER);
        let mut bytes = [1; 10];
        blocks.read(1 << 40, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 10]);
        assert!(blocks.read(u64::MAX - 3, &mut bytes).is_err());
    }

    proptest::proptest! {
        #[test]
        fn it_is_the_file_that_it_caches(writes in proptest::collection::vec((0_u64..40_000, 1_usize..9000), 1..40)) {
            let mut blocks = Blocks::new(tempfile::tempfile().unwrap(), Cache { block: 4096, limit: 3 });
            let mut plain = vec![0_u8; 50_000];
            for (index, (offset, size)) in writes.into_iter().enumerate() {
                let bytes = vec![index as u8 + 1; size];
                blocks.write(offset, &bytes).unwrap();
                plain[offset as usize..offset as usize + size].copy_from_slice(&bytes);
            }
            proptest::prop_assert_eq!(blocks.view(0, 50_000).unwrap(), &plain[..]);
            blocks.flush().unwrap();
            blocks.forget();
            proptest::prop_assert_eq!(blocks.view(0, 50_000).unwrap(), &plain[..]);
        }
    }
}
