//! The bus with Debian's own clients (busctl, dbus-send), and with clients that mean no good.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use wire::{Connection, Fds, Message, MessageType};

const PATIENCE: Duration = Duration::from_secs(60);
const DRIVER: &str = "org.freedesktop.DBus";

/// A bus on a socket of its own.
struct Bus {
    folder: tempfile::TempDir,
    daemon: Child,
}

impl Bus {
    fn start() -> Bus {
        let folder = tempfile::tempdir().unwrap();
        let test = std::env::current_exe().unwrap();
        let program = test.ancestors().nth(2).unwrap().join("examples/dbus-daemon");
        let mut daemon = Command::new(program)
            .arg(format!("--address=unix:path={}/bus", folder.path().display()))
            .args(["--system", "--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0];
        daemon.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        Bus { folder, daemon }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bus")
    }

    fn busctl(&self, args: &[&str]) -> Output {
        let address = format!("--address=unix:path={}", self.path().display());
        Command::new("busctl")
            .arg(address)
            .args(["--no-pager"])
            .args(args)
            .output()
            .expect("busctl is Debian's")
    }

    fn says(&self, args: &[&str]) -> String {
        let output = self.busctl(args);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "busctl {args:?}: {complaint}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn is_alive(&mut self) -> bool {
        self.daemon.try_wait().unwrap().is_none() && self.busctl(&["list"]).status.success()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A client of our own.
struct Peer {
    connection: Connection,
    name: String,
}

impl Peer {
    fn connect(bus: &Bus) -> Peer {
        let stream = UnixStream::connect(bus.path()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut peer = Peer { connection: Connection::client(stream).unwrap(), name: String::new() };
        let started = Instant::now();
        while !peer.connection.is_open() {
            peer.connection.flush().unwrap();
            peer.connection.receive("").unwrap();
            assert!(started.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(1));
        }
        peer.name = peer.driver("Hello", &()).unwrap().body().unwrap();
        peer
    }

    fn driver<A: serde::Serialize + zvariant::Type>(
        &mut self,
        member: &str,
        body: &A,
    ) -> Result<Message, String> {
        let call = Message::call("/org/freedesktop/DBus", DRIVER, member).to(DRIVER).with(body).unwrap();
        let serial = self.connection.send(call).unwrap();
        self.answer(serial)
    }

    fn answer(&mut self, serial: u32) -> Result<Message, String> {
        loop {
            let message = self.next().expect("an answer");
            if message.reply_serial == serial {
                return match message.kind {
                    MessageType::Error => Err(message.error.clone()),
                    _ => Ok(message),
                };
            }
        }
    }

    /// The next message; `None`: the bus has closed the connection.
    fn next(&mut self) -> Option<Message> {
        let started = Instant::now();
        loop {
            self.connection.flush().ok()?;
            if let Some(message) = self.connection.message().unwrap() {
                return Some(message);
            }
            if self.connection.receive("").ok()? {
                return None;
            }
            assert!(started.elapsed() < PATIENCE, "nothing came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn busctl_finds_its_way() {
    let mut bus = Bus::start();
    let mut service = Peer::connect(&bus);
    let root = rustix::process::geteuid().is_root();
    let owned = service.driver("RequestName", &("org.corten.Test", 0u32));
    assert_eq!(owned.is_ok(), root, "only root owns names");
    let list = bus.says(&["list"]);
    assert!(list.contains(DRIVER) && list.contains(&service.name), "{list}");
    assert!(!root || list.contains("org.corten.Test"), "{list}");
    let tree = bus.says(&["tree", DRIVER]);
    assert!(tree.contains("/org/freedesktop/DBus"), "{tree}");
    let methods = bus.says(&["introspect", DRIVER, "/org/freedesktop/DBus"]);
    assert!(methods.contains(".GetConnectionCredentials") && methods.contains("a{sv}"), "{methods}");
    assert!(methods.contains(".Features") && methods.contains("SystemdActivation"), "{methods}");
    let names = bus.says(&["call", DRIVER, "/org/freedesktop/DBus", DRIVER, "ListNames"]);
    assert!(names.starts_with("as ") && names.contains(DRIVER), "{names}");
    let features = bus.says(&["get-property", DRIVER, "/org/freedesktop/DBus", DRIVER, "Features"]);
    assert_eq!(features, "as 1 \"SystemdActivation\"\n");
    let nobody = bus.busctl(&["call", "org.nobody", "/", "org.nobody.X", "Y"]);
    assert!(!nobody.status.success());
    let complaint = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(complaint.contains("org.nobody was not provided by any .service files"), "{complaint}");
    assert!(bus.is_alive());
}

#[test]
fn busctl_watches() {
    let bus = Bus::start();
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root may watch");
    }
    let address = format!("--address=unix:path={}", bus.path().display());
    let mut monitor = Command::new("busctl")
        .args([&address, "--no-pager", "monitor"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = String::new();
    // It says on stderr that it monitors.
    let mut byte = [0];
    while !seen.contains("Monitoring") && monitor.stderr.as_mut().unwrap().read(&mut byte).unwrap() == 1 {
        seen.push(char::from(byte[0]));
    }
    bus.says(&["call", DRIVER, "/org/freedesktop/DBus", DRIVER, "GetNameOwner", "s", DRIVER]);
    let mut said = String::new();
    while !said.contains("Member=GetNameOwner")
        && monitor.stdout.as_mut().unwrap().read(&mut byte).unwrap() == 1
    {
        said.push(char::from(byte[0]));
    }
    assert!(said.contains("Member=GetNameOwner"), "{said}");
    monitor.kill().unwrap();
    monitor.wait().unwrap();
}

#[test]
fn calls_signals_and_descriptors_reach_their_receivers() {
    let bus = Bus::start();
    let (mut caller, mut callee) = (Peer::connect(&bus), Peer::connect(&bus));
    let (mut read, write) = std::io::pipe().unwrap();
    let mut call = Message::call("/x", "a.b", "C").to(&callee.name).with(&7u32).unwrap();
    call.fds = Fds::new([OwnedFd::from(write)]);
    call.sender = ":1.999".into();
    let serial = caller.connection.send(call).unwrap();
    drop(caller.connection.flush());
    let got = callee.next_call();
    assert_eq!(
        (got.sender.as_str(), got.body::<u32>().unwrap()),
        (caller.name.as_str(), 7),
        "senders do not lie"
    );
    let mut file = std::fs::File::from(got.fds.iter().next().unwrap().try_clone().unwrap());
    file.write_all(b"through").unwrap();
    let reply = Message::reply(got.serial).to(&got.sender).with(&"fine").unwrap();
    callee.connection.send(reply.clone()).unwrap();
    // A second answer was not asked for.
    callee.connection.send(Message::refusal(got.serial, "a.b.Error", "x").to(&got.sender)).unwrap();
    drop((file, got));
    let answer = caller.answer_pumping(serial, &mut callee);
    assert_eq!(answer.unwrap().body::<String>().unwrap(), "fine");
    let mut text = [0; 7];
    read.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"through");

    caller.driver("AddMatch", &"type='signal',interface='a.b',arg0='wanted'").unwrap();
    for word in ["not", "wanted"] {
        callee.connection.send(Message::signal("/x", "a.b", "S").with(&word).unwrap()).unwrap();
    }
    callee.connection.flush().unwrap();
    let signal = loop {
        let message = caller.next().unwrap();
        if message.kind == MessageType::Signal && message.interface == "a.b" {
            break message;
        }
        assert_ne!(message.kind, MessageType::Error, "the second answer came through");
    };
    assert_eq!(signal.body::<String>().unwrap(), "wanted");

    // Whoever waits for one that leaves is told.
    let serial = caller.connection.send(Message::call("/x", "a.b", "C").to(&callee.name)).unwrap();
    caller.connection.flush().unwrap();
    callee.next_call();
    drop(callee);
    assert_eq!(caller.answer(serial).unwrap_err(), "org.freedesktop.DBus.Error.NoReply");
}

impl Peer {
    fn next_call(&mut self) -> Message {
        loop {
            let message = self.next().expect("a call");
            if message.kind == MessageType::Call {
                return message;
            }
        }
    }

    fn answer_pumping(&mut self, serial: u32, other: &mut Peer) -> Result<Message, String> {
        other.connection.flush().unwrap();
        self.answer(serial)
    }
}

#[test]
fn garbage_floods_and_the_deaf_hurt_nobody_else() {
    let mut bus = Bus::start();
    for garbage in
        [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0; 5000], b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\nXXXXXXXXXXXXXXXX"]
    {
        let mut stream = UnixStream::connect(bus.path()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(garbage);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // One that says nothing before Hello but calls is shown the door.
    let stream = UnixStream::connect(bus.path()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut rude = Peer { connection: Connection::client(stream).unwrap(), name: String::new() };
    let call = Message::call("/org/freedesktop/DBus", DRIVER, "ListNames").to(DRIVER);
    rude.connection.send(call).unwrap();
    assert!(rude.next().is_none());
    // Many that say nothing at all.
    let silent: Vec<UnixStream> = (0..300).map(|_| UnixStream::connect(bus.path()).unwrap()).collect();
    assert!(bus.is_alive());
    drop(silent);
    // One that calls and never reads, and floods another one that does not read either.
    let (mut flood, deaf) = (Peer::connect(&bus), Peer::connect(&bus));
    let big = "x".repeat(60_000);
    let call = Message::signal("/x", "a.b", "C").to(&deaf.name).with(&big).unwrap();
    for _ in 0..2000 {
        if flood.connection.send(call.clone()).is_err() || flood.connection.flush().is_err() {
            break;
        }
    }
    assert!(bus.is_alive());
    let status = std::fs::read_to_string(format!("/proc/{}/status", bus.daemon.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200_000, "{peak} kB");
}

#[test]
fn strangers_own_no_names_and_do_not_watch() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root to be somebody else");
    }
    let bus = Bus::start();
    std::fs::set_permissions(bus.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let as_nobody = |args: &[&str]| {
        let address = format!("--address=unix:path={}", bus.path().display());
        Command::new("busctl").arg(address).args(args).uid(65534).gid(65534).output().unwrap()
    };
    let list = as_nobody(&["--no-pager", "list"]);
    assert!(list.status.success(), "everybody may look: {}", String::from_utf8_lossy(&list.stderr));
    for name in ["org.freedesktop.systemd1", "org.freedesktop.login1", "org.corten.Any"] {
        let asked =
            as_nobody(&["call", DRIVER, "/org/freedesktop/DBus", DRIVER, "RequestName", "su", name, "0"]);
        let complaint = String::from_utf8_lossy(&asked.stderr).into_owned();
        assert!(!asked.status.success() && complaint.contains("Access denied"), "{complaint}");
    }
    let watch = as_nobody(&["monitor"]);
    assert!(!watch.status.success() && watch.stdout.is_empty());
}

#[test]
fn a_bus_that_was_woken_serves_the_service_manager_first_and_others_without_it_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bus");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let inherited = rustix::io::dup(&listener).unwrap();
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/dbus-daemon");
    let script = format!(
        "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --system --nofork 3<&{}",
        std::os::fd::AsRawFd::as_raw_fd(&inherited)
    );
    let mut daemon = Command::new("bash").args(["-c", &script]).arg(program).spawn().unwrap();
    let began = Instant::now();
    let said = Command::new("busctl")
        .arg(format!("--address=unix:path={}", path.display()))
        .args(["--no-pager", "call", DRIVER, "/", DRIVER, "GetId"])
        .output()
        .unwrap();
    let waited = began.elapsed();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(waited >= Duration::from_secs(4), "served after {waited:?}, before the manager had its chance");
}
