//! The semaphore in a stock etcd, by both of its APIs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use http_client::Http;
use locksmith::fleet_lock::{self, Client, Verb};
use locksmith::fleet_lock_server::{Stores, serve};
use locksmith::semaphore::{Refused, Semaphore, key};
use locksmith::store::{Api, Store, StoreError};
use locksmith::turn::Answer;

struct Etcd {
    process: Child,
    endpoint: String,
    _folder: tempfile::TempDir,
}

impl Etcd {
    fn new() -> Etcd {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (client, peer) = (format!("http://127.0.0.1:{}", free()), format!("http://127.0.0.1:{}", free()));
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--enable-v2=true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Etcd { process, endpoint: client, _folder: folder };
        for _ in 0..300 {
            if etcd.store(Api::V3).read().is_ok() {
                return etcd;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("etcd does not come up");
    }

    fn store(&self, api: Api) -> Store {
        // The first member is down.
        let endpoints = vec!["http://127.0.0.1:1".to_owned(), self.endpoint.clone()];
        Store::new(Http::new(&[]).unwrap(), endpoints, api, key("db servers")).unwrap()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn machines_take_turns() {
    let etcd = Etcd::new();
    for api in [Api::V3, Api::V2] {
        let store = etcd.store(api);
        assert_eq!(store.read().unwrap(), Semaphore::default(), "{api:?}");
        assert_eq!(store.change(|semaphore| semaphore.lock("a")).unwrap().holders(), ["a"]);
        assert_eq!(store.change(|semaphore| semaphore.lock("a")).unwrap().holders(), ["a"]);
        let full = store.change(|semaphore| semaphore.lock("b"));
        assert!(matches!(full, Err(StoreError::Refused(Refused::Full { max: 1, .. }))), "{full:?}");
        store.change(|semaphore| semaphore.with_max(2)).unwrap();
        store.change(|semaphore| semaphore.lock("b")).unwrap();
        assert_eq!(store.read().unwrap().holders(), ["a", "b"]);
        store.change(|semaphore| semaphore.unlock("a")).unwrap();
        store.change(|semaphore| semaphore.unlock("b")).unwrap();
        assert_eq!(store.read().unwrap().available(), 2);
        store.change(|semaphore| semaphore.with_max(1)).unwrap();
    }
    // Many at once: each has it alone.
    thread::scope(|scope| {
        for number in 0..6 {
            let store = etcd.store(Api::V3);
            scope.spawn(move || {
                let name = format!("m{number}");
                loop {
                    match store.change(|semaphore| semaphore.lock(&name)) {
                        Ok(_) => break,
                        Err(StoreError::Refused(_)) => thread::sleep(Duration::from_millis(20)),
                        Err(error) => panic!("{error}"),
                    }
                }
                assert_eq!(store.read().unwrap().holders(), [name.as_str()]);
                store.change(|semaphore| semaphore.unlock(&name)).unwrap();
            });
        }
    });
    assert_eq!(etcd.store(Api::V3).read().unwrap().available(), 1);
}

/// A FleetLock server over a stock etcd, asked by our client, and by hand.
#[test]
fn machines_without_a_store_take_turns_by_fleet_lock() {
    let etcd = Etcd::new();
    let stores = Stores { endpoints: vec![etcd.endpoint.clone()], api: Api::V3, certificates: Vec::new() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { serve(tokio::net::TcpListener::from_std(listener).unwrap(), stores).await })
    });
    let http = Http::new(&[]).unwrap();
    let ask = |verb, id: &str| {
        let client = Client { id: id.to_owned(), group: "workers".to_owned() };
        fleet_lock::ask(&http, &format!("http://{address}/"), verb, &client).unwrap()
    };
    assert_eq!(ask(Verb::PreReboot, "a"), Answer::Done);
    assert_eq!(ask(Verb::PreReboot, "a"), Answer::Done, "it may ask again");
    let Answer::Unreachable(why) = ask(Verb::PreReboot, "b") else { panic!("b has a place") };
    assert!(why.contains("409") && why.contains("held, by a"), "{why}");
    assert_eq!(ask(Verb::SteadyState, "b"), Answer::Done, "who has none gives none back");
    assert_eq!(ask(Verb::SteadyState, "a"), Answer::Done);
    assert_eq!(ask(Verb::PreReboot, "b"), Answer::Done);

    let good = r#"{"client_params":{"id":"a","group":"workers"}}"#;
    let by_hand = |head: &str, body: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{head}\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let post = "POST /v1/steady-state HTTP/1.1";
    let header = format!("{post}\r\nfleet-lock-protocol: true");
    assert_eq!(by_hand(&header, good), "200");
    assert_eq!(by_hand(post, good), "400", "without the header");
    for bad in [
        "",
        "{}",
        r#"{"client_params":{"id":"","group":"a"}}"#,
        r#"{"client_params":{"id":"a","group":"a/../b"}}"#,
    ] {
        assert_eq!(by_hand(&header, bad), "400", "{bad}");
    }
    assert_eq!(by_hand("GET /v1/steady-state HTTP/1.1", ""), "404");
}

#[test]
fn nobody_to_ask_is_said() {
    let store = |endpoints: &[&str]| {
        let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        Store::new(Http::new(&[]).unwrap(), endpoints, Api::V3, key("")).unwrap()
    };
    assert!(matches!(store(&[]).read(), Err(StoreError::NoEndpoint)));
    assert!(matches!(store(&["http://127.0.0.1:1"]).read(), Err(StoreError::Unreachable(_))));
}
