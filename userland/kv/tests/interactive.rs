//! `etcdctl watch -i` and `check datascale`: ours says what Debian's says.

mod cluster;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cluster::{Cluster, applet, good};

/// What a client says when these lines come, a moment apart.
fn session(client: &Path, cluster: &Cluster, flags: &[&str], lines: &str) -> String {
    let mut command = Command::new(client);
    command.env("ETCDCTL_API", "3").args(["--endpoints", &cluster.endpoints(), "watch", "-i"]).args(flags);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("an input");
    for line in lines.split_inclusive('\n') {
        let _ = input.write_all(line.as_bytes());
        std::thread::sleep(std::time::Duration::from_millis(700));
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}= {:?}", text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn both_clients_take_the_same_lines() {
    let cluster = Cluster::start(1, &[]);
    let clients: [PathBuf; 2] = ["/usr/bin/etcdctl".into(), applet("etcdctl", cluster.folder.path())];
    good(&cluster.stock(&["put", "a", "1"]));
    good(&cluster.stock(&["put", "b", "2"]));
    for (flags, lines) in [
        (&[][..], ""),
        (&[], "\n"),
        (&[], "foo\n"),
        (&[], "watch\n"),
        (&[], "watch a --rev=1\n"),
        (&[], "watch --rev=1 a\nwatch b --rev=1\n"),
        (&[], "watch a z --rev=1\n"),
        (&[], "watch a z --prefix\n"),
        (&[], "watch \"a\" --rev=1 --prefix\n"),
        (&[], "watch a --rev=1 -- echo hi\n"),
        (&[], "watch a\nprogress\n"),
        (&["a"], "watch b\n"),
    ] {
        let [stock, own] = clients.each_ref().map(|client| session(client, &cluster, flags, lines));
        assert_eq!(own, stock, "{flags:?} {lines:?}");
    }
    for client in &clients {
        let said = session(client, &cluster, &[], "watch a --rev=x\n");
        assert!(said.contains("invalid") && said.ends_with("= Some(128)"), "{said}");
    }
}

#[test]
fn the_environment_names_the_key() {
    let cluster = Cluster::start(1, &[]);
    for client in ["/usr/bin/etcdctl".into(), applet("etcdctl", cluster.folder.path())] {
        let mut command = Command::new(client);
        command.env("ETCDCTL_API", "3").env("ETCDCTL_WATCH_KEY", "a");
        let output =
            command.args(["--endpoints", &cluster.endpoints(), "watch", "a"]).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said, "Error: bad number of arguments (found conflicting environment key)\n");
        assert_eq!(output.status.code(), Some(128));
    }
}

#[test]
fn many_keys_are_written_and_their_memory_told() {
    let cluster = Cluster::start(1, &[]);
    let words = ["check", "datascale", "--load=s", "--auto-compact", "--auto-defrag"];
    // The bar of Debian's client is between the lines; numbers are this run's.
    let lines = |output: std::process::Output| -> Vec<String> {
        let said = good(&output);
        let lines = said.split(['\n', '\r']).filter(|line| line.contains(':') || line.contains("ing "));
        lines.map(|line| line.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()).collect()
    };
    let own = lines(cluster.own(&words));
    let stock = lines(cluster.stock(&words));
    assert_eq!(own, stock);
    assert!(
        own.last().is_some_and(|line| line.starts_with("PASS: Approximate system memory used")),
        "{own:?}"
    );
    assert_eq!(good(&cluster.stock(&["get", "/etcdctl-check-datascale/", "--prefix", "--limit=1"])), "");
    for output in
        [cluster.own(&["check", "datascale", "--load=q"]), cluster.stock(&["check", "datascale", "--load=q"])]
    {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("unknown load option q") && !output.status.success(), "{said}");
    }
}
