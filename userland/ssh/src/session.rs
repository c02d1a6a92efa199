//! A session: a process of the user's, with a terminal or with pipes, and its end told to the client.
//!
//! Source: RFC 4254 section 6; sshd(8), "LOGIN PROCESS", for the environment.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use russh::server::{Handle, Msg};
use russh::{ChannelWriteHalf, Sig};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{Child, Command};

use crate::access::Login;
use crate::child::Become;
use crate::flow::{Closed, Incoming, carry_out};
use crate::pty::{Terminal, resize};

/// What users find on their path.
const PATH: &str = "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin:/opt/bin";
/// The most variables a client may set, and the most bytes of each.
const MOST_VARIABLES: usize = 32;
const MOST_BYTES: usize = 1024;
/// How long the last output of a terminal may take to come out of the kernel after its shell has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(100);

/// What the client wants to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// The login shell.
    Shell,
    /// A command for the shell.
    Exec(Vec<u8>),
    /// A subsystem by name.
    Subsystem(String),
}

/// A session channel: what it will run with, then what runs.
#[derive(Debug)]
pub(crate) struct Session {
    pipes: Option<(Incoming, ChannelWriteHalf<Msg>, Closed)>,
    terminal: Option<Terminal>,
    variables: Vec<(String, String)>,
    master: Option<Arc<AsyncFd<OwnedFd>>>,
    leader: Arc<Mutex<Option<Pid>>>,
}

impl Session {
    /// A session that nothing runs in yet.
    pub(crate) fn new(pipes: (Incoming, ChannelWriteHalf<Msg>, Closed)) -> Session {
        Session {
            pipes: Some(pipes),
            terminal: None,
            variables: Vec::new(),
            master: None,
            leader: Arc::default(),
        }
    }

    /// Takes a variable of the client's, if it is one of language or colour.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> bool {
        let known = name == "LANG" || name.starts_with("LC_") || matches!(name, "COLORTERM" | "NO_COLOR");
        let fits = self.variables.len() < MOST_VARIABLES && name.len() + value.len() <= MOST_BYTES;
        let taken = known && fits && !name.contains(['=', '\0']) && !value.contains('\0');
        if taken {
            self.variables.push((name.to_owned(), value.to_owned()));
        }
        taken
    }

    /// Gives the session a terminal.
    pub(crate) fn give(&mut self, terminal: Terminal) {
        self.terminal = Some(terminal);
    }

    /// Tells the terminal its new size.
    pub(crate) fn resize(&self, size: Winsize) {
        match (&self.master, &self.terminal) {
            (Some(master), _) => resize(master.get_ref(), size),
            (None, Some(terminal)) => resize(&terminal.master, size),
            (None, None) => {}
        }
    }

    /// Sends a signal to the session's processes.
    pub(crate) fn signal(&self, signal: &Sig) {
        let leader = *self.leader.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(leader), Some(signal)) = (leader, number(signal)) {
            let _ = kill_process_group(leader, signal);
        }
    }

    /// Starts what the client wants. From here on the session runs by itself.
    ///
    /// # Errors
    /// When something runs already, or the process cannot be started.
    pub(crate) fn start(
        &mut self,
        request: Request,
        login: &Login,
        ends: (SocketAddr, SocketAddr),
        handle: Handle,
    ) -> io::Result<()> {
        let (incoming, writer, closed) =
            self.pipes.take().ok_or_else(|| io::Error::other("the session runs already"))?;
        let terminal = self.terminal.take();
        let target = target(&request, login, terminal.is_some());
        let mut command = Command::new(OWN_FILE);
        command.arg0("sshd").args(target.to_args()).env_clear();
        command.envs(environment(login, ends, terminal.as_ref())).envs(self.variables.drain(..));
        if let (Some(_), Some(original)) = (&login.rights.command, original(&request)) {
            command.env("SSH_ORIGINAL_COMMAND", original);
        }
        let master = match terminal {
            Some(Terminal { master, slave, .. }) => {
                command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
                Some(Arc::new(registered(master)?))
            }
            None => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                None
            }
        };
        let child = command.spawn()?;
        // The command holds the terminal's other side: with it open, the terminal would never end.
        drop(command);
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = leader;
        self.master.clone_from(&master);
        let process = Process { child, leader: self.leader.clone(), handle };
        tokio::spawn(process.attend(master, incoming, writer, closed));
        Ok(())
    }
}

/// What the process becomes.
fn target(request: &Request, login: &Login, terminal: bool) -> Become {
    let shell = login.user.shell.clone();
    let name = shell.file_name().unwrap_or_default().to_os_string();
    let run = |command: OsString| (shell.clone(), vec![name.clone(), "-c".into(), command]);
    let sftp = || (PathBuf::from(OWN_FILE), vec!["sftp-server".into()]);
    let (program, args) = match (&login.rights.command, request) {
        (Some(command), _) if command == "internal-sftp" => sftp(),
        (Some(command), _) => run(command.into()),
        (None, Request::Exec(command)) => run(OsString::from_vec(command.clone())),
        (None, Request::Subsystem(_)) => sftp(),
        (None, Request::Shell) => {
            let mut login_name = OsString::from("-");
            login_name.push(&name);
            (shell.clone(), vec![login_name])
        }
    };
    Become {
        uid: login.user.uid,
        groups: login.groups.clone(),
        home: login.user.home.clone(),
        terminal,
        greet: terminal && *request == Request::Shell && login.rights.command.is_none(),
        program,
        args,
    }
}

/// The terminal, known to the runtime.
#[expect(deprecated, reason = "sound here: an OwnedFd stays the same open file until it is dropped")]
fn registered(master: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(master)
}

/// This binary, whatever the user may do with the folder it lies in, and were it replaced meanwhile.
const OWN_FILE: &str = "/proc/self/exe";

/// What the client asked for when a key runs another command.
fn original(request: &Request) -> Option<OsString> {
    match request {
        Request::Shell => None,
        Request::Exec(command) => Some(OsString::from_vec(command.clone())),
        Request::Subsystem(name) => Some(name.into()),
    }
}

fn environment(
    login: &Login,
    (peer, local): (SocketAddr, SocketAddr),
    terminal: Option<&Terminal>,
) -> Vec<(&'static str, OsString)> {
    let (from, to) = (peer.ip(), local.ip());
    let mut variables: Vec<(&'static str, OsString)> = vec![
        ("HOME", login.user.home.clone().into()),
        ("USER", login.user.name.clone().into()),
        ("LOGNAME", login.user.name.clone().into()),
        ("SHELL", login.user.shell.clone().into()),
        ("PATH", PATH.into()),
        ("SSH_CLIENT", format!("{from} {} {}", peer.port(), local.port()).into()),
        ("SSH_CONNECTION", format!("{from} {} {to} {}", peer.port(), local.port()).into()),
    ];
    if let Some(terminal) = terminal {
        variables.push(("TERM", terminal.term.clone().into()));
        variables.push(("SSH_TTY", terminal.name.clone().into()));
    }
    variables
}

/// A process that runs, and whom to tell of its end.
struct Process {
    child: Child,
    leader: Arc<Mutex<Option<Pid>>>,
    handle: Handle,
}

impl Process {
    /// Carries bytes until the process and its output have ended or the client is gone.
    async fn attend(
        mut self,
        master: Option<Arc<AsyncFd<OwnedFd>>>,
        incoming: Incoming,
        writer: ChannelWriteHalf<Msg>,
        mut closed: Closed,
    ) {
        let ended = tokio::select! {
            status = self.carry(master, incoming, &writer) => Some(status),
            () = closed.wait() => None,
        };
        if let Some(status) = ended {
            let _ = writer.eof().await;
            self.tell(&writer, status).await;
        }
        let _ = writer.close().await;
        // A client that is gone leaves its process with closed pipes, or with the terminal's hang-up.
    }

    async fn carry(
        &mut self,
        master: Option<Arc<AsyncFd<OwnedFd>>>,
        incoming: Incoming,
        writer: &ChannelWriteHalf<Msg>,
    ) -> io::Result<ExitStatus> {
        let out = writer.make_writer();
        let Some(master) = master else {
            let (stdin, stdout, stderr) =
                (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
            let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
                return Err(io::Error::other("a process without pipes"));
            };
            let input = Input(tokio::spawn(incoming.carry(stdin)));
            let errors = carry_out(stderr, writer.make_writer_ext(Some(1)));
            let (_, _, status) = tokio::join!(carry_out(stdout, out), errors, self.exit());
            drop(input);
            return status;
        };
        let shell_ended = AtomicBool::new(false);
        let input = Input(tokio::spawn(incoming.carry(Master { master: master.clone(), shell_ended: None })));
        let mut output = std::pin::pin!(carry_out(Master { master, shell_ended: Some(&shell_ended) }, out));
        let status = tokio::select! {
            _ = &mut output => return self.exit().await,
            status = self.exit() => status,
        };
        // Processes in the background may keep the terminal open for ever: take what is there.
        if tokio::time::timeout(LAST_OUTPUT, &mut output).await.is_err() {
            shell_ended.store(true, Ordering::Relaxed);
            let _ = output.await;
        }
        drop(input);
        status
    }

    /// Waits for the process itself. Afterwards its number may be another's.
    async fn exit(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        *self.leader.lock().unwrap_or_else(PoisonError::into_inner) = None;
        status
    }

    async fn tell(&self, writer: &ChannelWriteHalf<Msg>, status: io::Result<ExitStatus>) {
        match status.as_ref().map(|status| (status.code(), status.signal())) {
            Ok((Some(code), _)) => {
                let _ = writer.exit_status(code.cast_unsigned()).await;
            }
            Ok((None, Some(signal))) => {
                let dumped = status.is_ok_and(|status| status.core_dumped());
                let id = writer.id();
                let _ = self
                    .handle
                    .exit_signal_request(id, name(signal), dumped, String::new(), String::new())
                    .await;
            }
            Ok((None, None)) | Err(_) => {
                let _ = writer.exit_status(255).await;
            }
        }
    }
}

/// The task that feeds a process; it ends with this.
struct Input(tokio::task::JoinHandle<io::Result<()>>);

impl Drop for Input {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Our side of a terminal, as a stream.
struct Master<'a> {
    master: Arc<AsyncFd<OwnedFd>>,
    /// Once true, an empty terminal is an ended one.
    shell_ended: Option<&'a AtomicBool>,
}

impl AsyncRead for Master<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.shell_ended.is_some_and(|ended| ended.load(Ordering::Relaxed)) {
                let length = rustix::io::read(self.master.get_ref(), into.initialize_unfilled()).unwrap_or(0);
                into.advance(length);
                return Poll::Ready(Ok(()));
            }
            let mut guard = ready!(self.master.poll_read_ready(context))?;
            let read =
                guard.try_io(|master| Ok(rustix::io::read(master.get_ref(), into.initialize_unfilled())?));
            match read {
                Ok(Ok(length)) => {
                    into.advance(length);
                    return Poll::Ready(Ok(()));
                }
                // The last program has closed the other side.
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Master<'_> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.master.poll_write_ready(context))?;
            if let Ok(written) = guard.try_io(|master| Ok(rustix::io::write(master.get_ref(), bytes)?)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The kernel's signal for the protocol's.
fn number(signal: &Sig) -> Option<Signal> {
    Some(match signal {
        Sig::ABRT => Signal::ABORT,
        Sig::ALRM => Signal::ALARM,
        Sig::FPE => Signal::FPE,
        Sig::HUP => Signal::HUP,
        Sig::ILL => Signal::ILL,
        Sig::INT => Signal::INT,
        Sig::KILL => Signal::KILL,
        Sig::PIPE => Signal::PIPE,
        Sig::QUIT => Signal::QUIT,
        Sig::SEGV => Signal::SEGV,
        Sig::TERM => Signal::TERM,
        Sig::USR1 => Signal::USR1,
        Sig::Custom(name) if name == "USR2" => Signal::USR2,
        Sig::Custom(_) => return None,
    })
}

/// The protocol's signal for the kernel's.
fn name(signal: i32) -> Sig {
    let all = [
        Sig::ABRT,
        Sig::ALRM,
        Sig::FPE,
        Sig::HUP,
        Sig::ILL,
        Sig::INT,
        Sig::KILL,
        Sig::PIPE,
        Sig::QUIT,
        Sig::SEGV,
        Sig::TERM,
        Sig::USR1,
    ];
    all.into_iter()
        .find(|known| number(known).is_some_and(|number| number.as_raw() == signal))
        .unwrap_or_else(|| Sig::Custom(format!("{signal}@corten")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorized::Rights;

    fn login(command: Option<&str>) -> Login {
        let user = accounts::User {
            name: "core".into(),
            uid: 500,
            gid: 500,
            home: "/home/core".into(),
            shell: "/bin/bash".into(),
        };
        let rights = Rights { command: command.map(str::to_owned), ..Rights::ALL };
        Login { user, groups: vec![500], rights }
    }

    #[test]
    fn a_shell_is_a_login_shell_and_a_command_is_not() {
        let shell = target(&Request::Shell, &login(None), true);
        assert_eq!((shell.args, shell.greet), (vec![OsString::from("-bash")], true));
        let exec = target(&Request::Exec(b"ls -l".to_vec()), &login(None), false);
        assert_eq!(exec.args, ["bash", "-c", "ls -l"]);
        assert!(!exec.greet);
    }

    #[test]
    fn a_keys_own_command_replaces_every_request() {
        for request in
            [Request::Shell, Request::Exec(b"rm -rf /".to_vec()), Request::Subsystem("sftp".into())]
        {
            assert_eq!(target(&request, &login(Some("uptime")), false).args, ["bash", "-c", "uptime"]);
        }
        assert_eq!(target(&Request::Shell, &login(Some("internal-sftp")), false).args, ["sftp-server"]);
    }

    #[test]
    fn signals_go_both_ways_by_name() {
        for signal in [Sig::INT, Sig::TERM, Sig::KILL, Sig::HUP] {
            let there_and_back = name(number(&signal).unwrap().as_raw());
            assert_eq!(format!("{there_and_back:?}"), format!("{signal:?}"));
        }
        assert!(number(&Sig::Custom("BOGUS".into())).is_none());
    }
}
