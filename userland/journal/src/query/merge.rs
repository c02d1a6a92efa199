//! Entries of many files in the order in which they happened: by sequence number where the numbering is the same,
//! by the boot's own clock within a boot, else by the wall clock.

use std::cmp::Ordering;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::file::{Chain, Entry, Error, Id128, Objects};
use crate::query::cursor::Cursor;
use crate::query::matches::{Expression, Resolved};
use crate::query::units::glob;

/// A journal file that is being read.
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its objects.
    pub objects: Objects,
    /// The highest sequence number of the entries that were gone through.
    pub passed: u64,
}

/// The journal files of a directory and of the directories in it.
#[must_use]
pub fn find(directory: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let list = |directory: &Path| {
        fs::read_dir(directory).into_iter().flatten().flatten().map(|item| item.path()).collect::<Vec<_>>()
    };
    for path in list(directory) {
        if path.is_dir() {
            paths.extend(list(&path));
        } else {
            paths.push(path);
        }
    }
    paths.retain(|path| path.extension().is_some_and(|kind| kind == "journal" || kind == "journal~"));
    paths.sort();
    paths
}

/// The files that a path, perhaps with `*` and `?`, names.
///
/// # Errors
/// There is none.
pub fn find_all(path: &Path) -> Result<Vec<PathBuf>, String> {
    let pattern = path.file_name().unwrap_or_default().as_bytes();
    if !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
        return match fs::metadata(path) {
            Ok(_) => Ok(vec![path.to_owned()]),
            Err(error) => Err(format!("{}: {error}", path.display())),
        };
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|item| glob(pattern, item.file_name().as_bytes()))
        .map(|item| item.path())
        .collect();
    found.sort();
    if found.is_empty() { Err(format!("no file fits {}", path.display())) } else { Ok(found) }
}

/// Opens files; of what cannot be read a message is printed, unless it has just gone away.
#[must_use]
pub fn open(paths: &[PathBuf]) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in paths {
        match Objects::open(path) {
            Ok(objects) => sources.push(Source { path: path.clone(), objects, passed: 0 }),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => eprintln!("Journal file {} is skipped: {error}", path.display()),
        }
    }
    sources
}

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// A place in the journal.
    pub cursor: Cursor,
    /// The entry of the cursor itself is not wanted.
    pub after: bool,
}

/// Which entries to go through.
#[derive(Debug, Clone)]
pub struct Range {
    /// What they must have.
    pub expression: Expression,
    /// Microseconds since 1970, the first.
    pub since: Option<u64>,
    /// The last.
    pub until: Option<u64>,
    /// The place to begin at.
    pub start: Option<Start>,
    /// Newest first.
    pub reverse: bool,
}

impl Range {
    /// All entries of an expression, oldest first.
    #[must_use]
    pub fn all(expression: Expression) -> Range {
        Range { expression, since: None, until: None, start: None, reverse: false }
    }
}

/// A chain, and what of it is still to be gone through.
struct Stretch {
    chain: Chain,
    low: u64,
    high: u64,
    /// The offset of the next entry.
    head: Option<u64>,
}

/// The way through one file.
struct Track {
    resolved: Resolved,
    stretches: Vec<Stretch>,
    entry: Entry,
    /// `entry` is the next one.
    filled: bool,
}

/// The way through all files.
pub struct Merged<'a> {
    sources: &'a mut [Source],
    tracks: Vec<Track>,
    reverse: bool,
    /// The tracks whose entries come next and after it, while that is known.
    leaders: Option<(usize, Option<usize>)>,
    last: Option<(Id128, u64)>,
}

impl<'a> Merged<'a> {
    /// Goes through a range.
    #[must_use]
    pub fn new(sources: &'a mut [Source], range: &Range) -> Merged<'a> {
        let mut tracks = Vec::with_capacity(sources.len());
        for source in sources.iter_mut() {
            let track = Track::new(source, range).unwrap_or_else(|error| {
                eprintln!("Journal file {} is skipped: {error}", source.path.display());
                Track::empty()
            });
            tracks.push(track);
        }
        Merged { sources, tracks, reverse: range.reverse, leaders: None, last: None }
    }

    /// The next entry, and the index of its file.
    pub fn advance(&mut self) -> Option<(usize, &Entry)> {
        loop {
            let index = self.leader()?;
            let source = self.sources.get_mut(index)?;
            let id = source.objects.header().seqnum_id;
            let track = self.tracks.get_mut(index)?;
            track.filled = false;
            source.passed = source.passed.max(track.entry.seqnum);
            // A file that was copied while it was written has the same entries as its copy.
            if self.last.replace((id, track.entry.seqnum)) != Some((id, track.entry.seqnum)) {
                return self.tracks.get(index).map(|track| (index, &track.entry));
            }
        }
    }

    /// The entry that `advance` gave last of a file, and the file.
    pub fn current(&mut self, index: usize) -> Option<(&mut Source, &Entry)> {
        Some((self.sources.get_mut(index)?, &self.tracks.get(index)?.entry))
    }

    /// The track with the next entry.
    fn leader(&mut self) -> Option<usize> {
        // Of the files only the one that was read from last has changed: mostly it still comes first.
        if let Some((first, second)) = self.leaders {
            self.fill(first);
            if self.is_filled(first) && second.is_none_or(|second| self.precedes(first, second)) {
                return Some(first);
            }
        }
        let mut leaders: Option<(usize, Option<usize>)> = None;
        for index in 0..self.tracks.len() {
            self.fill(index);
            if !self.is_filled(index) {
                continue;
            }
            leaders = Some(match leaders {
                None => (index, None),
                Some((first, _)) if self.precedes(index, first) => (index, Some(first)),
                Some((first, second)) => match second {
                    Some(second) if !self.precedes(index, second) => (first, Some(second)),
                    _ => (first, Some(index)),
                },
            });
        }
        self.leaders = leaders;
        leaders.map(|(first, _)| first)
    }

    fn fill(&mut self, index: usize) {
        if let (Some(source), Some(track)) = (self.sources.get_mut(index), self.tracks.get_mut(index)) {
            track.fill(source, self.reverse);
        }
    }

    fn is_filled(&self, index: usize) -> bool {
        self.tracks.get(index).is_some_and(|track| track.filled)
    }

    fn precedes(&self, one: usize, other: usize) -> bool {
        let head = |index: usize| {
            Some((self.sources.get(index)?.objects.header().seqnum_id, &self.tracks.get(index)?.entry))
        };
        match (head(one), head(other)) {
            (Some((id, entry)), Some((other_id, other))) => {
                let order = order(&id, entry, &other_id, other);
                (if self.reverse { order.reverse() } else { order }) == Ordering::Less
            }
            _ => false,
        }
    }
}

impl Stretch {
    /// Looks up the next entry.
    fn find(&mut self, objects: &mut Objects, reverse: bool) -> Option<u64> {
        while self.head.is_none() && self.low < self.high {
            let next = if reverse { self.high - 1 } else { self.low };
            self.head = self.chain.get(objects, next);
            if self.head.is_none() {
                self.pass(reverse);
            }
        }
        self.head
    }

    fn pass(&mut self, reverse: bool) {
        self.head = None;
        if reverse {
            self.high -= 1;
        } else {
            self.low += 1;
        }
    }
}

impl Track {
    fn empty() -> Track {
        Track {
            resolved: Resolved::Any(Vec::new()),
            stretches: Vec::new(),
            entry: Entry::default(),
            filled: false,
        }
    }

    fn new(source: &mut Source, range: &Range) -> Result<Track, Error> {
        let objects = &mut source.objects;
        let header = objects.header();
        // The header of a file that is written or was left behind may lag behind its entries.
        let closed = header.state != crate::file::layout::ONLINE;
        let misses = header.n_entries == 0
            || range.until.is_some_and(|until| header.head_entry_realtime > until)
            || closed && range.since.is_some_and(|since| header.tail_entry_realtime < since);
        if misses {
            return Ok(Track::empty());
        }
        let resolved = range.expression.resolve(objects)?;
        let mut stretches = Vec::new();
        for chain in resolved.chains(objects)? {
            let (mut low, mut high) = (0, chain.len());
            let before = |objects: &mut Objects, chain: &Chain, time: u64| {
                chain.partition_point(objects, |objects, entry| {
                    objects.entry_realtime(entry).is_ok_and(|at| at < time)
                })
            };
            if let Some(since) = range.since {
                low = before(objects, &chain, since);
            }
            if let Some(until) = range.until {
                high = before(objects, &chain, until.saturating_add(1));
            }
            if let Some(start) = &range.start {
                let (from, to) = start.split(objects, &chain);
                if range.reverse {
                    high = high.min(if start.after { from } else { to });
                } else {
                    low = low.max(if start.after { to } else { from });
                }
            }
            if low < high {
                stretches.push(Stretch { chain, low, high, head: None });
            }
        }
        Ok(Track { resolved, stretches, ..Track::empty() })
    }

    /// Finds the next entry that fits; what is broken is passed over.
    fn fill(&mut self, source: &mut Source, reverse: bool) {
        while !self.filled && !self.stretches.is_empty() {
            let objects = &mut source.objects;
            let mut next: Option<u64> = None;
            self.stretches.retain_mut(|stretch| {
                let head = stretch.find(objects, reverse);
                if let Some(head) = head {
                    let best = next.unwrap_or(head);
                    next = Some(if reverse { best.max(head) } else { best.min(head) });
                }
                head.is_some()
            });
            let Some(offset) = next else { break };
            for stretch in self.stretches.iter_mut().filter(|stretch| stretch.head == next) {
                stretch.pass(reverse);
            }
            self.filled =
                objects.read_entry(offset, &mut self.entry).is_ok() && self.resolved.fits(&self.entry.items);
        }
        if self.stretches.is_empty() && !self.filled {
            // Nothing more is wanted of this file, and there may be hundreds.
            source.objects.forget();
        }
    }
}

impl Start {
    /// How many entries of a chain are before the cursor, and how many are not after it.
    fn split(&self, objects: &mut Objects, chain: &Chain) -> (u64, u64) {
        let cursor = &self.cursor;
        let key = |objects: &mut Objects, entry: u64| match cursor.seqnum {
            Some((id, seqnum)) if id == objects.header().seqnum_id => {
                objects.entry_seqnum(entry).map(|at| at.cmp(&seqnum))
            }
            _ => objects.entry_realtime(entry).map(|at| at.cmp(&cursor.realtime.unwrap_or(0))),
        };
        let from =
            chain.partition_point(objects, |objects, entry| key(objects, entry).is_ok_and(Ordering::is_lt));
        let to =
            chain.partition_point(objects, |objects, entry| key(objects, entry).is_ok_and(Ordering::is_le));
        (from, to)
    }
}

fn order(id: &Id128, entry: &Entry, other_id: &Id128, other: &Entry) -> Ordering {
    if id == other_id && entry.seqnum != other.seqnum {
        return entry.seqnum.cmp(&other.seqnum);
    }
    if entry.boot_id == other.boot_id && entry.time.monotonic != other.time.monotonic {
        return entry.time.monotonic.cmp(&other.time.monotonic);
    }
    (entry.time.realtime, entry.xor_hash).cmp(&(other.time.realtime, other.xor_hash))
}
