//! The server against OpenSSH's own clients, on a loopback port. Runs as root, as the server does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with a user `core` and a key that may log in.
struct Server {
    root: tempfile::TempDir,
    process: Child,
    port: u16,
}

impl Server {
    fn start(options: &[&str]) -> Server {
        let root = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir_all(at("etc")).unwrap();
        fs::create_dir_all(at("home/.ssh")).unwrap();
        let home = at("home");
        let passwd = format!("root:x:0:0::/root:/bin/bash\ncore:x:500:500::{}:/bin/bash\n", home.display());
        fs::write(at("etc/passwd"), passwd).unwrap();
        fs::write(at("etc/group"), "sudo:x:150:core\n").unwrap();
        for name in ["id", "other"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at(name))
                .status()
                .unwrap();
            assert!(made.success());
        }
        fs::copy(at("id.pub"), at("keys")).unwrap();
        for path in [home.join(".ssh"), home] {
            chown(path, Some(500), Some(500)).unwrap();
        }
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(applets())
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .arg("--host-key")
            .arg(at("etc/ssh/host_key"))
            .arg("--etc")
            .arg(at("etc"))
            .arg("--keys")
            .arg(at("keys"))
            .args(options)
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Server { root, process, port };
        server.wait_for("Server listening");
        server
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap()
    }

    fn wait_for(&self, words: &str) {
        until(|| self.log().contains(words), || format!("{words:?} in the log:\n{}", self.log()));
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let known = format!("UserKnownHostsFile={}", self.at("known").display());
        command.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=accept-new"]);
        command.args(["-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-o", &known]);
        command
            .arg("-i")
            .arg(self.at("id"))
            .arg(if program == "ssh" { "-p" } else { "-P" })
            .arg(self.port.to_string());
        command
    }

    fn ssh(&self, more: &[&str]) -> Command {
        let mut command = self.client("ssh");
        command.args(more);
        command
    }

    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn applets() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/ssh_applets")
}

fn until(holds: impl Fn() -> bool, what: impl Fn() -> String) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "still waiting for {}", what());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command with input; its output.
fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command may end without reading all of it.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Bytes that do not repeat.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_command_runs_as_the_user_with_its_own_output_and_exit_status() {
    let server = Server::start(&[]);
    let output = server
        .ssh(&["core@127.0.0.1", "id -u; id -G; pwd; echo $SSH_CONNECTION; echo err >&2; exit 42"])
        .output()
        .unwrap();
    let stdout = text(&output.stdout);
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[..2], ["500", "500 150"]);
    assert_eq!(lines[2], server.at("home").to_str().unwrap());
    assert!(lines[3].starts_with("127.0.0.1 ") && lines[3].ends_with(&format!(" 127.0.0.1 {}", server.port)));
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("err\n", Some(42)));

    let killed = server.ssh(&["-v", "core@127.0.0.1", "kill -TERM $$"]).output().unwrap();
    assert_eq!(killed.status.code(), Some(255));
    let none = server.ssh(&["core@127.0.0.1", "no-such-command"]).output().unwrap();
    assert_eq!(none.status.code(), Some(127));
    assert_eq!(text(&fed(server.ssh(&["core@127.0.0.1", "cat; echo end"]), b"in\n").stdout), "in\nend\n");
}

#[test]
fn a_terminal_has_a_size_a_name_and_job_control() {
    let server = Server::start(&[]);
    let output = server
        .ssh(&["-tt", "core@127.0.0.1", "tty; stat -c %U $(tty); test -t 0 && echo yes; exit 3"])
        .output()
        .unwrap();
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("/dev/pts/"), "{stdout}");
    assert!(stdout.contains("yes"));
    assert_eq!(output.status.code(), Some(3));

    // A login shell, by hand: what is typed is echoed, background jobs do not hold the session.
    let typed = b"echo login:$0:$TERM\nsleep 1000 &\nexit 7\n";
    let mut shell = server.ssh(&["-tt", "core@127.0.0.1"]);
    shell.env("TERM", "vt220");
    let output = fed(shell, typed);
    assert!(text(&output.stdout).contains("login:-bash:vt220"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn passwords_unknown_keys_and_unknown_users_are_refused_alike() {
    let server = Server::start(&[]);
    let other = server.at("other");
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(255));
        text(&output.stderr)
    };
    let password = refused(&mut server.ssh(&[
        "-o",
        "PreferredAuthentications=password,keyboard-interactive",
        "core@127.0.0.1",
        "true",
    ]));
    assert_eq!(password.trim(), "core@127.0.0.1: Permission denied (publickey).");
    let unknown = |user: &str| {
        let mut command = Command::new("ssh");
        command.args([
            "-F",
            "none",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
        ]);
        command.args(["-o", "LogLevel=ERROR", "-o", "UserKnownHostsFile=/dev/null", "-i"]).arg(&other);
        command.args(["-p", &server.port.to_string(), user, "true"]);
        refused(&mut command)
    };
    assert_eq!(unknown("core@127.0.0.1").trim(), "core@127.0.0.1: Permission denied (publickey).");
    assert_eq!(unknown("mallory@127.0.0.1").trim(), "mallory@127.0.0.1: Permission denied (publickey).");
    assert!(!server.log().contains("Accepted"));
}

#[test]
fn a_keys_options_bind_it() {
    let server = Server::start(&[]);
    let key = fs::read_to_string(server.at("id.pub")).unwrap();
    fs::write(server.at("keys"), format!("restrict,command=\"echo forced $SSH_ORIGINAL_COMMAND\" {key}"))
        .unwrap();
    let output = server.ssh(&["core@127.0.0.1", "id"]).output().unwrap();
    assert_eq!(text(&output.stdout), "forced id\n");
    let terminal = server.ssh(&["-tt", "core@127.0.0.1", "id"]).output().unwrap();
    assert_eq!((text(&terminal.stdout).as_str(), terminal.status.code()), ("", Some(255)));
    let forward =
        server.ssh(&["-W", &format!("127.0.0.1:{}", server.port), "core@127.0.0.1"]).output().unwrap();
    assert_eq!(forward.status.code(), Some(255));
    fs::write(server.at("keys"), format!("from=\"10.0.0.0/8\" {key}")).unwrap();
    assert_eq!(server.ssh(&["core@127.0.0.1", "true"]).status().unwrap().code(), Some(255));
}

#[test]
fn files_go_up_and_down_whole() {
    let server = Server::start(&[]);
    let big = noise(50 << 20);
    fs::write(server.at("big"), &big).unwrap();
    let copy = |from: &str, to: &str| {
        let mut scp = server.client("scp");
        assert!(scp.args(["-q", "-p", from, to]).status().unwrap().success(), "{}", server.log());
    };
    copy(server.at("big").to_str().unwrap(), "core@127.0.0.1:up load");
    copy("core@127.0.0.1:up load", server.at("down").to_str().unwrap());
    assert!(fs::read(server.at("down")).unwrap() == big);
    let uploaded = fs::metadata(server.at("home/up load")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&uploaded), 500);

    // The user's rights bound it, not the server's.
    let mut scp = server.client("scp");
    let refused = scp
        .args(["-q", server.at("id.pub").to_str().unwrap(), "core@127.0.0.1:/etc/corten-test"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).to_lowercase().contains("permission denied"), "{}", text(&refused.stderr));
}

#[test]
fn sftp_does_what_its_user_says() {
    let server = Server::start(&[]);
    fs::write(server.at("home/one"), "1").unwrap();
    chown(server.at("home/one"), Some(500), Some(500)).unwrap();
    let commands = "mkdir d\nrename one d/two\nsymlink two d/link\nls d\nchmod 600 d/two\nrm d/link\npwd\nls nowhere\nrm d/two\nrmdir d\n";
    let mut sftp = server.client("sftp");
    sftp.args(["-q", "-b", "-", "core@127.0.0.1"]);
    let output = fed(sftp, commands.replace("ls nowhere\n", "-ls nowhere\n").as_bytes());
    let stdout = text(&output.stdout);
    assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
    assert!(stdout.contains("d/link") && stdout.contains("d/two"), "{stdout}");
    assert!(text(&output.stderr).contains("not found"));
    assert!(!server.at("home/d").exists() && !server.at("home/one").exists());
}

#[test]
fn a_stream_goes_through_a_command_and_back() {
    let server = Server::start(&[]);
    let sent = noise(50 << 20);
    let output = fed(server.ssh(&["core@127.0.0.1", "cat"]), &sent);
    assert!(output.status.success());
    assert!(output.stdout == sent);
    // Much comes of little, while more waits to be read: neither side may wait for the other.
    let output = fed(
        server.ssh(&["core@127.0.0.1", "while read -r line; do head -c 1000000 /dev/zero; done"]),
        "x\n".repeat(40).as_bytes(),
    );
    assert_eq!(output.stdout.len(), 40_000_000);
}

#[test]
fn a_command_that_does_not_read_does_not_fill_memory() {
    let server = Server::start(&[]);
    let before = server.memory();
    let mut client = server
        .ssh(&["core@127.0.0.1", "echo up; sleep 1000"])
        .stdin(fs::File::open("/dev/zero").unwrap())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    client.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let grown = server.memory().saturating_sub(before);
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(grown < 16 << 10, "{grown} kB");
}

#[test]
fn ports_are_forwarded_both_ways() {
    let server = Server::start(&[]);
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let echo_port = echo.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in echo.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut &stream));
        }
    });
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (local, remote) = (free(), free());
    let forwards = [format!("{local}:localhost:{echo_port}"), format!("{remote}:127.0.0.1:{echo_port}")];
    let mut client = server
        .ssh(&[
            "-o",
            "ExitOnForwardFailure=yes",
            "-L",
            &forwards[0],
            "-R",
            &forwards[1],
            "core@127.0.0.1",
            "echo up; cat",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    client.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    for port in [local, remote] {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let sent = noise(1 << 20);
        let mut writer = stream.try_clone().unwrap();
        let copy = sent.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&copy).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        (&stream).read_to_end(&mut received).unwrap();
        writing.join().unwrap();
        assert!(received == sent, "port {port} of {local}, {remote}: {} bytes", received.len());
    }
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());
}

#[test]
fn garbage_and_a_thousand_connections_leave_the_server_well() {
    let server = Server::start(&["--grace", "600"]);
    let address = ("127.0.0.1", server.port);
    for garbage in [
        noise(4096),
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
        b"SSH-2.0-x\r\n\xff\xff\xff\xff".to_vec(),
        vec![0; 70_000],
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        // The server may hang up before all is sent.
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(server.ssh(&["core@127.0.0.1", "true"]).status().unwrap().success());

    let before = server.memory();
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(b"SSH-2.0-flood\r\n");
        held.push(stream);
    }
    // All that were let in have had their first line: the others are closed.
    let mut open = 0;
    for stream in &mut held {
        if stream.read(&mut [0; 1]).is_ok_and(|length| length > 0) {
            open += 1;
        }
    }
    assert!((10..=100).contains(&open), "{open} are open");
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 20 << 10, "{grown} kB");
    drop(held);
    until(
        || server.ssh(&["core@127.0.0.1", "true"]).status().unwrap().success(),
        || "a login after the flood".to_owned(),
    );
}

#[test]
fn strangers_are_shown_the_door_in_time() {
    let server = Server::start(&["--grace", "1"]);
    for first in [&b""[..], b"SSH-2.0-slow\r\n"] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.write_all(first).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    // Whoever has logged in may stay.
    assert!(server.ssh(&["core@127.0.0.1", "sleep 2"]).status().unwrap().success());
}

#[test]
fn the_host_key_stays_the_same() {
    let server = Server::start(&[]);
    assert!(server.ssh(&["core@127.0.0.1", "true"]).status().unwrap().success());
    let known = fs::read_to_string(server.at("known")).unwrap();
    let key = fs::read_to_string(server.at("etc/ssh/host_key.pub")).unwrap();
    assert!(known.contains(key.split(' ').nth(1).unwrap()));
    assert_eq!(fs::metadata(server.at("etc/ssh/host_key")).unwrap().permissions().mode() & 0o777, 0o600);
}
