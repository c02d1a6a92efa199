//! Waiting for new entries: inotify(7) tells that a file has changed; its header tells how many entries it has
//! more than we saw. Files are told apart by their own id, so that rotation does not confuse us.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::file::{Entry, Id128};
use crate::query::matches::Expression;
use crate::query::merge::{Source, open};

/// Looks after this time even if nothing was told, in seconds: a directory may be new.
const LOOK_AGAIN: i64 = 2;

/// What has been seen, and how to wait for more.
pub struct Follow {
    seen: HashMap<Id128, u64>,
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
        Ok(Follow { seen, inotify })
    }

    /// Waits for a change.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait(&self) -> io::Result<()> {
        let timeout = Timespec { tv_sec: LOOK_AGAIN, tv_nsec: 0 };
        let mut descriptors = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        while reader.next().is_ok() {}
        Ok(())
    }

    /// What is new in these files, in order of time, each with the index of its file.
    pub fn news(&mut self, paths: &[PathBuf], expression: &Expression) -> (Vec<Source>, Vec<(usize, Entry)>) {
        let mut sources = open(paths);
        let mut news = Vec::new();
        for (index, source) in sources.iter_mut().enumerate() {
            let header = source.objects.header();
            let (id, count) = (header.file_id, header.n_entries);
            let seen = self.seen.insert(id, count).unwrap_or(0);
            if count <= seen {
                continue;
            }
            let Ok(resolved) = expression.resolve(&mut source.objects) else { continue };
            for offset in source.objects.entries_from(seen) {
                if let Ok(entry) = source.objects.entry(offset)
                    && resolved.fits(&entry.items)
                {
                    news.push((index, entry));
                }
            }
        }
        news.sort_by_key(|(_, entry)| (entry.time.realtime, entry.seqnum));
        (sources, news)
    }
}
