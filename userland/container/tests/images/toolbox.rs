//! `toolbox`: it keeps what was changed, sees the machine, and is joined while it runs.

use std::process::{Command, Stdio};

use crate::world::{World, done};

#[test]
fn a_toolbox_stays_and_sees_the_machine() {
    let world = World::new();
    let home = world.path("home");
    std::fs::create_dir(&home).unwrap();
    let bind = format!("--bind={}:/media/world", world.dir.path().display());
    let rc = format!("TOOLBOX_DOCKER_IMAGE={}\nTOOLBOX_BIND=\"{bind}\"\n", world.name("busybox"));
    std::fs::write(home.join(".toolboxrc"), rc).unwrap();
    let toolbox = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_container-toolbox"));
        command.env("HOME", &home).env("USER", "core").stdin(Stdio::null());
        command.arg("--store").arg(world.path("store")).arg("--state").arg(world.path("state")).args(args);
        command
    };
    done(&mut toolbox(&["touch", "/kept"]));
    assert_eq!(done(&mut toolbox(&["-c", "ls /kept; cat /layer-two"])), "/kept\ntwo");
    let network = std::fs::read_link("/proc/self/ns/net").unwrap();
    let seen = done(&mut toolbox(&["readlink", "/proc/self/ns/net"]));
    assert_eq!(seen, network.to_str().unwrap(), "the network is the machine's");
    let own = std::process::id().to_string();
    assert_eq!(done(&mut toolbox(&["ls", "-d", &format!("/proc/{own}")])), format!("/proc/{own}"));
    assert_eq!(toolbox(&["-c", "exit 7"]).status().unwrap().code(), Some(7));

    let mut first =
        toolbox(&["-c", "touch /media/world/ready; while [ -e /media/world/ready ]; do sleep 0.1; done"])
            .spawn()
            .unwrap();
    while !world.path("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(done(&mut toolbox(&["rm", "/media/world/ready"])), "");
    assert!(first.wait().unwrap().success());
    let name = world.done(&["ps", "-a"]);
    assert!(name.contains("toolbox-core-127.0.0.1-"), "{name}");
    world.done(&[
        "rm",
        "-f",
        name.lines().find(|line| line.contains("toolbox-core")).unwrap().split(' ').next().unwrap(),
    ]);
}
