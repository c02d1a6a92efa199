//! A terminal for a session.
//!
//! Source: RFC 4254 sections 6.2, 6.7 and 8 (encoded modes); pty(7). The user owns the terminal and the
//! group `tty` may write to it, as login(1) leaves it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use russh::Pty as Opcode;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex as Code, Termios, Winsize,
    tcgetattr, tcsetattr, tcsetwinsize,
};

/// The number of the group `tty`, the same on every Linux.
const TTY_GROUP: u32 = 5;

/// A terminal that is not used yet.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Our side; reads and writes do not block.
    pub(crate) master: OwnedFd,
    /// The session's side.
    pub(crate) slave: OwnedFd,
    /// Its name, such as `/dev/pts/3`.
    pub(crate) name: String,
    /// What the client calls its kind.
    pub(crate) term: String,
}

/// The four numbers of a window's size, as the client sends them: columns, rows, pixels.
pub(crate) fn size(columns: u32, rows: u32, width: u32, height: u32) -> Winsize {
    let short = |number| u16::try_from(number).unwrap_or(u16::MAX);
    Winsize { ws_col: short(columns), ws_row: short(rows), ws_xpixel: short(width), ws_ypixel: short(height) }
}

impl Terminal {
    /// Opens a terminal for the user `uid`.
    ///
    /// # Errors
    /// When the kernel has none left, or `/dev/pts` is not mounted.
    pub(crate) fn open(term: &str, size: Winsize, modes: &[(Opcode, u32)], uid: u32) -> io::Result<Terminal> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
        rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), Some(Gid::from_raw(TTY_GROUP)))?;
        rustix::fs::fchmod(&slave, Mode::from_raw_mode(0o620))?;
        let mut settings = tcgetattr(&slave)?;
        for (opcode, value) in modes {
            apply(&mut settings, *opcode, *value);
        }
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        tcsetwinsize(&slave, size)?;
        rustix::fs::fcntl_setfl(&master, rustix::fs::fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        Ok(Terminal { master, slave, name, term: term.to_owned() })
    }
}

/// Tells the terminal that its window has another size; the kernel tells its programs.
pub(crate) fn resize(master: impl AsFd, size: Winsize) {
    let _ = tcsetwinsize(master, size);
}

/// Sets one mode. Those that Linux lacks are ignored, as the RFC asks.
fn apply(settings: &mut Termios, opcode: Opcode, value: u32) {
    if let Some(code) = special_code(opcode) {
        // 255 stands for "none", which Linux writes as 0.
        settings.special_codes[code] = u8::try_from(value).ok().filter(|code| *code != 255).unwrap_or(0);
    } else if let Some(mode) = input_mode(opcode) {
        settings.input_modes.set(mode, value != 0);
    } else if let Some(mode) = local_mode(opcode) {
        settings.local_modes.set(mode, value != 0);
    } else if let Some(mode) = output_mode(opcode) {
        settings.output_modes.set(mode, value != 0);
    }
}

fn special_code(opcode: Opcode) -> Option<Code> {
    Some(match opcode {
        Opcode::VINTR => Code::VINTR,
        Opcode::VQUIT => Code::VQUIT,
        Opcode::VERASE => Code::VERASE,
        Opcode::VKILL => Code::VKILL,
        Opcode::VEOF => Code::VEOF,
        Opcode::VEOL => Code::VEOL,
        Opcode::VEOL2 => Code::VEOL2,
        Opcode::VSTART => Code::VSTART,
        Opcode::VSTOP => Code::VSTOP,
        Opcode::VSUSP => Code::VSUSP,
        Opcode::VREPRINT => Code::VREPRINT,
        Opcode::VWERASE => Code::VWERASE,
        Opcode::VLNEXT => Code::VLNEXT,
        Opcode::VDISCARD => Code::VDISCARD,
        _ => return None,
    })
}

fn input_mode(opcode: Opcode) -> Option<InputModes> {
    Some(match opcode {
        Opcode::IGNPAR => InputModes::IGNPAR,
        Opcode::PARMRK => InputModes::PARMRK,
        Opcode::INPCK => InputModes::INPCK,
        Opcode::ISTRIP => InputModes::ISTRIP,
        Opcode::INLCR => InputModes::INLCR,
        Opcode::IGNCR => InputModes::IGNCR,
        Opcode::ICRNL => InputModes::ICRNL,
        Opcode::IUCLC => InputModes::IUCLC,
        Opcode::IXON => InputModes::IXON,
        Opcode::IXANY => InputModes::IXANY,
        Opcode::IXOFF => InputModes::IXOFF,
        Opcode::IMAXBEL => InputModes::IMAXBEL,
        Opcode::IUTF8 => InputModes::IUTF8,
        _ => return None,
    })
}

fn local_mode(opcode: Opcode) -> Option<LocalModes> {
    Some(match opcode {
        Opcode::ISIG => LocalModes::ISIG,
        Opcode::ICANON => LocalModes::ICANON,
        Opcode::XCASE => LocalModes::XCASE,
        Opcode::ECHO => LocalModes::ECHO,
        Opcode::ECHOE => LocalModes::ECHOE,
        Opcode::ECHOK => LocalModes::ECHOK,
        Opcode::ECHONL => LocalModes::ECHONL,
        Opcode::NOFLSH => LocalModes::NOFLSH,
        Opcode::TOSTOP => LocalModes::TOSTOP,
        Opcode::IEXTEN => LocalModes::IEXTEN,
        Opcode::ECHOCTL => LocalModes::ECHOCTL,
        Opcode::ECHOKE => LocalModes::ECHOKE,
        Opcode::PENDIN => LocalModes::PENDIN,
        _ => return None,
    })
}

fn output_mode(opcode: Opcode) -> Option<OutputModes> {
    Some(match opcode {
        Opcode::OPOST => OutputModes::OPOST,
        Opcode::OLCUC => OutputModes::OLCUC,
        Opcode::ONLCR => OutputModes::ONLCR,
        Opcode::OCRNL => OutputModes::OCRNL,
        Opcode::ONOCR => OutputModes::ONOCR,
        Opcode::ONLRET => OutputModes::ONLRET,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_takes_the_clients_size_and_modes() {
        let uid = rustix::process::geteuid().as_raw();
        let modes = [(Opcode::ECHO, 0), (Opcode::VINTR, 7), (Opcode::VEOL, 255), (Opcode::ONLCR, 0)];
        let terminal = Terminal::open("xterm", size(132, 50, 0, 1 << 20), &modes, uid).unwrap();
        assert!(terminal.name.starts_with("/dev/pts/"));
        let settings = tcgetattr(&terminal.slave).unwrap();
        assert!(!settings.local_modes.contains(LocalModes::ECHO));
        assert!(!settings.output_modes.contains(OutputModes::ONLCR));
        assert_eq!((settings.special_codes[Code::VINTR], settings.special_codes[Code::VEOL]), (7, 0));
        let window = rustix::termios::tcgetwinsize(&terminal.slave).unwrap();
        assert_eq!((window.ws_col, window.ws_row, window.ws_ypixel), (132, 50, u16::MAX));
        resize(&terminal.master, size(80, 24, 0, 0));
        assert_eq!(rustix::termios::tcgetwinsize(&terminal.slave).unwrap().ws_col, 80);
    }
}
