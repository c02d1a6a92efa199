//! `ip` beside iproute2's own: the same links, addresses, routes and neighbours, the same words.
//!
//! Needs root and Debian's iproute2.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;

use network::cli::ip::{Failure, run};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn theirs(arguments: &str) -> (String, Option<i32>) {
    let output = Command::new("ip").args(words(arguments)).output().expect("iproute2 is needed");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

/// A network namespace with a pair of links.
struct Lab(String);

impl Lab {
    fn new(name: &str) -> Lab {
        let lab = Lab(format!("ip{}{name}", std::process::id()));
        assert_eq!(theirs(&format!("netns add {}", lab.0)).1, Some(0), "these tests need root");
        lab
    }

    fn theirs(&self, arguments: &str) -> String {
        theirs(&format!("-n {} {arguments}", self.0)).0
    }

    fn ours(&self, arguments: &str) -> Result<String, Failure> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(Path::new("/run/netns").join(&self.0)).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                let mut out = Vec::new();
                run(&words(arguments), &mut out).map(|()| String::from_utf8(out).unwrap())
            });
            thread.join().unwrap()
        })
    }

    /// Both say the same, but for white space at the ends of lines.
    fn same(&self, arguments: &str) {
        let trim = |text: String| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let ours = trim(self.ours(arguments).unwrap());
        let theirs = trim(self.theirs(arguments));
        assert_eq!(ours, theirs, "ip {arguments}");
        assert!(!theirs.is_empty(), "ip {arguments} says nothing");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        theirs(&format!("netns del {}", self.0));
    }
}

#[test]
fn shows_as_iproute2_does() {
    let lab = Lab::new("a");
    for command in [
        "link set lo up",
        "link add d0 type veth peer name p0",
        "link add b0 type bridge",
        "link add v0 type veth peer name v1",
        "link set v1 master b0",
        "link set d0 up mtu 1400",
        "link set p0 up",
        "link set v0 up",
        "link set b0 up",
        "addr add 192.0.2.5/24 brd + dev d0",
        "addr add 192.0.2.6/24 dev d0",
        "addr add 198.51.100.1/24 dev d0 valid_lft forever preferred_lft 0",
        "addr add 2001:db8::5/64 dev d0 nodad",
        "route add default via 192.0.2.1 dev d0 proto dhcp src 192.0.2.5 metric 1024",
        "route add 10.0.0.0/8 via 192.0.2.9",
        "route add 10.7.7.7 dev d0 scope link mtu 1300",
        "route add blackhole 172.16.0.0/12",
        "route add 203.0.113.0/24 via 192.0.2.7 table 100 proto static",
        "neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev d0 nud permanent",
    ] {
        assert_eq!(theirs(&format!("-n {} {command}", lab.0)).1, Some(0), "{command}");
    }
    for command in [
        "link",
        "link show d0",
        "-br link",
        "link show type bridge",
        "link show master b0",
        "addr",
        "a s dev d0",
        "-4 addr",
        "-6 addr show dev d0 scope global",
        "-br addr",
        "-o addr show dev d0 scope global",
        "route",
        "r show dev d0",
        "route show table 100",
        "route get 10.1.2.3",
        "neigh",
        "n show dev d0",
    ] {
        lab.same(command);
    }
    // Everything that has a fixed order and no clock in it.
    lab.same("-6 route show dev d0");
    lab.same("-4 route show table all");
}

#[test]
fn changes_what_iproute2_then_shows() {
    let lab = Lab::new("b");
    for command in [
        "link add d0 type veth peer name p0",
        "link add v0 type veth peer name v1",
        "link add b0 type bridge",
        "link set d0 up mtu 1450",
        "link set p0 up",
        "link set dev v1 master b0",
        "addr add 192.0.2.5/24 brd + dev d0",
        "addr add 192.0.2.9/24 dev d0",
        "addr del 192.0.2.9/24 dev d0",
        "addr add 2001:db8::9/64 dev d0",
        "route add default via 192.0.2.1",
        "route add 10.0.0.0/8 via 192.0.2.2 metric 5",
        "route replace 10.0.0.0/8 via 192.0.2.3 metric 5",
        "route add blackhole 172.16.0.0/12",
        "route add 198.51.100.0/24 dev d0 table 42",
        "route add 203.0.113.0/24 dev d0",
        "route del 203.0.113.0/24",
        "neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev d0",
        "link set v0 name renamed",
    ] {
        if let Err(e) = lab.ours(command) {
            panic!("ip {command}: {e}");
        }
    }
    let links = lab.theirs("link");
    assert!(links.contains("renamed@v1:"), "{links}");
    assert!(links.contains("mtu 1450") && links.contains("master b0"), "{links}");
    let addresses = lab.theirs("addr show dev d0");
    assert!(addresses.contains("inet 192.0.2.5/24 brd 192.0.2.255 scope global d0"), "{addresses}");
    assert!(addresses.contains("2001:db8::9/64") && !addresses.contains("192.0.2.9/"), "{addresses}");
    let routes: Vec<String> = lab.theirs("route").lines().map(|line| line.trim_end().to_owned()).collect();
    let want = [
        "default via 192.0.2.1 dev d0",
        "10.0.0.0/8 via 192.0.2.3 dev d0 metric 5",
        "blackhole 172.16.0.0/12",
        "192.0.2.0/24 dev d0 proto kernel scope link src 192.0.2.5",
    ];
    assert_eq!(routes, want);
    assert!(lab.theirs("route show table 42").contains("198.51.100.0/24 dev d0 scope link"));
    assert!(lab.theirs("neigh").contains("192.0.2.7 dev d0 lladdr 02:00:00:00:00:07 PERMANENT"));
    lab.ours("addr flush dev d0").unwrap();
    lab.ours("link del renamed").unwrap();
    assert!(!lab.theirs("link").contains("v1") && !lab.theirs("addr").contains("192.0.2.5"));
}

#[test]
fn fails_as_iproute2_does() {
    let lab = Lab::new("c");
    for (command, code, text) in [
        ("link show nowhere", 1, "Device \"nowhere\" does not exist."),
        ("link set nowhere up", 1, "Cannot find device \"nowhere\""),
        ("addr add 127.0.0.2/8 dev nowhere", 1, "Cannot find device \"nowhere\""),
        ("addr del 10.0.0.1/8 dev lo", 2, "RTNETLINK answers: Cannot assign requested address"),
        ("route add default via 10.0.0.1", 2, "RTNETLINK answers: Network is unreachable"),
        ("route del 10.0.0.0/8", 2, "RTNETLINK answers: No such process"),
        ("addr add 1.2.3/99 dev lo", 255, "prefix is expected"),
        ("addr frobnicate", 255, "is unknown"),
        ("frobnicate", 255, "Object \"frobnicate\" is unknown"),
        ("-frobnicate", 255, "is unknown"),
        ("route add", 255, "needs where"),
        ("link set lo mtu", 255, "needs a value"),
    ] {
        let failure = lab.ours(command).unwrap_err();
        assert!(failure.to_string().contains(text), "ip {command}: {failure}");
        assert_eq!(failure.code(), code, "ip {command}");
        assert_ne!(theirs(&format!("-n {} {command}", lab.0)).1, Some(0), "ip {command}");
    }
}
