//! A machine for tests: the daemon in a scratch directory, and we are its init, which keeps descriptors for it.
//!
//! Needs Debian's systemd package. The daemon is an example of this crate, which `cargo test` builds.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "not every test needs all of it, and each may stop at a surprise"
)]

use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use journal::intake::stream::header;
use journal::socket::receive;
use rustix::process::{Pid, Signal, kill_process};

pub const MACHINE: &str = "0123456789abcdef0123456789abcdef";
/// So long a test waits for what must come at some time.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Machine {
    pub root: tempfile::TempDir,
    pub daemon: Option<Child>,
    notify: Option<UnixDatagram>,
    /// What the daemon gave us to keep.
    pub kept: Vec<(String, OwnedFd)>,
}

pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: build the examples (cargo test does)", path.display());
    path
}

/// A finished command's output; it must have succeeded.
pub fn output(command: &mut Command) -> String {
    let output = command.output().expect("Debian's systemd is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

impl Machine {
    pub fn new() -> Machine {
        let root = tempfile::tempdir().unwrap();
        // Others than root send messages too.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for directory in ["etc", "dev", "run", "var/log/journal"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(root.path().join("etc/machine-id"), format!("{MACHINE}\n")).unwrap();
        Machine { root, daemon: None, notify: None, kept: Vec::new() }
    }

    pub fn started() -> Machine {
        let mut machine = Machine::new();
        machine.start();
        machine
    }

    /// Starts the daemon, with what it gave us to keep, and waits until it is ready.
    pub fn start(&mut self) {
        self.start_under(&[]);
    }

    /// The same under another program, such as one that makes a namespace.
    pub fn start_under(&mut self, wrapper: &[&str]) {
        let socket = self.root.path().join("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        // What is inherited must be open in us without the flag that closes it.
        let open: Vec<OwnedFd> = self.kept.iter().map(|(_, fd)| rustix::io::dup(fd).unwrap()).collect();
        let mut script = "export LISTEN_PID=$$; exec \"$@\"".to_owned();
        // Downwards, so that no redirection overwrites what another still needs.
        let high = 500;
        for (index, fd) in open.iter().enumerate() {
            script += &format!(" {}<&{}", high + index, fd.as_raw_fd());
        }
        for index in 0..open.len() {
            script += &format!(" {}<&{}", 3 + index, high + index);
        }
        let names: Vec<&str> = self.kept.iter().map(|(name, _)| name.as_str()).collect();
        let mut command = Command::new("bash");
        command.args(["-c", &script, "bash"]).args(wrapper).arg(program("systemd-journald"));
        command.arg("--root").arg(self.root.path()).env("NOTIFY_SOCKET", &socket).stderr(Stdio::inherit());
        if !open.is_empty() {
            command.env("LISTEN_FDS", open.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        self.daemon = Some(command.spawn().unwrap());
        self.notify = Some(notify);
        let start = Instant::now();
        while !self.pump() {
            assert!(start.elapsed() < PATIENCE, "the daemon does not become ready");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Does what init does with what the daemon says; whether it said that it is ready.
    pub fn pump(&mut self) -> bool {
        let Some(notify) = &self.notify else { return false };
        let mut ready = false;
        let mut buffer = [0; 512];
        while let Some(received) = receive(notify, &mut buffer).unwrap() {
            let text = String::from_utf8_lossy(&buffer[..received.count]).into_owned();
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default();
            if text.contains("FDSTORE=1") {
                self.kept.retain(|(other, _)| other != name);
                self.kept.extend(received.descriptors.into_iter().map(|fd| (name.to_owned(), fd)));
            }
            if text.contains("FDSTOREREMOVE=1") {
                self.kept.retain(|(other, _)| other != name);
            }
            ready |= text.contains("READY=1");
        }
        ready
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) {
        let directory = self.root.path().join("etc/systemd");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("journald.conf"), format!("[Journal]\n{text}\n")).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.daemon.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    pub fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.daemon.take().unwrap().wait().unwrap();
        self.pump();
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.root.path().join("run/systemd/journal").join(name)
    }

    pub fn directory(&self) -> PathBuf {
        self.root.path().join("var/log/journal").join(MACHINE)
    }

    pub fn stock(&self, args: &[&str]) -> String {
        let directory = self.directory();
        output(
            Command::new("journalctl")
                .arg("-D")
                .arg(directory)
                .args(["--no-pager", "-q"])
                .args(args)
                .env("TZ", "UTC"),
        )
    }

    pub fn ours(&self, args: &[&str]) -> String {
        output(Command::new(program("journalctl")).arg("-D").arg(self.directory()).arg("-q").args(args))
    }

    pub fn control(&self, verb: &str) {
        output(Command::new(program("journalctl")).arg("--root").arg(self.root.path()).arg(verb));
    }

    pub fn send(&self, name: &str, datagram: &[u8]) {
        UnixDatagram::unbound().unwrap().send_to(datagram, self.socket(name)).unwrap();
    }

    pub fn stream(&self, identifier: &str, unit: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket("stdout")).unwrap();
        stream.write_all(header(identifier, unit).as_bytes()).unwrap();
        stream
    }

    pub fn files(&self, ending: &str) -> usize {
        let names = fs::read_dir(self.directory()).unwrap().map(|item| item.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().ends_with(ending)).count()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}
