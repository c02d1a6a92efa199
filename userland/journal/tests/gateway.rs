//! The journal over HTTP: ours answers what Debian's `systemd-journal-gatewayd` (package systemd-journal-remote)
//! answers, on the same files; who is slow or idle harms nobody.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod machine;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use journal::file::{NewFile, Timestamp, Writer};
use machine::{Machine, PATIENCE, program};

/// A gateway that got its socket from us, as from init.
struct Gateway {
    process: Child,
    address: SocketAddr,
}

impl Gateway {
    fn start(program: &Path, directory: &Path) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let open = rustix::io::dup(&listener).unwrap();
        let script = format!("LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3<&{}", open.as_raw_fd());
        let mut command = Command::new("bash");
        command.args(["-c", &script, "bash"]).arg(program).arg("-D").arg(directory);
        let process =
            command.env("TZ", "UTC").env("LC_ALL", "C.UTF-8").stderr(Stdio::null()).spawn().unwrap();
        Gateway { process, address }
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Status, type and body.
    fn get(&self, path: &str, headers: &str) -> (String, String, Vec<u8>) {
        let mut socket = self.connect();
        write!(socket, "GET {path} HTTP/1.0\r\nHost: here\r\n{headers}\r\n").unwrap();
        let mut reply = Vec::new();
        socket.read_to_end(&mut reply).unwrap();
        let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&reply[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        let kind = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-type: ").map(str::to_owned))
            .unwrap_or_default();
        (status, kind, reply[end + 4..].to_vec())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(path: &Path, count: u64) {
    let new = NewFile {
        file_id: [3; 16],
        machine_id: [1; 16],
        seqnum_id: [0x44; 16],
        seqnum: 0,
        max_size: 64 << 20,
        compact: true,
        compress: Some(512),
    };
    let mut writer = Writer::create(path, &new).unwrap();
    for number in 0..count {
        let time = Timestamp { realtime: 1_735_689_600_000_000 + number * 1_000_000, monotonic: 1 + number };
        let fields = [
            format!("MESSAGE=message {number}\nsecond line"),
            format!("PRIORITY={}", number % 8),
            format!("_PID={number}"),
            "_HOSTNAME=here".to_owned(),
            "SYSLOG_IDENTIFIER=test".to_owned(),
            format!("_BOOT_ID={}", "22".repeat(16)),
        ];
        let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
        writer.append(time, &[0x22; 16], &fields).unwrap();
    }
    writer.close(false).unwrap();
}

#[test]
fn it_answers_as_the_real_one_does() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("system.journal"), 40);
    let theirs = Gateway::start(Path::new("/lib/systemd/systemd-journal-gatewayd"), directory.path());
    let ours = Gateway::start(&program("systemd-journal-gatewayd"), directory.path());
    let cursor = format!("s={};i=5", "44".repeat(16));
    let types = [
        "",
        "text/plain",
        "application/json",
        "text/event-stream",
        "application/vnd.fdo.journal",
        "image/png",
    ];
    let mut requests: Vec<(String, String)> =
        types.iter().map(|kind| ("/entries".to_owned(), format!("Accept: {kind}\r\n"))).collect();
    for range in [
        ":-3:2".to_owned(),
        ":3:2".to_owned(),
        ":2".to_owned(),
        ":-1:1".to_owned(),
        ":-5:".to_owned(),
        ":-900:".to_owned(),
        ":900:".to_owned(),
        "x".to_owned(),
        "::0".to_owned(),
        ":y".to_owned(),
        cursor.clone(),
        format!("{cursor}:2"),
        format!("{cursor}:1:2"),
        format!("{cursor}:-1:2"),
        format!("{cursor}:-90:2"),
    ] {
        requests.push(("/entries".to_owned(), format!("Range: entries={range}\r\n")));
        requests.push(("/entries?PRIORITY=3&PRIORITY=4".to_owned(), format!("Range: entries={range}\r\n")));
    }
    requests.push(("/entries?discrete".to_owned(), format!("Range: entries={cursor}\r\n")));
    requests
        .push(("/entries?discrete".to_owned(), format!("Range: entries=s={};i=500\r\n", "44".repeat(16))));
    for path in [
        "/",
        "/nope",
        "/fields/NOPE",
        "/entries?discrete",
        "/entries?boot",
        "/entries?boot=0&_PID=3",
        "/entries?boot=maybe",
        "/entries?_PID=3&_PID=4&PRIORITY=3",
        "/entries?pid=3",
        "/entries?follow=no&_PID=3",
        "/entries?SYSLOG_IDENTIFIER=te%73t",
    ] {
        requests.push((path.to_owned(), "Range: bytes=1\r\n".to_owned()));
    }
    for (path, headers) in &requests {
        let (status, kind, body) = theirs.get(path, headers);
        let answer = ours.get(path, headers);
        assert_eq!((&status, &kind), (&answer.0, &answer.1), "{path} {headers}");
        if kind.contains("json") || kind.contains("event") {
            let objects = |body: &[u8]| {
                let text = String::from_utf8_lossy(body).replace("data: ", "");
                text.lines()
                    .filter(|line| !line.is_empty())
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect::<Vec<serde_json::Value>>()
            };
            assert_eq!(objects(&body), objects(&answer.2), "{path} {headers}");
        } else {
            assert_eq!(
                String::from_utf8_lossy(&body),
                String::from_utf8_lossy(&answer.2),
                "{path} {headers}"
            );
        }
    }
    for headers in ["", "Accept: application/json\r\n"] {
        let sorted = |gateway: &Gateway| {
            let text = String::from_utf8_lossy(&gateway.get("/fields/PRIORITY", headers).2).into_owned();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&theirs), sorted(&ours), "{headers}");
    }
    let machine = |gateway: &Gateway| -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_slice(&gateway.get("/machine", "").2).unwrap()
    };
    let (theirs, machine) = (machine(&theirs), machine(&ours));
    assert_eq!(theirs.keys().collect::<Vec<_>>(), machine.keys().collect::<Vec<_>>());
    for key in [
        "machine_id",
        "boot_id",
        "hostname",
        "os_pretty_name",
        "usage",
        "cutoff_from_realtime",
        "cutoff_to_realtime",
    ] {
        assert_eq!(theirs[key], machine[key], "{key}");
    }
    let boots = String::from_utf8_lossy(&ours.get("/boots", "").2).into_owned();
    assert!(boots.starts_with("{\"boot_id\":\"2222"), "{boots}");
    assert_eq!(ours.get("/browse", "").0, "200");
}

#[test]
fn who_is_slow_or_strange_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("system.journal"), 20_000);
    fs::write(directory.path().join("broken.journal"), [0xaa; 5000]).unwrap();
    let gateway = Gateway::start(&program("systemd-journal-gatewayd"), directory.path());
    let mut slow: Vec<TcpStream> = (0..10).map(|_| gateway.connect()).collect();
    for socket in &mut slow {
        socket.write_all(b"GET /entries HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n").unwrap();
    }
    let idle: Vec<TcpStream> = (0..10).map(|_| gateway.connect()).collect();
    let mut strange = gateway.connect();
    strange.write_all(&[0xff; 200]).unwrap();
    let mut rest = Vec::new();
    let _ = strange.read_to_end(&mut rest);
    let (status, _, body) = gateway.get("/entries", "Range: entries=:-1:2\r\n");
    assert_eq!(status, "200");
    assert!(String::from_utf8_lossy(&body).contains("message 19999"));
    drop((slow, idle));
    assert_eq!(gateway.get("/machine", "").0, "200");
}

#[test]
fn it_follows() {
    let machine = Machine::started();
    let gateway = Gateway::start(&program("systemd-journal-gatewayd"), &machine.directory());
    let mut socket = gateway.connect();
    socket.write_all(b"GET /entries?follow&SYSLOG_IDENTIFIER=news HTTP/1.0\r\n\r\n").unwrap();
    let mut lines = BufReader::new(socket).lines();
    assert!(lines.next().unwrap().unwrap().contains("200"));
    assert!(lines.by_ref().any(|line| line.unwrap().is_empty()));
    for round in 0..3 {
        machine.send("socket", format!("SYSLOG_IDENTIFIER=news\nMESSAGE=news {round}\n").as_bytes());
        if round == 1 {
            machine.control("--rotate");
        }
        let line = lines.next().unwrap().unwrap();
        assert!(line.ends_with(&format!("news {round}")), "{line}");
    }
}
