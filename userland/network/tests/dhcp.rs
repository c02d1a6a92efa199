//! The service against dnsmasq as the DHCP server, each in a network namespace of its own.
//!
//! Needs root, and Debian's iproute2 and dnsmasq-base.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use network::report::{LinkReport, Operational, Setup};
use network::serve::Service;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// So long a test waits for what must come at some time.
const PATIENCE: Duration = Duration::from_secs(60);

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is needed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error} (these tests need root)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Two namespaces, client and server, joined by a cable: `eth0` and `srv0`.
struct Lab {
    client: String,
    server: String,
    root: tempfile::TempDir,
    dnsmasq: Option<Child>,
}

impl Lab {
    fn new() -> Lab {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("ct{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Lab {
            client: format!("{id}c"),
            server: format!("{id}s"),
            root: tempfile::tempdir().unwrap(),
            dnsmasq: None,
        };
        ip(&format!("netns add {}", lab.client));
        ip(&format!("netns add {}", lab.server));
        lab.plug_in();
        lab.network_file("[Match]\nName=eth*\n[Network]\nDHCP=yes\n");
        lab
    }

    fn plug_in(&self) {
        let (client, server) = (&self.client, &self.server);
        ip(&format!("link add eth0 netns {client} type veth peer name srv0 netns {server}"));
        ip(&format!("-n {server} addr add 10.9.0.1/24 dev srv0"));
        ip(&format!("-n {server} link set srv0 up"));
    }

    fn network_file(&self, text: &str) {
        let directory = self.root.path().join("etc/systemd/network");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("10-test.network"), text).unwrap();
    }

    fn serve(&mut self, options: &[&str]) {
        self.stop_server();
        let leases = format!("--dhcp-leasefile={}", self.root.path().join("dnsmasq.leases").display());
        let child = Command::new("ip")
            .args([
                "netns",
                "exec",
                &self.server,
                "dnsmasq",
                "--no-daemon",
                "--conf-file=/dev/null",
                "--port=0",
            ])
            .args(["--user=root", "--pid-file=", "--no-ping", "--dhcp-authoritative", "--interface=srv0"])
            .arg(leases)
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq-base is needed");
        self.dnsmasq = Some(child);
    }

    fn stop_server(&mut self) {
        if let Some(mut child) = self.dnsmasq.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts the service inside of the client's namespace, and hands it over there.
    fn inside<T: Send>(&self, work: impl FnOnce(&mut Service) -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(Path::new("/run/netns").join(&self.client)).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work(&mut Service::start(self.root.path()).unwrap())
            });
            thread.join().unwrap()
        })
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.path().join(path)).unwrap_or_default()
    }

    fn client_ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.client))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop_server();
        for namespace in [&self.client, &self.server] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

fn eth0(service: &Service) -> Option<LinkReport> {
    service.reports().into_iter().find(|report| report.file.is_some())
}

/// Lets the service work until the condition holds.
fn until(service: &mut Service, what: &str, mut holds: impl FnMut(&Service) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(service) {
        assert!(Instant::now() < deadline, "still waiting: {what}; {:#?}", service.reports());
        service.step(Some(Duration::from_millis(200))).unwrap();
    }
}

fn routable(service: &Service) -> bool {
    eth0(service).is_some_and(|r| r.operational == Operational::Routable && r.setup == Setup::Configured)
}

const RANGE: &str = "--dhcp-range=10.9.0.100,10.9.0.100,255.255.255.0,1h";

#[test]
fn a_lease_configures_the_link() {
    let mut lab = Lab::new();
    lab.serve(&[
        RANGE,
        "--dhcp-option=option:router,10.9.0.1",
        "--dhcp-option=option:dns-server,10.9.0.53,10.9.0.54",
        "--dhcp-option=option:domain-name,example.org",
        "--dhcp-option=option:mtu,1400",
        "--dhcp-option=option:ntp-server,10.9.0.7",
    ]);
    lab.inside(|service| until(service, "a lease", routable));
    let addresses = lab.client_ip("-4 addr show dev eth0");
    assert!(addresses.contains("inet 10.9.0.100/24") && addresses.contains("dynamic"), "{addresses}");
    assert!(addresses.contains("mtu 1400"), "{addresses}");
    let routes = lab.client_ip("route");
    let default = "default via 10.9.0.1 dev eth0 proto dhcp src 10.9.0.100 metric 1024";
    assert!(routes.contains(default), "{routes}");
    let names = lab.read("run/systemd/resolve/resolv.conf");
    assert!(names.contains("nameserver 10.9.0.53\nnameserver 10.9.0.54\nsearch example.org\n"), "{names}");
    assert!(lab.read("run/systemd/netif/state").contains("ONLINE_STATE=online"));
}

#[test]
fn classless_routes_win_over_the_router() {
    let mut lab = Lab::new();
    lab.serve(&[
        RANGE,
        "--dhcp-option=option:router,10.9.0.1",
        "--dhcp-option=option:classless-static-route,0.0.0.0/0,10.9.0.9,172.20.0.0/16,10.77.0.1",
    ]);
    lab.inside(|service| until(service, "a lease", routable));
    let routes = lab.client_ip("route");
    assert!(routes.contains("default via 10.9.0.9 dev eth0"), "{routes}");
    assert!(routes.contains("10.77.0.1 dev eth0 proto dhcp scope link"), "{routes}");
    assert!(routes.contains("172.20.0.0/16 via 10.77.0.1 dev eth0"), "{routes}");
}

#[test]
fn links_come_and_go() {
    let mut lab = Lab::new();
    ip(&format!("-n {} link del eth0", lab.client));
    let server_is_late = |lab: &Lab| lab.plug_in();
    lab.inside(|service| {
        until(service, "only the loopback", |s| s.reports().len() == 1);
        server_is_late(&lab);
        until(service, "a managed link that waits", |s| {
            eth0(s).is_some_and(|report| report.setup == Setup::Configuring)
        });
        ip(&format!("-n {} link del eth0", lab.client));
        until(service, "the link is gone", |s| eth0(s).is_none());
    });
    lab.plug_in();
    lab.serve(&[RANGE]);
    lab.inside(|service| until(service, "a lease", routable));
}

#[test]
fn a_cable_out_and_in_again() {
    let mut lab = Lab::new();
    lab.serve(&[RANGE]);
    lab.inside(|service| {
        until(service, "a lease", routable);
        ip(&format!("-n {} link set srv0 down", lab.server));
        until(service, "no carrier", |s| eth0(s).is_some_and(|r| r.operational == Operational::NoCarrier));
        ip(&format!("-n {} link set srv0 up", lab.server));
        until(service, "the lease again", routable);
    });
}

#[test]
fn a_restart_keeps_the_address_and_a_nak_takes_it_away() {
    let mut lab = Lab::new();
    lab.serve(&[RANGE]);
    lab.inside(|service| until(service, "a lease", routable));
    // No server answers: the kept lease holds from the first moment.
    lab.stop_server();
    lab.inside(|service| until(service, "the kept lease", routable));
    // Another network: the server says no, and gives another address.
    let _ = fs::remove_file(lab.root.path().join("dnsmasq.leases"));
    lab.serve(&["--dhcp-range=10.9.0.200,10.9.0.200,255.255.255.0,1h"]);
    let other = "10.9.0.200/24".to_owned();
    lab.inside(|service| {
        until(service, "the other address", |s| {
            eth0(s).is_some_and(|r| r.addresses.iter().any(|a| a.to_string() == other))
        });
    });
    let addresses = lab.client_ip("-4 addr show dev eth0");
    assert!(!addresses.contains("10.9.0.100"), "{addresses}");
}

#[test]
fn a_static_link_needs_no_server() {
    let lab = Lab::new();
    lab.network_file(
        "[Match]\nName=eth0\n[Network]\nAddress=10.9.0.5/24\nAddress=2001:db8::5/64\nGateway=10.9.0.1\nDNS=10.9.0.1\n\
         [Route]\nDestination=172.16.0.0/12\nGateway=10.9.0.2\nMetric=50\n",
    );
    lab.inside(|service| until(service, "the addresses", routable));
    let routes = lab.client_ip("route");
    assert!(routes.contains("default via 10.9.0.1 dev eth0 proto static"), "{routes}");
    assert!(routes.contains("172.16.0.0/12 via 10.9.0.2 dev eth0 proto static metric 50"), "{routes}");
    assert!(lab.client_ip("-6 addr show dev eth0").contains("2001:db8::5/64"));
    assert!(lab.read("run/systemd/resolve/resolv.conf").contains("nameserver 10.9.0.1\n"));
}

#[test]
fn a_link_without_a_file_is_left_alone() {
    let lab = Lab::new();
    lab.network_file("[Match]\nName=other\n[Network]\nDHCP=yes\n");
    lab.inside(|service| {
        service.step(Some(Duration::from_millis(100))).unwrap();
        assert!(eth0(service).is_none());
    });
    assert!(lab.client_ip("link show eth0").contains("state DOWN"));
}
