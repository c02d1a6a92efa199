//! PID 1's one loop: wait, take what came in a fixed order, hand it to the manager, tell the face.
//!
//! The order matters: what a service said (notify, how its way to the program went) comes before the news of its end,
//! and that before "its cgroup is empty", whatever the kernel reported first.

use std::io;
use std::path::Path;
use std::time::Duration;

use linux::signal::SignalFd;
use linux::watchdog::Watchdog;
use rustix::event::epoll;
use rustix::fd::AsFd;
use rustix::fs::Timespec;
use rustix::process::{WaitOptions, wait};
use serde::{Deserialize, Serialize};
use unit::{Event, ExitStatus, JobMode, Level, Pid, Shutdown, UnitName, Verb};

use crate::clock::{ClockWatch, ZoneWatch};
use crate::devices::{self, Uevents};
use crate::face::{Face, News};
use crate::handover::{Inherited, Kept, Snapshots, descriptor};
use crate::hardware_watchdog::HardwareWatchdog;
use crate::log;
use crate::manager::{Manager, now};
use crate::mounts::Mounts;
use crate::notify::{self, NotifySocket};
use crate::power_button::PowerButtons;
use crate::swaps::Swaps;

/// The core flag in a wait status (wait(2)).
const CORE_DUMPED: i32 = 0x80;

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIGPWR: i32 = 30;
/// systemd(1), "Signals": SIGRTMIN+0 to +6 start targets, +13 to +16 go down at once.
const REAL_TIME: std::ops::RangeInclusive<i32> = 0..=16;

/// What can be waited for, in the order of being served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Notify,
    Reports,
    Mounts,
    Swaps,
    Signals,
    Devices,
    Automounts,
    Sockets,
    Paths,
    Clock,
    Zone,
    Face,
    Cgroups,
    PowerButtons,
}

const SOURCES: [Source; 14] = [
    Source::Notify,
    Source::Reports,
    Source::Mounts,
    Source::Swaps,
    Source::Signals,
    Source::Devices,
    Source::Automounts,
    Source::Sockets,
    Source::Paths,
    Source::Clock,
    Source::Zone,
    Source::Face,
    Source::Cgroups,
    Source::PowerButtons,
];

/// Those of the loop's descriptors that PID 1 executed anew goes on with: what waits there is not lost.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    notify: Option<Kept>,
    uevents: Option<Kept>,
    watchdog: Option<Kept>,
}

/// Why the loop has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The system is to go down.
    Down(Shutdown),
    /// PID 1 is to execute itself anew.
    Again,
}

/// The loop's descriptors.
pub struct EventLoop {
    epoll: rustix::fd::OwnedFd,
    signals: SignalFd,
    notify: Option<NotifySocket>,
    mounts: Option<Mounts>,
    swaps: Option<Swaps>,
    uevents: Option<Uevents>,
    clock: Option<ClockWatch>,
    zone: Option<ZoneWatch>,
    face: Option<Box<dyn Face>>,
    watchdog: HardwareWatchdog,
    power_buttons: PowerButtons,
}

impl EventLoop {
    /// Opens everything that is waited for. What cannot be opened is reported and done without.
    ///
    /// # Errors
    /// Without epoll and signals there is no loop.
    pub fn open(
        manager: &Manager,
        face: Option<Box<dyn Face>>,
        saved: Saved,
        inherited: &mut Inherited,
    ) -> io::Result<EventLoop> {
        let mut wanted = vec![SIGHUP, SIGINT, SIGTERM, SIGCHLD, SIGPWR];
        wanted.extend(REAL_TIME.map(|number| linux::signal::rtmin() + number));
        let signals = SignalFd::watch(&wanted)?;
        let complain = |what: &str, error: io::Error| {
            log::say(Level::Error, None, &format!("Cannot open {what}: {error}"));
        };
        let notify = match descriptor::again(inherited, saved.notify.as_ref()) {
            Some(fd) => Some(NotifySocket::again(fd)),
            None => NotifySocket::bind(Path::new(notify::PATH))
                .map_err(|error| complain(notify::PATH, error))
                .ok(),
        };
        let mounts = Mounts::open().map_err(|error| complain("the mount table", error)).ok();
        // a kernel without swap has no table of it
        let swaps = Swaps::open().ok();
        let uevents = match descriptor::again(inherited, saved.uevents.as_ref()) {
            Some(fd) => Some(Uevents::again(fd)),
            None => Uevents::open().map_err(|error| complain("the kernel's device events", error)).ok(),
        };
        let clock = ClockWatch::begin().map_err(|error| complain("the watch over the clock", error)).ok();
        let zone = ZoneWatch::begin().ok();
        let watchdog = HardwareWatchdog::begin(
            &manager.configuration.watchdog,
            descriptor::again(inherited, saved.watchdog.as_ref()),
        );
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let add = |source: Source, fd: rustix::fd::BorrowedFd<'_>, flags| {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(source as u64), flags)
        };
        add(Source::Signals, signals.as_fd(), epoll::EventFlags::IN)?;
        if let Some(notify) = &notify {
            add(Source::Notify, notify.as_fd(), epoll::EventFlags::IN)?;
        }
        if let Some(mounts) = &mounts {
            add(Source::Mounts, mounts.as_fd(), epoll::EventFlags::PRI)?;
        }
        if let Some(swaps) = &swaps {
            add(Source::Swaps, swaps.as_fd(), epoll::EventFlags::PRI)?;
        }
        if let Some(uevents) = &uevents {
            add(Source::Devices, uevents.as_fd(), epoll::EventFlags::IN)?;
        }
        if let Some(clock) = &clock {
            add(Source::Clock, clock.as_fd(), epoll::EventFlags::IN)?;
        }
        if let Some(zone) = &zone {
            add(Source::Zone, zone.as_fd(), epoll::EventFlags::IN)?;
        }
        for (source, fd) in [
            (Source::Sockets, manager.sockets.fd()),
            (Source::Paths, manager.paths.fd()),
            (Source::Automounts, manager.automounts.fd()),
        ] {
            if let Some(fd) = fd {
                add(source, fd, epoll::EventFlags::IN)?;
            }
        }
        if let Some(face) = &face {
            add(Source::Face, face.fd(), epoll::EventFlags::IN)?;
        }
        if let Some(fd) = manager.tree.fd() {
            add(Source::Cgroups, fd, epoll::EventFlags::IN)?;
        }
        if let Some(fd) = &manager.epoll {
            add(Source::Reports, fd.as_fd(), epoll::EventFlags::IN)?;
        }
        let power_buttons = PowerButtons::open();
        for fd in power_buttons.fds() {
            add(Source::PowerButtons, fd, epoll::EventFlags::IN)?;
        }
        Ok(EventLoop {
            epoll,
            signals,
            notify,
            mounts,
            swaps,
            uevents,
            clock,
            zone,
            face,
            watchdog,
            power_buttons,
        })
    }

    /// Writes down what PID 1 executed anew goes on with.
    #[must_use]
    pub fn save(&self) -> Saved {
        Saved {
            notify: descriptor::of(self.notify.as_ref().map(AsFd::as_fd)),
            uevents: descriptor::of(self.uevents.as_ref().map(AsFd::as_fd)),
            watchdog: descriptor::of(self.watchdog.fd()),
        }
    }

    /// The face.
    #[must_use]
    pub fn face(&self) -> Option<&dyn Face> {
        self.face.as_deref()
    }

    /// Starts with the mount table as it is, then serves until the system is to go down.
    pub fn run(&mut self, manager: &mut Manager, snapshots: &mut Snapshots) -> End {
        self.read_mounts(manager);
        self.read_swaps(manager);
        manager.handle(Event::DevicesPlugged(devices::all(Path::new("/sys"))));
        // what came while PID 1 executed itself anew
        self.take_notifications(manager);
        manager.take_reports();
        self.reap(manager);
        self.serve(Source::Cgroups, manager);
        if let Some(face) = &mut self.face {
            face.begin(manager);
        }
        loop {
            self.pass_news_on(manager);
            if let Some(how) = manager.shutdown.take() {
                return End::Down(how);
            }
            if std::mem::take(&mut manager.reexecute) {
                return End::Again;
            }
            snapshots.refresh(manager, self);
            for source in self.wait(manager, snapshots.due_in(manager)) {
                self.serve(source, manager);
            }
            if manager.engine().deadline().is_some_and(|deadline| deadline <= now().1) {
                manager.handle(Event::Elapsed);
            }
        }
    }

    /// The watchdog, for the way down.
    pub fn take_watchdog(&mut self, how: Shutdown) -> Option<Watchdog> {
        self.watchdog.take_for(how)
    }

    /// Waits for something to happen, at most until the engine's deadline, the next pet, or the time to write the state
    /// down; what is ready, in order.
    fn wait(&mut self, manager: &Manager, snapshot: Option<Duration>) -> Vec<Source> {
        self.watchdog.follow(&manager.configuration.watchdog);
        let pet = self.watchdog.pet().map(|pause| pause.as_micros() as u64);
        let deadline = manager.engine().deadline().map(|deadline| deadline.saturating_sub(now().1));
        let snapshot = snapshot.map(|time| time.as_micros() as u64);
        let timeout = deadline.into_iter().chain(pet).chain(snapshot).min().map(|usec| {
            // Rounded up, so that the deadline has passed afterwards.
            let usec = usec.min(3_600_000_000).div_ceil(1000) * 1000;
            Timespec { tv_sec: (usec / 1_000_000) as i64, tv_nsec: (usec % 1_000_000 * 1000) as _ }
        });
        let mut events = Vec::with_capacity(SOURCES.len());
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                log::say(Level::Critical, None, &format!("Cannot wait for events: {error}"));
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        let is_ready = |source: &Source| events.iter().any(|event| event.data.u64() == *source as u64);
        SOURCES.into_iter().filter(is_ready).collect()
    }

    fn serve(&mut self, source: Source, manager: &mut Manager) {
        match source {
            Source::Notify => self.take_notifications(manager),
            Source::Reports => manager.take_reports(),
            Source::Signals => {
                while let Ok(Some(received)) = self.signals.next() {
                    match received.signal {
                        SIGCHLD => self.reap(manager),
                        signal => on_signal(signal, manager),
                    }
                }
            }
            Source::Mounts => self.read_mounts(manager),
            Source::Swaps => self.read_swaps(manager),
            Source::Devices => self.read_devices(manager),
            Source::Automounts => {
                for event in manager.automounts.asked() {
                    manager.handle(event);
                }
            }
            Source::Sockets => {
                for event in manager.sockets.ready() {
                    manager.handle(event);
                }
            }
            Source::Paths => {
                for event in manager.paths.touched() {
                    manager.handle(event);
                }
            }
            Source::Clock => {
                if self.clock.as_ref().is_some_and(ClockWatch::has_jumped) {
                    manager.handle(Event::ClockChanged);
                }
            }
            Source::Zone => {
                if self.zone.as_ref().is_some_and(ZoneWatch::has_changed) {
                    manager.handle(Event::TimezoneChanged);
                }
            }
            Source::Face => {
                if let Some(face) = &mut self.face {
                    face.ready(manager);
                }
            }
            Source::Cgroups => {
                for event in manager.tree.happened() {
                    manager.handle(event);
                }
            }
            Source::PowerButtons => {
                if self.power_buttons.pressed() {
                    log::say(Level::Notice, None, "The power button was pressed.");
                    start(manager, "poweroff.target", JobMode::ReplaceIrreversibly);
                }
            }
        }
    }

    fn take_notifications(&self, manager: &mut Manager) {
        while let Some((pid, message, descriptors)) = self.notify.as_ref().and_then(NotifySocket::next) {
            // Its way to the program went well if it speaks.
            manager.take_report(pid);
            let unit = manager.unit_of(pid.0);
            // what nobody keeps is closed: BARRIER=1 waits for just that
            manager.handed = descriptors;
            manager.handle(Event::Notified { pid, unit, message });
            manager.handed.clear();
        }
    }

    /// Takes in every child that ended, and before that what it has said and done.
    fn reap(&mut self, manager: &mut Manager) {
        // A service that speaks and ends at once has spoken first; whose it was is known until it is waited for.
        self.take_notifications(manager);
        let ended = ended();
        // What a program of a mount or swap has done is in the table: it is looked at after the end of the last one.
        if self.mounts.as_ref().is_some_and(|it| has_changed(it.as_fd())) {
            self.read_mounts(manager);
        }
        if self.swaps.as_ref().is_some_and(|it| has_changed(it.as_fd())) {
            self.read_swaps(manager);
        }
        for (pid, status) in ended {
            manager.take_report(pid);
            if matches!(status, ExitStatus::Signal { signal: SIGKILL, .. }) {
                manager.look_for_oom_kill(pid);
            }
            manager.handle(Event::Exited { pid, status });
        }
    }

    fn read_mounts(&mut self, manager: &mut Manager) {
        if let Some(Ok(mounted)) = self.mounts.as_mut().map(Mounts::read) {
            manager.handle(Event::MountsChanged { mounted });
        }
    }

    fn read_swaps(&mut self, manager: &mut Manager) {
        if let Some(Ok(active)) = self.swaps.as_mut().map(Swaps::read) {
            manager.handle(Event::SwapsChanged { active });
        }
    }

    fn read_devices(&self, manager: &mut Manager) {
        let mut plugged = Vec::new();
        for event in self.uevents.as_ref().map(Uevents::next).unwrap_or_default() {
            match event {
                // in a boot, many at once: the engine takes them in together
                Some(Event::DevicesPlugged(devices)) => plugged.extend(devices),
                // some were lost: what is there is told again, what is gone is found out when it is used
                None => plugged.extend(devices::all(Path::new("/sys"))),
                Some(event) => {
                    plug(manager, &mut plugged);
                    manager.handle(event);
                }
            }
        }
        plug(manager, &mut plugged);
    }

    fn pass_news_on(&mut self, manager: &mut Manager) {
        while !manager.news.is_empty() {
            let news = std::mem::take(&mut manager.news);
            on_refusal(&news);
            if let Some(face) = &mut self.face {
                face.tell(manager, &news);
            }
            manager.collect(&news);
        }
    }
}

/// A refused request of our own would otherwise go unseen: nobody waits for it.
fn on_refusal(news: &[News]) {
    for item in news {
        if let News::Refused { error, .. } = item {
            log::say(Level::Warning, None, &error.to_string());
        }
    }
}

/// Whether a table of /proc is another than when it was last asked.
fn has_changed(fd: rustix::fd::BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::PRI)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
}

/// Hands in the devices that have come.
fn plug(manager: &mut Manager, devices: &mut Vec<unit::Device>) {
    if !devices.is_empty() {
        manager.handle(Event::DevicesPlugged(std::mem::take(devices)));
    }
}

/// Every child that has ended.
fn ended() -> Vec<(Pid, ExitStatus)> {
    let mut ended = Vec::new();
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        let Ok(pid) = u32::try_from(pid.as_raw_nonzero().get()) else { continue };
        let status = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal { signal, core: status.as_raw() & CORE_DUMPED != 0 },
            (None, None) => continue,
        };
        ended.push((Pid(pid), status));
    }
    ended
}

/// Starts a unit of our own accord.
fn start(manager: &mut Manager, name: &str, mode: JobMode) {
    match UnitName::parse(name) {
        Ok(name) => {
            manager.submit(Verb::Start, name, mode);
        }
        Err(error) => log::say(Level::Error, None, &error.to_string()),
    }
}

fn on_signal(signal: i32, manager: &mut Manager) {
    match signal {
        SIGHUP => manager.reload(),
        SIGTERM => manager.reexecute(),
        SIGINT => start(manager, "reboot.target", JobMode::ReplaceIrreversibly),
        SIGPWR => start(manager, "sigpwr.target", JobMode::Replace),
        other => match other - linux::signal::rtmin() {
            0 => start(manager, "default.target", JobMode::Isolate),
            1 => start(manager, "rescue.target", JobMode::Isolate),
            2 => start(manager, "emergency.target", JobMode::Isolate),
            3 => start(manager, "halt.target", JobMode::ReplaceIrreversibly),
            4 => start(manager, "poweroff.target", JobMode::ReplaceIrreversibly),
            5 => start(manager, "reboot.target", JobMode::ReplaceIrreversibly),
            6 => start(manager, "kexec.target", JobMode::ReplaceIrreversibly),
            13 => manager.power(Shutdown::Halt),
            14 => manager.power(Shutdown::PowerOff),
            15 => manager.power(Shutdown::Reboot),
            16 => manager.power(Shutdown::Kexec),
            _ => {}
        },
    }
}
