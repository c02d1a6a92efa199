//! The directory of journal files: one is written, the others are archives, the oldest of which are removed when
//! all together grow too big. A file that was not closed in order is set aside as `….journal~`, where readers still
//! find it, and a new one is begun.
//!
//! Nothing here ends the daemon: what cannot be stored is counted and reported when storing works again.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::time::{ClockId, clock_gettime};

use crate::file::layout::Header;
use crate::file::{Error, Id128, NewFile, Objects, Timestamp, Writer};
use crate::place::{Place, format_id, random_id};

/// All files together: a tenth of the file system, within these bounds.
const TOTAL_MIN: u64 = 4 << 20;
const TOTAL_MAX: u64 = 256 << 20;
/// One file: an eighth of all.
const FILE_MIN: u64 = 1 << 20;

/// The journal of this machine.
pub struct Store {
    place: Place,
    directory: PathBuf,
    machine_id: Id128,
    boot_id: Id128,
    writer: Option<Writer>,
    /// The numbering, and the last number given out.
    seqnum_id: Id128,
    seqnum: u64,
    total_max: u64,
    lost: u64,
    retry_at: u64,
}

/// The clocks now.
#[must_use]
pub fn now() -> Timestamp {
    let micros = |clock| {
        let time = clock_gettime(clock);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
    };
    Timestamp { realtime: micros(ClockId::Realtime), monotonic: micros(ClockId::Monotonic) }
}

impl Store {
    /// Opens the journal below `place`, on disk if that can be, else in memory.
    #[must_use]
    pub fn open(place: &Place, boot_id: Id128) -> Store {
        let machine_id = place.machine_id();
        let mut store = Store {
            place: place.clone(),
            directory: PathBuf::new(),
            machine_id,
            boot_id,
            writer: None,
            seqnum_id: random_id(),
            seqnum: 0,
            total_max: TOTAL_MIN,
            lost: 0,
            retry_at: 0,
        };
        for base in [place.persistent(), place.volatile()] {
            store.directory = base.join(format_id(&machine_id));
            match store.begin() {
                Ok(()) => return store,
                Err(error) => eprintln!("systemd-journald: {}: {error}", store.directory.display()),
            }
        }
        store
    }

    /// Whether entries go to the disk.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        self.directory.starts_with(self.place.persistent())
    }

    /// The directory written to.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn active(&self) -> PathBuf {
        self.directory.join("system.journal")
    }

    fn file_max(&self) -> u64 {
        (self.total_max / 8).max(FILE_MIN)
    }

    /// Goes on with the file that is there, or begins one.
    fn begin(&mut self) -> Result<(), Error> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.directory)?;
        let disk = rustix::fs::statvfs(&self.directory).map_err(io::Error::from)?;
        let size = disk.f_blocks.saturating_mul(disk.f_frsize);
        self.total_max = (size / 10).clamp(TOTAL_MIN, TOTAL_MAX).min(size / 2);
        let path = self.active();
        if path.exists() {
            match Writer::resume(&path, &self.machine_id, self.file_max()) {
                Ok(writer) => {
                    self.seqnum_id = writer.header().seqnum_id;
                    self.seqnum = writer.header().tail_entry_seqnum;
                    self.writer = Some(writer);
                    return Ok(());
                }
                Err(_) => self.set_aside(&path)?,
            }
        }
        self.create()
    }

    fn create(&mut self) -> Result<(), Error> {
        let new = NewFile {
            file_id: random_id(),
            machine_id: self.machine_id,
            seqnum_id: self.seqnum_id,
            seqnum: self.seqnum,
            max_size: self.file_max(),
        };
        self.vacuum(self.total_max.saturating_sub(self.file_max()));
        loop {
            match Writer::create(&self.active(), &new) {
                // What is new counts more than what is old.
                Err(Error::NoSpace) if self.remove_oldest() => {}
                made => {
                    self.writer = Some(made?);
                    return Ok(());
                }
            }
        }
    }

    /// Renames a file that was not closed in order.
    fn set_aside(&self, path: &Path) -> io::Result<()> {
        let [a, b, c, d, e, f, g, h, ..] = random_id();
        let random = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let name = format!("system@{:016x}-{random:016x}.journal~", now().realtime);
        fs::rename(path, self.directory.join(name))
    }

    /// Stores an entry. When it cannot be stored, it is counted; the count is stored as soon as that works.
    pub fn append(&mut self, time: Timestamp, fields: &[&[u8]]) {
        if self.lost > 0
            && self.try_append(time, &self.note_of_loss().each_ref().map(|field| field.as_bytes())).is_ok()
        {
            self.lost = 0;
        }
        match self.try_append(time, fields) {
            Ok(()) | Err(Error::BadEntry) => {}
            Err(_) => self.lost += 1,
        }
    }

    fn note_of_loss(&self) -> [String; 6] {
        [
            format!("MESSAGE={} messages were lost: they could not be written", self.lost),
            "PRIORITY=4".to_owned(),
            "SYSLOG_IDENTIFIER=systemd-journald".to_owned(),
            "_TRANSPORT=driver".to_owned(),
            format!("_BOOT_ID={}", format_id(&self.boot_id)),
            format!("_MACHINE_ID={}", format_id(&self.machine_id)),
        ]
    }

    fn try_append(&mut self, time: Timestamp, fields: &[&[u8]]) -> Result<(), Error> {
        let boot_id = self.boot_id;
        let mut result = Err(Error::NoSpace);
        for _ in 0..3 {
            if self.writer.is_none() {
                self.reopen(time)?;
            }
            let Some(writer) = &mut self.writer else { return result };
            result = writer.append(time, &boot_id, fields).map(drop);
            match &result {
                Ok(()) => {
                    self.seqnum = writer.header().tail_entry_seqnum;
                    return result;
                }
                Err(Error::BadEntry) => return result,
                Err(Error::NoSpace) if !self.remove_oldest() => return result,
                Err(Error::NoSpace) => {}
                Err(Error::Full | Error::ClockSetBack) => self.rotate(),
                Err(_) => {
                    // The file is not what we took it for: leave it to readers and begin anew.
                    self.writer = None;
                    let _ = self.set_aside(&self.active());
                    self.seqnum_id = random_id();
                }
            }
        }
        result
    }

    /// Begins a file after a failure, once a second at most.
    fn reopen(&mut self, time: Timestamp) -> Result<(), Error> {
        if time.monotonic < self.retry_at {
            return Err(Error::NoSpace);
        }
        let result = self.begin();
        if result.is_err() {
            self.retry_at = time.monotonic + 1_000_000;
        }
        result
    }

    /// Archives the file that is written and begins another.
    pub fn rotate(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let header = writer.header().clone();
        let path = self.active();
        let closed = writer.close(true);
        let renamed = match (&closed, header.n_entries) {
            (Ok(()), 0) => fs::remove_file(&path),
            (Ok(()), _) => fs::rename(&path, self.directory.join(archive_name(&header))),
            (Err(_), _) => self.set_aside(&path),
        };
        if closed.is_ok() && renamed.is_ok() {
            // A failure leaves no writer, and the next append tries again.
            let _ = self.create();
        }
    }

    /// Lets readers see what was appended.
    pub fn flush(&mut self) {
        self.give_up_unless(Writer::flush);
    }

    /// Brings what was appended to the disk.
    pub fn sync(&mut self) {
        self.give_up_unless(Writer::sync);
    }

    fn give_up_unless(&mut self, work: fn(&mut Writer) -> Result<(), Error>) {
        if let Some(writer) = &mut self.writer
            && let Err(error) = work(writer)
        {
            eprintln!("systemd-journald: {}: {error}", self.active().display());
            self.writer = None;
        }
    }

    /// Closes the file in order.
    pub fn close(&mut self) {
        if let Some(writer) = self.writer.take()
            && let Err(error) = writer.close(false)
        {
            eprintln!("systemd-journald: {}: {error}", self.active().display());
        }
    }

    /// Moves from memory to the disk, once that is there.
    ///
    /// # Errors
    /// The directory on disk cannot be made or written.
    pub fn move_to_disk(&mut self) -> Result<(), Error> {
        if self.is_persistent() {
            return Ok(());
        }
        let disk = Store::open(&self.place, self.boot_id);
        if !disk.is_persistent() {
            return Err(Error::NoSpace);
        }
        let mut memory = std::mem::replace(self, disk);
        memory.close();
        for path in
            archives(&memory.directory).into_iter().map(|archive| archive.path).chain([memory.active()])
        {
            self.copy_from(&path);
            // What is copied and stays would only be shown twice.
            let _ = fs::remove_file(&path);
        }
        self.sync();
        Ok(())
    }

    fn copy_from(&mut self, path: &Path) {
        let Ok(mut objects) = Objects::open(path) else { return };
        for offset in objects.entries() {
            let Ok(entry) = objects.entry(offset) else { continue };
            let fields: Vec<Vec<u8>> =
                entry.items.iter().filter_map(|item| objects.data(*item).ok()).collect();
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            self.append(entry.time, &fields);
        }
    }

    /// Removes archives until all of them take no more than `limit` bytes.
    pub fn vacuum(&self, limit: u64) {
        let archives = archives(&self.directory);
        let mut total: u64 = archives.iter().map(|archive| archive.size).sum();
        for archive in archives {
            if total <= limit {
                break;
            }
            if fs::remove_file(&archive.path).is_ok() {
                total -= archive.size.min(total);
            }
        }
    }

    fn remove_oldest(&self) -> bool {
        archives(&self.directory).first().is_some_and(|oldest| fs::remove_file(&oldest.path).is_ok())
    }
}

fn archive_name(header: &Header) -> String {
    let (id, head, time) =
        (format_id(&header.seqnum_id), header.head_entry_seqnum, header.head_entry_realtime);
    format!("system@{id}-{head:016x}-{time:016x}.journal")
}

/// A file that is no longer written.
#[derive(Debug)]
pub struct Archive {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes on disk.
    pub size: u64,
    /// Microseconds since 1970 of its last change.
    pub changed: u64,
}

/// The archives of a directory, oldest first.
#[must_use]
pub fn archives(directory: &Path) -> Vec<Archive> {
    let mut list = Vec::new();
    for item in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = item.file_name();
        let name = name.to_string_lossy();
        if !(name.contains('@') && name.ends_with(".journal") || name.ends_with(".journal~")) {
            continue;
        }
        let Ok(metadata) = item.metadata() else { continue };
        let changed = u64::try_from(metadata.mtime()).unwrap_or(0) * 1_000_000
            + u64::try_from(metadata.mtime_nsec()).unwrap_or(0) / 1000;
        list.push(Archive { path: item.path(), size: metadata.blocks() * 512, changed });
    }
    list.sort_by(|a, b| (a.changed, &a.path).cmp(&(b.changed, &b.path)));
    list
}
