//! The write-ahead log: what this member has promised, before it says so.
//!
//! Segments of fixed size are allocated ahead, so that a full disk shows before a promise and not in it. A record is
//! `length, crc, batch, kind, first, 0, 0, payload`; the CRC also covers the segment's number. All records of one
//! write carry the same batch number, and the first of them says so: a record that cannot be read is a torn write,
//! to be cut off, only if nothing of a later batch follows it, for a later batch was begun after the earlier one
//! was on the disk. Anything else is damage, and is never taken for the end.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use prost::Message;
use rustix::fs::{FallocateFlags, fallocate};

use super::{Damage, sync_directory};
use crate::proto::internal::{Entry, HardState, Identity};

/// Bytes of a segment.
const SEGMENT: u64 = 16 << 20;
const HEADER: usize = 16;
/// The largest record: a request of the largest size, and some room.
const PAYLOAD_MAX: usize = 512 << 20;

const KIND_IDENTITY: u8 = 1;
const KIND_ENTRY: u8 = 2;
const KIND_HARD_STATE: u8 = 3;

/// What a log held.
#[derive(Debug, Default)]
pub struct Replay {
    /// Whose it is.
    pub identity: Identity,
    /// The last promise.
    pub hard_state: HardState,
    /// Entries, in order of their indexes.
    pub entries: Vec<Entry>,
    /// Bytes of a torn write that were cut off.
    pub torn: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    sequence: u64,
    /// The index of the first entry that may be in it.
    index: u64,
}

/// An open log.
#[derive(Debug)]
pub struct Wal {
    directory: PathBuf,
    segments: Vec<Segment>,
    file: File,
    offset: u64,
    size: u64,
    /// The next segment, allocated but without a name in the order yet.
    spare: Option<File>,
    batch: u32,
    /// Nothing was written since the last sync.
    fresh: bool,
    identity: Identity,
    hard_state: HardState,
    /// The last promise differs from the one in the file, in how far things are decided: no promise needs that.
    unwritten: bool,
    last_index: u64,
    synced: u64,
    sync_time: Duration,
    buffer: Vec<u8>,
}

fn crc(sequence: u64, header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

fn put_record(
    buffer: &mut Vec<u8>,
    sequence: u64,
    (batch, fresh): (u32, bool),
    kind: u8,
    payload: &impl Message,
) {
    let first = u8::from(fresh && buffer.is_empty());
    let mut tail = [0u8; 8];
    tail[..4].copy_from_slice(&batch.to_le_bytes());
    tail[4] = kind;
    tail[5] = first;
    let length = u32::try_from(payload.encoded_len()).unwrap_or(u32::MAX);
    let start = buffer.len();
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&tail);
    payload.encode_raw(buffer);
    let sum = crc(sequence, &tail, buffer.get(start + HEADER..).unwrap_or_default());
    if let Some(place) = buffer.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

#[derive(Debug, PartialEq)]
struct Parsed<'a> {
    batch: u32,
    kind: u8,
    first: bool,
    payload: &'a [u8],
    length: usize,
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_le_bytes)
}

/// Reads the record at the beginning of `bytes`, if a sound one is there.
fn parse(bytes: &[u8], sequence: u64) -> Option<Parsed<'_>> {
    let length = number(bytes, 0)? as usize;
    if length > PAYLOAD_MAX {
        return None;
    }
    let header = bytes.get(8..HEADER)?;
    let payload = bytes.get(HEADER..HEADER + length)?;
    let kind = *header.get(4)?;
    let known = matches!(kind, KIND_IDENTITY | KIND_ENTRY | KIND_HARD_STATE);
    (known && number(bytes, 4)? == crc(sequence, header, payload)).then_some(Parsed {
        batch: number(header, 0)?,
        kind,
        first: header.get(5) == Some(&1),
        payload,
        length: HEADER + length,
    })
}

/// Whether something that follows proves that a record which cannot be read was on the disk once.
fn is_damage(bytes: &[u8], sequence: u64, last_batch: u32) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    // Records are not aligned, so every place is tried; only sound ones count, and those are rare by chance.
    (1..end).any(|at| {
        let Some(rest) = bytes.get(at..) else { return false };
        // Most of a segment is zero: a record's length is not.
        if rest.first() == Some(&0) && number(rest, 0).is_none_or(|length| length == 0) {
            return false;
        }
        parse(rest, sequence).is_some_and(|found| {
            let ahead = found.batch.wrapping_sub(last_batch);
            (ahead == 1 && found.first) || (2..u32::MAX / 2).contains(&ahead)
        })
    })
}

fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
    Some((u64::from_str_radix(sequence, 16).ok()?, u64::from_str_radix(index, 16).ok()?))
}

fn allocate(path: &Path, size: u64) -> Result<File, Damage> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.map_err(Damage::io(path))?;
    if let Err(error) = fallocate(&file, FallocateFlags::empty(), 0, size) {
        let _ = fs::remove_file(path);
        return Err(Damage::io(path)(error.into()));
    }
    Ok(file)
}

impl Wal {
    /// Whether a directory holds a log.
    pub fn exists(directory: &Path) -> bool {
        fs::read_dir(directory).is_ok_and(|entries| {
            entries.flatten().any(|entry| parse_name(&entry.file_name().to_string_lossy()).is_some())
        })
    }

    /// Begins a log that goes on after the entry `index`.
    ///
    /// # Errors
    /// Of the file system.
    pub fn create(directory: &Path, identity: Identity, index: u64) -> Result<Wal, Damage> {
        fs::create_dir_all(directory).map_err(Damage::io(directory))?;
        let spare = directory.join("spare.tmp");
        let mut wal = Wal {
            directory: directory.to_owned(),
            segments: Vec::new(),
            file: allocate(&spare, SEGMENT)?,
            offset: 0,
            size: SEGMENT,
            spare: None,
            batch: 0,
            fresh: true,
            identity,
            hard_state: HardState::default(),
            unwritten: false,
            last_index: index,
            synced: 0,
            sync_time: Duration::ZERO,
            buffer: Vec::new(),
        };
        wal.spare = Some(wal.file.try_clone().map_err(Damage::io(directory))?);
        wal.rotate(SEGMENT)?;
        Ok(wal)
    }

    /// Reads a log and changes nothing.
    ///
    /// # Errors
    /// Damage anywhere but at its end, with the place.
    pub fn read(directory: &Path) -> Result<Replay, Damage> {
        Ok(read_all(directory)?.1)
    }

    /// Opens a log and reads it. A torn write at its end is cut off.
    ///
    /// # Errors
    /// Damage anywhere else, with the place.
    pub fn open(directory: &Path) -> Result<(Wal, Replay), Damage> {
        let (segments, replay, ReadSegment { batch, offset }) = read_all(directory)?;
        let Some(last) = segments.last() else {
            let what = "there is no log here".to_owned();
            return Err(Damage::Missing { path: directory.to_owned(), what });
        };
        let file =
            OpenOptions::new().read(true).write(true).open(&last.path).map_err(Damage::io(&last.path))?;
        let size = file.metadata().map_err(Damage::io(&last.path))?.len();
        if replay.torn > 0 {
            // What is left of a torn write must not be found behind what is written next.
            let zeros = vec![0u8; usize::try_from(size - offset).unwrap_or(0)];
            file.write_all_at(&zeros, offset)
                .and_then(|()| file.sync_data())
                .map_err(Damage::io(&last.path))?;
        }
        let wal = Wal {
            directory: directory.to_owned(),
            file,
            offset,
            size,
            spare: None,
            batch,
            fresh: true,
            identity: replay.identity,
            hard_state: replay.hard_state,
            unwritten: false,
            last_index: replay.entries.last().map_or(last.index.saturating_sub(1), |entry| entry.index),
            synced: 0,
            sync_time: Duration::ZERO,
            buffer: Vec::new(),
            segments,
        };
        Ok((wal, replay))
    }

    /// Writes entries and a promise; with `sync` they are on the disk when it returns. A promise alone that need not
    /// be is written with what comes next, or by [`Wal::settle`].
    ///
    /// # Errors
    /// Of the file system. Where the disk is full nothing has been written, and it can be tried again.
    pub fn append(
        &mut self,
        hard_state: Option<HardState>,
        entries: &[Entry],
        sync: bool,
    ) -> Result<(), Damage> {
        if entries.is_empty() && !sync {
            self.unwritten |= hard_state.is_some();
            self.hard_state = hard_state.unwrap_or(self.hard_state);
            return Ok(());
        }
        self.write_records(hard_state, entries, sync)
    }

    /// Writes what [`Wal::append`] has put off.
    ///
    /// # Errors
    /// As there.
    pub fn settle(&mut self) -> Result<(), Damage> {
        if self.unwritten { self.write_records(None, &[], false) } else { Ok(()) }
    }

    fn write_records(
        &mut self,
        hard_state: Option<HardState>,
        entries: &[Entry],
        sync: bool,
    ) -> Result<(), Damage> {
        let bytes: usize =
            entries.iter().map(|entry| entry.encoded_len() + HEADER).sum::<usize>() + 2 * HEADER + 64;
        if self.offset + bytes as u64 > self.size {
            self.rotate(SEGMENT.max(bytes as u64 + 4096))?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let sequence = self.segments.last().map_or(0, |segment| segment.sequence);
        let batch = (self.batch.wrapping_add(1), self.fresh);
        for entry in entries {
            put_record(&mut buffer, sequence, batch, KIND_ENTRY, entry);
            self.last_index = entry.index;
        }
        if let Some(hard_state) = hard_state.or(self.unwritten.then_some(self.hard_state)) {
            self.hard_state = hard_state;
            put_record(&mut buffer, sequence, batch, KIND_HARD_STATE, &hard_state);
        }
        let result = self.write(&buffer, sync);
        self.buffer = buffer;
        self.unwritten &= result.is_err();
        result
    }

    fn write(&mut self, buffer: &[u8], sync: bool) -> Result<(), Damage> {
        let path = self.segments.last().map_or(&self.directory, |segment| &segment.path);
        self.file.write_all_at(buffer, self.offset).map_err(Damage::io(path))?;
        self.offset += buffer.len() as u64;
        self.fresh = false;
        if sync {
            let began = Instant::now();
            self.file.sync_data().map_err(Damage::unsynced(path))?;
            self.sync_time = began.elapsed();
            self.synced += 1;
            // Only what follows a sync may be told from it: an unsynced write shares its successor's batch.
            self.batch = self.batch.wrapping_add(1);
            self.fresh = true;
        }
        Ok(())
    }

    /// Begins the next segment; it repeats whose log it is and the last promise, so that older ones may go.
    fn rotate(&mut self, size: u64) -> Result<(), Damage> {
        let spare = self.directory.join("spare.tmp");
        let file = match self.spare.take() {
            Some(file) if size == SEGMENT => file,
            _ => allocate(&spare, size)?,
        };
        if self.offset > 0 {
            self.file.sync_data().map_err(Damage::unsynced(&self.directory))?;
        }
        let sequence = self.segments.last().map_or(0, |segment| segment.sequence + 1);
        let index = self.last_index + 1;
        let path = self.directory.join(format!("{sequence:016x}-{index:016x}.wal"));
        let mut buffer = Vec::new();
        let batch = (self.batch.wrapping_add(1), true);
        put_record(&mut buffer, sequence, batch, KIND_IDENTITY, &self.identity);
        put_record(&mut buffer, sequence, batch, KIND_HARD_STATE, &self.hard_state);
        file.write_all_at(&buffer, 0).and_then(|()| file.sync_all()).map_err(Damage::io(&spare))?;
        fs::rename(&spare, &path).map_err(Damage::io(&path))?;
        sync_directory(&self.directory)?;
        self.batch = batch.0;
        self.fresh = true;
        self.file = file;
        self.offset = buffer.len() as u64;
        self.size = size;
        self.segments.push(Segment { path, sequence, index });
        Ok(())
    }

    /// Allocates the next segment ahead of its need.
    ///
    /// # Errors
    /// Where the disk is full: what is promised so far is safe, but little more can be.
    pub fn prepare(&mut self) -> Result<(), Damage> {
        if self.spare.is_none() {
            self.spare = Some(allocate(&self.directory.join("spare.tmp"), SEGMENT)?);
        }
        Ok(())
    }

    /// Drops segments that hold nothing after the entry `index`.
    ///
    /// # Errors
    /// Of the file system.
    pub fn release(&mut self, index: u64) -> Result<(), Damage> {
        while let [_, next, ..] = self.segments.as_slice()
            && next.index <= index + 1
        {
            let old = self.segments.remove(0);
            fs::remove_file(&old.path).map_err(Damage::io(&old.path))?;
        }
        sync_directory(&self.directory)
    }

    /// Begins anew after a snapshot that takes the place of all entries.
    ///
    /// # Errors
    /// Of the file system.
    pub fn reset(&mut self, index: u64, hard_state: HardState) -> Result<(), Damage> {
        self.last_index = index;
        self.hard_state = hard_state;
        self.rotate(SEGMENT)?;
        self.release(index)
    }

    /// How long the disk took to say so the last time.
    pub fn sync_time(&self) -> Duration {
        self.sync_time
    }

    /// How often the disk has said that it has everything.
    pub fn syncs(&self) -> u64 {
        self.synced
    }

    /// Bytes on the disk.
    pub fn size(&self) -> u64 {
        self.segments.len() as u64 * SEGMENT
    }
}

fn list(directory: &Path) -> Result<Vec<Segment>, Damage> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory).map_err(Damage::io(directory))? {
        let entry = entry.map_err(Damage::io(directory))?;
        if let Some((sequence, index)) = parse_name(&entry.file_name().to_string_lossy()) {
            segments.push(Segment { path: entry.path(), sequence, index });
        }
    }
    segments.sort_by_key(|segment| segment.sequence);
    for pair in segments.windows(2) {
        if let [one, two] = pair
            && one.sequence + 1 != two.sequence
        {
            let what = format!("the log goes on with segment {:x}: those between are gone", two.sequence);
            return Err(Damage::Missing { path: one.path.clone(), what });
        }
    }
    Ok(segments)
}

fn read_all(directory: &Path) -> Result<(Vec<Segment>, Replay, ReadSegment), Damage> {
    let segments = list(directory)?;
    let mut replay = Replay::default();
    let mut read = ReadSegment { batch: 0, offset: 0 };
    for (at, segment) in segments.iter().enumerate() {
        let bytes = fs::read(&segment.path).map_err(Damage::io(&segment.path))?;
        read = read_segment(segment, &bytes, read.batch, at + 1 == segments.len(), &mut replay)?;
    }
    Ok((segments, replay, read))
}

struct ReadSegment {
    batch: u32,
    offset: u64,
}

fn read_segment(
    segment: &Segment,
    bytes: &[u8],
    mut batch: u32,
    is_last: bool,
    replay: &mut Replay,
) -> Result<ReadSegment, Damage> {
    let corrupt = |offset: usize, what: &str| Damage::Corrupt {
        path: segment.path.clone(),
        offset: offset as u64,
        what: what.to_owned(),
    };
    let mut offset = 0;
    // A log that was reset by a snapshot has nothing to do with what came before.
    if replay.entries.last().is_some_and(|last| last.index + 1 < segment.index) {
        replay.entries.clear();
    }
    loop {
        let rest = bytes.get(offset..).unwrap_or_default();
        let Some(record) = parse(rest, segment.sequence) else {
            if rest.iter().all(|byte| *byte == 0) {
                break;
            }
            if offset == 0 {
                return Err(corrupt(offset, "the segment has no head"));
            }
            if !is_last || is_damage(rest, segment.sequence, batch) {
                return Err(corrupt(offset, "a record does not match its checksum, and others follow it"));
            }
            replay.torn = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            break;
        };
        let unreadable = |_| corrupt(offset, "a record with a matching checksum cannot be decoded");
        match record.kind {
            KIND_IDENTITY => replay.identity = Identity::decode(record.payload).map_err(unreadable)?,
            KIND_HARD_STATE => replay.hard_state = HardState::decode(record.payload).map_err(unreadable)?,
            _ => push(&mut replay.entries, Entry::decode(record.payload).map_err(unreadable)?)
                .map_err(|what| corrupt(offset, &what))?,
        }
        batch = record.batch;
        offset += record.length;
    }
    Ok(ReadSegment { batch, offset: offset as u64 })
}

/// Adds an entry; one with an index that is there already takes the place of all from there on.
fn push(entries: &mut Vec<Entry>, entry: Entry) -> Result<(), String> {
    match entries.first().map(|first| first.index) {
        Some(first) if entry.index >= first => {
            let position = usize::try_from(entry.index - first).unwrap_or(usize::MAX);
            if position > entries.len() {
                return Err(format!(
                    "entry {} follows entry {}",
                    entry.index,
                    first + entries.len() as u64 - 1
                ));
            }
            entries.truncate(position);
        }
        Some(_) => entries.clear(),
        None => {}
    }
    entries.push(entry);
    Ok(())
}
