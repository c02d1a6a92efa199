//! TTYPath= and its kin: a terminal for a session (systemd.exec(5), tty(4)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
    tcgetwinsize, tcsetattr, tcsetwinsize,
};
use unit::settings::{ExecSettings, Input};

use super::Failure;
use super::status;
use crate::users::Users;

const CONSOLE: &str = "/dev/console";
/// How often a terminal that another session has is asked for again.
const PAUSE: Duration = Duration::from_millis(250);
/// Clears the screen and what scrolled off it.
const CLEAR: &[u8] = b"\x1b[r\x1b[H\x1b[3J\x1bc";

/// Makes the terminal fit to begin a session on: whoever was there before is hung up on.
pub fn prepare(exec: &ExecSettings) {
    let wanted = &exec.terminal;
    if !(wanted.reset || wanted.hang_up || wanted.disallocate || wanted.rows.or(wanted.columns).is_some()) {
        return;
    }
    // What cannot be done here is not worth failing for: the session may work all the same.
    let Ok(terminal) = open(exec) else { return };
    if wanted.hang_up {
        let _ = linux::terminal::hang_up(&terminal);
    }
    let Ok(terminal) = open(exec) else { return };
    if wanted.reset {
        reset(&terminal);
    }
    if let Ok(mut size) = tcgetwinsize(&terminal) {
        size.ws_row = wanted.rows.unwrap_or(size.ws_row);
        size.ws_col = wanted.columns.unwrap_or(size.ws_col);
        if wanted.rows.or(wanted.columns).is_some() {
            let _ = tcsetwinsize(&terminal, size);
        }
    }
    if wanted.disallocate {
        disallocate(path(exec), &terminal);
    }
}

fn disallocate(path: &str, terminal: &File) {
    let number = path.strip_prefix("/dev/tty").and_then(|digits| digits.parse().ok());
    let gone = number.is_some_and(|number: u8| {
        File::open("/dev/tty0").and_then(|console| linux::terminal::disallocate(&console, number)).is_ok()
    });
    if !gone {
        let _ = rustix::io::write(terminal, CLEAR);
    }
}

fn reset(terminal: &File) {
    linux::terminal::to_text(terminal);
    let Ok(mut modes) = tcgetattr(terminal) else { return };
    sane(&mut modes);
    let _ = tcsetattr(terminal, OptionalActions::Now, &modes);
}

/// As a terminal is when it is new.
fn sane(modes: &mut Termios) {
    modes
        .input_modes
        .remove(InputModes::IGNBRK | InputModes::BRKINT | InputModes::ISTRIP | InputModes::INLCR);
    modes.input_modes.remove(InputModes::IGNCR | InputModes::IUCLC);
    modes.input_modes.insert(InputModes::ICRNL | InputModes::IMAXBEL | InputModes::IUTF8);
    modes.output_modes.insert(OutputModes::ONLCR | OutputModes::OPOST);
    modes.control_modes.insert(ControlModes::CREAD);
    modes.local_modes = LocalModes::ISIG
        | LocalModes::ICANON
        | LocalModes::IEXTEN
        | LocalModes::ECHO
        | LocalModes::ECHOE
        | LocalModes::ECHOK
        | LocalModes::ECHOCTL
        | LocalModes::ECHOKE;
    let codes = [
        (SpecialCodeIndex::VINTR, 3),
        (SpecialCodeIndex::VQUIT, 28),
        (SpecialCodeIndex::VERASE, 127),
        (SpecialCodeIndex::VKILL, 21),
        (SpecialCodeIndex::VEOF, 4),
        (SpecialCodeIndex::VSTART, 17),
        (SpecialCodeIndex::VSTOP, 19),
        (SpecialCodeIndex::VSUSP, 26),
        (SpecialCodeIndex::VLNEXT, 22),
        (SpecialCodeIndex::VWERASE, 23),
        (SpecialCodeIndex::VREPRINT, 18),
        (SpecialCodeIndex::VMIN, 1),
        (SpecialCodeIndex::VTIME, 0),
    ];
    for (index, code) in codes {
        modes.special_codes[index] = code;
    }
}

/// The terminal as the controlling one of this session.
pub fn acquire(exec: &ExecSettings) -> io::Result<OwnedFd> {
    loop {
        let terminal = open(exec)?;
        match linux::terminal::take(&terminal, exec.input == Input::TtyForce) {
            Ok(()) => return Ok(terminal.into()),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => {
                if exec.input != Input::Tty {
                    return Err(error);
                }
                sleep(PAUSE);
            }
            // No terminal at all (a console that is a file, in a container): it is what there is.
            Err(_) if exec.input != Input::TtyFail => return Ok(terminal.into()),
            Err(error) => return Err(error),
        }
    }
}

/// Opens it without making it anybody's.
pub fn open(exec: &ExecSettings) -> io::Result<File> {
    let flags = OFlags::NOCTTY.bits() as i32;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path(exec))
}

fn path(exec: &ExecSettings) -> &str {
    exec.terminal.path.as_deref().unwrap_or(CONSOLE)
}

/// The terminal belongs to the unit's user while it runs: nobody else may read along.
pub fn own(exec: &ExecSettings, uid: u32, users: &Users) -> Result<(), Failure> {
    if !exec.input.is_terminal() {
        return Ok(());
    }
    let failed = |error: rustix::io::Errno| Failure::new(status::STDIN, "cannot own the terminal", error);
    let stdin = rustix::stdio::stdin();
    let group = users.group("tty").map(Gid::from_raw);
    match fchown(stdin, Some(Uid::from_raw(uid)), group) {
        Err(rustix::io::Errno::ROFS) => return Ok(()),
        result => result.map_err(failed)?,
    }
    fchmod(stdin, Mode::from_raw_mode(if group.is_some() { 0o620 } else { 0o600 })).map_err(failed)
}
