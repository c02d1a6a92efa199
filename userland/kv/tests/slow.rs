//! What is slow: a disk, a client that says little, one that never reads. Others do not suffer, and nothing grows.

mod cluster;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cluster::{Cluster, good};
use kv::proto::kv_client::KvClient;
use kv::proto::watch_client::WatchClient;
use kv::proto::watch_request::RequestUnion;
use kv::proto::{CompactionRequest, PutRequest, WatchCreateRequest, WatchRequest};

/// Every sync of a process takes longer, until this goes.
struct SlowDisk(Child);

impl SlowDisk {
    fn of(pid: u32, delay: Duration) -> SlowDisk {
        let inject = format!("inject=fdatasync:delay_enter={}", delay.as_micros());
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", &inject]);
        command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("ci/packages has strace");
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
        };
        let end = Instant::now() + Duration::from_secs(30);
        while !traced() {
            assert!(Instant::now() < end, "it cannot be traced");
            std::thread::sleep(Duration::from_millis(20));
        }
        SlowDisk(process)
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // In order: what is traced goes on without it.
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

fn leader(cluster: &Cluster) -> usize {
    let status = good(&cluster.stock(&["endpoint", "status"]));
    status.lines().position(|line| line.split(", ").nth(4) == Some("true")).expect("a leader")
}

/// Waits until all members say the same of all keys.
fn settle(cluster: &Cluster) {
    cluster.until("all members have the same keys", |cluster| {
        let hashes = good(&cluster.stock(&["endpoint", "hashkv"]));
        let mut all: Vec<&str> = hashes.lines().filter_map(|line| line.split(", ").nth(1)).collect();
        all.dedup();
        all.len() == 1
    });
}

#[test]
fn a_slow_disk_slows_down_its_member_alone() {
    let cluster = Cluster::start(3, &[]);
    let lead = leader(&cluster);
    let follower = (lead + 1) % 3;
    let put = |cluster: &Cluster, key: &str| {
        let began = Instant::now();
        good(&cluster.own_at(&cluster.members[lead].client, &["put", key, "v"]));
        began.elapsed()
    };
    let slow = SlowDisk::of(cluster.pid(follower), Duration::from_secs(2));
    let took: Duration = (0..10).map(|number| put(&cluster, &format!("f{number}"))).sum();
    assert!(took < Duration::from_secs(15), "ten puts take {took:?} where one follower of two is slow");
    drop(slow);
    settle(&cluster);
    // A leader that cannot say anything for longer than an election takes is one no more; nothing is lost.
    let slow = SlowDisk::of(cluster.pid(lead), Duration::from_millis(2500));
    let mut written = Vec::new();
    for number in 0..10 {
        let key = format!("l{number}");
        if cluster.own(&["put", &key, "v"]).status.success() {
            written.push(key);
        }
    }
    assert!(written.len() >= 5, "{written:?}");
    drop(slow);
    settle(&cluster);
    let keys = good(&cluster.stock(&["get", "l", "--prefix", "--keys-only"]));
    for key in &written {
        assert!(keys.lines().any(|line| line == key), "{key} was acknowledged and is gone");
    }
}

/// A client that says what it has to say in drops, until it is hung up on. Returns how long that took.
fn drip(address: &str, begin: &[u8], drop: &[u8]) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("set");
    let mut open = stream.write_all(begin).is_ok();
    let mut buffer = [0u8; 4096];
    while open && began.elapsed() < Duration::from_secs(150) {
        open = match stream.read(&mut buffer) {
            Ok(count) => count > 0,
            Err(error) => {
                matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            }
        };
        open = open && stream.write_all(drop).is_ok();
    }
    began.elapsed()
}

#[test]
fn who_says_little_is_hung_up_on() {
    let cluster = Cluster::start(1, &[]);
    let place = |url: &str| url.trim_start_matches("http://").to_owned();
    let (client, peer) = (place(&cluster.members[0].client), place(&cluster.members[0].peer));
    // An HTTP/2 block of headers that never ends: HEADERS without END_HEADERS, and empty CONTINUATIONs.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let endless = [&preface[..], b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat();
    let cases: [(&str, &str, &[u8], &[u8]); 7] = [
        ("silence", &client, b"", b""),
        ("a greeting that never ends", &client, b"PRI * HTTP/2.0\r\n", b""),
        ("headers in drops", &client, b"GET /health HTTP/1.1\r\n", b"a"),
        ("a frame in drops", &client, preface, b"\0"),
        ("headers without end", &client, &endless, b"\0\0\0\x09\0\0\0\0\x01"),
        (
            "a form in drops",
            &client,
            b"PUT /v2/keys/a HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n",
            b"a",
        ),
        ("silence of a member", &peer, b"", b""),
    ];
    std::thread::scope(|scope| {
        let all: Vec<_> = cases
            .iter()
            .flat_map(|case| std::iter::repeat_n(case, 5))
            .map(|(what, address, begin, drop)| (what, scope.spawn(|| self::drip(address, begin, drop))))
            .collect();
        // Meanwhile others are served.
        for number in 0..5 {
            good(&cluster.stock(&["put", &format!("k{number}"), "v"]));
            std::thread::sleep(Duration::from_secs(1));
        }
        for (what, thread) in all {
            let took = thread.join().expect("a client");
            assert!(took < Duration::from_secs(140), "{what}: it is still listened to after {took:?}");
        }
    });
}

#[test]
fn who_never_reads_what_it_watches_costs_nothing() {
    const WATCHERS: usize = 30;
    const PUTS: usize = 300;
    let cluster = Cluster::start(1, &[]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let before = cluster.memory(0);
    let (streams, after) = runtime.block_on(async {
        let channel =
            tonic::transport::Channel::from_shared(cluster.members[0].client.clone()).expect("a URL");
        let mut streams = Vec::new();
        for _ in 0..WATCHERS {
            let channel = channel.connect().await.expect("a connection");
            let create = WatchCreateRequest { key: "large".into(), ..WatchCreateRequest::default() };
            let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
            let asked = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
            let mut answers = WatchClient::new(channel).watch(asked).await.expect("a stream").into_inner();
            assert!(answers.message().await.expect("an answer").is_some_and(|answer| answer.created));
            streams.push(answers);
        }
        let mut kv = KvClient::new(channel.connect().await.expect("a connection"));
        for number in 0..PUTS {
            let value = vec![b'x'; 100_000].into();
            let put = PutRequest { key: "large".into(), value, ..PutRequest::default() };
            let header = kv.put(put).await.expect("written").into_inner().header.expect("a header");
            // What is old goes, so that the keys themselves stay small.
            if number % 50 == 49 {
                let compaction = CompactionRequest { revision: header.revision, physical: true };
                kv.compact(compaction).await.expect("compacted");
            }
        }
        (streams, cluster.memory(0))
    });
    let grown = after.saturating_sub(before) >> 20;
    // All that they have not read would be 900 MB; the log in memory may have 64.
    assert!(grown < 250, "{WATCHERS} watchers that do not read cost {grown} MiB");
    println!("{WATCHERS} watchers that did not read {PUTS} values of 100 kB: {grown} MiB");
    drop(streams);
}
