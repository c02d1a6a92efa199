//! The child's three standard streams: null, a terminal, files, data, sockets, the kernel's log, or a stream to the
//! journal.
//!
//! A journal stream begins with the seven lines of systemd's stdout protocol: identifier, unit, priority, level prefix,
//! forward to syslog, to kmsg, to the console. Without a journal the kernel's log takes the output.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{MemfdFlags, OFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use unit::Spawn;
use unit::settings::{ExecSettings, Input, Output};

use super::{Failure, Handed, status, streams, terminal};

const JOURNAL: &str = "/run/systemd/journal/stdout";

/// Connects the three streams; returns `JOURNAL_STREAM` when one of the outputs is the journal's.
pub fn connect(spawn: &Spawn, handed: &Handed) -> Result<Option<String>, Failure> {
    let exec = &spawn.exec;
    let failed = |error: io::Error| Failure::new(status::STDIN, "cannot connect stdin", error);
    let input = open_input(exec, handed).map_err(failed)?;
    rustix::stdio::dup2_stdin(&input).map_err(|error| failed(error.into()))?;

    let stdout = match exec.stdout() {
        // As the input: but nobody can write to what was opened for reading only.
        Output::Inherit if matches!(exec.input, Input::Null | Input::Data | Input::File(_)) => Output::Null,
        output => output,
    };
    let failed = |error: io::Error| Failure::new(status::STDOUT, "cannot connect stdout", error);
    let out = open_output(&stdout, spawn, handed, input.as_fd()).map_err(failed)?;
    rustix::stdio::dup2_stdout(&out).map_err(|error| failed(error.into()))?;

    let stderr = exec.stderr();
    let failed = |error: io::Error| Failure::new(status::STDERR, "cannot connect stderr", error);
    let err = if stderr == Output::Inherit || stderr == stdout {
        out.try_clone().map_err(failed)?
    } else {
        open_output(&stderr, spawn, handed, out.as_fd()).map_err(failed)?
    };
    rustix::stdio::dup2_stderr(&err).map_err(|error| failed(error.into()))?;

    let journal = [(&stdout, &out), (&stderr, &err)].into_iter().find(|(output, _)| output.is_journal());
    let identity = journal.and_then(|(_, fd)| fstat(fd).ok());
    Ok(identity.map(|data| format!("{}:{}", data.st_dev, data.st_ino)))
}

fn open_input(exec: &ExecSettings, handed: &Handed) -> io::Result<OwnedFd> {
    let null = || File::open("/dev/null");
    Ok(match &exec.input {
        Input::Null => null()?.into(),
        Input::Data => data(&exec.input_data)?,
        Input::File(path) if streams::is_one(path) => streams::take(path)?,
        // A file that is also written to is opened once, for both.
        Input::File(path) if matches!(&exec.output, Some(Output::File(out)) if out == path) => {
            output_file().read(true).create(true).truncate(false).open(path)?.into()
        }
        Input::File(path) => File::open(path)?.into(),
        Input::Socket => handed.stream()?.try_clone_to_owned()?,
        Input::Named(name) => handed.named(name)?.try_clone_to_owned()?,
        Input::Tty | Input::TtyForce | Input::TtyFail => terminal::acquire(exec)?,
    })
}

/// A file in memory that cannot be changed any more.
fn data(bytes: &[u8]) -> io::Result<OwnedFd> {
    let memory = memfd_create("stdin", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}

fn output_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(OFlags::NOCTTY.bits() as i32).mode(0o666);
    options
}

fn open_output(
    output: &Output,
    spawn: &Spawn,
    handed: &Handed,
    inherited: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let exec = &spawn.exec;
    let same_as_input = |path: &str| matches!(&exec.input, Input::File(input) if input == path);
    Ok(match output {
        Output::Inherit => inherited.try_clone_to_owned()?,
        Output::Socket => handed.stream()?.try_clone_to_owned()?,
        Output::Named(name) => handed.named(name)?.try_clone_to_owned()?,
        Output::Null => output_file().open("/dev/null")?.into(),
        Output::Tty => terminal::open(exec)?.into(),
        Output::Journal => journal(spawn, false)?,
        Output::JournalConsole => journal(spawn, true)?,
        Output::Kmsg | Output::KmsgConsole => output_file().open("/dev/kmsg")?.into(),
        Output::File(path) if streams::is_one(path) => streams::take(path)?,
        Output::File(path) if same_as_input(path) => rustix::stdio::stdin().try_clone_to_owned()?,
        Output::File(path) => match output_file().create(true).truncate(false).open(path) {
            // A socket in the file system is a place to write to as well.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                UnixStream::connect(path)?.into()
            }
            file => file?.into(),
        },
        Output::Append(path) => output_file().append(true).create(true).open(path)?.into(),
        Output::Truncate(path) => output_file().create(true).truncate(true).open(path)?.into(),
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
    let logging = &spawn.exec.logging;
    let program = Path::new(&spawn.path).file_name().unwrap_or_default().to_string_lossy();
    let identifier = logging.identifier.as_deref().unwrap_or(&program);
    let priority = logging.priority();
    let prefix = u8::from(logging.level_prefix.unwrap_or(true));
    let identifier: String = identifier.chars().filter(|c| !c.is_control()).collect();
    format!("{identifier}\n{}\n{priority}\n{prefix}\n0\n0\n{}\n", spawn.unit, u8::from(console))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn data_is_read_from_its_beginning_and_stays() {
        let mut file = File::from(data(b"hello").unwrap());
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert!(file.write_all(b"x").is_err());
    }
}
