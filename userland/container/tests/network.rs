//! Networks of containers with real packets: outside, the machine, and containers are network namespaces.
//!
//! Needs root and iproute2.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use container::network::{
    Connected, DEFAULT, Definition, NetworkError, Networks, Publish, Request, free_subnet,
};
use container::store::Store;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A host of its own.
struct Host(String);

impl Host {
    fn new(name: &str) -> Host {
        let host = Host(format!("cnet{}{name}", std::process::id()));
        run(&format!("ip netns add {}", host.0));
        run(&format!("ip -n {} link set lo up", host.0));
        host
    }

    fn namespace(&self) -> File {
        File::open(Path::new("/run/netns").join(&self.0)).unwrap()
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.namespace().as_fd(), kind).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Serves `count` connections on port 80 with the address each came from.
    fn serve(&self, count: usize) -> JoinHandle<()> {
        let listener = self.inside(|| TcpListener::bind("0.0.0.0:80").unwrap());
        thread::spawn(move || {
            for _ in 0..count {
                let (mut stream, from) = listener.accept().unwrap();
                stream.write_all(from.ip().to_string().as_bytes()).unwrap();
            }
        })
    }

    /// What the server at this address says.
    fn ask(&self, address: &str) -> std::io::Result<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.inside(|| {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            Ok(said)
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A machine with containers on it, and somebody outside: 192.0.2.1, while the machine is 192.0.2.2.
struct Lab {
    outside: Host,
    machine: Host,
    dir: tempfile::TempDir,
    networks: Networks,
    alive: Mutex<BTreeSet<String>>,
}

impl Lab {
    fn new(name: &str) -> Lab {
        let (outside, machine) = (Host::new(&format!("{name}o")), Host::new(&format!("{name}m")));
        run(&format!("ip -n {} link add eth0 type veth peer name eth0 netns {}", outside.0, machine.0));
        for (host, address) in [(&outside, "192.0.2.1/24"), (&machine, "192.0.2.2/24")] {
            run(&format!("ip -n {} addr add {address} dev eth0", host.0));
            run(&format!("ip -n {} link set eth0 up", host.0));
        }
        let dir = tempfile::tempdir().unwrap();
        let networks = Networks::new(dir.path(), &dir.path().join("run"));
        Lab { outside, machine, dir, networks, alive: Mutex::default() }
    }

    /// Starts a container on a network, with the ports that `-p` names.
    fn start(&self, name: &str, network: &str, publish: &[&str]) -> (Host, Connected) {
        self.try_start(name, network, publish).unwrap()
    }

    fn try_start(
        &self,
        name: &str,
        network: &str,
        publish: &[&str],
    ) -> Result<(Host, Connected), NetworkError> {
        let host = Host::new(&format!("{}{name}", &self.machine.0[self.machine.0.len() - 2..]));
        let publish: Vec<Publish> = publish.iter().flat_map(|text| Publish::parse(text).unwrap()).collect();
        let request = Request { container: name, network, address: None, aliases: vec![], publish: &publish };
        self.alive.lock().unwrap().insert(name.to_owned());
        let alive = self.alive.lock().unwrap().clone();
        let connected = self
            .machine
            .inside(|| self.networks.connect(&request, host.namespace().as_fd(), &|id| alive.contains(id)));
        Ok((host, connected?))
    }

    fn create(&self, name: &str, change: impl FnOnce(&mut Definition)) -> Definition {
        let store = Store::open(self.dir.path()).unwrap();
        let id = format!("{name:0<64}");
        let made = self.networks.create(&store, |others| {
            let taken: Vec<_> = others.iter().map(|one| one.subnet).collect();
            let mut new = Definition::new(&id, name, free_subnet(&taken).unwrap());
            change(&mut new);
            Ok(new)
        });
        made.unwrap()
    }
}

#[test]
fn a_container_reaches_out_and_is_reached_by_its_published_ports() {
    let lab = Lab::new("a");
    let (web, connected) = lab.start("web", DEFAULT, &["8080:80", "127.0.0.1:9090:80"]);
    assert_eq!(connected.attachment.address.to_string(), "172.17.0.2/16");
    let (other, _guard) = lab.start("other", DEFAULT, &[]);

    let server = web.serve(5);
    assert_eq!(lab.outside.ask("192.0.2.2:8080").unwrap(), "192.0.2.1", "from outside, with its own address");
    assert_eq!(lab.machine.ask("192.0.2.2:8080").unwrap(), "192.0.2.2", "from the machine by its address");
    assert_eq!(lab.machine.ask("127.0.0.1:9090").unwrap(), "172.17.0.1", "from the machine by 127.0.0.1");
    assert_eq!(other.ask("172.17.0.2:80").unwrap(), "172.17.0.3", "from its neighbour");
    assert_eq!(web.ask("192.0.2.2:8080").unwrap(), "172.17.0.1", "from itself by the machine");
    server.join().unwrap();
    assert!(lab.outside.ask("192.0.2.2:9090").is_err(), "published on 127.0.0.1 only");

    let server = lab.outside.serve(1);
    assert_eq!(other.ask("192.0.2.1:80").unwrap(), "192.0.2.2", "outwards under the machine's address");
    server.join().unwrap();
}

#[test]
fn nobody_comes_in_uninvited() {
    let lab = Lab::new("u");
    let (inner, _one) = lab.start("inner", DEFAULT, &[]);
    let second = lab.create("second", |_| {});
    let (other, _two) = lab.start("other", "second", &[]);
    assert_eq!(second.subnet.to_string(), "172.18.0.0/16");
    let _server = inner.serve(1);
    run(&format!("ip -n {} route add 172.17.0.0/16 via 192.0.2.2", lab.outside.0));
    assert!(lab.outside.ask("172.17.0.2:80").is_err(), "an address behind the machine");
    assert!(other.ask("172.17.0.2:80").is_err(), "from another network");
    // What listens on the machine's 127.0.0.1 stays the machine's.
    let _local = lab.machine.serve(1);
    run(&format!("ip -n {} route add 127.0.0.0/8 via 172.17.0.1 table 5", inner.0));
    run(&format!("ip -n {} rule add pref 10 lookup local", inner.0));
    run(&format!("ip -n {} rule add pref 5 to 127.0.0.1 lookup 5", inner.0));
    run(&format!("ip netns exec {} sysctl -qw net.ipv4.conf.eth0.route_localnet=1", inner.0));
    run(&format!("ip -n {} rule del pref 0 lookup local", inner.0));
    assert!(inner.ask("127.0.0.1:80").is_err(), "a forged packet for 127.0.0.1");
}

#[test]
fn an_internal_network_has_no_way_out() {
    let lab = Lab::new("i");
    lab.create("back", |network| network.internal = true);
    let (one, _a) = lab.start("one", "back", &[]);
    let (two, _b) = lab.start("two", "back", &[]);
    let server = one.serve(1);
    assert_eq!(two.ask("172.18.0.2:80").unwrap(), "172.18.0.3");
    server.join().unwrap();
    let _server = lab.outside.serve(1);
    run(&format!("ip -n {} route add default via 172.18.0.1", two.0));
    assert!(two.ask("192.0.2.1:80").is_err());
}

#[test]
fn a_port_is_given_once_and_free_again_afterwards() {
    let lab = Lab::new("p");
    let first = lab.start("first", DEFAULT, &["8080:80"]);
    let error = lab.try_start("second", DEFAULT, &["8080:80"]).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "Bind for 0.0.0.0:8080 failed: port is already allocated");
    let _program = lab.machine.inside(|| TcpListener::bind("0.0.0.0:8081").unwrap());
    assert!(matches!(
        lab.try_start("third", DEFAULT, &["8081:80"]),
        Err(NetworkError::PortTaken { port: 8081, .. })
    ));
    let alive = |_: &str| true;
    lab.machine.inside(|| lab.networks.disconnect("first", &alive).unwrap());
    drop(first);
    let (web, _guard) = lab.start("fourth", DEFAULT, &["8080:80"]);
    let server = web.serve(1);
    assert_eq!(lab.outside.ask("192.0.2.2:8080").unwrap(), "192.0.2.1");
    server.join().unwrap();
}

#[test]
fn what_a_killed_runtime_left_is_gone_with_the_next_change() {
    let lab = Lab::new("k");
    let (_host, connected) = lab.start("killed", DEFAULT, &["8080:80"]);
    // kill -9: nobody disconnects, the sockets are closed, its lock is free; the namespace lingers.
    drop(connected);
    lab.alive.lock().unwrap().clear();
    let (web, next) = lab.start("next", DEFAULT, &["8080:80"]);
    assert_eq!(next.attachment.address.to_string(), "172.17.0.2/16", "its address is free again");
    let server = web.serve(1);
    assert_eq!(lab.outside.ask("192.0.2.2:8080").unwrap(), "192.0.2.1");
    server.join().unwrap();
}

#[test]
fn a_failure_half_way_leaves_nothing() {
    let lab = Lab::new("f");
    let host = Host::new("fc");
    // The name of the container's end is taken, so the cable cannot be laid.
    run(&format!("ip -n {} link add eth0 type bridge", host.0));
    let publish = Publish::parse("8080:80").unwrap();
    let request =
        Request { container: "c", network: DEFAULT, address: None, aliases: vec![], publish: &publish };
    let result = lab
        .machine
        .inside(|| lab.networks.connect(&request, host.namespace().as_fd(), &|_| true).map(|_| ()));
    assert!(result.unwrap_err().to_string().contains("cable"), "it says what failed");
    assert!(lab.networks.attachments(&|_| true).unwrap().is_empty());
    let links = run(&format!("ip -n {} -br link show type veth", lab.machine.0));
    assert_eq!(links.lines().count(), 1, "only the one to outside: {links}");
    lab.start("next", DEFAULT, &["8080:80"]);
}

#[test]
fn networks_come_and_go() {
    let lab = Lab::new("n");
    let network = lab.create("back", |_| {});
    let (_host, connected) = lab.start("one", "back", &[]);
    let alive = |_: &str| true;
    let error = lab.machine.inside(|| lab.networks.remove("back", &alive)).unwrap_err().to_string();
    assert_eq!(error, "network back has active endpoints: one");
    drop(connected);
    let links = || run(&format!("ip -n {} -br link show type bridge", lab.machine.0));
    assert!(links().contains(&network.bridge));
    lab.machine.inside(|| {
        lab.networks.disconnect("one", &alive).unwrap();
        lab.networks.remove("back", &alive).unwrap();
    });
    assert!(!links().contains(&network.bridge));
    assert!(matches!(lab.networks.find("back"), Err(NetworkError::Missing(_))));
    assert!(matches!(
        lab.machine.inside(|| lab.networks.remove(DEFAULT, &alive)),
        Err(NetworkError::Predefined(_))
    ));
    assert!(run(&format!("ip netns exec {} nft list tables", lab.machine.0)).trim().is_empty());
}
