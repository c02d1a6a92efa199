//! The autofs of automount units: put in place, heard, answered, taken away (systemd.automount(5)).
//!
//! Entering the folder does not make PID 1 itself wait: the kernel knows the process group that mounts as the
//! automounter's, and PID 1 has one of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::time::Duration;

use linux::autofs::{self, Request};
use linux::namespace::{Namespaces, fork_into};
use rustix::event::epoll;
use rustix::fs::{Mode, OFlags, Timespec};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use rustix::time::{timerfd_create, timerfd_settime};
use serde::{Deserialize, Serialize};
use unit::{Event, Pid, Unit, UnitName};

use crate::handover::{Inherited, Kept};

/// What the mount table tells as the source.
const SOURCE: &str = "systemd-1";
/// An idle mount is looked for at least this often, and at most.
const LOOKS: std::ops::RangeInclusive<u64> = 1..=60;
/// Requests taken in before others have their turn.
const AT_ONCE: usize = 64;

/// All that are in place.
#[derive(Debug, Default)]
pub struct Automounts {
    epoll: Option<OwnedFd>,
    placed: BTreeMap<UnitName, Placed>,
    last: u64,
}

/// What is in place, written down for PID 1 executed anew.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    place: String,
    pipe: Kept,
    root: Kept,
    waiting: BTreeSet<u32>,
    idle: Duration,
    timer: Option<Kept>,
}

#[derive(Debug)]
struct Placed {
    place: String,
    pipe: OwnedFd,
    /// The autofs' own folder.
    root: OwnedFd,
    /// Answers that are owed.
    waiting: BTreeSet<u32>,
    idle: Duration,
    /// When to look for an idle mount.
    timer: Option<OwnedFd>,
    number: u64,
}

impl Automounts {
    /// None yet.
    #[must_use]
    pub fn new() -> Automounts {
        Automounts { epoll: epoll::create(epoll::CreateFlags::CLOEXEC).ok(), ..Automounts::default() }
    }

    /// Readable when somebody waits.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.epoll.as_ref().map(AsFd::as_fd)
    }

    /// Puts an autofs in place.
    ///
    /// # Errors
    /// What failed.
    pub fn place(&mut self, unit: &Unit) -> Result<(), String> {
        let settings = unit.automount().ok_or("not an automount")?;
        let place = settings.place.clone();
        let made = put(&settings.options, settings.directory_mode, &place);
        let (pipe, root) = made.map_err(|error| format!("{place}: {error}"))?;
        self.last += 1;
        let idle = Duration::from_micros(settings.idle);
        if !idle.is_zero() {
            let _ = autofs::set_timeout(root.as_fd(), idle.as_secs().max(1));
        }
        let placed =
            Placed { place, pipe, root, waiting: BTreeSet::new(), idle, timer: None, number: self.last };
        if let Some(epoll) = &self.epoll {
            let data = epoll::EventData::new_u64(placed.number);
            let _ = epoll::add(epoll, &placed.pipe, data, epoll::EventFlags::IN);
        }
        self.placed.insert(unit.name.clone(), placed);
        Ok(())
    }

    /// Writes down what is in place.
    #[must_use]
    pub fn save(&self) -> BTreeMap<UnitName, Saved> {
        let saved = |placed: &Placed| Saved {
            place: placed.place.clone(),
            pipe: Kept::of(&placed.pipe),
            root: Kept::of(&placed.root),
            waiting: placed.waiting.clone(),
            idle: placed.idle,
            timer: placed.timer.as_ref().map(Kept::of),
        };
        self.placed.iter().map(|(name, placed)| (name.clone(), saved(placed))).collect()
    }

    /// Takes it over. Returns the units whose descriptors have not come along.
    pub fn restore(&mut self, saved: BTreeMap<UnitName, Saved>, inherited: &mut Inherited) -> Vec<UnitName> {
        let mut lost = Vec::new();
        for (name, Saved { place, pipe, root, waiting, idle, timer }) in saved {
            let (Some(pipe), Some(root)) = (inherited.take(&pipe), inherited.take(&root)) else {
                lost.push(name);
                continue;
            };
            self.last += 1;
            let timer = timer.and_then(|timer| inherited.take(&timer));
            let placed = Placed { place, pipe, root, waiting, idle, timer, number: self.last };
            for fd in std::iter::once(&placed.pipe).chain(&placed.timer) {
                if let Some(epoll) = &self.epoll {
                    let data = epoll::EventData::new_u64(placed.number);
                    let _ = epoll::add(epoll, fd, data, epoll::EventFlags::IN);
                }
            }
            self.placed.insert(name, placed);
        }
        lost
    }

    /// Who waits, and which mounts are idle.
    pub fn asked(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let mut packet = [0; autofs::PACKET];
        for (name, placed) in &mut self.placed {
            for _ in 0..AT_ONCE {
                if rustix::io::read(&placed.pipe, &mut packet) != Ok(packet.len()) {
                    break;
                }
                match Request::parse(&packet) {
                    Some(Request::Missing { token, pid }) => {
                        placed.waiting.insert(token);
                        events.push(Event::AutomountWanted { unit: name.clone(), pid: Pid(pid) });
                    }
                    Some(Request::Expire { token }) => {
                        // who comes now keeps the mount busy, and it stays
                        let _ = autofs::ready(placed.root.as_fd(), token);
                        events.push(Event::AutomountExpired { unit: name.clone() });
                    }
                    None => {}
                }
            }
            if let Some(timer) = &placed.timer
                && rustix::io::read(timer, &mut [0; 8]).is_ok()
            {
                // the kernel waits for our answer to what it finds: another process asks it
                let root = placed.root.as_fd();
                let _ = fork_into(Namespaces::NONE, None, || autofs::expire(root).is_err().into());
            }
        }
        events
    }

    /// Lets all go on, or fail, who wait.
    pub fn answer(&mut self, unit: &UnitName, mounted: bool) {
        let Some(placed) = self.placed.get_mut(unit) else { return };
        for token in std::mem::take(&mut placed.waiting) {
            let root = placed.root.as_fd();
            let _ = if mounted { autofs::ready(root, token) } else { autofs::fail(root, token) };
        }
        if !mounted {
            placed.timer = None;
        }
    }

    /// Begins to look whether the mount is idle.
    pub fn expire(&mut self, unit: &UnitName) {
        let (Some(placed), Some(epoll)) = (self.placed.get_mut(unit), &self.epoll) else { return };
        let seconds = (placed.idle.as_secs() / 10).clamp(*LOOKS.start(), *LOOKS.end());
        let every = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(1), tv_nsec: 0 };
        let spec = Itimerspec { it_interval: every, it_value: every };
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK);
        if let Ok(timer) = timer
            && timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec).is_ok()
        {
            let data = epoll::EventData::new_u64(placed.number);
            let _ = epoll::add(epoll, &timer, data, epoll::EventFlags::IN);
            placed.timer = Some(timer);
        }
    }

    /// Takes an autofs away.
    pub fn remove(&mut self, unit: &UnitName) {
        self.answer(unit, false);
        if let Some(placed) = self.placed.remove(unit) {
            let _ = autofs::catatonic(placed.root.as_fd());
            drop(placed.root);
            let _ = unmount(placed.place.as_str(), UnmountFlags::DETACH);
        }
    }
}

/// Mounts it; the pipe by which it asks, and its own folder.
fn put(options: &str, mode: u32, place: &str) -> io::Result<(OwnedFd, OwnedFd)> {
    DirBuilder::new().recursive(true).mode(mode).create(place)?;
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK | PipeFlags::DIRECT)?;
    let more = if options.is_empty() { String::new() } else { format!(",{options}") };
    let data = format!("fd={},minproto=5,maxproto=5,direct{more}", writer.as_raw_fd());
    mount(SOURCE, place, "autofs", MountFlags::empty(), Some(CString::new(data)?.as_c_str()))?;
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::open(place, flags, Mode::empty()) {
        Ok(root) => Ok((reader, root)),
        Err(error) => {
            let _ = unmount(place, UnmountFlags::DETACH);
            Err(error.into())
        }
    }
}
