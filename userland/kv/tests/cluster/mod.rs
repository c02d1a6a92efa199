//! Members as processes, and the clients that ask them.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

pub mod v2;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The crate's applets, under their names.
pub fn applet(name: &str, folder: &Path) -> PathBuf {
    let link = folder.join(name);
    if !link.exists() {
        let test = std::env::current_exe().expect("this test");
        let built = test.ancestors().nth(2).expect("a target folder").join("examples/kv_applets");
        assert!(built.exists(), "{} is built with the tests", built.display());
        std::os::unix::fs::symlink(built, &link).expect("a link");
    }
    link
}

/// A port of the loopback that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A member that may run.
pub struct Member {
    pub name: String,
    pub client: String,
    pub peer: String,
    pub data: PathBuf,
    process: Option<Child>,
}

/// Some members, which end with this.
pub struct Cluster {
    pub folder: tempfile::TempDir,
    pub members: Vec<Member>,
    pub flags: Vec<String>,
    /// What members are started with: words before the program.
    pub launcher: Vec<String>,
    program: PathBuf,
}

impl Cluster {
    /// One member of Debian's, that serves.
    pub fn of_debian() -> Cluster {
        let mut cluster = Cluster::prepare(1, &["--enable-v2=true"], "http");
        cluster.program = "/usr/bin/etcd".into();
        cluster.run(0, "new");
        cluster.wait(0);
        cluster
    }

    /// Starts a cluster and waits until it serves.
    pub fn start(size: usize, flags: &[&str]) -> Cluster {
        let mut cluster = Cluster::prepare(size, flags, "http");
        for number in 0..size {
            cluster.run(number, "new");
        }
        for number in 0..size {
            cluster.wait(number);
        }
        cluster
    }

    /// Members that do not run yet.
    pub fn prepare(size: usize, flags: &[&str], scheme: &str) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let members =
            (0..size).map(|number| Cluster::member(folder.path(), &format!("m{number}"), scheme)).collect();
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let program = applet("etcd", folder.path());
        Cluster { folder, members, flags, launcher: Vec::new(), program }
    }

    fn member(folder: &Path, name: &str, scheme: &str) -> Member {
        Member {
            name: name.to_owned(),
            client: format!("{scheme}://127.0.0.1:{}", free_port()),
            peer: format!("{scheme}://127.0.0.1:{}", free_port()),
            data: folder.join(name),
            process: None,
        }
    }

    /// Makes room for one more member.
    pub fn add(&mut self, name: &str) -> usize {
        self.members.push(Cluster::member(self.folder.path(), name, "http"));
        self.members.len() - 1
    }

    /// Starts a member.
    pub fn run(&mut self, number: usize, state: &str) {
        let all: Vec<String> =
            self.members.iter().map(|member| format!("{}={}", member.name, member.peer)).collect();
        let member = &mut self.members[number];
        let log = fs::OpenOptions::new().create(true).append(true).open(member.data.with_extension("log"));
        let log = log.expect("a log");
        let program = self.program.to_string_lossy().into_owned();
        let words: Vec<&String> = self.launcher.iter().chain([&program]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["--name", &member.name, "--data-dir"])
            .arg(&member.data)
            .args(["--listen-client-urls", &member.client, "--advertise-client-urls", &member.client])
            .args(["--listen-peer-urls", &member.peer, "--initial-advertise-peer-urls", &member.peer])
            .args(["--initial-cluster", &all.join(","), "--initial-cluster-state", state])
            .args(&self.flags)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        member.process = Some(command.spawn().expect("it starts"));
    }

    /// A member's process.
    pub fn pid(&self, number: usize) -> u32 {
        self.members[number].process.as_ref().expect("it runs").id()
    }

    /// Bytes of memory that a member has.
    pub fn memory(&self, number: usize) -> usize {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.pid(number))).expect("it runs");
        text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096
    }

    /// What a member has said.
    pub fn log(&self, number: usize) -> String {
        fs::read_to_string(self.members[number].data.with_extension("log")).unwrap_or_default()
    }

    /// Waits until a member answers.
    pub fn wait(&mut self, number: usize) {
        let client = self.members[number].client.clone();
        self.until(&format!("m{number} serves"), |_| self_health(&client));
    }

    /// Waits for something, for long enough on a slow machine.
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Cluster) -> bool) {
        let end = Instant::now() + Duration::from_secs(90);
        while !holds(self) {
            let logs: Vec<String> = (0..self.members.len()).map(|number| self.log(number)).collect();
            assert!(Instant::now() < end, "{what}: not in time; the members say {logs:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills a member, as a power cut would.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends a member in order.
    pub fn stop(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].process.take() {
            let _ = Command::new("kill").args(["-TERM", &process.id().to_string()]).status();
            let _ = process.wait();
        }
    }

    /// All endpoints.
    pub fn endpoints(&self) -> String {
        self.members.iter().map(|member| member.client.clone()).collect::<Vec<_>>().join(",")
    }

    /// Either client, with either API.
    pub fn ask(&self, program: &Path, api: &str, args: &[&str]) -> Output {
        // A password's hash takes longer than a client waits on its own, where the machine is slow.
        let patience = ["--dial-timeout=20s", "--command-timeout=60s"];
        Command::new(program)
            .env("ETCDCTL_API", api)
            .args(if api == "3" { &patience[..] } else { &[] })
            .args(["--endpoints", &self.endpoints()])
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("it starts")
    }

    /// Debian's etcdctl.
    pub fn stock(&self, args: &[&str]) -> Output {
        Command::new("/usr/bin/etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--dial-timeout=20s", "--command-timeout=30s", "--endpoints", &self.endpoints()])
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("ci/packages has etcd-client")
    }

    /// Our etcdctl.
    pub fn own(&self, args: &[&str]) -> Output {
        self.own_at(&self.endpoints(), args)
    }

    /// Our etcdctl, with these endpoints only.
    pub fn own_at(&self, endpoints: &str, args: &[&str]) -> Output {
        Command::new(applet("etcdctl", self.folder.path()))
            .env("ETCDCTL_API", "3")
            .args(["--dial-timeout=20s", "--command-timeout=30s", "--endpoints", endpoints])
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("it starts")
    }
}

/// Whether who listens at this URL says that it is well.
pub fn self_health(client: &str) -> bool {
    use std::io::{Read, Write};
    let address = client.trim_start_matches("http://");
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(r#""health":"true""#)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|number| self.kill(number));
    }
}

/// The standard output of a client that succeeded.
pub fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The complaints of a client that failed.
pub fn bad(output: &Output) -> String {
    assert!(!output.status.success(), "it went well: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
