//! What a kill at any moment leaves: nothing that stays.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{IMAGE, World, inside, serve};

/// What can be left behind: mounts, links, cgroups, processes, directories.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    mounts: BTreeSet<String>,
    links: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    containers: BTreeSet<String>,
    attachments: BTreeSet<String>,
    processes: BTreeSet<String>,
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn cgroups(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().starts_with("container-") {
                found.insert(entry.path().display().to_string());
            }
            cgroups(&entry.path(), found);
        }
    }
}

/// The numbers of all processes of this world: those in its network namespace or about its directory.
fn processes(world: &World, word: &str) -> Vec<(String, String)> {
    let dir = world.dir.path().display().to_string();
    let own = std::fs::metadata(format!("/run/netns/{}", world.namespace)).unwrap().ino();
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = entry.path();
        let Ok(words) = std::fs::read(path.join("cmdline")) else { continue };
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let here = std::fs::metadata(path.join("ns/net")).is_ok_and(|namespace| namespace.ino() == own);
        if (here || words.contains(&dir)) && words.contains(word) {
            all.push((entry.file_name().to_string_lossy().into_owned(), words));
        }
    }
    all
}

fn look(world: &World) -> Seen {
    let links = inside(&world.namespace, "ip").args(["-o", "link"]).output().unwrap().stdout;
    let links = String::from_utf8(links).unwrap();
    let mut groups = BTreeSet::new();
    cgroups(Path::new("/sys/fs/cgroup"), &mut groups);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let dir = world.dir.path();
    Seen {
        mounts: mounts
            .lines()
            .filter(|line| line.contains(&dir.display().to_string()))
            .map(str::to_owned)
            .collect(),
        links: links.lines().filter_map(|line| line.split(": ").nth(1)).map(str::to_owned).collect(),
        cgroups: groups,
        containers: names(&dir.join("store/containers")),
        attachments: names(&dir.join("run/networks"))
            .into_iter()
            .filter(|name| name.ends_with(".json"))
            .collect(),
        processes: processes(world, "").into_iter().map(|(_, words)| words).collect(),
    }
}

#[test]
fn a_kill_at_any_moment_leaves_nothing() {
    let mut world = World::new();
    world.done(&["network", "create", "--subnet", "10.77.0.0/24", "back"]);
    // Once, so that the bridge is there before.
    world.done(&["run", "--rm", "--network", "back", IMAGE, "true"]);
    world.until("its cable is gone", || !look(&world).links.iter().any(|link| link.starts_with("veth")));
    let before = look(&world);
    for round in 0..14_u64 {
        let run = [
            "run",
            "-d",
            "--name",
            "box",
            "--network",
            "back",
            "-p",
            "8080:80",
            "-v",
            "/own",
            "--health-cmd",
            "true",
            IMAGE,
            "sleep",
            "1000",
        ];
        let mut client = world
            .command(&run)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(round * 23));
        let kills_server = round % 3 == 2;
        if kills_server {
            world.server.kill().unwrap();
            world.server.wait().unwrap();
        } else {
            for (pid, _) in processes(&world, " supervise ") {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        }
        if kills_server {
            world.server = serve(&world.namespace, world.dir.path());
        }
        let _ = client.wait();
        world.until("it can be removed", || {
            world.docker(&["rm", "-f", "-v", "box"]);
            world.done(&["ps", "-aq"]).is_empty()
        });
    }
    // Its port, its address and its name are free again.
    let again = [
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "back",
        "--ip",
        "10.77.0.2",
        "-p",
        "8080:80",
        IMAGE,
        "sleep",
        "1000",
    ];
    world.done(&again);
    world.done(&["rm", "-f", "box"]);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while look(&world) != before && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(look(&world), before, "nothing is left");
}
