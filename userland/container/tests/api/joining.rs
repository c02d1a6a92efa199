//! Networks of running containers, and the names of others on them.

use std::time::Duration;

use super::{IMAGE, World};

fn runs(world: &World, name: &str, options: &[&str]) {
    let mut all = vec!["run", "-d", "--name", name];
    all.extend(options);
    all.extend([IMAGE, "sleep", "1000"]);
    world.done(&all);
}

/// What `nslookup` in a container finds.
fn found(world: &World, from: &str, name: &str) -> String {
    let told = world.docker(&["exec", from, "nslookup", name]).1;
    // The first address is the server's.
    told.lines().skip(2).collect::<Vec<_>>().join("\n")
}

#[test]
fn containers_know_each_other_by_name_whoever_came_first() {
    let world = World::new();
    world.done(&["network", "create", "--subnet", "10.77.0.0/24", "back"]);
    runs(&world, "first", &["--network", "back"]);
    assert!(!found(&world, "first", "second").contains("10.77.0."));
    runs(&world, "second", &["--network", "back", "--network-alias", "db"]);
    let id = world.done(&["inspect", "-f", "{{.Id}}", "second"]);
    for name in ["second", "db", "SECOND", "second.back", &id[..12]] {
        let told = found(&world, "first", name);
        assert!(told.contains("10.77.0.3"), "{name}: {told}");
    }
    assert!(found(&world, "second", "first").contains("10.77.0.2"));
    let reverse = found(&world, "first", "10.77.0.3");
    assert!(reverse.contains("second.back"), "{reverse}");
    world.done(&["exec", "first", "ping", "-c", "1", "-W", "2", "second"]);
    runs(&world, "third", &["--network", "back", "--network-alias", "db"]);
    let both = found(&world, "first", "db");
    assert!(both.contains("10.77.0.3") && both.contains("10.77.0.4"), "{both}");
    world.done(&["rm", "-f", "second"]);
    assert!(!found(&world, "first", "second").contains("10.77.0."));
    // Nobody on another network is known.
    runs(&world, "alone", &[]);
    assert!(!found(&world, "first", "alone").contains("172.17."));
    assert_eq!(world.docker(&["exec", "first", "grep", "-c", "127.0.0.11", "/etc/resolv.conf"]).1, "1");
    // A container may have a name server of its own.
    world.done(&["exec", "-d", "first", "nc", "-l", "-p", "53"]);
    assert!(found(&world, "first", "third").contains("10.77.0.4"));
}

#[test]
fn other_names_are_asked_of_the_servers_that_were_given() {
    let world = World::new();
    world.done(&["network", "create", "--subnet", "10.77.0.0/24", "back"]);
    // A server of one answer: whatever is asked, 192.0.2.77. The machine's end of the bridge is where it listens.
    let server = std::thread::scope(|scope| {
        let namespace = std::fs::File::open(format!("/run/netns/{}", world.namespace)).unwrap();
        let open = move || {
            use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
            use std::os::fd::AsFd;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            std::net::UdpSocket::bind("127.0.0.7:53").unwrap()
        };
        scope.spawn(open).join().unwrap()
    });
    server.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let serving = std::thread::spawn(move || {
        let mut seen = Vec::new();
        let mut buffer = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut buffer) {
            let end = buffer[12..length].iter().position(|byte| *byte == 0).unwrap() + 12;
            let ipv4 = buffer[end + 2] == 1;
            let mut answer = buffer[..end + 5].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[4..12].copy_from_slice(&[0, 1, 0, u8::from(ipv4), 0, 0, 0, 0]);
            if ipv4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, 77]);
            }
            server.send_to(&answer, from).unwrap();
            seen.push(buffer[12..end].to_vec());
            if buffer[12..end].windows(3).any(|part| part == b"end") {
                return seen;
            }
        }
        seen
    });
    runs(&world, "box", &["--network", "back", "--dns", "127.0.0.7"]);
    let told = found(&world, "box", "example.org");
    assert!(told.contains("192.0.2.77"), "{told}");
    assert!(found(&world, "box", "box").contains("10.77.0.2"), "its own is not passed on");
    found(&world, "box", "end.example.org");
    let asked = serving.join().unwrap();
    assert!(asked.iter().any(|name| name.starts_with(b"\x07example")), "{asked:?}");
    assert!(!asked.iter().any(|name| name == b"\x03box"), "{asked:?}");
    world.done(&["network", "create", "--internal", "--subnet", "10.78.0.0/24", "inner"]);
    runs(&world, "inside", &["--network", "inner", "--dns", "127.0.0.7"]);
    assert!(!found(&world, "inside", "example.org").contains("192.0.2.77"), "no way out for names, too");
}

#[test]
fn a_running_container_joins_networks_and_leaves_them() {
    let world = World::new();
    world.done(&["network", "create", "--subnet", "10.77.0.0/24", "front"]);
    world.done(&["network", "create", "--subnet", "10.78.0.0/24", "back"]);
    runs(&world, "web", &["--network", "front"]);
    runs(&world, "db", &["--network", "back"]);
    assert!(!found(&world, "web", "db").contains("10.78.0."));
    world.done(&["network", "connect", "--alias", "www", "--ip", "10.78.0.9", "back", "web"]);
    assert!(found(&world, "web", "db").contains("10.78.0.2"));
    assert!(found(&world, "db", "www").contains("10.78.0.9"));
    world.done(&["exec", "db", "ping", "-c", "1", "-W", "2", "web"]);
    let told = world.done(&[
        "inspect",
        "-f",
        "{{range $n, $e := .NetworkSettings.Networks}}{{$n}}={{$e.IPAddress}} {{end}}",
        "web",
    ]);
    assert_eq!(told, "back=10.78.0.9 front=10.77.0.2");
    assert!(world.refused(&["network", "connect", "back", "web"]).contains("already"));
    // What was joined is joined again at the next start.
    world.done(&["restart", "-t", "0", "web"]);
    assert!(world.done(&["exec", "web", "ip", "-4", "addr"]).contains("10.78.0.9/24"));
    world.done(&["network", "disconnect", "front", "web"]);
    let links = world.done(&["exec", "web", "ip", "-4", "addr"]);
    assert!(!links.contains("10.77.0.2") && links.contains("10.78.0.9"), "{links}");
    let routes = world.done(&["exec", "web", "ip", "route"]);
    assert!(routes.contains("default via 10.78.0.1"), "the way out is the other network's now: {routes}");
    assert!(world.refused(&["network", "disconnect", "front", "web"]).contains("is not connected"));
    world.done(&["restart", "-t", "0", "web"]);
    assert!(!world.done(&["exec", "web", "ip", "-4", "addr"]).contains("10.77.0."));
    world.done(&["network", "rm", "front"]);
    runs(&world, "none", &["--network", "none"]);
    assert!(world.refused(&["network", "connect", "back", "none"]).contains("cannot be on others"));
    assert!(world.refused(&["network", "connect", "host", "web"]).contains("cannot be connected"));
    assert!(world.refused(&["network", "connect", "nothing", "web"]).contains("not found"));
    world.done(&["network", "create", "--subnet", "10.79.0.0/24", "side"]);
    let both =
        ["run", "--rm", "--network", "name=back,alias=two", "--network", "side", IMAGE, "ip", "-4", "addr"];
    let seen = world.done(&both);
    assert!(seen.contains("eth1") && seen.contains("10.78.0.") && seen.contains("10.79.0."), "{seen}");
}
