//! How members find each other, and how who is no member finds them: a token, SRV records, the proxy, the gateway.
//! Debian's etcd and its discovery service play the other part wherever there is one.

mod cluster;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cluster::{Cluster, applet, bad, free_port, good, self_health};

const STOCK_ETCD: &str = "/usr/bin/etcd";
const STOCK_DISCOVERY: &str = "/usr/bin/discovery.etcd.io";

/// A process that ends with this, and what it says.
struct Process {
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    fn start(folder: &Path, name: &str, program: &Path, args: &[&str]) -> Process {
        let log = folder.join(format!("{name}.log"));
        let out = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).stdin(Stdio::null());
        let child = command.stdout(out.try_clone().expect("a log")).stderr(out).spawn().expect("it starts");
        Process { child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it ends by itself, and returns what it said.
    fn ends(mut self) -> String {
        let end = Instant::now() + Duration::from_secs(90);
        while self.child.try_wait().expect("it can be waited for").is_none() {
            assert!(Instant::now() < end, "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.log()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something, for long enough on a slow machine.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a server answers, head and body.
fn ask(method: &str, url: &str, form: &str) -> String {
    use std::io::{Read, Write};
    let (address, path) = url.trim_start_matches("http://").split_once('/').unwrap_or((url, ""));
    let Ok(mut stream) = std::net::TcpStream::connect(address) else { return String::new() };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let request = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut answer = String::new();
    let _ = stream.write_all(request.as_bytes());
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn body(answer: &str) -> String {
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// A member that is to be: its URLs and flags.
struct Member {
    name: String,
    client: String,
    args: Vec<String>,
}

impl Member {
    fn new(name: &str, more: &[&str]) -> Member {
        let (client, peer) = (free_port(), free_port());
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut args: Vec<String> = [
            "--name",
            name,
            "--data-dir",
            name,
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]
        .map(str::to_owned)
        .into();
        args.extend(more.iter().map(|word| (*word).to_owned()));
        Member { name: name.to_owned(), client, args }
    }

    fn start(&self, folder: &Path, program: &Path) -> Process {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        Process::start(folder, &self.name, program, &args)
    }
}

/// A store and a service in front of it that gives out tokens.
struct Registry {
    _store: Process,
    _service: Process,
    url: String,
}

impl Registry {
    fn start(folder: &Path, etcd: &Path, service: &Path) -> Registry {
        let store = Member::new("registry", &["--enable-v2=true"]);
        let process = store.start(folder, etcd);
        until("the store serves", || self_health(&store.client));
        let address = format!("127.0.0.1:{}", free_port());
        let url = format!("http://{address}");
        let service =
            Process::start(folder, "service", service, &["-a", &address, "-e", &store.client, "-h", &url]);
        until("the service answers", || ask("GET", &format!("{url}/health"), "").contains("200 OK"));
        Registry { _store: process, _service: service, url }
    }

    fn own(folder: &Path) -> Registry {
        Registry::start(folder, &applet("etcd", folder), &applet("etcd-discovery", folder))
    }

    fn token(&self, size: usize) -> String {
        let url = body(&ask("GET", &format!("{}/new?size={size}", self.url), ""));
        let token = url.rsplit('/').next().unwrap_or_default();
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{url}");
        url
    }
}

fn etcdctl(endpoint: &str, args: &[&str]) -> std::process::Output {
    Command::new("/usr/bin/etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--dial-timeout=20s", "--command-timeout=30s", "--endpoints", endpoint])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("ci/packages has etcd-client")
}

/// Three members meet at a token of a registry.
fn meet(folder: &Path, registry: &Registry, etcd: &Path) -> (String, Vec<Member>, Vec<Process>) {
    let token = registry.token(3);
    let members: Vec<Member> =
        ["a", "b", "c"].iter().map(|name| Member::new(name, &["--discovery", &token])).collect();
    let processes: Vec<Process> = members.iter().map(|member| member.start(folder, etcd)).collect();
    for (member, process) in members.iter().zip(&processes) {
        let end = Instant::now() + Duration::from_secs(90);
        while !self_health(&member.client) {
            assert!(Instant::now() < end, "{} does not serve: {}", member.name, process.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let listed = good(&etcdctl(&members[0].client, &["member", "list"]));
    assert_eq!(listed.lines().filter(|line| line.contains("started")).count(), 3, "{listed}");
    (token, members, processes)
}

#[test]
fn three_members_meet_at_a_token_and_later_ones_become_proxies() {
    let folder = tempfile::tempdir().expect("a folder");
    let etcd = applet("etcd", folder.path());
    let registry = Registry::own(folder.path());
    let (token, members, mut processes) = meet(folder.path(), &registry, &etcd);
    good(&etcdctl(&members[1].client, &["put", "k", "v"]));

    let late = Member::new("late", &["--discovery", &token, "--discovery-fallback", "exit"]);
    let said = late.start(folder.path(), &etcd).ends();
    assert!(said.contains("discovery: cluster is full"), "{said}");

    let worker = Member::new("worker", &["--discovery", &token]);
    let process = worker.start(folder.path(), &etcd);
    until("the proxy knows a member", || {
        ask("GET", &format!("{}/v2/config/local/proxy", worker.client), "").contains(&members[2].client)
    });
    assert!(process.log().contains("falling back to proxy"), "{}", process.log());
    let answer = ask("PUT", &format!("{}/v2/keys/job", worker.client), "value=1");
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(ask("GET", &format!("{}/v2/keys/job", members[0].client), "").contains("\"value\":\"1\""));

    // A member that comes back has its data, and needs no token.
    drop(processes.pop());
    processes.push(members[2].start(folder.path(), &etcd));
    until("it serves again", || self_health(&members[2].client));
    assert_eq!(good(&etcdctl(&members[2].client, &["get", "k"])), "k\nv\n");
    // The proxy goes on where it was, without the token too.
    drop(process);
    let again = Member { args: worker.args[..worker.args.len() - 2].to_vec(), ..worker };
    let _process = again.start(folder.path(), &etcd);
    until("the proxy serves again", || {
        ask("GET", &format!("{}/v2/keys/job", again.client), "").contains("\"value\":\"1\"")
    });
}

#[test]
fn members_of_ours_meet_at_debians_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::start(folder.path(), Path::new(STOCK_ETCD), Path::new(STOCK_DISCOVERY));
    meet(folder.path(), &registry, &applet("etcd", folder.path()));
}

#[test]
fn debians_members_meet_at_our_service() {
    let folder = tempfile::tempdir().expect("a folder");
    meet(folder.path(), &Registry::own(folder.path()), Path::new(STOCK_ETCD));
}

#[test]
fn what_is_wrong_with_a_token_is_said_in_etcds_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Registry::own(folder.path());
    let own = applet("etcd", folder.path());
    let unknown = format!("{}/0123456789abcdef0123456789abcdef", registry.url);
    let used = registry.token(1);
    for (number, etcd) in [Path::new(STOCK_ETCD), &own].into_iter().enumerate() {
        let try_it = |name: &str, flags: &[&str]| {
            Member::new(&format!("{name}{number}"), flags).start(folder.path(), etcd).ends()
        };
        let said = try_it("unknown", &["--discovery", &unknown]);
        let words = "failed to join discovery cluster (100: Key not found (/_etcd/registry/0123456789abcdef0123456789abcdef) [";
        assert!(said.contains(words), "{said}");
        assert!(said.contains("please generate a new discovery token and try to bootstrap again"), "{said}");
        let said = try_it("elsewhere", &["--discovery", &format!("{}/robots", registry.url)]);
        assert!(said.contains("failed to join discovery cluster ("), "{said}");
        let said = try_it("both", &["--discovery", &used, "--discovery-srv", "example.test"]);
        assert!(said.contains("multiple discovery or bootstrap flags are set"), "{said}");
        let said = try_it("joins", &["--discovery", &used, "--initial-cluster-state", "existing"]);
        assert!(
            said.contains("discovery URL should not be set when joining existing initial cluster"),
            "{said}"
        );
        // One that was here and lost its data.
        let token = registry.token(2);
        let member = Member::new(&format!("twice{number}"), &["--discovery", &token]);
        let process = member.start(folder.path(), etcd);
        until("it is registered", || body(&ask("GET", &token, "")).contains("twice"));
        drop(process);
        let _ = fs::remove_dir_all(folder.path().join(&member.name));
        let said = member.start(folder.path(), etcd).ends();
        assert!(said.contains("has previously registered with discovery service token"), "{said}");
        // Two of one name.
        let token = registry.token(2);
        let members = ["x", "y"].map(|folder| {
            Member::new(&format!("same{number}"), &["--discovery", &token, "--data-dir", folder])
        });
        let said = members.map(|member| member.start(folder.path(), etcd)).map(Process::ends).concat();
        assert!(said.contains("member with duplicated name has registered"), "{said}");
        let _ = (fs::remove_dir_all(folder.path().join("x")), fs::remove_dir_all(folder.path().join("y")));
    }
}

#[test]
fn the_service_answers_as_debians() {
    let folder = tempfile::tempdir().expect("a folder");
    let theirs = folder.path().join("theirs");
    fs::create_dir(&theirs).expect("a folder");
    let registries = [
        Registry::own(folder.path()),
        Registry::start(&theirs, Path::new(STOCK_ETCD), Path::new(STOCK_DISCOVERY)),
    ];
    let answers = registries.map(|registry| {
        let token = registry.token(5);
        let name = token.rsplit('/').next().unwrap_or_default().to_owned();
        let asked = [
            ("GET", format!("{}/new?size=x", registry.url), ""),
            ("GET", format!("{token}/_config/size"), ""),
            ("PUT", format!("{token}/_config/size"), "value=9"),
            ("DELETE", token.clone(), ""),
            ("PUT", format!("{token}/abc?prevExist=false"), "value=a=http://x:1"),
            ("PUT", format!("{token}/abc?prevExist=false"), "value=a=http://x:1"),
            ("GET", token.clone(), ""),
            ("GET", format!("{token}/?recursive=true"), ""),
            ("DELETE", format!("{token}/abc"), ""),
            ("GET", format!("{token}/abc"), ""),
            ("GET", format!("{}/health", registry.url), ""),
            ("GET", format!("{}/nowhere", registry.url), ""),
        ];
        asked.map(|(method, url, form)| {
            let answer = ask(method, &url, form);
            let status = answer.split_whitespace().nth(1).unwrap_or_default().to_owned();
            // Numbers of changes differ: a new store of etcd's has some behind it.
            let json: Option<serde_json::Value> = serde_json::from_str(&body(&answer)).ok();
            let key = json.as_ref().and_then(|json| json.pointer("/node/key")?.as_str().map(str::to_owned));
            let code = json.as_ref().and_then(|json| json.get("errorCode")?.as_u64());
            let value =
                json.as_ref().and_then(|json| json.pointer("/node/value")?.as_str().map(str::to_owned));
            (
                method,
                url.replace(&registry.url, "").replace(&name, "TOKEN"),
                status,
                key.map(|key| key.replace(&name, "TOKEN")),
                value,
                code,
            )
        })
    });
    let [ours, theirs] = answers;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}

#[test]
fn a_proxy_stands_in_for_the_members_that_are_left() {
    let mut cluster = Cluster::start(3, &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let peers: Vec<String> =
        cluster.members.iter().map(|member| format!("{}={}", member.name, member.peer)).collect();
    let own = applet("etcd", folder.path());
    let flags = |mode: &'static str| {
        [
            "--proxy",
            mode,
            "--initial-cluster",
            &peers.join(","),
            "--proxy-failure-wait",
            "200",
            "--proxy-refresh-interval",
            "1000",
        ]
        .map(str::to_owned)
    };
    let make = |name: &str, mode| {
        let flags = flags(mode);
        Member::new(name, &flags.each_ref().map(String::as_str))
    };
    let (proxy, readonly) = (make("proxy", "on"), make("readonly", "readonly"));
    let _processes = [proxy.start(folder.path(), &own), readonly.start(folder.path(), &own)];
    let put = |at: &str, key: &str| ask("PUT", &format!("{at}/v2/keys/{key}"), "value=1");
    until("the proxy serves", || put(&proxy.client, "first").contains("\"value\":\"1\""));
    until("the other serves", || {
        ask("GET", &format!("{}/v2/keys/first", readonly.client), "").contains("\"value\":\"1\"")
    });
    assert!(put(&readonly.client, "no").starts_with("HTTP/1.1 501"));
    // Debian's client finds its way through.
    let output = Command::new("/usr/bin/etcdctl")
        .env("ETCDCTL_API", "2")
        .args(["--no-sync", "--endpoints", &proxy.client, "set", "/second", "2"])
        .output()
        .expect("ci/packages has etcd-client");
    assert_eq!(good(&output), "2\n");
    for number in 0..2 {
        cluster.kill(number);
        let key = format!("without-{number}");
        // With the second, the quorum has gone: reads go on.
        let works = |answer: String| answer.starts_with("HTTP/1.1 2");
        if number == 0 {
            until("the proxy passes on to the others", || works(put(&proxy.client, &key)));
        } else {
            until("reads go on", || works(ask("GET", &format!("{}/v2/keys/first", proxy.client), "")));
        }
    }
    cluster.kill(2);
    until("the proxy says that nobody is there", || {
        let answer = ask("GET", &format!("{}/v2/keys/first", proxy.client), "");
        answer.starts_with("HTTP/1.1 502") && answer.contains("httpproxy: unable to get response from")
            || answer.starts_with("HTTP/1.1 503")
                && answer.contains("httpproxy: zero endpoints currently available")
    });
}

#[test]
fn the_gateway_passes_connections_on_to_the_members_that_are_left() {
    let mut cluster = Cluster::start(3, &[]);
    let address = format!("127.0.0.1:{}", free_port());
    let folder = tempfile::tempdir().expect("a folder");
    let own = applet("etcd", folder.path());
    let endpoints = cluster.endpoints().replace("http://", "");
    let _gateway = Process::start(
        folder.path(),
        "gateway",
        &own,
        &["gateway", "start", "--listen-addr", &address, "--endpoints", &endpoints, "--retry-delay", "1s"],
    );
    until("the gateway serves", || etcdctl(&address, &["put", "k", "v"]).status.success());
    cluster.kill(0);
    for _ in 0..4 {
        assert_eq!(good(&etcdctl(&address, &["get", "k"])), "k\nv\n");
    }
    let output =
        Process::start(folder.path(), "no-endpoint", &own, &["gateway", "start", "--endpoints="]).ends();
    assert!(output.contains("no endpoints found"), "{output}");
    assert!(
        bad(&etcdctl("127.0.0.1:1", &["--dial-timeout=1s", "--command-timeout=1s", "get", "k"]))
            .contains("Error")
    );
}

/// A name server that knows one domain, in a network of its own where `/etc/resolv.conf` leads to it; and what is run
/// there.
fn with_dns(folder: &Path, script: &str) -> std::process::Output {
    fs::write(folder.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:2\n").expect("written");
    fs::write(
        folder.join("dns.conf"),
        "no-daemon\nno-resolv\nlocal=/example.test/\nlocal=/nowhere.test/\nno-hosts\nbind-interfaces\nlisten-address=127.0.0.1\npid-file=\nuser=root\n\
         address=/one.example.test/127.0.0.2\naddress=/two.example.test/127.0.0.3\n\
         srv-host=_etcd-server._tcp.example.test,one.example.test,2380\n\
         srv-host=_etcd-server._tcp.example.test,two.example.test,2380\n\
         srv-host=_etcd-client._tcp.example.test,one.example.test,2379\n\
         srv-host=_etcd-client._tcp.example.test,two.example.test,2379\n",
    )
    .expect("written");
    let script = format!(
        "set -e\nmount --bind resolv.conf /etc/resolv.conf\nip link set lo up\n\
         dnsmasq --conf-file=dns.conf >dns.log 2>&1 &\ndns=$!\ntrap 'kill $dns $(jobs -p) 2>/dev/null' EXIT\n{script}"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
    command.current_dir(folder).stdin(Stdio::null()).output().expect("util-linux is everywhere")
}

#[test]
fn members_and_gateways_find_members_by_srv_records() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a network of its own needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = applet("etcd", folder.path());
    let script = format!(
        r#"
etcd() {{
    {program} --name "$1" --data-dir "$1" --discovery-srv example.test --initial-advertise-peer-urls "http://$1.example.test:2380" \
        --listen-peer-urls "http://$2:2380" --listen-client-urls "http://$2:2379" \
        --advertise-client-urls "http://$1.example.test:2379" >"$1.log" 2>&1
}}
ctl() {{ ETCDCTL_API=3 etcdctl --dial-timeout=2s --command-timeout=2s --endpoints "$@"; }}
i=0
until getent hosts one.example.test >/dev/null; do sleep 0.2; i=$((i+1)); [ $i -lt 300 ]; done
etcd one 127.0.0.2 &
etcd two 127.0.0.3 &
i=0
until ctl http://127.0.0.2:2379 put k v >put.log 2>&1; do
    sleep 0.2; i=$((i+1)); [ $i -lt 50 ] || {{ cat put.log one.log two.log dns.log; exit 1; }}
done
ctl http://127.0.0.3:2379 member list -w simple
{program} gateway start --discovery-srv example.test --insecure-discovery --listen-addr 127.0.0.1:23790 >gateway.log 2>&1 &
i=0
until ctl 127.0.0.1:23790 get k >get.log 2>&1; do
    sleep 0.2; i=$((i+1)); [ $i -lt 50 ] || {{ cat get.log gateway.log; exit 1; }}
done
cat get.log
{program} --name three --data-dir three --discovery-srv example.test --initial-advertise-peer-urls http://127.0.0.9:2380 \
    --listen-peer-urls http://127.0.0.9:2380 --listen-client-urls http://127.0.0.9:2379 \
    --advertise-client-urls http://127.0.0.9:2379 2>&1 || true
"#,
        program = program.display()
    );
    let output = with_dns(folder.path(), &script);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches(", started, ").count(), 2, "{said}");
    assert!(said.contains("k\nv\n"), "{said}");
    assert!(said.contains("cannot find local etcd member \"three\" in SRV records"), "{said}");
}

#[test]
fn a_domain_without_records_is_said_in_etcds_words() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a network of its own needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for program in [applet("etcd", folder.path()), STOCK_ETCD.into()] {
        let script = format!(
            "{} --name four --data-dir four --discovery-srv nowhere.test --initial-advertise-peer-urls http://127.0.0.9:2380 \
             --listen-peer-urls http://127.0.0.9:2380 --listen-client-urls http://127.0.0.9:2379 \
             --advertise-client-urls http://127.0.0.9:2379 2>&1 || true",
            program.display()
        );
        let output = with_dns(folder.path(), &script);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = "error setting up initial cluster: error querying DNS SRV records for _etcd-server-ssl";
        assert!(said.contains(words), "{}: {said}", program.display());
    }
}
