//! Tables of ours, read by Debian's nft and followed by real packets.
//!
//! Needs root, nftables and iproute2. Each test has network namespaces of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use nftables::{
    Chain, Element, Error, Family, Field, Hook, Nftables, Policy, Protocol, Rule, Set, Table, Transaction,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A host of its own.
struct Host(String);

impl Host {
    fn new(name: &str) -> Host {
        let host = Host(format!("nft{}{name}", std::process::id()));
        run(&format!("ip netns add {}", host.0));
        host.run("ip link set lo up");
        host
    }

    /// A cable to another host; each end has an address.
    fn cable(&self, link: &str, address: &str, other: &Host, other_link: &str, other_address: &str) {
        run(&format!("ip -n {} link add {link} type veth peer name {other_link} netns {}", self.0, other.0));
        for (host, link, address) in [(self, link, address), (other, other_link, other_address)] {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            host.run(&format!("ip addr add {address} dev {link}{nodad}"));
            host.run(&format!("ip link set {link} up"));
        }
    }

    fn run(&self, command: &str) -> String {
        run(&format!("ip netns exec {} {command}", self.0))
    }

    /// In a thread that lives in this host.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(Path::new("/run/netns").join(&self.0)).unwrap();
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    fn commit(&self, transaction: &Transaction) -> Result<(), Error> {
        self.inside(|| Nftables::open()?.commit(transaction))
    }

    /// What nft says the rules are, without its indentation.
    fn listed(&self, table: &str) -> Vec<String> {
        let text = self.run(&format!("nft list table {table}"));
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    }

    /// Serves one connection with the address it came from.
    fn serve(&self, address: &str) -> thread::JoinHandle<()> {
        let listener = self.inside(|| TcpListener::bind(address).unwrap());
        thread::spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            stream.write_all(from.ip().to_string().as_bytes()).unwrap();
        })
    }

    /// What the server at this address says.
    fn ask(&self, address: &str) -> std::io::Result<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.inside(|| {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
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

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn published(port: u16, to: [u8; 4], inner: u16) -> Element {
    Element::new().protocol(Protocol::Tcp).port(port).leads_to().ipv4(to.into()).port(inner)
}

/// Protocol and port lead to address and port.
fn ports(elements: impl IntoIterator<Item = Element>) -> Set {
    let value = [Field::Ipv4Address, Field::Port];
    Set::map("ports", &[Field::Protocol, Field::Port], &value).elements(elements)
}

#[test]
fn nft_reads_every_word_as_it_was_meant() {
    let host = Host::new("w");
    let rule = Rule::new;
    let cases = [
        (rule().input("cni0").accept(), r#"iifname "cni0" accept"#),
        (rule().input_not("cni0").output("eth0").discard(), r#"iifname != "cni0" oifname "eth0" drop"#),
        (rule().output_not("eth0").return_(), r#"oifname != "eth0" return"#),
        (rule().source(net("10.2.0.0/16")).accept(), "ip saddr 10.2.0.0/16 accept"),
        (rule().source(net("10.2.3.4/32")).accept(), "ip saddr 10.2.3.4 accept"),
        (
            rule().source(net("10.2.16.0/20")).destination_not(net("10.2.0.0/16")).accept(),
            "ip saddr 10.2.16.0/20 ip daddr != 10.2.0.0/16 accept",
        ),
        (
            rule().source_not(net("fd00:2::/64")).destination(net("fd00:2::7/128")).accept(),
            "ip6 saddr != fd00:2::/64 ip6 daddr fd00:2::7 accept",
        ),
        (rule().destination_local().jump("other"), "fib daddr type local jump other"),
        (rule().protocol(Protocol::Udp).reject(), "meta l4proto udp reject"),
        (
            rule().destination_port(Protocol::Tcp, 8080).counter().accept(),
            "tcp dport 8080 counter packets 0 bytes 0 accept",
        ),
        (rule().established().accept(), "ct state established,related accept"),
        (rule().invalid().discard(), "ct state invalid drop"),
        (rule().redirected().accept(), "ct status dnat accept"),
        (rule().mark(0x4000, 0x4000).return_(), "meta mark & 0x00004000 == 0x00004000 return"),
        (rule().set_mark(0x10).comment("a mark"), r#"meta mark set 0x00000010 comment "a mark""#),
        (rule().source_in_ipv4("friends").accept(), "ip saddr @friends accept"),
    ];
    let chain = Chain::filter("words", Hook::Forward, -5, Policy::Drop);
    let chain = cases.iter().fold(chain, |chain, (rule, _)| chain.rule(rule.clone()));
    let friends = Set::new("friends", &[Field::Ipv4Address])
        .elements([Element::new().ipv4([10, 0, 0, 1].into()), Element::new().ipv4([10, 0, 0, 2].into())]);
    let table = Table::new(Family::Inet, "words").set(friends).chain(chain).chain(Chain::regular("other"));
    host.commit(&Transaction::new().replace(&table)).unwrap();

    let listed = host.listed("inet words");
    let of_chain: Vec<&str> = listed
        .iter()
        .skip_while(|line| *line != "chain words {")
        .skip(1)
        .take_while(|line| *line != "}")
        .map(String::as_str)
        .collect();
    assert_eq!(of_chain[0], "type filter hook forward priority filter - 5; policy drop;");
    let expected: Vec<&str> = cases.iter().map(|(_, text)| *text).collect();
    assert_eq!(of_chain[1..], expected);
    let all = listed.join("\n");
    assert!(all.contains("set friends {\ntype ipv4_addr\nelements = { 10.0.0.1, 10.0.0.2 }"), "{all}");
}

#[test]
fn nft_reads_address_translation() {
    let host = Host::new("n");
    let by_address = |name: &str, address: Field| {
        Set::map(name, &[address, Field::Protocol, Field::Port], &[address, Field::Port])
    };
    let six: IpAddr = "fd00:2::5".parse().unwrap();
    let table = Table::new(Family::Inet, "nat")
        .set(ports([published(8080, [10, 2, 0, 5], 80)]))
        .set(by_address("at4", Field::Ipv4Address))
        .set(by_address("at6", Field::Ipv6Address))
        .chain(
            Chain::destination_nat("in", Hook::Prerouting)
                .rule(Rule::new().redirect_by_address_ipv4("at4"))
                .rule(Rule::new().redirect_by_address_ipv6("at6"))
                .rule(Rule::new().destination_local().redirect_by_port_ipv4("ports"))
                .rule(Rule::new().destination_port(Protocol::Tcp, 53).redirect_to([10, 2, 0, 1].into(), None))
                .rule(Rule::new().destination_port(Protocol::Udp, 53).redirect_to(six, Some(5353))),
        )
        .chain(Chain::source_nat("out").rule(Rule::new().source(net("10.2.0.0/16")).masquerade()));
    host.commit(&Transaction::new().replace(&table)).unwrap();
    let listed = host.listed("inet nat").join("\n");
    for line in [
        "type nat hook prerouting priority dstnat; policy accept;",
        "type nat hook postrouting priority srcnat; policy accept;",
        "type inet_proto . inet_service : ipv4_addr . inet_service",
        "elements = { tcp . 8080 : 10.2.0.5 . 80 }",
        "dnat ip to ip daddr . meta l4proto . th dport map @at4",
        "dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6",
        "fib daddr type local meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports",
        "tcp dport 53 dnat ip to 10.2.0.1",
        "udp dport 53 dnat ip6 to [fd00:2::5]:5353",
        "ip saddr 10.2.0.0/16 masquerade fully-random",
    ] {
        assert!(listed.contains(line), "no `{line}` in\n{listed}");
    }
}

#[test]
fn a_refused_transaction_changes_nothing_and_says_what_it_was() {
    let host = Host::new("r");
    let table = Table::new(Family::Inet, "ours").chain(Chain::regular("old"));
    host.commit(&Transaction::new().replace(&table)).unwrap();

    let nowhere = Chain::regular("new").rule(Rule::new().accept()).rule(Rule::new().jump("missing"));
    let broken = Table::new(Family::Inet, "ours").chain(nowhere);
    let error = host.commit(&Transaction::new().replace(&broken)).unwrap_err().to_string();
    assert!(
        error.contains("table inet ours: a rule of chain new") && error.contains("No such file"),
        "{error}"
    );
    assert!(host.listed("inet ours").contains(&"chain old {".to_owned()));

    let gone = Transaction::new().take(Family::Inet, "ours", "ports", &[published(1, [10, 0, 0, 1], 1)]);
    let error = host.commit(&gone).unwrap_err().to_string();
    assert!(error.contains("elements of set ports"), "{error}");
}

#[test]
fn tables_of_others_are_left_alone_and_a_table_that_is_gone_is_seen() {
    let host = Host::new("o");
    host.run("nft add table inet theirs");
    let table = Table::new(Family::Inet, "ours");
    host.commit(&Transaction::new().replace(&table).remove(Family::Ip6, "never-there")).unwrap();
    let has = |name: &str| host.inside(|| Nftables::open().unwrap().has_table(Family::Inet, name).unwrap());
    assert!(has("ours") && has("theirs"));
    host.run("nft flush ruleset");
    assert!(!has("ours"));
    assert_eq!(
        host.inside(|| Nftables::open().unwrap().elements(Family::Inet, "ours", "ports").unwrap()),
        None
    );
}

#[test]
fn ten_thousand_elements_come_and_go_one_by_one_and_all_at_once() {
    let host = Host::new("m");
    let all: Vec<Element> = (1..=10_000).map(|port| published(port, [10, 2, 0, 5], port)).collect();
    let table = Table::new(Family::Inet, "ours").set(ports(all));
    host.commit(&Transaction::new().replace(&table)).unwrap();
    let count = || {
        let elements = |nftables: &mut Nftables| nftables.elements(Family::Inet, "ours", "ports").unwrap();
        host.inside(|| elements(&mut Nftables::open().unwrap())).unwrap()
    };
    assert_eq!(count().len(), 10_000);
    let one = [published(10_001, [10, 2, 0, 6], 80)];
    host.commit(&Transaction::new().add(Family::Inet, "ours", "ports", &one)).unwrap();
    let found = count();
    assert_eq!(found.len(), 10_001);
    let key = vec![6, 0, 0, 0, 0x27, 0x11, 0, 0];
    assert!(found.contains(&(key, Some(vec![10, 2, 0, 6, 0, 80, 0, 0]))));
    host.commit(&Transaction::new().take(Family::Inet, "ours", "ports", &one)).unwrap();
    assert_eq!(count().len(), 10_000);
}

#[test]
fn packets_follow_published_ports_and_leave_under_the_hosts_address() {
    let (outside, host, container) = (Host::new("x"), Host::new("h"), Host::new("c"));
    outside.cable("wan", "192.0.2.1/24", &host, "eth0", "192.0.2.2/24");
    container.cable("eth0", "10.2.0.5/24", &host, "cni0", "10.2.0.1/24");
    container.run("ip route add default via 10.2.0.1");
    host.run("sysctl -qw net.ipv4.ip_forward=1");
    let inside = net("10.2.0.0/24");
    let table = Table::new(Family::Inet, "published")
        .set(ports([]))
        .chain(
            Chain::destination_nat("in", Hook::Prerouting)
                .rule(Rule::new().destination_local().redirect_by_port_ipv4("ports")),
        )
        .chain(
            Chain::filter("forward", Hook::Forward, 0, Policy::Drop)
                .rule(Rule::new().established().accept())
                .rule(Rule::new().redirected().accept())
                .rule(Rule::new().source(inside).accept()),
        )
        .chain(Chain::source_nat("out").rule(Rule::new().source(inside).output_not("cni0").masquerade()));
    host.commit(&Transaction::new().replace(&table)).unwrap();
    assert!(outside.ask("192.0.2.2:8080").is_err(), "nothing is published yet");

    let publish = [published(8080, [10, 2, 0, 5], 80)];
    host.commit(&Transaction::new().add(Family::Inet, "published", "ports", &publish)).unwrap();
    let server = container.serve("10.2.0.5:80");
    assert_eq!(outside.ask("192.0.2.2:8080").unwrap(), "192.0.2.1");
    server.join().unwrap();

    let server = outside.serve("192.0.2.1:80");
    assert_eq!(container.ask("192.0.2.1:80").unwrap(), "192.0.2.2");
    server.join().unwrap();
}
