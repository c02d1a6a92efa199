//! Entries of many files in the order in which they happened: by sequence number where the numbering is the same,
//! by the boot's own clock within a boot, else by the wall clock.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use crate::file::{Entry, Error, Id128, Objects};
use crate::query::matches::{Expression, Resolved};

/// A journal file that is being read.
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its objects.
    pub objects: Objects,
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

/// Opens files; of what cannot be read a message is printed, unless it has just gone away.
#[must_use]
pub fn open(paths: &[PathBuf]) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in paths {
        match Objects::open(path) {
            Ok(objects) => sources.push(Source { path: path.clone(), objects }),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => eprintln!("Journal file {} is skipped: {error}", path.display()),
        }
    }
    sources
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
    /// Newest first.
    pub reverse: bool,
}

/// The way through one file.
struct Track {
    resolved: Resolved,
    list: Vec<u64>,
    /// Entries of the list that are done with, counted from the end where the way begins.
    done: usize,
    head: Option<Entry>,
}

/// The way through all files.
pub struct Merged<'a> {
    sources: &'a mut [Source],
    tracks: Vec<Track>,
    reverse: bool,
    last: Option<(Id128, u64)>,
}

impl<'a> Merged<'a> {
    /// Goes through a range.
    #[must_use]
    pub fn new(sources: &'a mut [Source], range: &Range) -> Merged<'a> {
        let mut tracks = Vec::with_capacity(sources.len());
        for source in sources.iter_mut() {
            let track = track_of(source, range).unwrap_or_else(|error| {
                eprintln!("Journal file {} is skipped: {error}", source.path.display());
                Track { resolved: Resolved::Any(Vec::new()), list: Vec::new(), done: 0, head: None }
            });
            tracks.push(track);
        }
        Merged { sources, tracks, reverse: range.reverse, last: None }
    }

    /// The next entry, and the index of its file.
    pub fn advance(&mut self) -> Option<(usize, Entry)> {
        loop {
            let mut best: Option<(usize, Id128, Entry)> = None;
            for (index, (source, track)) in self.sources.iter_mut().zip(&mut self.tracks).enumerate() {
                track.fill(source, self.reverse);
                let Some(head) = &track.head else { continue };
                let id = source.objects.header().seqnum_id;
                let before = best.as_ref().is_none_or(|(_, best_id, best)| {
                    let order = order(&id, head, best_id, best);
                    (if self.reverse { order.reverse() } else { order }) == Ordering::Less
                });
                if before {
                    best = Some((index, id, head.clone()));
                }
            }
            let (index, id, entry) = best?;
            if let Some(track) = self.tracks.get_mut(index) {
                track.head = None;
            }
            // A file that was copied while it was written has the same entries as its copy.
            if self.last == Some((id, entry.seqnum)) {
                continue;
            }
            self.last = Some((id, entry.seqnum));
            return Some((index, entry));
        }
    }

    /// The file with this index.
    pub fn source(&mut self, index: usize) -> Option<&mut Source> {
        self.sources.get_mut(index)
    }
}

impl Track {
    /// Finds the next entry that fits; what is broken is passed over.
    fn fill(&mut self, source: &mut Source, reverse: bool) {
        while self.head.is_none() && self.done < self.list.len() {
            let place = if reverse { self.list.len() - 1 - self.done } else { self.done };
            self.done += 1;
            let Some(offset) = self.list.get(place) else { return };
            if let Ok(entry) = source.objects.entry(*offset)
                && self.resolved.fits(&entry.items)
            {
                self.head = Some(entry);
            }
        }
    }
}

fn track_of(source: &mut Source, range: &Range) -> Result<Track, Error> {
    let objects = &mut source.objects;
    let header = objects.header();
    // The header of a file that is written or was left behind may lag behind its entries.
    let closed = header.state != crate::file::layout::ONLINE;
    let misses = header.n_entries == 0
        || range.until.is_some_and(|until| header.head_entry_realtime > until)
        || closed && range.since.is_some_and(|since| header.tail_entry_realtime < since);
    let resolved = range.expression.resolve(objects)?;
    let mut list = Vec::new();
    if !misses {
        list = match resolved.candidates(objects)? {
            Some(list) => list,
            None => objects.entries(),
        };
        let mut before = |time: u64| {
            list.partition_point(|entry| objects.entry_realtime(*entry).is_ok_and(|at| at < time))
        };
        let start = range.since.map_or(0, &mut before);
        let end = range.until.map_or(usize::MAX, |until| before(until.saturating_add(1)));
        list.truncate(end);
        list.drain(..start.min(list.len()));
    }
    Ok(Track { resolved, list, done: 0, head: None })
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
