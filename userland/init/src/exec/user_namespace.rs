//! PrivateUsers=: a user namespace in which only root and the unit's own user have a name.

use std::fs;
use std::io::{self, Read, Write};

use linux::namespace::{Namespaces, fork_into, unshare};
use rustix::pipe::{PipeFlags, pipe_with};

use super::identity::Identity;

/// Moves this process there. A map of two users can only be written from outside, so a child stays outside for it.
pub fn enter(identity: &Identity) -> io::Result<()> {
    let own = std::process::id();
    let (mut go, mut tell_go) = pipe()?;
    let (mut done, tell_done) = pipe()?;
    let maps = [("uid_map", map(identity.uid)), ("gid_map", map(identity.gid))];
    let child = fork_into(Namespaces::NONE, None, || {
        let mut byte = [0];
        if go.read_exact(&mut byte).is_err() {
            return 1;
        }
        let written = maps.iter().try_for_each(|(file, map)| fs::write(format!("/proc/{own}/{file}"), map));
        let answer = written.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
        let _ = (&tell_done).write_all(&answer.to_ne_bytes());
        0
    })?;
    drop(tell_done);
    unshare(Namespaces::USER)?;
    tell_go.write_all(&[1])?;
    let mut answer = [0; 4];
    done.read_exact(&mut answer)?;
    if let Some(pid) = i32::try_from(child.pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    }
    match i32::from_ne_bytes(answer) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

fn map(own: u32) -> String {
    if own == 0 { "0 0 1\n".into() } else { format!("0 0 1\n{own} {own} 1\n") }
}

fn pipe() -> io::Result<(fs::File, fs::File)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}
