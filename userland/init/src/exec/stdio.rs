//! The child's three standard streams: null, a terminal, files, the kernel's log, or a stream to the journal.
//!
//! A journal stream begins with the seven lines of systemd's stdout protocol: identifier, unit, priority, level prefix,
//! forward to syslog, to kmsg, to the console. Without a journal the kernel's log takes the output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{OFlags, fstat};
use unit::Spawn;
use unit::settings::{ExecSettings, Input, Output};

use super::{Failure, handed};

const STDIN: u8 = 208;
const STDOUT: u8 = 209;
const STDERR: u8 = 222;
const JOURNAL: &str = "/run/systemd/journal/stdout";
const CONSOLE: &str = "/dev/console";
/// syslog's `info`, and the facility `daemon` in front.
const DEFAULT_LEVEL: u8 = 6;
const FACILITY: u8 = 3;

/// Connects the three streams; returns `JOURNAL_STREAM` when one of the outputs is the journal's.
pub fn connect(spawn: &Spawn, socket: Option<&OwnedFd>) -> Result<Option<String>, Failure> {
    let exec = &spawn.exec;
    let input =
        open_input(exec, socket).map_err(|error| Failure::new(STDIN, "cannot connect stdin", error))?;
    rustix::stdio::dup2_stdin(&input).map_err(|error| Failure::new(STDIN, "cannot connect stdin", error))?;

    let stdout = match exec.stdout() {
        // As the input: but nobody can write to a null that was opened for reading only.
        Output::Inherit => match exec.input {
            Input::Null | Input::Data => Output::Null,
            Input::File(_) => Output::Null,
            _ => Output::Inherit,
        },
        output => output,
    };
    // a socket as output only
    let stream = socket.map_or(input.as_fd(), AsFd::as_fd);
    let failed = |error: io::Error| Failure::new(STDOUT, "cannot connect stdout", error);
    let out = open_output(&stdout, spawn, if stdout == Output::Socket { stream } else { input.as_fd() })
        .map_err(failed)?;
    rustix::stdio::dup2_stdout(&out).map_err(|error| failed(error.into()))?;

    let stderr = exec.stderr();
    let failed = |error: io::Error| Failure::new(STDERR, "cannot connect stderr", error);
    let err = if stderr == Output::Inherit || stderr == stdout {
        out.try_clone().map_err(failed)?
    } else {
        open_output(&stderr, spawn, if stderr == Output::Socket { stream } else { out.as_fd() })
            .map_err(failed)?
    };
    rustix::stdio::dup2_stderr(&err).map_err(|error| failed(error.into()))?;

    let journal = [(&stdout, &out), (&stderr, &err)].into_iter().find(|(output, _)| is_journal(output));
    let identity = journal.and_then(|(_, fd)| fstat(fd).ok());
    Ok(identity.map(|data| format!("{}:{}", data.st_dev, data.st_ino)))
}

fn is_journal(output: &Output) -> bool {
    matches!(output, Output::Journal | Output::JournalConsole)
}

fn open_input(exec: &ExecSettings, socket: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    if let Input::File(path) = &exec.input
        && let Some(fd) = handed::take(path)
    {
        return fd;
    }
    let null = || File::open("/dev/null");
    let file = match &exec.input {
        Input::Null | Input::Data => null()?,
        Input::File(path) => File::open(path)?,
        Input::Socket => return socket.ok_or(io::ErrorKind::NotConnected)?.try_clone(),
        Input::Tty | Input::TtyForce | Input::TtyFail => {
            let terminal = terminal(exec)?;
            let taken = rustix::process::ioctl_tiocsctty(&terminal);
            if matches!(exec.input, Input::TtyFail) {
                taken?;
            }
            terminal
        }
    };
    Ok(file.into())
}

fn terminal(exec: &ExecSettings) -> io::Result<File> {
    let path = exec.tty_path.as_deref().unwrap_or(CONSOLE);
    let flags = OFlags::NOCTTY.bits() as i32;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

fn open_output(
    output: &Output,
    spawn: &Spawn,
    inherited: std::os::fd::BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    if let Output::File(path) = output
        && let Some(fd) = handed::take(path)
    {
        return fd;
    }
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(OFlags::NOCTTY.bits() as i32).mode(0o666);
        options
    };
    Ok(match output {
        Output::Inherit | Output::Socket => inherited.try_clone_to_owned()?,
        Output::Null => write().open("/dev/null")?.into(),
        Output::Tty => terminal(&spawn.exec)?.into(),
        Output::Journal => journal(spawn, false)?,
        Output::JournalConsole => journal(spawn, true)?,
        Output::Kmsg | Output::KmsgConsole => write().open("/dev/kmsg")?.into(),
        Output::File(path) => write().create(true).truncate(false).open(path)?.into(),
        Output::Append(path) => OpenOptions::new().append(true).create(true).mode(0o666).open(path)?.into(),
        Output::Truncate(path) => write().create(true).truncate(true).open(path)?.into(),
    })
}

fn journal(spawn: &Spawn, console: bool) -> io::Result<OwnedFd> {
    let stream = UnixStream::connect(JOURNAL).and_then(|mut stream| {
        stream.write_all(header(spawn, console).as_bytes())?;
        stream.shutdown(std::net::Shutdown::Read)?;
        Ok(stream)
    });
    if let Ok(stream) = stream {
        return Ok(stream.into());
    }
    let write =
        |path: &str| OpenOptions::new().write(true).custom_flags(OFlags::NOCTTY.bits() as i32).open(path);
    Ok(write("/dev/kmsg").or_else(|_| write("/dev/null"))?.into())
}

fn header(spawn: &Spawn, console: bool) -> String {
    let exec = &spawn.exec;
    let program = Path::new(&spawn.path).file_name().unwrap_or_default().to_string_lossy();
    let identifier = exec.syslog_identifier.as_deref().unwrap_or(&program);
    let priority = FACILITY << 3 | exec.syslog_level.unwrap_or(DEFAULT_LEVEL) & 7;
    let prefix = u8::from(exec.syslog_level_prefix.unwrap_or(true));
    let identifier: String = identifier.chars().filter(|c| !c.is_control()).collect();
    format!("{identifier}\n{}\n{priority}\n{prefix}\n0\n0\n{}\n", spawn.unit, u8::from(console))
}
