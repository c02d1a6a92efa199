//! etcd's database file, written in one go and read as a whole: the form of our snapshots.
//!
//! It is bbolt's file format: pages of 4096 bytes, two of them with the meta data, B+ trees of buckets. What we
//! write has no free pages and passes bbolt's own check.
//!
//! Source: etcd-io/bbolt, page.go, bucket.go, db.go, node.go.

use std::io::{self, Seek, SeekFrom, Write};

use bytes::Bytes;

const PAGE: usize = 4096;
const HEADER: usize = 16;
const ELEMENT: usize = 16;
const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREE_LIST: u16 = 0x10;
/// A leaf's element that is a bucket.
const BUCKET: u32 = 0x01;
const FREE_LIST_PAGE: u64 = 2;

/// Writes a database.
pub struct Writer<W> {
    to: W,
    next: u64,
    buckets: Vec<(Bytes, u64)>,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a database at the place where `to` is.
    ///
    /// # Errors
    /// Of `to`.
    pub fn new(mut to: W) -> io::Result<Writer<W>> {
        // The pages of the meta data come last, when the root is known.
        to.write_all(&[0u8; 2 * PAGE])?;
        let mut free = page(FREE_LIST_PAGE, FREE_LIST, 0, 0);
        free.resize(PAGE, 0);
        to.write_all(&free)?;
        Ok(Writer { to, next: FREE_LIST_PAGE + 1, buckets: Vec::new() })
    }

    /// Writes a bucket; buckets come in the order of their names, records in the order of their keys.
    ///
    /// # Errors
    /// Of the writer.
    pub fn bucket(&mut self, name: &str, records: impl Iterator<Item = (Bytes, Bytes)>) -> io::Result<()> {
        let root = self.tree(records.map(|(key, value)| (key, value, 0)))?;
        self.buckets.push((Bytes::copy_from_slice(name.as_bytes()), root));
        Ok(())
    }

    /// Writes the root and the meta data. Returns what it wrote to, and how many bytes that were.
    ///
    /// # Errors
    /// Of the writer.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let buckets = std::mem::take(&mut self.buckets);
        let root = self.tree(buckets.into_iter().map(|(name, root)| {
            let mut value = [0u8; 16];
            value[..8].copy_from_slice(&root.to_le_bytes());
            (name, Bytes::copy_from_slice(&value), BUCKET)
        }))?;
        let end = self.next;
        self.to.seek(SeekFrom::Start(0))?;
        for id in 0..2u64 {
            let mut bytes = page(id, META, 0, 0);
            for field in [MAGIC, VERSION, PAGE as u32, 0] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
            for field in [root, 0, FREE_LIST_PAGE, end, id] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
            let sum = checksum(bytes.get(HEADER..).unwrap_or_default());
            bytes.extend_from_slice(&sum.to_le_bytes());
            bytes.resize(PAGE, 0);
            self.to.write_all(&bytes)?;
        }
        self.to.seek(SeekFrom::End(0))?;
        Ok((self.to, end * PAGE as u64))
    }

    fn tree(&mut self, records: impl Iterator<Item = (Bytes, Bytes, u32)>) -> io::Result<u64> {
        let mut level = Vec::new();
        let mut leaf: Vec<(Bytes, Bytes, u32)> = Vec::new();
        let mut size = HEADER;
        for record in records {
            let bytes = ELEMENT + record.0.len() + record.1.len();
            if !leaf.is_empty() && size + bytes > PAGE {
                level.push(self.leaf(&leaf)?);
                leaf.clear();
                size = HEADER;
            }
            size += bytes;
            leaf.push(record);
        }
        if !leaf.is_empty() || level.is_empty() {
            level.push(self.leaf(&leaf)?);
        }
        while level.len() > 1 {
            level = self.branches(&level)?;
        }
        Ok(level.first().map_or(0, |(_, id)| *id))
    }

    fn leaf(&mut self, records: &[(Bytes, Bytes, u32)]) -> io::Result<(Bytes, u64)> {
        let mut elements = Vec::new();
        let mut data = Vec::new();
        for (at, (key, value, flags)) in records.iter().enumerate() {
            let position = (records.len() - at) * ELEMENT + data.len();
            for field in [*flags, position as u32, key.len() as u32, value.len() as u32] {
                elements.extend_from_slice(&field.to_le_bytes());
            }
            data.extend_from_slice(key);
            data.extend_from_slice(value);
        }
        let id = self.page(LEAF, records.len(), &elements, &data)?;
        Ok((records.first().map(|(key, ..)| key.clone()).unwrap_or_default(), id))
    }

    fn branches(&mut self, children: &[(Bytes, u64)]) -> io::Result<Vec<(Bytes, u64)>> {
        let mut level = Vec::new();
        let mut rest = children;
        while !rest.is_empty() {
            let mut size = HEADER;
            let fits = rest.iter().take_while(|(key, _)| {
                size += ELEMENT + key.len();
                size <= PAGE
            });
            // bbolt wants two children at least, even if their keys are long.
            let count = fits.count().max(2).min(rest.len());
            // And none may be left alone.
            let count = if rest.len() - count == 1 && count > 2 { count - 1 } else { count };
            let count = if rest.len() - count == 1 { rest.len() } else { count };
            let (mine, others) = rest.split_at(count);
            rest = others;
            let mut elements = Vec::new();
            let mut data = Vec::new();
            for (at, (key, id)) in mine.iter().enumerate() {
                let position = (mine.len() - at) * ELEMENT + data.len();
                elements.extend_from_slice(&(position as u32).to_le_bytes());
                elements.extend_from_slice(&(key.len() as u32).to_le_bytes());
                elements.extend_from_slice(&id.to_le_bytes());
                data.extend_from_slice(key);
            }
            let id = self.page(BRANCH, mine.len(), &elements, &data)?;
            level.push((mine.first().map(|(key, _)| key.clone()).unwrap_or_default(), id));
        }
        Ok(level)
    }

    fn page(&mut self, flags: u16, count: usize, elements: &[u8], data: &[u8]) -> io::Result<u64> {
        let id = self.next;
        let pages = (HEADER + elements.len() + data.len()).div_ceil(PAGE);
        let mut bytes = page(id, flags, count as u16, pages as u32 - 1);
        bytes.extend_from_slice(elements);
        bytes.extend_from_slice(data);
        bytes.resize(pages * PAGE, 0);
        self.to.write_all(&bytes)?;
        self.next += pages as u64;
        Ok(id)
    }
}

fn page(id: u64, flags: u16, count: u16, overflow: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PAGE);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&overflow.to_le_bytes());
    bytes
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What is wrong with a database.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It has no sound meta page.
    #[error("it is not a database of etcd's: neither of its two meta pages is sound")]
    Meta,
    /// A page is not what it should be.
    #[error("page {0} is damaged")]
    Page(u64),
}

/// A record as found: the bucket's name, key and value.
pub type Found = (Bytes, Bytes, Bytes);

/// Reads all records of all buckets, buckets and keys in order.
///
/// # Errors
/// What is damaged.
pub fn read(file: &Bytes) -> Result<Vec<Found>, Malformed> {
    let reader = Reader { file, page: 0 };
    let (root, page) = reader.meta().ok_or(Malformed::Meta)?;
    let reader = Reader { file, page };
    let mut buckets = Vec::new();
    let mut budget = file.len() / page + 1;
    reader.walk(root, &mut budget, &mut |flags, name, value| {
        if flags & BUCKET != 0 {
            buckets.push((name, value));
        }
    })?;
    let mut found = Vec::new();
    for (name, value) in buckets {
        let id = u64_at(&value, 0).ok_or(Malformed::Page(root))?;
        let mut take = |flags: u32, key, value| {
            if flags & BUCKET == 0 {
                found.push((name.clone(), key, value));
            }
        };
        if id == 0 {
            // A small bucket lives in the value itself, after its head.
            reader.elements(&value.slice(16.min(value.len())..), 0, &mut budget, &mut take)?;
        } else {
            reader.walk(id, &mut budget, &mut take)?;
        }
    }
    Ok(found)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
}

struct Reader<'a> {
    file: &'a Bytes,
    page: usize,
}

impl Reader<'_> {
    /// The root's page and the size of pages, from the newer meta page that is sound.
    fn meta(&self) -> Option<(u64, usize)> {
        let size = [0usize, PAGE, 16384, 65536]
            .into_iter()
            .filter_map(|at| self.meta_at(at))
            .max_by_key(|(_, _, txid)| *txid)?;
        Some((size.0, size.1))
    }

    fn meta_at(&self, at: usize) -> Option<(u64, usize, u64)> {
        let meta = self.file.get(at + HEADER..at + HEADER + 64)?;
        let sound = u32_at(meta, 0)? == MAGIC
            && u32_at(meta, 4)? == VERSION
            && u64_at(meta, 56)? == checksum(meta.get(..56)?);
        let page = u32_at(meta, 8)? as usize;
        (sound && page >= 512).then_some((u64_at(meta, 16)?, page, u64_at(meta, 48)?))
    }

    fn walk(
        &self,
        id: u64,
        budget: &mut usize,
        take: &mut dyn FnMut(u32, Bytes, Bytes),
    ) -> Result<(), Malformed> {
        // Pages that point in a circle would be walked for ever.
        *budget = budget.checked_sub(1).ok_or(Malformed::Page(id))?;
        let start = usize::try_from(id).ok().and_then(|id| id.checked_mul(self.page));
        let start = start.filter(|start| *start < self.file.len()).ok_or(Malformed::Page(id))?;
        let head = self.file.slice(start..);
        if u64_at(&head, 0) != Some(id) {
            return Err(Malformed::Page(id));
        }
        let pages = u32_at(&head, 12).ok_or(Malformed::Page(id))? as usize + 1;
        let end = pages.checked_mul(self.page).filter(|end| *end <= head.len()).ok_or(Malformed::Page(id))?;
        self.elements(&head.slice(..end), id, budget, take)
    }

    fn elements(
        &self,
        page: &Bytes,
        id: u64,
        budget: &mut usize,
        take: &mut dyn FnMut(u32, Bytes, Bytes),
    ) -> Result<(), Malformed> {
        let bad = || Malformed::Page(id);
        let flags = u16_at(page, 8).ok_or_else(bad)?;
        let count = usize::from(u16_at(page, 10).ok_or_else(bad)?);
        let part = |from: usize, length: usize| {
            let end = from.checked_add(length).filter(|end| *end <= page.len())?;
            Some(page.slice(from..end))
        };
        for index in 0..count {
            let at = HEADER + index * ELEMENT;
            let field = |n: usize| u32_at(page, at + 4 * n).map(|value| value as usize).ok_or_else(bad);
            match flags {
                LEAF => {
                    let (position, key, value) = (at + field(1)?, field(2)?, field(3)?);
                    let name = part(position, key).ok_or_else(bad)?;
                    take(field(0)? as u32, name, part(position + key, value).ok_or_else(bad)?);
                }
                BRANCH => self.walk(u64_at(page, at + 8).ok_or_else(bad)?, budget, take)?,
                _ => return Err(bad()),
            }
        }
        Ok(())
    }
}
