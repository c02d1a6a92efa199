//! PID 1 executes itself anew: by `systemctl daemon-reexec`, to run a program that was updated, or after a crash.
//!
//! The story: [`state`] writes all that PID 1 knows into a file in memory, in a versioned format ([`envelope`]); every
//! descriptor stays open over execve(2), and [`descriptor`] tells by name which is which; the new program takes both over. No process
//! is restarted, no queue is lost, children stay children. While PID 1 is at work it keeps a recent state at hand
//! ([`Snapshots`]): after a crash that is where it goes on, and [`found`] adds what has happened since, as far as
//! cgroups and /run tell. Where there is no state that can be read, they alone have to do.

pub mod descriptor;
mod envelope;
mod found;
mod order;
mod snapshot;
mod state;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

use unit::Event;

pub use descriptor::{Inherited, Kept};
pub use order::Order;
pub use snapshot::Snapshots;
pub use state::State;

use crate::event_loop::EventLoop;
use crate::log::{self, Level};
use crate::manager::Manager;

/// Where the program is when it is not where it was executed from.
const PROGRAM: &CStr = c"/sbin/init";
/// This very program, even when its file has been replaced.
const SELF: &CStr = c"/proc/self/exe";

/// Where this program was executed from.
fn own() -> CString {
    let own = std::env::args_os().next().filter(|own| own.as_encoded_bytes().starts_with(b"/"));
    own.and_then(|own| CString::new(own.into_vec()).ok()).unwrap_or_else(|| PROGRAM.to_owned())
}

/// Executes PID 1 anew with its state. Returns only if that cannot be done, and why; nothing has changed then.
pub fn execute(manager: &Manager, events: &EventLoop) -> io::Error {
    let file = match state::write(manager, events) {
        Ok(file) => file,
        Err(error) => return error,
    };
    let order = Order { state: Some(file.as_raw_fd()), ..Order::default() };
    log::say(Level::Notice, None, "PID 1 executes itself anew.");
    linux::inherit::keep_all(true);
    // an updated program has taken the place of this one in the file system
    let own = own();
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for program in [own.as_c_str(), PROGRAM, SELF] {
        match nix::unistd::execv(program, &order.arguments(&own)) {
            Ok(never) => match never {},
            Err(error) => failed = error.into(),
        }
    }
    linux::inherit::keep_all(false);
    failed
}

/// Takes over the state that this program was executed with. False: there is none, or none that can be read, and units
/// are to be started as in a boot.
pub fn take_over(manager: &mut Manager, order: &Order, inherited: &mut Inherited) -> (State, bool) {
    let mut state = State::default();
    let mut good = false;
    if let Some(file) = order.state.and_then(|number| inherited.number(number)) {
        match read(file) {
            Ok(read) => {
                state = read;
                good = true;
            }
            Err(error) => {
                let text = format!(
                    "The state of PID 1 is lost: {error}. What runs is found by its cgroups, and the boot begins anew."
                );
                log::say(Level::Emergency, None, &text);
            }
        }
    }
    if good {
        state.restore(manager, inherited);
    }
    if !good || order.is_after_crash() {
        found::take_in(manager);
    }
    // clocks may have jumped in between
    manager.handle(Event::ClockChanged);
    (state, good)
}

fn read(file: OwnedFd) -> Result<State, String> {
    let mut file = File::from(file);
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    read.map_err(|error| error.to_string())?;
    State::read(&bytes).map_err(|error| error.to_string())
}

/// Keeps a file open over an execve(2) that may come at any moment.
fn number(file: &File) -> i32 {
    file.as_fd().as_raw_fd()
}
