//! Health, `update`, and options that reach into the machine.

use super::{IMAGE, World};

#[test]
fn health_is_looked_at_and_told() {
    let world = World::new();
    let check =
        ["--health-cmd", "echo looked; test -f /well", "--health-interval", "200ms", "--health-retries", "2"];
    let mut run = vec!["run", "-d", "--name", "box", "--network", "none"];
    run.extend(check);
    run.extend([IMAGE, "sleep", "1000"]);
    world.done(&run);
    assert!(
        world.done(&["ps"]).contains("(health: starting)") || world.done(&["ps"]).contains("(unhealthy)")
    );
    let status = || world.done(&["inspect", "-f", "{{.State.Health.Status}}", "box"]);
    world.until("it is unhealthy", || status() == "unhealthy");
    assert!(world.done(&["ps"]).contains("(unhealthy)"));
    world.done(&["exec", "box", "touch", "/well"]);
    world.until("it is healthy", || status() == "healthy");
    assert!(world.done(&["ps"]).contains("(healthy)"));
    assert_eq!(world.done(&["ps", "-q", "--filter", "health=healthy"]).lines().count(), 1);
    assert_eq!(world.done(&["ps", "-q", "--filter", "health=unhealthy"]), "");
    let last =
        world.done(&["inspect", "-f", "{{range .State.Health.Log}}{{.ExitCode}} {{.Output}}{{end}}", "box"]);
    assert!(last.ends_with("0 looked"), "{last}");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let events = world.events("event=health_status");
    assert_eq!(events, "health_status: unhealthy\nhealth_status: healthy");
    world.done(&["kill", "box"]);
    let mut hangs = vec!["run", "-d", "--name", "slow", "--network", "none", "--health-cmd", "sleep 100"];
    hangs.extend([
        "--health-interval",
        "100ms",
        "--health-timeout",
        "200ms",
        "--health-retries",
        "1",
        IMAGE,
        "sleep",
        "1000",
    ]);
    world.done(&hangs);
    world.until("a test that hangs has failed", || {
        world.done(&["inspect", "-f", "{{.State.Health.Status}}", "slow"]) == "unhealthy"
    });
    assert!(
        world.done(&["inspect", "-f", "{{json .State.Health.Log}}", "slow"]).contains("exceeded timeout")
    );
    world.until("what hangs is killed", || !world.done(&["top", "slow"]).contains("sleep 100 "));
    world.done(&[
        "run",
        "-d",
        "--name",
        "none",
        "--no-healthcheck",
        "--network",
        "none",
        IMAGE,
        "sleep",
        "1000",
    ]);
    assert_eq!(world.done(&["inspect", "-f", "{{.State.Health}}", "none"]), "<nil>");
}

#[test]
fn what_can_change_of_a_container_does() {
    let world = World::new();
    world.done(&["run", "-d", "--name", "box", "--network", "none", IMAGE, "sleep", "1000"]);
    world.docker(&["update", "--memory", "64m", "--memory-swap", "-1", "--pids-limit", "50", "box"]);
    let told = world.done(&["inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "box"]);
    assert_eq!(told, "67108864 50");
    assert!(world.refused(&["update", "--memory", "1m", "box"]).contains("6MB"));
    assert!(world.refused(&["update", "--cpu-rt-period", "7", "box"]).contains("not supported"));
    world.done(&["update", "--restart", "on-failure:1", "box"]);
    let first = world.done(&["inspect", "-f", "{{.State.Pid}}", "box"]);
    assert!(std::process::Command::new("kill").args(["-KILL", &first]).status().unwrap().success());
    world.until("the policy that came later holds", || {
        world.done(&["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "box"]) == "1 running"
    });
    world.done(&["run", "--rm", "--name", "brief", "-d", "--network", "none", IMAGE, "sleep", "1000"]);
    assert!(world.refused(&["update", "--restart", "always", "brief"]).contains("AutoRemove"));
}

#[test]
fn what_is_the_machines_is_shown_where_asked() {
    let world = World::new();
    let seen = |options: &[&str], script: &str| {
        let mut all = vec!["run", "--rm", "--network", "none"];
        all.extend(options);
        all.extend([IMAGE, "sh", "-c", script]);
        world.docker(&all).1
    };
    let ipc = std::fs::read_link("/proc/self/ns/ipc").unwrap().display().to_string();
    assert_eq!(seen(&["--ipc", "host"], "readlink /proc/self/ns/ipc"), ipc);
    assert_ne!(seen(&[], "readlink /proc/self/ns/ipc"), ipc);
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(seen(&["--uts", "host"], "hostname"), name.trim());
    assert_eq!(
        seen(&["--device", "/dev/full:/dev/brim"], "echo x 2>/dev/null > /dev/brim || echo full"),
        "full"
    );
    assert_eq!(
        seen(&["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status"),
        "Seccomp:\t0"
    );
    assert_eq!(seen(&["--init"], "readlink /proc/1/exe >/dev/null || echo ours"), "ours");
    assert!(
        seen(&["--mount", "type=tmpfs,target=/t,tmpfs-mode=1770"], "ls -ld /t").starts_with("drwxrwx--T")
    );
    world.done(&["create", "--name", "holder", "-v", "/shared", "--network", "none", IMAGE, "true"]);
    assert_eq!(seen(&["--volumes-from", "holder"], "touch /shared/f; ls /shared"), "f");
    assert_eq!(seen(&["--volumes-from", "holder:ro"], "rm /shared/f || echo kept"), "kept");
    let said = world.refused(&["run", "--rm", "--device", "/etc/passwd", IMAGE, "true"]);
    assert!(said.contains("not a device node"), "{said}");
    for refused in [["--runtime", "kata"], ["--cgroup-parent", "/x"], ["--security-opt", "apparmor=x"]] {
        let said = world.refused(&["run", "--rm", refused[0], refused[1], IMAGE, "true"]);
        assert!(said.contains("not supported"), "{refused:?}: {said}");
    }
}
