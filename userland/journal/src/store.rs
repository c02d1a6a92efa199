//! The directory of journal files: `system.journal` and one file a user are written, the others are archives, the
//! oldest of which are removed when all together grow too big or too old. A file that was not closed in order is set
//! aside as `….journal~`, where readers still find it, and a new one is begun.
//!
//! Nothing here ends the daemon: what cannot be stored is counted and reported when storing works again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use rustix::time::{ClockId, clock_gettime};

use crate::config::{Bounds, Config, Storage};
use crate::file::layout::Header;
use crate::file::{Error, Id128, NewFile, Objects, Timestamp, Writer};
use crate::place::{Place, format_id, random_id};
use crate::space::{self, Space};

/// Files of users that are open at a time.
const USERS_MAX: usize = 64;
/// Threads that wait for the disk.
const WAITING_MAX: usize = 4;
/// Microseconds between looks at age and room.
const LOOK_EVERY: u64 = 30_000_000;
/// Users below this one are the system's own; so is 65534, nobody, and who comes and goes with a unit.
const FIRST_USER: u32 = 1000;
const NOBODY: u32 = 65_534;
const DYNAMIC: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// Whose file: the system's, or a user's.
type Owner = Option<u32>;

/// The journal of this machine.
pub struct Store {
    place: Place,
    config: Config,
    directory: PathBuf,
    machine_id: Id128,
    boot_id: Id128,
    writers: HashMap<Owner, Writer>,
    /// The numbering, and the last number given out.
    seqnum_id: Id128,
    seqnum: u64,
    space: Space,
    lost: u64,
    retry_at: u64,
    look_at: u64,
    /// Threads that wait for the disk, so that we need not.
    waiting: Vec<JoinHandle<()>>,
    /// What we did that others should know.
    remarks: Vec<String>,
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
    /// Opens the journal below `place`: on disk if the configuration wants that and it can be, else in memory.
    #[must_use]
    pub fn open(place: &Place, config: &Config, boot_id: Id128) -> Store {
        let machine_id = place.machine_id();
        let space = Space { limit: 0, max_use: 0, file_max: 0, max_files: 0, used: 0 };
        let mut store = Store {
            place: place.clone(),
            config: config.clone(),
            directory: PathBuf::new(),
            machine_id,
            boot_id,
            writers: HashMap::new(),
            seqnum_id: random_id(),
            seqnum: 0,
            space,
            lost: 0,
            retry_at: 0,
            look_at: 0,
            waiting: Vec::new(),
            remarks: Vec::new(),
        };
        let persistent = match config.storage {
            Storage::Persistent => true,
            Storage::Auto => place.persistent().is_dir(),
            Storage::Volatile | Storage::None => false,
        };
        let bases = [persistent.then(|| place.persistent()), Some(place.volatile())];
        for base in bases.into_iter().flatten() {
            store.directory = base.join(format_id(&machine_id));
            if config.storage == Storage::None {
                break;
            }
            match store.begin(None) {
                Ok(()) => break,
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

    /// The room there is.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// What happened since the last call that a reader of the journal should know.
    pub fn take_remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    fn bounds(&self) -> &Bounds {
        if self.is_persistent() { &self.config.system } else { &self.config.runtime }
    }

    fn path_of(&self, owner: Owner) -> PathBuf {
        self.directory.join(format!("{}.journal", stem_of(owner)))
    }

    /// Whose file the messages of a user go to.
    fn owner_of(&self, uid: Option<u32>) -> Owner {
        uid.filter(|uid| {
            self.config.split_users
                && self.is_persistent()
                && *uid >= FIRST_USER
                && *uid != NOBODY
                && !DYNAMIC.contains(uid)
        })
    }

    /// Goes on with the file that is there, or begins one.
    fn begin(&mut self, owner: Owner) -> Result<(), Error> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.directory)?;
        self.space = Space::of(&self.directory, self.bounds())?;
        let path = self.path_of(owner);
        if path.exists() {
            let resumed = Writer::resume(&path, &self.machine_id, self.space.file_max, self.config.compress);
            match resumed {
                Ok(writer) => {
                    let header = writer.header();
                    if self.writers.is_empty() && self.seqnum == 0 {
                        self.seqnum_id = header.seqnum_id;
                    }
                    if self.seqnum_id == header.seqnum_id {
                        self.seqnum = self.seqnum.max(header.tail_entry_seqnum);
                    }
                    self.writers.insert(owner, writer);
                    return Ok(());
                }
                Err(_) => self.set_aside(owner)?,
            }
        }
        self.create(owner)
    }

    fn create(&mut self, owner: Owner) -> Result<(), Error> {
        self.space = Space::of(&self.directory, self.bounds())?;
        // Room for the new one is made before it is there.
        self.make_room(self.space.limit.saturating_sub(self.space.file_max.min(self.space.limit / 2)));
        let new = NewFile {
            file_id: random_id(),
            machine_id: self.machine_id,
            seqnum_id: self.seqnum_id,
            seqnum: self.seqnum,
            max_size: self.space.file_max,
            compact: wants_compact(),
            compress: self.config.compress,
        };
        loop {
            match Writer::create(&self.path_of(owner), &new) {
                // What is new counts more than what is old.
                Err(Error::NoSpace) if self.remove_oldest() => {}
                made => {
                    self.writers.insert(owner, made?);
                    if let Some(uid) = owner {
                        // Without access control lists the user has to ask the system's group.
                        let _ = let_read(&self.path_of(owner), uid);
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Renames a file that was not closed in order.
    fn set_aside(&mut self, owner: Owner) -> io::Result<()> {
        let [a, b, c, d, e, f, g, h, ..] = random_id();
        let random = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let name = format!("{}@{:016x}-{random:016x}.journal~", stem_of(owner), now().realtime);
        let path = self.path_of(owner);
        fs::rename(&path, self.directory.join(&name))?;
        self.remarks.push(format!(
            "File {} corrupted or uncleanly shut down, renamed to {name} and replaced.",
            path.display()
        ));
        Ok(())
    }

    /// Stores an entry of a user. When it cannot be stored, it is counted; the count is stored as soon as that works.
    pub fn append(&mut self, time: Timestamp, uid: Option<u32>, fields: &[&[u8]]) {
        if self.config.storage == Storage::None {
            return;
        }
        if self.lost > 0
            && self
                .try_append(time, None, &self.note_of_loss().each_ref().map(|field| field.as_bytes()))
                .is_ok()
        {
            self.lost = 0;
        }
        match self.try_append(time, self.owner_of(uid), fields) {
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

    fn try_append(&mut self, time: Timestamp, owner: Owner, fields: &[&[u8]]) -> Result<(), Error> {
        let boot_id = self.boot_id;
        let mut result = Err(Error::NoSpace);
        for _ in 0..3 {
            if !self.writers.contains_key(&owner) {
                self.reopen(time, owner)?;
            }
            let (seqnum_id, seqnum) = (self.seqnum_id, self.seqnum);
            let Some(writer) = self.writers.get_mut(&owner) else { return result };
            if writer.header().seqnum_id == seqnum_id {
                writer.skip_to(seqnum);
            }
            result = writer.append(time, &boot_id, fields).map(drop);
            match &result {
                Ok(()) => {
                    if writer.header().seqnum_id == seqnum_id {
                        self.seqnum = writer.header().tail_entry_seqnum;
                    }
                    return result;
                }
                Err(Error::BadEntry) => return result,
                Err(Error::NoSpace) if !self.remove_oldest() => return result,
                Err(Error::NoSpace) => {}
                Err(Error::Full | Error::ClockSetBack) => self.rotate_one(owner),
                Err(_) => {
                    // The file is not what we took it for: leave it to readers and begin anew.
                    self.writers.remove(&owner);
                    let _ = self.set_aside(owner);
                    self.seqnum_id = random_id();
                }
            }
        }
        result
    }

    /// Begins a file after a failure, once a second at most.
    fn reopen(&mut self, time: Timestamp, owner: Owner) -> Result<(), Error> {
        if time.monotonic < self.retry_at {
            return Err(Error::NoSpace);
        }
        if self.writers.len() > USERS_MAX
            && let Some(other) = self.writers.keys().copied().find(|other| other.is_some())
        {
            self.close_one(other);
        }
        let result = self.begin(owner);
        if result.is_err() {
            self.retry_at = time.monotonic + 1_000_000;
        }
        result
    }

    /// Archives the files that are written and begins others.
    pub fn rotate(&mut self) {
        for owner in self.writers.keys().copied().collect::<Vec<_>>() {
            self.rotate_one(owner);
        }
        self.archive_closed();
    }

    fn rotate_one(&mut self, owner: Owner) {
        let Some(mut writer) = self.writers.remove(&owner) else { return };
        let header = writer.header().clone();
        let path = self.path_of(owner);
        let gone = match writer.flush() {
            Ok(()) if header.n_entries == 0 => fs::remove_file(&path),
            Ok(()) => fs::rename(&path, self.directory.join(archive_name(owner, &header)))
                .map(|()| self.wait_for_disk(move || writer.close(true))),
            Err(_) => self.set_aside(owner),
        };
        if gone.is_ok() {
            // A failure leaves no writer, and the next append tries again.
            let _ = self.create(owner);
        }
    }

    /// Does what waits for the disk in a thread; a slow disk with many of them has to be waited for.
    fn wait_for_disk(&mut self, work: impl FnOnce() -> Result<(), Error> + Send + 'static) {
        let work = move || {
            if let Err(error) = work() {
                eprintln!("systemd-journald: {error}");
            }
        };
        self.waiting.retain(|thread| !thread.is_finished());
        if self.waiting.len() >= WAITING_MAX {
            self.wait();
        }
        // Without a thread the file is whole all the same, only not marked as closed.
        self.waiting.extend(thread::Builder::new().spawn(work).ok());
    }

    /// Waits until the disk has everything that threads bring to it.
    fn wait(&mut self) {
        for thread in self.waiting.drain(..) {
            let _ = thread.join();
        }
    }

    /// Archives the files of users who have said nothing since we started.
    fn archive_closed(&mut self) {
        for item in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = item.file_name();
            let name = name.to_string_lossy();
            let uid = name.strip_prefix("user-").and_then(|rest| rest.strip_suffix(".journal"));
            let Some(owner) = uid.and_then(|uid| uid.parse().ok()).map(Some) else { continue };
            if self.writers.contains_key(&owner) {
                continue;
            }
            let resumed = Writer::resume(&item.path(), &self.machine_id, 0, None);
            let archived = resumed.and_then(|writer| {
                let header = writer.header().clone();
                writer.close(true)?;
                Ok(fs::rename(item.path(), self.directory.join(archive_name(owner, &header)))?)
            });
            if archived.is_err() {
                let _ = self.set_aside(owner);
            }
        }
    }

    /// Lets readers see what was appended.
    pub fn flush(&mut self) {
        self.give_up_unless(Writer::flush);
    }

    /// Brings what was appended to the disk, and waits for it.
    pub fn sync(&mut self) {
        self.wait();
        self.give_up_unless(Writer::sync);
    }

    /// Brings what was appended to the disk, without waiting for it.
    pub fn sync_soon(&mut self) {
        self.flush();
        let files: Vec<fs::File> = self.writers.values().filter_map(|writer| writer.file().ok()).collect();
        self.wait_for_disk(move || Ok(files.iter().try_for_each(fs::File::sync_data)?));
    }

    fn give_up_unless(&mut self, work: fn(&mut Writer) -> Result<(), Error>) {
        let directory = &self.directory;
        self.writers.retain(|owner, writer| match work(writer) {
            Ok(()) => true,
            Err(error) => {
                eprintln!("systemd-journald: {}/{}.journal: {error}", directory.display(), stem_of(*owner));
                false
            }
        });
    }

    /// Closes the files in order.
    pub fn close(&mut self) {
        for owner in self.writers.keys().copied().collect::<Vec<_>>() {
            self.close_one(owner);
        }
        self.wait();
    }

    fn close_one(&mut self, owner: Owner) {
        if let Some(writer) = self.writers.remove(&owner)
            && let Err(error) = writer.close(false)
        {
            eprintln!("systemd-journald: {}: {error}", self.path_of(owner).display());
        }
    }

    /// Looks after age and room, now and then; call it often.
    pub fn look_after(&mut self, time: Timestamp) {
        if time.monotonic < self.look_at {
            return;
        }
        self.look_at = time.monotonic + LOOK_EVERY;
        let old = |writer: &Writer| {
            let (header, age) = (writer.header(), self.config.max_file_age);
            age > 0 && header.n_entries > 0 && time.realtime.saturating_sub(header.head_entry_realtime) > age
        };
        let old: Vec<Owner> =
            self.writers.iter().filter(|(_, writer)| old(writer)).map(|(owner, _)| *owner).collect();
        for owner in old {
            self.rotate_one(owner);
        }
        if let Ok(space) = Space::of(&self.directory, self.bounds()) {
            self.space = space;
            self.make_room(space.limit);
        }
    }

    /// Removes archives until all files take no more than `limit` bytes, and those that are too many or too old.
    fn make_room(&mut self, limit: u64) {
        let retention = Some(self.config.max_retention).filter(|age| *age > 0);
        let oldest = retention.map(|age| now().realtime.saturating_sub(age));
        let removed = space::vacuum(&self.directory, Some(limit), Some(self.space.max_files), oldest);
        for (archive, result) in removed {
            if let Err(error) = result {
                self.remarks
                    .push(format!("Failed to delete archived journal {}: {error}", archive.path.display()));
            }
        }
    }

    fn remove_oldest(&mut self) -> bool {
        let archives = space::archives(&self.directory);
        let Some(oldest) = archives.first() else { return false };
        let removed = fs::remove_file(&oldest.path).is_ok();
        if removed && self.remarks.len() < 16 {
            let path = oldest.path.display();
            self.remarks.push(format!("No space left: removed the oldest archived journal {path}."));
        }
        removed
    }

    /// Moves from memory to the disk, once that is there.
    ///
    /// # Errors
    /// The directory on disk cannot be made or written.
    pub fn move_to_disk(&mut self) -> Result<(), Error> {
        if self.is_persistent() || matches!(self.config.storage, Storage::Volatile | Storage::None) {
            return Ok(());
        }
        let disk = Store::open(&self.place, &self.config, self.boot_id);
        if !disk.is_persistent() {
            // Nobody wants a disk's journal where there is no place for it.
            let wanted = self.config.storage == Storage::Persistent;
            return if wanted { Err(Error::NoSpace) } else { Ok(()) };
        }
        let mut memory = std::mem::replace(self, disk);
        memory.close();
        let archives = space::archives(&memory.directory).into_iter().map(|archive| archive.path);
        for path in archives.chain([memory.path_of(None)]) {
            self.copy_from(&path);
            // What is copied and stays would only be shown twice.
            let _ = fs::remove_file(&path);
        }
        self.lost += memory.lost;
        self.sync();
        Ok(())
    }

    /// Goes on in memory, so that the disk can be unmounted.
    pub fn move_to_memory(&mut self) {
        if self.is_persistent() {
            self.close();
            self.directory = self.place.volatile().join(format_id(&self.machine_id));
        }
    }

    fn copy_from(&mut self, path: &Path) {
        let Ok(mut objects) = Objects::open(path) else { return };
        let chain = objects.chain();
        for number in 0..chain.len() {
            let Some(offset) = chain.get(&mut objects, number) else { continue };
            let Ok(entry) = objects.entry(offset) else { continue };
            let fields: Vec<_> = entry.items.iter().filter_map(|item| objects.data(*item).ok()).collect();
            let uid = fields
                .iter()
                .find_map(|field| std::str::from_utf8(field.strip_prefix(b"_UID=")?).ok()?.parse().ok());
            let fields: Vec<&[u8]> = fields.iter().map(|field| &**field).collect();
            self.append(entry.time, uid, &fields);
        }
    }
}

fn stem_of(owner: Owner) -> String {
    owner.map_or_else(|| "system".to_owned(), |uid| format!("user-{uid}"))
}

fn archive_name(owner: Owner, header: &Header) -> String {
    let (id, head, time) =
        (format_id(&header.seqnum_id), header.head_entry_seqnum, header.head_entry_realtime);
    format!("{}@{id}-{head:016x}-{time:016x}.journal", stem_of(owner))
}

/// Compact files, unless the environment says otherwise: systemd's own switch.
fn wants_compact() -> bool {
    !std::env::var("SYSTEMD_JOURNAL_COMPACT")
        .is_ok_and(|text| crate::config::parse_bool(&text) == Some(false))
}

/// Lets a user read a file, by an access control list. Source: acl(5), and the kernel's posix_acl_xattr.h.
fn let_read(path: &Path, uid: u32) -> io::Result<()> {
    const NO_ID: u32 = u32::MAX;
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in
        [(1_u16, 6_u16, NO_ID), (2, 4, uid), (4, 4, NO_ID), (16, 4, NO_ID), (32, 0, NO_ID)]
    {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    Ok(rustix::fs::setxattr(path, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty())?)
}
