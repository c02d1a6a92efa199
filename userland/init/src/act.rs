//! The one place where the engine's actions become effects.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::event::epoll;
use unit::settings::{Input, Output, Phase};
use unit::{Action, ActiveState, Announcement, Event, Level, Pid, Spawn, Target};

use crate::face::News;
use crate::log;
use crate::manager::{Manager, Starting};
use crate::paths::Paths;
use crate::{exec, exported};

/// Who reads the journal's sockets.
const JOURNAL: &str = "systemd-journald.service";
/// What starts when the system goes down.
const SHUTDOWN: &str = "shutdown.target";
/// The parents of directories that a stopped unit may have removed.
const REMOVABLE: &str = "/run";

impl Manager {
    pub(crate) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn(spawn) => self.spawn(*spawn),
            Action::Signal { unit: _, target: Target::Pid(pid), signal } => {
                if pid.0 > 1 {
                    let _ = linux::signal::kill(pid.0, signal);
                }
            }
            Action::Signal { unit: _, target: Target::Cgroup(path), signal } => {
                self.tree.signal(&path, signal)
            }
            Action::ConfigureCgroup { unit, cgroup, resources } => {
                let resources = self.completed(&unit, &resources);
                if let Err(error) = self.tree.ensure(&unit, &cgroup, &resources) {
                    log::say(
                        Level::Warning,
                        Some(&unit),
                        &format!("{unit}: cannot set up cgroup {cgroup}: {error}"),
                    );
                }
            }
            Action::RemoveCgroup { unit, cgroup } => {
                self.tree.remove(&cgroup);
                exec::forget(&unit);
                exported::take_back(&unit);
            }
            Action::RemoveDirectories { unit, paths } => {
                for path in paths {
                    if let Err(error) = remove(Path::new(&path)) {
                        log::say(
                            Level::Warning,
                            Some(&unit),
                            &format!("{unit}: cannot remove {path}: {error}"),
                        );
                    }
                }
            }
            Action::OpenSockets { unit } => {
                let outcome = self.sockets.open(&unit);
                self.events.push_front(Event::SocketsOpened { unit: unit.name.clone(), outcome });
            }
            Action::WatchSockets { unit, on } => self.sockets.watch(&unit, on),
            Action::FlushSockets { unit } => self.sockets.flush(&unit),
            Action::CloseSockets { unit } => self.sockets.close(&unit),
            Action::CloseConnection { id } => self.sockets.hang_up(id),
            Action::Store { unit, name, most } => {
                for fd in std::mem::take(&mut self.handed) {
                    self.sockets.store(&unit, name.as_deref().unwrap_or_default(), fd, most);
                }
            }
            Action::DropStore { unit, name } => {
                self.sockets.unstore(&unit, name.as_deref());
            }
            Action::Touch { unit, path, at } => {
                if let Err(error) = touch(Path::new(&path), at) {
                    log::say(Level::Warning, Some(&unit), &format!("{unit}: cannot touch {path}: {error}"));
                }
            }
            Action::MakePaths { unit } => Paths::make(&unit),
            Action::WatchPaths { unit } => {
                let event = self.paths.watch(&unit);
                self.events.push_back(event);
            }
            Action::UnwatchPaths { unit } => self.paths.unwatch(&unit),
            Action::PlaceAutomount { unit } => {
                let outcome = self.automounts.place(&unit);
                self.events.push_front(Event::AutomountPlaced { unit: unit.name.clone(), outcome });
            }
            Action::AnswerAutomount { unit, mounted } => self.automounts.answer(&unit, mounted),
            Action::RemoveAutomount { unit } => self.automounts.remove(&unit),
            Action::ExpireAutomount { unit } => self.automounts.expire(&unit),
            Action::Adopt { unit, pids, cgroup, resources } => {
                let resources = self.completed(&unit, &resources);
                if let Err(error) = self.tree.adopt(&unit, &cgroup, &resources, &pids) {
                    log::say(
                        Level::Warning,
                        Some(&unit),
                        &format!("{unit}: cannot take over processes: {error}"),
                    );
                }
                if !self.tree.is_populated(&cgroup) {
                    self.events.push_back(Event::CgroupEmpty { unit });
                }
            }
            Action::JobQueued { job, request, unit } => {
                if unit.as_str() == SHUTDOWN && self.goes_down() {
                    self.enter(Phase::Startup);
                }
                self.tell(News::Queued { job, request, unit });
            }
            Action::JobDone { job, requests, unit, result } => {
                self.tell(News::Done { job, requests, unit, result });
                if !self.engine.is_busy() {
                    self.finished();
                }
            }
            Action::Refused { id, error } => self.tell(News::Refused { request: id, error }),
            Action::Loaded { unit } => self.tell(News::Loaded { unit }),
            Action::Changed { unit } => {
                if unit.as_str() == JOURNAL {
                    let state = self.engine.active_state(&unit);
                    log::set_journal_runs(state == Some(ActiveState::Active));
                }
                self.tell(News::Changed { unit });
            }
            Action::Log { unit, level, message } => log::say(level, unit.as_ref(), &message),
            Action::Announce { unit, kind, message } => {
                if self.show_status {
                    log::announce(kind, &message);
                }
                let level = match kind {
                    Announcement::Failed | Announcement::Depend | Announcement::Time => Level::Error,
                    Announcement::Begins | Announcement::Ok | Announcement::Skip => Level::Info,
                };
                log::say(level, Some(&unit), &message);
            }
            Action::Shutdown(how) => self.shutdown = Some(how),
            Action::RebootArgument(argument) => crate::shutdown::set_argument(&argument),
        }
    }

    /// Starts a process; the engine hears of it before anything else.
    fn spawn(&mut self, spawn: Spawn) {
        let invocation = spawn.environment.iter().find(|(name, _)| name == "INVOCATION_ID");
        if let Some((_, invocation)) = invocation
            && let Err(error) = exported::tell(&spawn.unit, invocation, &spawn.exec.logging)
        {
            let unit = &spawn.unit;
            log::say(
                Level::Warning,
                Some(unit),
                &format!("{unit}: the journal cannot be told of it: {error}"),
            );
        }
        let streams = spawn.exec.input == Input::Socket
            || [spawn.exec.stdout(), spawn.exec.stderr()].contains(&Output::Socket);
        let blocking = !spawn.exec.non_blocking;
        let handed = self.sockets.passed(&spawn.passed, blocking).map(|all| exec::Handed::new(all, streams));
        let outcome = handed.and_then(|handed| {
            let cgroup = self.cgroup_for(&spawn)?;
            exec::start(&spawn, Some(cgroup.as_fd()), &handed)
        });
        let (unit, token) = (spawn.unit, spawn.token);
        let outcome = match outcome {
            Ok(started) => {
                let pid = Pid(started.pid);
                self.expect(pid, Starting { unit: unit.clone(), token, report: started.report });
                Ok(pid)
            }
            Err(error) => Err(error.to_string()),
        };
        // In front of what may be waiting: the engine's rule is that nothing comes between.
        self.events.push_front(Event::Spawned { unit, token, outcome });
    }

    /// Waits for what a child on its way says.
    pub(crate) fn expect(&mut self, pid: Pid, starting: Starting) {
        if let Some(epoll) = &self.epoll {
            let data = epoll::EventData::new_u64(u64::from(pid.0));
            let _ = epoll::add(epoll, &starting.report, data, epoll::EventFlags::IN);
        }
        self.starting.insert(pid, starting);
    }

    fn cgroup_for(&mut self, spawn: &Spawn) -> std::io::Result<OwnedFd> {
        let resources = self.completed(&spawn.unit, &spawn.resources);
        let own = self.tree.ensure(&spawn.unit, &spawn.cgroup, &resources)?;
        if spawn.control_cgroup { self.tree.ensure_below(&spawn.cgroup, ".control") } else { Ok(own) }
    }

    /// Hands in what the children on their way have said.
    pub(crate) fn take_reports(&mut self) {
        let waiting: Vec<Pid> = self.starting.keys().copied().collect();
        for pid in waiting {
            self.take_report(pid);
        }
    }

    /// Hands in what one child has said, if it has.
    pub(crate) fn take_report(&mut self, pid: Pid) {
        let Some(said) = self.starting.get(&pid).and_then(|starting| starting.report.take()) else { return };
        let Some(Starting { unit, token, .. }) = self.starting.remove(&pid) else { return };
        self.handle(match said {
            Ok(()) => Event::Executed { unit, token },
            Err(failure) => {
                Event::ExecFailed { unit, token, code: i32::from(failure.code), why: failure.why }
            }
        });
    }
}

/// Makes a file that is not there, and sets its time of modification (µs since 1970; `None`: now).
fn touch(path: &Path, at: Option<unit::Usec>) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    let at = at.map_or_else(std::time::SystemTime::now, |usec| {
        std::time::UNIX_EPOCH + std::time::Duration::from_micros(usec)
    });
    file.set_modified(at)
}

/// Removes a tree below /run and nothing else, without following links.
fn remove(path: &Path) -> std::io::Result<()> {
    let safe = path.starts_with(REMOVABLE)
        && path.components().count() > 2
        && path.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if !safe {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_in_run_are_removed() {
        for bad in ["/", "/run", "/etc/x", "/run/../etc", "run/x", "/var/run/x"] {
            assert!(remove(Path::new(bad)).is_err(), "{bad}");
        }
        assert!(remove(Path::new("/run/no-such-folder-of-a-unit")).is_ok());
    }
}
