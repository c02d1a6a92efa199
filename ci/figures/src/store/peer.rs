//! Clusters of either side, as processes.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use qemu::{Error, Result};

use super::fault;

/// Longer than any start takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A store.
pub struct Side {
    /// Its name in folders and complaints.
    pub name: &'static str,
    etcd: PathBuf,
    /// Its client.
    pub etcdctl: PathBuf,
}

impl Side {
    pub fn ours(programs: &Path) -> Side {
        Side { name: "corten", etcd: programs.join("etcd"), etcdctl: programs.join("etcdctl") }
    }

    pub fn theirs() -> Side {
        Side { name: "etcd", etcd: "/usr/bin/etcd".into(), etcdctl: "/usr/bin/etcdctl".into() }
    }
}

/// Members that end with this, and their data with them.
pub struct Cluster {
    folder: PathBuf,
    name: &'static str,
    members: Vec<Member>,
}

struct Member {
    command: Command,
    client: String,
    data: PathBuf,
    process: Child,
}

fn free_port() -> Result<u16> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Error::Usage(format!("no free port: {error}")))
}

impl Cluster {
    /// Starts a new cluster and waits until all members serve.
    pub fn start(side: &Side, size: usize, place: &Path) -> Result<Cluster> {
        let folder = place.join(side.name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| fault(&folder, &error))?;
        let mut urls = Vec::new();
        for _ in 0..size {
            urls.push((
                format!("http://127.0.0.1:{}", free_port()?),
                format!("http://127.0.0.1:{}", free_port()?),
            ));
        }
        let all: Vec<String> =
            urls.iter().enumerate().map(|(number, (_, peer))| format!("m{number}={peer}")).collect();
        let mut cluster = Cluster { folder: folder.clone(), name: side.name, members: Vec::new() };
        for (number, (client, peer)) in urls.into_iter().enumerate() {
            let data = folder.join(format!("m{number}"));
            let mut command = Command::new(&side.etcd);
            command
                .env_clear()
                .args(["--name", &format!("m{number}"), "--data-dir"])
                .arg(&data)
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &all.join(","), "--quota-backend-bytes", "8589934592"]);
            let process = spawn(&mut command, &data)?;
            cluster.members.push(Member { command, client, data, process });
        }
        cluster.wait()?;
        Ok(cluster)
    }

    /// The store's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Client URLs.
    pub fn endpoints(&self) -> String {
        self.members.iter().map(|member| member.client.clone()).collect::<Vec<_>>().join(",")
    }

    /// The first member's process.
    pub fn pid(&self) -> u32 {
        self.members.first().map_or(0, |member| member.process.id())
    }

    /// The first member's data.
    pub fn data(&self) -> &Path {
        self.members.first().map_or(&self.folder, |member| &member.data)
    }

    /// Where files beside the data may lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of memory that the first member's process has: all that is resident, and of it what is no file's.
    pub fn memory(&self) -> (f64, f64) {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
                .map_or(f64::NAN, |k| k * 1024.0)
        };
        (field("VmRSS:"), field("RssAnon:"))
    }

    /// Ends the members in order and starts them again. Returns the seconds until they serve.
    pub fn restart(&mut self) -> Result<f64> {
        for member in &mut self.members {
            let pid = member.process.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let _ = member.process.wait();
        }
        let began = Instant::now();
        for member in &mut self.members {
            member.process = spawn(&mut member.command, &member.data)?;
        }
        self.wait()?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn wait(&mut self) -> Result<()> {
        let began = Instant::now();
        for member in &mut self.members {
            while !is_healthy(&member.client) {
                let ended = member.process.try_wait().ok().flatten();
                if ended.is_some() || began.elapsed() > PATIENCE {
                    let log = fs::read_to_string(member.data.with_extension("log")).unwrap_or_default();
                    return Err(Error::Usage(format!("{} does not start: {log}", self.name)));
                }
                sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.process.kill();
            let _ = member.process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn spawn(command: &mut Command, data: &Path) -> Result<Child> {
    let log = data.with_extension("log");
    let file = fs::File::create(&log).map_err(|error| fault(&log, &error))?;
    let copy = file.try_clone().map_err(|error| fault(&log, &error))?;
    command
        .stdin(Stdio::null())
        .stdout(copy)
        .stderr(file)
        .spawn()
        .map_err(|error| fault(Path::new(command.get_program()), &error))
}

fn is_healthy(client: &str) -> bool {
    let address = client.trim_start_matches("http://");
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains(r#""health":"true""#)
}
