//! Waiting for new entries: inotify(7) tells that a file has changed; its header tells how many entries it has
//! more than we saw. Files are told apart by their own id, so that rotation does not confuse us, and are kept open,
//! so that one which is archived or removed meanwhile is read to its end.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::file::{Entry, Id128, layout};
use crate::query::matches::Expression;
use crate::query::merge::{Source, open};

/// Looks after this time even if nothing was told, in seconds: a directory may be new.
const LOOK_AGAIN: i64 = 2;

/// What has been seen, and how to wait for more.
pub struct Follow {
    seen: HashMap<Id128, u64>,
    /// Sequence numbers up to which a file's entries were shown, though its header did not count them yet.
    shown: HashMap<Id128, u64>,
    /// The files that may still change.
    live: Vec<Source>,
    /// Files may have come.
    stale: bool,
    inotify: OwnedFd,
}

impl Follow {
    /// Takes what `sources` have now as seen.
    ///
    /// # Errors
    /// No inotify instance is left.
    pub fn begin(sources: &[Source], directories: &[PathBuf]) -> io::Result<Follow> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
        for directory in directories {
            // A directory that is not there yet is looked for again and again.
            let _ = inotify::add_watch(&inotify, directory, flags);
        }
        let seen = sources
            .iter()
            .map(|source| (source.objects.header().file_id, source.objects.header().n_entries))
            .collect();
        Ok(Follow { seen, shown: HashMap::new(), live: Vec::new(), stale: true, inotify })
    }

    /// What was shown of these since `begin` is no news, either: a file grows while it is gone through.
    pub fn go_on(&mut self, sources: Vec<Source>) {
        self.shown.extend(sources.iter().map(|source| (source.objects.header().file_id, source.passed)));
    }

    /// What to wait for: readable when there may be news.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

    /// Waits for a change.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait(&mut self) -> io::Result<()> {
        let timeout = Timespec { tv_sec: LOOK_AGAIN, tv_nsec: 0 };
        let mut descriptors = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            // Nothing was told: look whether files have come where nobody watches.
            Ok(0) => self.stale = true,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.drain();
        Ok(())
    }

    /// Takes what was told.
    pub fn drain(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(inotify::ReadFlags::MODIFY) => {}
                Ok(_) => self.stale = true,
                Err(_) => break,
            }
        }
    }

    /// Calls `each` with what is new in these files, in order of time.
    ///
    /// # Errors
    /// What `each` says.
    pub fn news(
        &mut self,
        paths: &[PathBuf],
        expression: &Expression,
        each: &mut dyn FnMut(&mut Source, &Entry) -> io::Result<()>,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.stale) {
            self.find(paths);
        }
        let mut news: Vec<(usize, Entry)> = Vec::new();
        for (index, source) in self.live.iter_mut().enumerate() {
            if source.objects.refresh().is_err() {
                continue;
            }
            let header = source.objects.header();
            let (id, count) = (header.file_id, header.n_entries);
            let seen = self.seen.get(&id).copied().unwrap_or(0);
            if count <= seen {
                continue;
            }
            let chain = source.objects.chain();
            self.seen.insert(id, chain.len().max(seen));
            let shown = self.shown.get(&id).copied().unwrap_or(0);
            let Ok(resolved) = expression.resolve(&mut source.objects) else { continue };
            for number in seen..chain.len() {
                if let Some(offset) = chain.get(&mut source.objects, number)
                    && let Ok(entry) = source.objects.entry(offset)
                    && entry.seqnum > shown
                    && resolved.fits(&entry.items)
                {
                    news.push((index, entry));
                }
            }
        }
        news.sort_by_key(|(_, entry)| (entry.time.realtime, entry.seqnum));
        for (index, entry) in &news {
            if let Some(source) = self.live.get_mut(*index) {
                each(source, entry)?;
            }
        }
        self.live.retain(|source| source.objects.header().state != layout::ARCHIVED);
        Ok(())
    }

    /// Opens the files that are not open and have something that was not seen.
    fn find(&mut self, paths: &[PathBuf]) {
        for source in open(paths) {
            let header = source.objects.header();
            let known = self.live.iter().any(|live| live.objects.header().file_id == header.file_id);
            let done = header.state == layout::ARCHIVED
                && self.seen.get(&header.file_id).is_some_and(|seen| *seen >= header.n_entries);
            if !known && !done {
                self.live.push(source);
            }
        }
    }
}
