//! PID 1 and its client: events in, actions out.
//!
//! The story: [`prepare`] mounts the run-time tree; the [`manager`] owns the pure engine of the `unit` crate and all
//! state; the [`event_loop`] waits for signals, notifications, dead children, mounts and clients and hands them to the
//! manager; `act` carries the engine's actions out by [`exec`], [`cgroup`] and [`log`]; [`catalog`] and [`probe`] are
//! the engine's eyes; [`dbus`] is the face for `systemctl`; [`handover`] carries all of it over to a program executed
//! anew; [`shutdown`] is the end.
//!
//! Invariants: one thread, so that it may fork; nothing blocks after `prepare`; no input makes it panic, and should it
//! panic or crash all the same, it executes itself anew and goes on.

mod act;
pub mod automounts;
pub mod catalog;
pub mod cgroup;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod configuration;
pub mod dbus;
pub mod devices;
pub mod event_loop;
pub mod exec;
pub mod exported;
pub mod face;
pub mod generators;
pub mod guard;
pub mod handover;
pub mod hardware_watchdog;
pub mod host;
pub mod log;
pub mod manager;
pub mod mounts;
pub mod notify;
pub mod paths;
mod phases;
pub mod power_button;
pub mod prepare;
pub mod probe;
pub mod resources;
pub mod shutdown;
pub mod sockets;
pub mod swaps;
pub mod transient;
pub mod unit_show;
pub mod users;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::ExitCode;

use unit::{JobMode, Level, RequestError, UnitName, Verb};

pub use unit_show::unit_show;

use event_loop::{End, EventLoop};
use handover::{Inherited, Order, Snapshots, State};
use manager::Manager;

const SIGKILL: i32 = 9;
/// What to start when the kernel command line's `systemd.unit=` and the image name nothing usable.
const TARGETS: [&str; 3] = ["default.target", "multi-user.target", "rescue.target"];

/// Units that need nobody to name them.
const ALWAYS_THERE: [&str; 3] = ["-.slice", "system.slice", "init.scope"];

/// The applet `init`: PID 1 of the machine.
pub fn init(args: Vec<OsString>) -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("init: runs as process 1 only; use systemctl to talk to it");
        return ExitCode::FAILURE;
    }
    // what comes before there is a manager is a part of the boot too
    let began = manager::now();
    let order = Order::parse(&args);
    // before anything of our own is opened
    let mut inherited = Inherited::all();
    let mut snapshots = Snapshots::begin(&order);
    shutdown::recover_from_panics();
    let line = if order.goes_on() { prepare::CommandLine::read() } else { begin(&order) };
    let configuration = configuration::read(Path::new("/"));
    if !order.goes_on() {
        generators::run(&configuration.manager_environment);
    }
    let probe = probe::System::new(line.clone(), prepare::is_first_boot());
    let mut manager =
        Manager::new(host::read(), cgroup::Tree::take_over(), catalog::Directories::system(), probe);
    manager.times.userspace = began;
    manager.configure(configuration);
    if let Some(word) = line.value("systemd.show_status") {
        manager.show_status = !matches!(word, "0" | "no" | "false");
    }
    let (mut state, knows) = if order.goes_on() {
        handover::take_over(&mut manager, &order, &mut inherited)
    } else {
        (State::default(), false)
    };
    for name in ALWAYS_THERE.into_iter().filter_map(|name| UnitName::parse(name).ok()) {
        manager.load(&name);
    }
    let face = listen(&mut state, &mut inherited);
    let mut events = match EventLoop::open(&manager, face, state.events(), &mut inherited) {
        Ok(events) => events,
        Err(error) => {
            log::say(Level::Emergency, None, &format!("Cannot begin to serve: {error}"));
            shutdown::give_up()
        }
    };
    // what nobody has taken over is closed
    drop(inherited);
    if !knows {
        start_target(&mut manager, line.value("systemd.unit"));
    }
    loop {
        match events.run(&mut manager, &mut snapshots) {
            End::Down(how) => {
                snapshots.end();
                shutdown::go_down(how, events.take_watchdog(how))
            }
            End::Again => {
                let error = handover::execute(&manager, &events);
                log::say(
                    Level::Error,
                    None,
                    &format!("PID 1 cannot execute itself anew, it goes on: {error}"),
                );
            }
        }
    }
}

/// The beginning of a boot.
fn begin(order: &Order) -> prepare::CommandLine {
    if order.is_after_crash() {
        // there is no state: what runs is of no use to the boot that begins anew
        let _ = linux::signal::kill_everybody(SIGKILL);
    }
    // a session and process group of its own: autofs tells by it who may enter without waiting
    let _ = rustix::process::setsid();
    let line = prepare::machine();
    let _ = detach_console();
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    line
}

/// Opens the door for `systemctl`; without it the machine runs, but nobody can tell it anything.
fn listen(state: &mut State, inherited: &mut Inherited) -> Option<Box<dyn face::Face>> {
    match dbus::Face::again(state.face(), inherited) {
        Ok(face) => Some(Box::new(face)),
        Err(error) => {
            log::say(Level::Critical, None, &format!("Cannot listen on {}: {error}", dbus::SOCKET));
            None
        }
    }
}

/// Starts the first target that there is.
fn start_target(manager: &mut Manager, wanted: Option<&str>) {
    for name in wanted.into_iter().chain(TARGETS) {
        let Ok(unit) = UnitName::parse(name) else { continue };
        let request = manager.submit(Verb::Start, unit, JobMode::Isolate);
        let refused = manager.news.iter().find_map(|news| match news {
            face::News::Refused { request: id, error } if *id == request => Some(error.clone()),
            _ => None,
        });
        manager.units_loaded();
        match refused {
            None => return,
            Some(RequestError::NoIsolate(unit)) => {
                manager.submit(Verb::Start, unit, JobMode::Replace);
                return;
            }
            Some(error) => log::say(Level::Critical, None, &format!("Cannot start {name}: {error}")),
        }
    }
}

/// Lets go of the console, which a session on it may want for itself: what PID 1 says goes through `log`.
fn detach_console() -> std::io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
