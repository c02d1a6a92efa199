//! The file in blocks: a small cache between us and the kernel, so that the many eight-byte reads and changes of
//! the format cost few system calls. No mapping: a file cut off under us gives zeros instead of a signal.
//!
//! `flush` writes the highest block first and the header's last: what points is written after what it points to,
//! so a reader that looks meanwhile, or after we were killed, sees whole entries.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: usize = 4096;
/// Blocks in memory, at most: 512 KiB.
const LIMIT: usize = 128;

struct Block {
    bytes: Box<[u8; BLOCK]>,
    dirty: bool,
    used: u64,
}

/// A file through a cache.
pub struct Blocks {
    file: File,
    blocks: HashMap<u64, Block>,
    clock: u64,
}

impl Blocks {
    pub fn new(file: File) -> Blocks {
        Blocks { file, blocks: HashMap::new(), clock: 0 }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Fills `into`; what lies behind the end of the file is zero.
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.walk(offset, into.len(), |block, inside, outside| {
            if let (Some(from), Some(to)) = (block.bytes.get(inside), into.get_mut(outside)) {
                to.copy_from_slice(from);
            }
        })
    }

    /// Changes bytes, in memory until the next `flush`.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.walk(offset, bytes.len(), |block, inside, outside| {
            if let (Some(to), Some(from)) = (block.bytes.get_mut(inside), bytes.get(outside)) {
                to.copy_from_slice(from);
            }
            block.dirty = true;
        })
    }

    /// Calls `each` with every block of a range, the range inside of the block, and that of the whole.
    fn walk(
        &mut self,
        offset: u64,
        size: usize,
        mut each: impl FnMut(&mut Block, std::ops::Range<usize>, std::ops::Range<usize>),
    ) -> io::Result<()> {
        let mut done = 0;
        while done < size {
            let position = offset
                .checked_add(done as u64)
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            let start = (position % BLOCK as u64) as usize;
            let count = (BLOCK - start).min(size - done);
            each(self.block(position / BLOCK as u64)?, start..start + count, done..done + count);
            done += count;
        }
        Ok(())
    }

    fn block(&mut self, number: u64) -> io::Result<&mut Block> {
        self.clock += 1;
        if !self.blocks.contains_key(&number) {
            if self.blocks.len() >= LIMIT {
                self.evict()?;
            }
            let mut bytes = Box::new([0; BLOCK]);
            read_at_most(&self.file, number.saturating_mul(BLOCK as u64), &mut bytes[..])?;
            self.blocks.insert(number, Block { bytes, dirty: false, used: 0 });
        }
        let block = self.blocks.get_mut(&number).ok_or_else(|| io::Error::other("a block is lost"))?;
        block.used = self.clock;
        Ok(block)
    }

    /// Drops the half that was not used for longest.
    fn evict(&mut self) -> io::Result<()> {
        self.flush()?;
        let mut uses: Vec<u64> = self.blocks.values().map(|block| block.used).collect();
        uses.sort_unstable();
        let median = uses.get(uses.len() / 2).copied().unwrap_or(0);
        self.blocks.retain(|_, block| block.used > median);
        Ok(())
    }

    /// Writes what changed, from the end of the file to its start.
    pub fn flush(&mut self) -> io::Result<()> {
        let mut dirty: Vec<u64> =
            self.blocks.iter().filter(|(_, block)| block.dirty).map(|(number, _)| *number).collect();
        dirty.sort_unstable_by(|a, b| b.cmp(a));
        for number in dirty {
            if let Some(block) = self.blocks.get_mut(&number) {
                self.file.write_all_at(&block.bytes[..], number * BLOCK as u64)?;
                block.dirty = false;
            }
        }
        Ok(())
    }

    /// Forgets what was read, to see what another process has written since.
    pub fn forget(&mut self) {
        self.blocks.retain(|_, block| block.dirty);
    }
}

fn read_at_most(file: &File, offset: u64, mut into: &mut [u8]) -> io::Result<()> {
    let mut position = offset;
    while !into.is_empty() {
        match file.read_at(into, position) {
            Ok(0) => break,
            Ok(count) => {
                into = into.get_mut(count..).unwrap_or_default();
                position += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_cache_holds_comes_back() {
        let mut blocks = Blocks::new(tempfile::tempfile().unwrap());
        for number in 0..1000_u64 {
            blocks.write(number * 4093, &number.to_le_bytes()).unwrap();
        }
        blocks.flush().unwrap();
        assert!(blocks.blocks.len() <= LIMIT);
        blocks.forget();
        for number in 0..1000_u64 {
            let mut bytes = [0; 8];
            blocks.read(number * 4093, &mut bytes).unwrap();
            assert_eq!(u64::from_le_bytes(bytes), number);
        }
    }

    #[test]
    fn behind_the_end_is_zero() {
        let mut blocks = Blocks::new(tempfile::tempfile().unwrap());
        let mut bytes = [1; 10];
        blocks.read(1 << 40, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 10]);
        assert!(blocks.read(u64::MAX - 3, &mut bytes).is_err());
    }
}
