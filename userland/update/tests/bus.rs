//! com.coreos.update1 on a stock bus, asked by the stock busctl.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use http_client::Http;
use omaha::{App, Request};
use update::bus::{Face, INTERFACE, NAME, PATH};
use update::engine::{Ask, Input, Report, Status};
use update::work;

/// A bus of our own.
struct Bus {
    daemon: Child,
    folder: tempfile::TempDir,
}

impl Bus {
    fn new() -> Bus {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let configuration = folder.path().join("bus.conf");
        let text = format!(
            "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
             <allow own=\"*\"/><allow user=\"*\"/></policy></busconfig>",
            socket.display()
        );
        fs::write(&configuration, text).unwrap();
        // Others than root come in as well.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), open).unwrap();
        let daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", configuration.display()))
            .arg("--nofork")
            .spawn()
            .unwrap();
        let bus = Bus { daemon, folder };
        wait_for(|| bus.socket().exists());
        bus
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What busctl says, and whether it went well.
    fn busctl(&self, user: Option<&str>, arguments: &[&str]) -> (bool, String) {
        let mut command = match user {
            None => Command::new("busctl"),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", user, "--clear-groups", "busctl"]);
                command
            }
        };
        let address = format!("--address=unix:path={}", self.socket().display());
        let output = command.args([&address, "--timeout=5"]).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    fn call(&self, user: Option<&str>, member: &str, more: &[&str]) -> (bool, String) {
        self.busctl(user, &[&["call", NAME, PATH, INTERFACE, member][..], more].concat())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn wait_for(what: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if what() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("it does not come");
}

fn next(inputs: &Receiver<Input>) -> Input {
    inputs.recv_timeout(Duration::from_secs(10)).unwrap()
}

#[test]
fn the_stock_busctl_asks_and_steers() {
    let bus = Bus::new();
    let (send, inputs) = channel();
    let face = Face::serve(bus.socket(), Report { last_checked: 7, ..Report::default() }, send).unwrap();
    wait_for(|| bus.call(None, "GetStatus", &[]).0);
    assert_eq!(bus.call(None, "GetStatus", &[]).1, "xdssx 7 0 \"UPDATE_STATUS_IDLE\" \"\" 0\n");
    let (well, text) = bus.busctl(None, &["introspect", NAME, PATH]);
    assert!(well && text.contains(".AttemptUpdate") && text.contains("StatusUpdate"), "{text}");

    // Root may do anything, a stranger may only look.
    assert!(bus.call(None, "AttemptUpdate", &[]).0);
    assert_eq!(next(&inputs), Input::Asked(Ask { on_demand: true, ..Ask::default() }));
    assert!(bus.call(None, "AttemptUpdateFrom", &["ssb", "1.2", "https://a/", "true"]).0);
    let ask = Ask {
        on_demand: true,
        server: Some("https://a/".to_owned()),
        version: Some("1.2".to_owned()),
        force: true,
    };
    assert_eq!(next(&inputs), Input::Asked(ask));
    assert!(bus.call(None, "ResetStatus", &[]).0);
    assert_eq!(next(&inputs), Input::Reset);
    assert!(bus.call(Some("65534"), "GetStatus", &[]).0);
    for (member, more) in
        [("AttemptUpdate", &[][..]), ("ResetStatus", &[]), ("AttemptUpdateFrom", &["ssb", "", "", "false"])]
    {
        let (well, text) = bus.call(Some("65534"), member, more);
        assert!(!well && text.contains("ccess denied"), "{member}: {text}");
    }
    assert!(!bus.call(None, "AttemptUpdateFrom", &["s", "1"]).0);
    assert!(!bus.call(None, "Nonsense", &[]).0);
    assert!(inputs.try_recv().is_err(), "what is refused does not reach the engine");

    // What changes is told, a download by hundredths.
    let told = bus.folder.path().join("told");
    let mut monitor = Command::new("dbus-monitor")
        .args(["--address", &format!("unix:path={}", bus.socket().display())])
        .arg(format!("type='signal',interface='{INTERFACE}'"))
        .stdout(fs::File::create(&told).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(500));
    for step in 0..=1000 {
        let report = Report {
            last_checked: 8,
            progress: f64::from(step) / 1000.0,
            status: Status::Downloading,
            new_version: "2".to_owned(),
            new_size: 99,
            trouble: String::new(),
        };
        face.show(&report);
    }
    let text = || fs::read_to_string(&told).unwrap();
    wait_for(|| text().contains("double 1\n"));
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    assert!(
        text().contains("string \"UPDATE_STATUS_DOWNLOADING\"") && text().contains("int64 99"),
        "{}",
        text()
    );
    assert!((1..=101).contains(&text().matches("StatusUpdate").count()));
    assert_eq!(bus.call(None, "GetStatus", &[]).1, "xdssx 8 1 \"UPDATE_STATUS_DOWNLOADING\" \"2\" 99\n");
}

/// The server's end of one request: answers it, and returns its body.
fn answer_once(listener: &TcpListener, answer: &str) -> String {
    use std::io::{BufRead, BufReader, Read};
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    String::from_utf8(body).unwrap()
}

#[test]
fn a_server_is_asked_in_omaha_and_understood() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}/v1/update/", listener.local_addr().unwrap());
    let request = Request {
        apps: vec![App { id: omaha::COREOS.to_owned(), ping: true, ..App::default() }],
        ..Request::default()
    };
    let ask = |answer: &str| {
        let (url, request) = (server.clone(), request.clone());
        let client = thread::spawn(move || {
            work::ask(&Http::new(&[]).unwrap().patient_for(Duration::from_secs(5)), &url, &request)
        });
        let body = answer_once(&listener, answer);
        (Request::parse(body.as_bytes()).unwrap(), client.join().unwrap())
    };
    let http = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: text/xml\r\n\r\n{body}", body.len())
    };
    // The application's number without braces, as servers answer it.
    let good = format!(
        "<response protocol=\"3.0\"><app appid=\"{}\" status=\"ok\"><updatecheck status=\"noupdate\"/></app></response>",
        omaha::COREOS.trim_matches(['{', '}'])
    );
    let (heard, answer) = ask(&http("200 OK", &good));
    assert_eq!(heard.apps, request.apps);
    assert_eq!(answer.unwrap().verdict, Some(omaha::Verdict::None));
    let unknown = good.replace("status=\"ok\"", "status=\"error-unknownApplication\"");
    for (answer, says) in [
        (http("500 Internal Server Error", ""), "answers 500"),
        (http("200 OK", "<html>"), "no Omaha"),
        (http("200 OK", &good.replace("e96281a6", "00000000")), "not in the answer"),
        (http("200 OK", &unknown), "error-unknownApplication"),
        ("nonsense\r\n\r\n".to_owned(), "HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n<".to_owned(), ""),
    ] {
        let error = ask(&answer).1.unwrap_err().to_string();
        assert!(error.contains("/v1/update/") && error.contains(says), "{answer}: {error}");
    }
}
