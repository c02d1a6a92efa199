//! `org.freedesktop.login1.Manager`, as far as power goes: what stock `systemctl poweroff` and its like ask for.
//!
//! There are no sessions here: nobody logs in by logind. An inhibitor is a pipe that its holder keeps open; one that
//! blocks keeps others than root from taking the machine down. Source: org.freedesktop.login1(5).

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};
use unit::{JobMode, Verb};
use wire::{Body, Fds};
use zvariant::{Fd, Value};

use super::{Answer, Call, Method, Outcome, changes, done, reads, values};
use crate::dbus::property::Facts;
use crate::dbus::world::Failure;
use crate::handover::{Inherited, Kept};

/// The most inhibitors, and the most of one user other than root.
const MOST: usize = 256;
const MOST_OF_USER: usize = 16;
/// What can be inhibited.
const WHAT: [&str; 9] = [
    "shutdown",
    "sleep",
    "idle",
    "handle-power-key",
    "handle-suspend-key",
    "handle-hibernate-key",
    "handle-lid-switch",
    "handle-reboot-key",
    "",
];

/// Who does not want the machine to go down.
#[derive(Debug, Default)]
pub struct Inhibitors(Vec<Inhibitor>);

#[derive(Debug)]
struct Inhibitor {
    wish: Wish,
    /// It ends when the other end is closed.
    pipe: OwnedFd,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wish {
    what: String,
    who: String,
    why: String,
    mode: String,
    uid: u32,
    pid: u32,
}

/// One, written down for PID 1 executed anew.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    #[serde(flatten)]
    wish: Wish,
    pipe: Kept,
}

impl Inhibitors {
    /// Writes them down.
    pub fn save(&self) -> Vec<Saved> {
        self.0.iter().map(|it| Saved { wish: it.wish.clone(), pipe: Kept::of(&it.pipe) }).collect()
    }

    /// Takes them over.
    pub fn again(saved: Vec<Saved>, inherited: &mut Inherited) -> Inhibitors {
        let again = |Saved { wish, pipe }: Saved| Some(Inhibitor { wish, pipe: inherited.take(&pipe)? });
        Inhibitors(saved.into_iter().filter_map(again).collect())
    }

    /// Those that are still held.
    fn held(&mut self) -> &mut Vec<Inhibitor> {
        self.0.retain(|inhibitor| {
            let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut asked = [PollFd::new(&inhibitor.pipe, PollFlags::IN)];
            let heard = poll(&mut asked, Some(&now)).is_ok_and(|count| count > 0);
            !(heard
                && asked.first().is_some_and(|fd| fd.revents().intersects(PollFlags::HUP | PollFlags::ERR)))
        });
        &mut self.0
    }

    /// What is inhibited in this mode, with colons between.
    fn inhibited(&mut self, mode: &str) -> String {
        let held = self.held();
        let is = |word: &&str| {
            !word.is_empty()
                && held.iter().any(|Inhibitor { wish, .. }| {
                    wish.mode == mode && wish.what.split(':').any(|what| what == *word)
                })
        };
        WHAT.iter().copied().filter(is).collect::<Vec<_>>().join(":")
    }
}

pub(super) const MANAGER: &[Method] = &[
    changes("PowerOff", "b", "", |call, _| go_down(call, "poweroff.target")),
    changes("Reboot", "b", "", |call, _| go_down(call, "reboot.target")),
    changes("Halt", "b", "", |call, _| go_down(call, "halt.target")),
    changes("PowerOffWithFlags", "t", "", |call, _| go_down(call, "poweroff.target")),
    changes("RebootWithFlags", "t", "", |call, _| go_down(call, "reboot.target")),
    changes("HaltWithFlags", "t", "", |call, _| go_down(call, "halt.target")),
    changes("Suspend", "b", "", |_, _| Err(cannot("suspend"))),
    changes("Hibernate", "b", "", |_, _| Err(cannot("hibernate"))),
    changes("HybridSleep", "b", "", |_, _| Err(cannot("hybrid-sleep"))),
    changes("SuspendThenHibernate", "b", "", |_, _| Err(cannot("suspend-then-hibernate"))),
    changes("SuspendWithFlags", "t", "", |_, _| Err(cannot("suspend"))),
    changes("HibernateWithFlags", "t", "", |_, _| Err(cannot("hibernate"))),
    changes("HybridSleepWithFlags", "t", "", |_, _| Err(cannot("hybrid-sleep"))),
    changes("SuspendThenHibernateWithFlags", "t", "", |_, _| Err(cannot("suspend-then-hibernate"))),
    reads("CanPowerOff", "", "s", |call, _| can(call)),
    reads("CanReboot", "", "s", |call, _| can(call)),
    reads("CanHalt", "", "s", |call, _| can(call)),
    reads("CanSuspend", "", "s", |_, _| values(&"na")),
    reads("CanHibernate", "", "s", |_, _| values(&"na")),
    reads("CanHybridSleep", "", "s", |_, _| values(&"na")),
    reads("CanSuspendThenHibernate", "", "s", |_, _| values(&"na")),
    reads("CanRebootToFirmwareSetup", "", "s", |_, _| values(&"na")),
    reads("CanRebootToBootLoaderMenu", "", "s", |_, _| values(&"na")),
    reads("CanRebootToBootLoaderEntry", "", "s", |_, _| values(&"na")),
    // There is nobody on a terminal to read it; it is taken, so that systemctl goes on.
    changes("SetWallMessage", "sb", "", |_, _| done()),
    changes("ScheduleShutdown", "st", "", |_, _| {
        let text =
            "A shutdown at a later time is not supported; use: systemd-run --on-active=… systemctl poweroff";
        Err(Failure::new("org.freedesktop.DBus.Error.NotSupported", text))
    }),
    changes("CancelScheduledShutdown", "", "b", |_, _| values(&false)),
    reads("Inhibit", "ssss", "h", inhibit),
    reads("ListInhibitors", "", "a(ssssuu)", |call, _| {
        let line = |Inhibitor { wish, .. }: &Inhibitor| {
            let Wish { what, who, why, mode, uid, pid } = wish.clone();
            (what, who, why, mode, uid, pid)
        };
        values(&call.inhibitors.held().iter().map(line).collect::<Vec<_>>())
    }),
    reads("ListSessions", "", "a(susso)", |_, _| {
        values(&Vec::<(String, u32, String, String, zvariant::OwnedObjectPath)>::new())
    }),
    reads("ListUsers", "", "a(uso)", |_, _| values(&Vec::<(u32, String, zvariant::OwnedObjectPath)>::new())),
    reads("ListSeats", "", "a(so)", |_, _| values(&Vec::<(String, zvariant::OwnedObjectPath)>::new())),
    reads("GetSession", "s", "o", |call, _| {
        let id: String = call.message.body()?;
        let text = format!("No session '{id}' known");
        Err(Failure::new("org.freedesktop.login1.NoSuchSession", text))
    }),
    reads("GetSessionByPID", "u", "o", |call, _| {
        let pid: u32 = call.message.body()?;
        let text = format!("PID {pid} does not belong to any known session");
        Err(Failure::new("org.freedesktop.login1.NoSessionForPID", text))
    }),
    reads("GetUser", "u", "o", |call, _| {
        let uid: u32 = call.message.body()?;
        let text = format!("User ID {uid} is not logged in or lingering");
        Err(Failure::new("org.freedesktop.login1.NoSuchUser", text))
    }),
];

/// The manager's properties.
pub(super) fn facts(call: &mut Call<'_>) -> Facts {
    let count = call.inhibitors.held().len() as u64;
    let stopping = call.world.jobs().iter().any(|job| job.unit == "shutdown.target" && job.kind == "start");
    Facts::from([
        ("BlockInhibited", Value::from(call.inhibitors.inhibited("block"))),
        ("DelayInhibited", call.inhibitors.inhibited("delay").into()),
        ("NCurrentInhibitors", count.into()),
        ("PreparingForShutdown", stopping.into()),
    ])
}

fn cannot(verb: &str) -> Failure {
    let text = format!("Sleep verb \"{verb}\" not supported");
    Failure::new("org.freedesktop.login1.SleepVerbNotSupported", text)
}

fn can(call: &Call<'_>) -> Outcome {
    values(&if call.uid == 0 { "yes" } else { "no" })
}

/// Answers before the jobs are done: the caller goes down with the rest.
fn go_down(call: &mut Call<'_>, target: &str) -> Outcome {
    let stopping = call.world.jobs().iter().any(|job| job.unit == "shutdown.target" && job.kind == "start");
    if stopping {
        let text = "There's already a shutdown or sleep operation in progress";
        return Err(Failure::new("org.freedesktop.login1.OperationInProgress", text));
    }
    call.world.submit(Verb::Start, target, JobMode::ReplaceIrreversibly);
    done()
}

fn inhibit(call: &mut Call<'_>, _: &super::Object) -> Outcome {
    let (what, who, why, mode): (String, String, String, String) = call.message.body()?;
    let known = |word: &str| !word.is_empty() && WHAT.contains(&word);
    if !what.split(':').all(known) {
        return Err(Failure::arguments(format!("Invalid what specification {what}")));
    }
    if !matches!(mode.as_str(), "block" | "delay") {
        return Err(Failure::arguments(format!("Invalid mode specification {mode}")));
    }
    if mode == "block" && call.uid != 0 {
        let text = "Access denied: an inhibitor that blocks needs root.";
        return Err(Failure::new("org.freedesktop.DBus.Error.AccessDenied", text));
    }
    let (uid, pid) = (call.uid, call.pid);
    let held = call.inhibitors.held();
    let of_user = held.iter().filter(|it| it.wish.uid == uid).count();
    if held.len() >= MOST || (uid != 0 && of_user >= MOST_OF_USER) {
        return Err(Failure::new("org.freedesktop.DBus.Error.LimitsExceeded", "Too many inhibitors."));
    }
    let failed =
        |error: rustix::io::Errno| Failure::new("org.freedesktop.DBus.Error.NoMemory", error.to_string());
    let (pipe, theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(failed)?;
    held.push(Inhibitor { wish: Wish { what, who, why, mode, uid, pid }, pipe });
    handed_over(theirs)
}

/// An answer of one descriptor: in the body is its number among those that come along.
pub(super) fn handed_over(fd: OwnedFd) -> Outcome {
    let body = Body::of(&Fd::from(&fd))?;
    Ok(Answer::With(body, Fds::new([fd])))
}
