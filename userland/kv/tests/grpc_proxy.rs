//! `etcd grpc-proxy`, ours beside Debian's, each before Debian's etcd and before ours: clients are told the same
//! through all of them, and those who watch the same share a watcher.

mod cluster;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cluster::{Cluster, applet, bad, free_port, good, self_health};

struct Proxy {
    process: Child,
    /// Where it listens.
    place: String,
}

impl Proxy {
    fn start(program: &Path, cluster: &Cluster, flags: &[&str]) -> Proxy {
        let place = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(program);
        command.args(["grpc-proxy", "start", "--endpoints", &cluster.endpoints(), "--listen-addr", &place]);
        command.args(flags).current_dir(cluster.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let proxy = Proxy { process: command.spawn().expect("it starts"), place };
        let url = format!("http://{}", proxy.place);
        cluster.until("the proxy serves", |_| self_health(&url));
        proxy
    }

    fn ask(&self, args: &[&str]) -> std::process::Output {
        let mut command = Command::new("/usr/bin/etcdctl");
        command.env("ETCDCTL_API", "3").args(["--dial-timeout=20s", "--command-timeout=30s"]);
        command.args(["--endpoints", &self.place]).args(args).stdin(Stdio::null());
        command.output().expect("ci/packages has etcd-client")
    }

    fn metric(&self, name: &str) -> Option<u64> {
        let (_, text) = cluster::v2::http(&format!("http://{}", self.place), "GET", "/metrics", "");
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is asked through a proxy of a new store.
const SCRIPT: &[&str] = &[
    "put a 1",
    "put a 2 --prev-kv",
    "get a",
    "get a --rev=2",
    "get a --consistency=s",
    "get a --rev=99",
    "put b 3",
    "get --prefix --keys-only a",
    "get --from-key a",
    "get a b",
    "get a c --limit=1",
    "del b --prev-kv",
    "get b",
    "lease list",
    "lease timetolive 77",
    "lease revoke 77",
    "user add u:p",
    "user list",
    "role add r",
    "user grant-role u r",
    "user get u",
    "user delete u",
    "auth enable",
    "alarm list",
    "compaction 3",
    "get a --rev=2",
];

fn said(proxy: &Proxy) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    SCRIPT
        .iter()
        .map(|line| {
            let output = proxy.ask(&line.split(' ').collect::<Vec<_>>());
            // Debian's client logs each try of its own, with the time.
            let complaint = text(&output.stderr);
            let complaint = complaint.lines().find(|line| line.starts_with("Error")).unwrap_or_default();
            format!("{}{complaint}= {:?}", text(&output.stdout), output.status.code())
        })
        .collect()
}

#[test]
fn clients_are_told_the_same_through_both_proxies_of_both_stores() {
    let folder = tempfile::tempdir().expect("a folder");
    let programs: [PathBuf; 2] = ["/usr/bin/etcd".into(), applet("etcd", folder.path())];
    for flags in [&[][..], &["--namespace=space/"]] {
        let mut wanted: Option<Vec<String>> = None;
        for program in &programs {
            for cluster in [Cluster::of_debian(), Cluster::start(1, &[])] {
                let proxy = Proxy::start(program, &cluster, flags);
                let said = said(&proxy);
                let wanted = wanted.get_or_insert_with(|| said.clone());
                for ((line, said), wanted) in SCRIPT.iter().zip(&said).zip(wanted.iter()) {
                    assert_eq!(said, wanted, "{line} through {} {flags:?}", program.display());
                }
                let prefix = if flags.is_empty() { "" } else { "space/" };
                assert_eq!(good(&cluster.stock(&["get", &format!("{prefix}a")])), format!("{prefix}a\n2\n"));
            }
        }
    }
}

#[test]
fn those_who_watch_the_same_share_a_watcher() {
    let cluster = Cluster::start(1, &[]);
    let proxy = Proxy::start(&applet("etcd", cluster.folder.path()), &cluster, &["--namespace=n/"]);
    good(&proxy.ask(&["put", "old", "1"]));
    let log = |number: usize| cluster.folder.path().join(format!("watch{number}"));
    let cases: [&[&str]; 6] = [
        &["watch", "k", "--prefix"],
        &["watch", "k", "--prefix"],
        &["watch", "k", "--prefix", "--prev-kv"],
        &["watch", "k1"],
        &["watch", "old", "--rev=1"],
        &["watch", "none"],
    ];
    let mut watchers: Vec<Child> = cases
        .iter()
        .enumerate()
        .map(|(number, args)| {
            let file = std::fs::File::create(log(number)).expect("a file");
            let mut command = Command::new("/usr/bin/etcdctl");
            command.env("ETCDCTL_API", "3").args(["--endpoints", &proxy.place]).args(*args);
            command.stdin(Stdio::null()).stdout(file).spawn().expect("it starts")
        })
        .collect();
    let shared = |proxy: &Proxy| proxy.metric("etcd_grpc_proxy_watchers_coalescing_total ");
    cluster.until("all watch, with four watchers at the store", |_| shared(&proxy) == Some(4));
    // Watchers at the store are there a little later than those of the proxy.
    cluster.until("all are told", |_| {
        good(&proxy.ask(&["put", "k1", "v"]));
        (0..4).all(|number| std::fs::read_to_string(log(number)).is_ok_and(|text| text.contains("k1\nv\n")))
    });
    good(&proxy.ask(&["del", "k1"]));
    good(&proxy.ask(&["put", "k2", "last"]));
    let told = |number: usize| std::fs::read_to_string(log(number)).unwrap_or_default();
    cluster.until("all know the last", |_| (0..3).all(|number| told(number).ends_with("PUT\nk2\nlast\n")));
    assert!(told(2).ends_with("DELETE\nk1\nv\nk1\n\nPUT\nk2\nlast\n"), "{}", told(2));
    assert!(told(3).ends_with("DELETE\nk1\n\n"), "{}", told(3));
    assert_eq!(told(4), "PUT\nold\n1\n");
    assert_eq!(told(5), "");
    // Past its compaction nothing is watched.
    good(&proxy.ask(&["compaction", "3"]));
    let late = proxy.ask(&["watch", "k", "--rev=2"]);
    assert!(bad(&late).contains("required revision has been compacted"));
    for watcher in &mut watchers {
        let _ = watcher.kill();
        let _ = watcher.wait();
    }
    cluster.until("nobody watches any more", |_| shared(&proxy) == Some(0));
}

#[test]
fn a_proxy_without_members_says_so_and_recovers() {
    let mut cluster = Cluster::start(1, &[]);
    let proxy = Proxy::start(&applet("etcd", cluster.folder.path()), &cluster, &[]);
    cluster.kill(0);
    cluster.until("it is not well", |_| !self_health(&format!("http://{}", proxy.place)));
    cluster.run(0, "new");
    cluster.wait(0);
    cluster.until("it is well again", |_| self_health(&format!("http://{}", proxy.place)));
    good(&proxy.ask(&["put", "a", "1"]));
    assert_eq!(good(&proxy.ask(&["get", "a"])), "a\n1\n");
}
