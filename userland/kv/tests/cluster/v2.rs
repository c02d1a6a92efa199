//! The v2 API as both clients and plain HTTP ask for it, of both stores.

use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;

use super::{Cluster, applet, good};

const STOCK: &str = "/usr/bin/etcdctl";

/// A store that stands where a new one of etcd's does: that has written three things of its own.
pub fn store(of: &str) -> Cluster {
    if of == "Debian's" {
        return Cluster::of_debian();
    }
    let cluster = Cluster::start(1, &[]);
    for _ in 0..3 {
        good(&cluster.ask(Path::new(STOCK), "2", &["set", "/_before", "1"]));
    }
    cluster
}

/// All that a client has said, and its exit code.
pub fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}= {:?}", text(&output.stdout), text(&output.stderr), output.status.code())
}

/// Debian's client and ours.
pub fn clients(folder: &Path) -> [(&'static str, PathBuf); 2] {
    [("Debian's", STOCK.into()), ("our", applet("etcdctl", folder))]
}

/// Does what a script says, a command a line, with both clients on both stores: all say the same.
pub fn check_script(script: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wanted: Option<Vec<String>> = None;
    let mut faults = Vec::new();
    for of in ["Debian's", "our"] {
        for (whose, client) in clients(folder.path()) {
            let cluster = store(of);
            let said: Vec<String> = script
                .iter()
                .map(|line| told(&cluster.ask(&client, "2", &line.split(' ').collect::<Vec<_>>())))
                .collect();
            let wanted = wanted.get_or_insert_with(|| said.clone());
            for ((line, said), wanted) in script.iter().zip(&said).zip(wanted.iter()) {
                if said != wanted {
                    faults.push(format!(
                        "{whose} client on {of} store: {line}\n{said}\ninstead of\n{wanted}\n"
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A question over HTTP, and its answer: status, what is in it.
pub fn http(at: &str, method: &str, path: &str, form: &str) -> (String, String) {
    http_as("", at, method, path, form)
}

/// The same, by a user: `NAME:PASSWORD`.
pub fn http_as(user: &str, at: &str, method: &str, path: &str, form: &str) -> (String, String) {
    use std::io::{Read, Write};
    let address = at.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("set");
    let code = base64::engine::general_purpose::STANDARD.encode(user);
    let login = if user.is_empty() { String::new() } else { format!("Authorization: Basic {code}\r\n") };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{login}Content-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
    .expect("written");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    (status, body.to_owned())
}
