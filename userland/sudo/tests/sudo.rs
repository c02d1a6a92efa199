//! `sudo` and `sudod` together. Runs as root; the callers are other users, through setpriv(1).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    root: tempfile::TempDir,
    process: Child,
}

impl Server {
    fn start() -> Server {
        let root = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("etc")).unwrap();
        let users = "root:x:0:0::/root:/bin/bash\ncore:x:500:500::/:/bin/bash\nwww:x:33:33::/:/bin/sh\n";
        fs::write(at("etc/passwd"), users).unwrap();
        fs::write(at("etc/group"), "sudo:x:150:core\nextra:x:151:www\n").unwrap();
        // The callers must be able to execute it, wherever the build put it.
        let test = std::env::current_exe().unwrap();
        let applets = test.parent().and_then(Path::parent).unwrap().join("examples/sudo_applets");
        // Where the user can reach it too. A copy is busy as long as a child of another test holds it open.
        if fs::hard_link(&applets, at("applets")).is_err() {
            fs::copy(applets, at("applets")).unwrap();
        }
        for name in ["sudo", "sudod"] {
            symlink(at("applets"), at(name)).unwrap();
        }
        let process = Command::new(at("sudod"))
            .arg("--socket")
            .arg(at("socket"))
            .arg("--etc")
            .arg(at("etc"))
            .stderr(fs::File::create(at("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Server { root, process };
        until(|| UnixStream::connect(server.at("socket")).is_ok(), "the socket");
        until(
            || fs::metadata(server.at("socket")).unwrap().permissions().mode() & 0o777 == 0o666,
            "its mode",
        );
        server
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A program as the user `uid`, in the root folder.
    fn by(&self, uid: u32) -> Command {
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".to_owned()]);
        command.current_dir("/");
        command
    }

    fn sudo(&self, uid: u32, args: &[&str]) -> Command {
        let mut command = self.by(uid);
        command.arg(self.at("sudo")).arg("--socket").arg(self.at("socket")).args(args);
        command
    }

    /// `sudo` in a terminal of its own.
    fn typed(&self, line: &str, input: &str) -> Output {
        let sudo = format!("{} --socket {} {line}", self.at("sudo").display(), self.at("socket").display());
        let mut command = self.by(500);
        command.args(["script", "-qec", &sudo, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until(holds: impl Fn() -> bool, what: &str) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_member_runs_commands_as_root_with_its_own_descriptors() {
    let server = Server::start();
    let script = "id -u; pwd; echo $SUDO_USER $HOME; echo err >&2; exit 42";
    let output = server.sudo(500, &["sh", "-c", script]).output().unwrap();
    assert_eq!(text(&output.stdout), "0\n/\ncore /root\n");
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), ("err\n", Some(42)));
    assert!(server.log().contains("core : PWD=/ ; USER=root ; COMMAND=sh -c"), "{}", server.log());
    let other = server.sudo(500, &["-u", "www", "id", "-G"]).output().unwrap();
    assert_eq!(text(&other.stdout), "33 151\n");
    let missing = server.sudo(500, &["no-such-command"]).output().unwrap();
    assert_eq!(text(&missing.stderr), "sudo: no-such-command: command not found\n");
    assert_eq!(missing.status.code(), Some(1));
    assert!(server.sudo(0, &["-n", "true"]).status().unwrap().success());
    assert!(text(&server.sudo(500, &["-l"]).output().unwrap().stdout).contains("NOPASSWD"));
}

#[test]
fn nobody_else_may() {
    let server = Server::start();
    let marker = server.at("marker");
    for (uid, why) in
        [(33, "www is not in the group sudo or wheel"), (1234, "user 1234 is not in /etc/passwd")]
    {
        let output = server.sudo(uid, &["touch", marker.to_str().unwrap()]).output().unwrap();
        assert_eq!(text(&output.stderr), format!("sudo: {why}\n"));
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(server.sudo(uid, &["-v"]).status().unwrap().code(), Some(1));
    }
    assert!(!marker.exists());
    let unknown = server.sudo(500, &["-u", "mallory", "true"]).output().unwrap();
    assert_eq!(text(&unknown.stderr), "sudo: unknown user mallory\n");
}

#[test]
fn in_a_terminal_the_command_gets_one_of_its_own() {
    let server = Server::start();
    let output = server.typed("sh -c 'tty; exit 5'", "");
    assert!(text(&output.stdout).contains("/dev/pts/"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(5));
    // A shell with job control: without it, bash says so.
    let shell = server.typed("-i", "echo shell-$(id -u)\nsleep 1000 &\njobs\nexit 3\n");
    let shown = text(&shell.stdout);
    assert!(shown.contains("shell-0") && shown.contains("Running"), "{shown}");
    assert!(!shown.contains("no job control"), "{shown}");
    assert_eq!(shell.status.code(), Some(3));
}

#[test]
fn signals_are_passed_on_and_the_command_goes_with_its_client() {
    let server = Server::start();
    let pid_file = server.at("pid");
    let running = || fs::read_to_string(&pid_file).ok().filter(|pid| pid.ends_with('\n'));
    let start = |trap: &str| {
        let script = format!("{trap}; echo $$ > {}; while :; do sleep 0.1; done", pid_file.display());
        server.sudo(500, &["sh", "-c", &script]).stdin(Stdio::null()).spawn().unwrap()
    };
    let mut client = start("trap 'exit 9' TERM");
    until(|| running().is_some(), "the command");
    assert!(Command::new("kill").arg(client.id().to_string()).status().unwrap().success());
    assert_eq!(client.wait().unwrap().code(), Some(9));

    fs::remove_file(&pid_file).unwrap();
    let mut client = start("trap '' TERM HUP");
    until(|| running().is_some(), "the command");
    let process = format!("/proc/{}", running().unwrap().trim());
    client.kill().unwrap();
    client.wait().unwrap();
    until(|| !Path::new(&process).exists(), "the command's end");
}

#[test]
fn what_is_no_request_ends_that_connection_only() {
    let server = Server::start();
    for garbage in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x04abcd", b"GET / HTTP/1.0\r\n\r\n", b""] {
        let mut socket = UnixStream::connect(server.at("socket")).unwrap();
        socket.write_all(garbage).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert!(server.sudo(500, &["true"]).status().unwrap().success());
}
