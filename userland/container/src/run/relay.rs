//! What the parent does while a container runs: pass signals, terminal and output on.
//!
//! Standard streams are the container's own where they can be. Only where ours is a socket, as the one
//! that leads to the journal, a pipe goes between: programs open `/dev/stdout` again by its name, and a
//! socket cannot be opened so.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::terminal::{Raw, copy_size};

const CHUNK: usize = 16 << 10;

/// Signals that are passed on. The rest keep their meaning for ourselves.
const PASSED: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGPROF,
    Signal::SIGIO,
];

/// Pipes for those of our output streams that are sockets.
#[derive(Debug, Default)]
pub struct Output {
    stdout: Option<(OwnedFd, OwnedFd)>,
    stderr: Option<(OwnedFd, OwnedFd)>,
}

impl Output {
    /// Makes the pipes that are needed.
    ///
    /// # Errors
    /// When the kernel has no more descriptors.
    pub fn for_sockets() -> io::Result<Self> {
        let pipe_for = |stream: BorrowedFd<'_>| -> io::Result<Option<(OwnedFd, OwnedFd)>> {
            let socket =
                fstat(stream).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket);
            Ok(if socket { Some(pipe_with(PipeFlags::CLOEXEC)?) } else { None })
        };
        Ok(Self { stdout: pipe_for(rustix::stdio::stdout())?, stderr: pipe_for(rustix::stdio::stderr())? })
    }

    /// In the child: makes the standard streams what they are to be.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn connect(&self, stdin: bool) -> io::Result<()> {
        if !stdin {
            let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::stdio::dup2_stdin(&null)?;
        }
        if let Some((_, write)) = &self.stdout {
            rustix::stdio::dup2_stdout(write)?;
        }
        if let Some((_, write)) = &self.stderr {
            rustix::stdio::dup2_stderr(write)?;
        }
        Ok(())
    }
}

/// The parent's ears and hands.
#[derive(Debug)]
pub struct Relay {
    signals: SignalFd,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    stdin: bool,
    raw: Option<Raw>,
}

impl Relay {
    /// From now on the signals to be passed on wait to be read.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new() -> io::Result<Self> {
        let mut set: SigSet = PASSED.into_iter().collect();
        set.add(Signal::SIGWINCH);
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { signals, stdout: None, stderr: None, terminal: None, stdin: false, raw: None })
    }

    /// Copies these pipes from now on. The ends of the child are closed on our side.
    pub fn copy_output(&mut self, output: Output) {
        self.stdout = output.stdout.map(|(read, _)| read);
        self.stderr = output.stderr.map(|(read, _)| read);
    }

    /// Copies this terminal from now on, and our input to it if asked for.
    ///
    /// # Errors
    /// When our own terminal cannot be switched.
    pub fn copy_terminal(&mut self, master: OwnedFd, stdin: bool) -> io::Result<()> {
        copy_size(&master);
        self.stdin = stdin;
        if stdin {
            self.raw = Some(Raw::enter()?);
        }
        self.terminal = Some(master);
        Ok(())
    }

    /// Works until the process of this descriptor ends.
    ///
    /// # Errors
    /// When the kernel does not let us wait.
    pub fn until_end(&mut self, process: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let (ended, signal, input, ready) = {
                let stdin = rustix::stdio::stdin();
                let mut polled = vec![
                    PollFd::from_borrowed_fd(process, PollFlags::IN),
                    PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
                ];
                for stream in [&self.stdout, &self.stderr, &self.terminal].into_iter().flatten() {
                    polled.push(PollFd::new(stream, PollFlags::IN));
                }
                if self.stdin {
                    polled.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
                }
                match poll(&mut polled, None) {
                    Err(Errno::INTR) => continue,
                    other => other?,
                };
                let has = |at: usize| polled.get(at).is_some_and(|one| !one.revents().is_empty());
                let input = self.stdin && has(polled.len() - 1);
                (has(0), has(1), input, polled.iter().skip(2).any(|one| !one.revents().is_empty()))
            };
            if signal {
                self.pass_signals(process);
            }
            if input {
                self.pass_input();
            }
            if ready {
                self.pass_output();
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn pass_signals(&self, process: BorrowedFd<'_>) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            if number == Signal::SIGWINCH as i32 {
                if let Some(master) = &self.terminal {
                    copy_size(master);
                }
            } else if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
                let _ = rustix::process::pidfd_send_signal(process, signal);
            }
        }
    }

    fn pass_input(&mut self) {
        let Some(master) = &self.terminal else { return };
        let mut buffer = [0; CHUNK];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) | Err(_) => {
                // The end of our input is the end-of-file character to whoever reads the terminal.
                let _ = rustix::io::write(master, &[4]);
                self.stdin = false;
            }
            Ok(read) => write_all(master.as_fd(), buffer.get(..read).unwrap_or_default()),
        }
    }

    fn pass_output(&mut self) {
        copy_ready(&mut self.stdout, rustix::stdio::stdout());
        copy_ready(&mut self.stderr, rustix::stdio::stderr());
        copy_ready(&mut self.terminal, rustix::stdio::stdout());
    }

    /// Copies what is still in the pipes after the end.
    pub fn drain(&mut self) {
        let before =
            |relay: &Self| relay.stdout.is_some() || relay.stderr.is_some() || relay.terminal.is_some();
        while before(self) {
            for stream in [&mut self.stdout, &mut self.stderr, &mut self.terminal] {
                let quiet = stream.as_ref().is_none_or(|stream| !is_ready(stream));
                if quiet {
                    *stream = None;
                }
            }
            self.pass_output();
        }
        self.raw = None;
    }
}

fn is_ready(stream: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(stream, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Copies one piece of what is ready; a stream that ended is let go of.
fn copy_ready(from: &mut Option<OwnedFd>, to: BorrowedFd<'_>) {
    let Some(stream) = from.as_ref().filter(|stream| is_ready(stream)) else { return };
    let mut buffer = [0; CHUNK];
    match rustix::io::read(stream, &mut buffer) {
        Ok(0) => *from = None,
        Ok(read) => write_all(to, buffer.get(..read).unwrap_or_default()),
        Err(Errno::INTR | Errno::AGAIN) => {}
        // A terminal whose last user is gone answers EIO.
        Err(_) => *from = None,
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut polled = [PollFd::from_borrowed_fd(to, PollFlags::OUT)];
                let _ = poll(&mut polled, None);
            }
            // Nobody listens any more; the container goes on.
            Err(_) => return,
        }
    }
}
