//! What a container shares with the machine and with another container, and limits that are not of every day.

use super::{IMAGE, World};

#[test]
fn namespaces_are_its_own_the_machines_or_anothers() {
    let world = World::new();
    let run = |options: &[&str], script: &str| {
        let all = [&["run", "--rm", "--network", "none"], options, &[IMAGE, "sh", "-c", script]].concat();
        world.done(&all)
    };
    let here =
        |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    for (option, kind) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")] {
        let script = format!("readlink /proc/self/ns/{kind}");
        assert_eq!(run(&[option, "host"], &script), here(kind), "{option}");
        assert_ne!(run(&[], &script), here(kind), "{option}");
    }
    // With the machine's processes in sight the container's own still end with its first.
    let mark = format!("7{}", std::process::id());
    run(&["--pid", "host"], &format!("sleep {mark} & sleep 0.2"));

    let script = "echo kept > /dev/shm/f; exec sleep 1000";
    world.done(&["run", "-d", "--name", "first", "--network", "none", IMAGE, "sh", "-c", script]);
    world.until("it has begun", || world.docker(&["exec", "first", "test", "-f", "/dev/shm/f"]).0 == 0);
    assert_eq!(run(&["--ipc", "container:first"], "cat /dev/shm/f; echo back > /dev/shm/g"), "kept");
    assert_eq!(world.done(&["exec", "first", "cat", "/dev/shm/g"]), "back");
    assert!(run(&["--pid", "container:first"], "cat /proc/1/cmdline | tr '\\0' ' '").contains("sleep 1000"));
    assert!(run(&[], "ls /dev/shm").is_empty());
    world.done(&["kill", "first"]);
    let said = world.refused(&["run", "--rm", "--pid", "container:first", IMAGE, "true"]);
    assert!(said.contains("is not running"), "{said}");
    for option in [["--pid", "container:"], ["--ipc", "elsewhere"], ["--uts", "container:first"]] {
        world.refused(&["run", "--rm", option[0], option[1], IMAGE, "true"]);
    }
}

#[test]
fn what_was_asked_for_is_there() {
    let world = World::new();
    let run = |options: &[&str], script: &str| {
        let all = [&["run", "--rm", "--network", "none"], options, &[IMAGE, "sh", "-c", script]].concat();
        world.done(&all)
    };
    assert!(run(&["--group-add", "77"], "id -G").split(' ').any(|group| group == "77"));
    assert_eq!(run(&["--sysctl", "kernel.msgmax=4096"], "cat /proc/sys/kernel/msgmax"), "4096");
    assert_eq!(run(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
    assert_eq!(run(&["--domainname", "example"], "cat /proc/sys/kernel/domainname"), "example");
    assert!(world.refused(&["run", "--rm", "--link", "a:b", IMAGE, "true"]).contains("Links"));
    assert!(
        world.refused(&["run", "-m", "64m", "--memory-swap", "32m", IMAGE, "true"]).contains("memoryswap")
    );
    world.done(&["create", "--name", "kept", "--cpu-shares", "77", "--cpuset-cpus", "0", IMAGE, "true"]);
    let told = "{{.HostConfig.CpuShares}} {{.HostConfig.CpusetCpus}}";
    assert_eq!(world.done(&["inspect", "-f", told, "kept"]), "77 0");
    world.done(&["update", "--cpu-shares", "88", "kept"]);
    assert_eq!(world.done(&["inspect", "-f", told, "kept"]), "88 0");
}
