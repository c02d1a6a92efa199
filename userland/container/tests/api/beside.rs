//! Every command of `docker`, step by step beside a real dockerd (Debian's docker.io): the same exit statuses, and
//! where it is not a matter of taste the same words.
//!
//! The steps are text, `beside.txt`: adding a case adds a line. They run in one shell after another with `docker`,
//! `$IMAGE` and a directory of their own, `$DIR`, against each server in turn.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{IMAGE, World, comes_up, debians, docker};

const STEPS: &str = include_str!("beside.txt");

/// A real dockerd, which starts its own containerd.
fn real(namespace: &str, dir: &Path) -> Child {
    let path = format!(
        "{0}/usr/sbin:{0}/usr/bin:{0}/usr/libexec/docker:{1}",
        debians().display(),
        std::env::var("PATH").unwrap()
    );
    // Not `ip netns exec`: that hides the cgroups.
    let mut server = Command::new("nsenter");
    server.arg(format!("--net=/run/netns/{namespace}")).arg("dockerd").env("PATH", path);
    for (option, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        server.arg(option).arg(dir.join(name));
    }
    server.arg("-H").arg(format!("unix://{}/docker.sock", dir.display()));
    let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    comes_up(dir);
    server
}

/// How a step's outcomes are compared.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// Exit status and words.
    Same,
    /// Exit status alone.
    Status,
}

fn steps() -> impl Iterator<Item = (usize, How, &'static str)> {
    STEPS.lines().enumerate().filter_map(|(at, line)| match line.split_once(' ')? {
        ("=", step) => Some((at + 1, How::Same, step)),
        ("~", step) => Some((at + 1, How::Status, step)),
        _ => None,
    })
}

/// What no two servers have in common: ids, digests, times, sizes of what they keep.
fn without_chance(text: &str) -> String {
    let is_id = |word: &str| {
        let word = word.strip_prefix("sha256:").unwrap_or(word);
        matches!(word.len(), 12 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let mut plain = String::new();
    for part in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric() && letter != ':') {
        let end = part.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        if is_id(end) {
            plain.push_str("ID");
            plain.push_str(&part[end.len()..]);
        } else {
            plain.push_str(part);
        }
    }
    plain.trim_end().to_owned()
}

impl World {
    fn step(&self, client: &Path, script: &str) -> (i32, String) {
        let home = self.dir.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        let path = format!("{}:{}", client.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("timeout");
        shell.args(["60", "sh", "-c", script]).env("PATH", path).env("IMAGE", IMAGE).env("DIR", &home);
        shell.env("DOCKER_HOST", format!("unix://{}/docker.sock", self.dir.path().display()));
        shell.env("DOCKER_CONFIG", self.dir.path()).current_dir(&home).stdin(Stdio::null());
        let output = shell.output().unwrap();
        let told =
            String::from_utf8_lossy(&output.stdout).replace(&self.dir.path().display().to_string(), "DIR");
        (output.status.code().unwrap_or(-1), without_chance(&told))
    }
}

#[test]
fn every_command_does_what_it_does_with_dockerd() {
    let (ours, theirs) = (World::new(), World::served_by(real));
    let mut clients = vec![docker().to_owned(), debians().join("usr/bin/docker")];
    clients.dedup();
    let mut different = Vec::new();
    for client in &clients {
        for (line, how, script) in steps() {
            let (here, there) = std::thread::scope(|scope| {
                let there = scope.spawn(|| theirs.step(client, script));
                (ours.step(client, script), there.join().unwrap())
            });
            if here.0 != there.0 || (how == How::Same && here.1 != there.1) {
                different.push(format!(
                    "{} beside.txt:{line}: {script}\n  here  {here:?}\n  there {there:?}",
                    client.display()
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}\n{} steps differ", different.join("\n"), different.len());
}

#[test]
fn what_chance_made_is_taken_out() {
    assert_eq!(without_chance("0123456789ab up"), "ID up");
    assert_eq!(without_chance(&format!("sha256:{}\n", "a".repeat(64))), "ID");
    assert_eq!(without_chance("busybox:latest 12 x"), "busybox:latest 12 x");
}
