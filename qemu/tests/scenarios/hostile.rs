//! Units that do harm: each is held to its own share of the machine, and the operator to whom the rest belongs notices
//! it in the state of that unit only.

use std::time::{Duration, Instant};

use qemu::{Machine, Result};

use crate::stage::play;

/// What a person waits for an answer at most, over ssh, on a machine under software emulation.
const ANSWER: Duration = Duration::from_secs(30);
/// What takes its time: to be started, to be ended, to elapse.
const SOON: Duration = Duration::from_secs(90);

/// Puts a file there, as root.
fn put(machine: &Machine, path: &str, text: &str) -> Result<()> {
    let quoted = text.replace('\\', "\\\\").replace('%', "%%").replace('\n', "\\n");
    machine.run(&format!("printf '{quoted}' | sudo tee {path} > /dev/null"))?;
    Ok(())
}

fn unit(machine: &Machine, name: &str, text: &str) -> Result<()> {
    put(machine, &format!("/etc/systemd/system/{name}"), text)?;
    machine.run("sudo systemctl daemon-reload")?;
    Ok(())
}

/// The machine answers in time, and all that is its own is up.
fn answers(machine: &Machine) -> Result<()> {
    let asked = Instant::now();
    for unit in ["multi-user.target", "sshd.service", "systemd-journald.service"] {
        assert_eq!(machine.run(&format!("systemctl is-active {unit}"))?.trim(), "active", "{unit}");
    }
    assert!(asked.elapsed() < 3 * ANSWER, "three answers took {:?}", asked.elapsed());
    Ok(())
}

fn property(machine: &Machine, unit: &str, name: &str) -> Result<String> {
    Ok(machine.run(&format!("systemctl show --value -p {name} {unit}"))?.trim().to_owned())
}

#[test]
fn a_hostile_unit_hurts_only_itself() -> Result<()> {
    play("hostile", |stage| {
        let mut machine = stage.boot(&stage.fresh_machine()?)?;
        machine.run("sudo mkdir -p /etc/systemd/system")?;
        let failed = machine.run("systemctl --failed --plain --no-legend")?;
        assert_eq!(failed.trim(), "", "something has failed before");
        a_fork_bomb(&mut machine)?;
        want_of_memory(&mut machine)?;
        a_flood(&mut machine)?;
        a_clock_that_jumps(&mut machine)?;
        answers(&machine)
    })
}

/// Programs that start each other without end: as many as TasksMax= lets them be.
fn a_fork_bomb(machine: &mut Machine) -> Result<()> {
    put(machine, "/run/bomb.sh", "while true; do sh /run/bomb.sh & sleep 0.05; done\n")?;
    unit(
        machine,
        "bomb.service",
        "[Service]\nExecStart=/bin/sh /run/bomb.sh\nTasksMax=100\nTimeoutStopSec=5\n",
    )?;
    machine.run("sudo systemctl start bomb.service")?;
    machine.wait_for("as many tasks as there may be", SOON, |machine| {
        let tasks = property(machine, "bomb.service", "TasksCurrent");
        tasks.is_ok_and(|tasks| tasks.parse::<u32>().is_ok_and(|tasks| tasks > 80))
    })?;
    answers(machine)?;
    let most: u32 = property(machine, "bomb.service", "TasksCurrent")?.parse().unwrap_or(u32::MAX);
    assert!(most <= 100, "{most} tasks");
    machine.run("sudo systemctl stop bomb.service")?;
    assert_eq!(property(machine, "bomb.service", "ControlGroup")?, "");
    machine.run("sudo systemctl reset-failed bomb.service")?;
    answers(machine)
}

/// A program that wants more memory than MemoryMax=: the kernel ends it, and the unit says why.
fn want_of_memory(machine: &mut Machine) -> Result<()> {
    unit(
        machine,
        "greedy.service",
        "[Service]\nMemoryMax=48M\nExecStart=/usr/bin/dd if=/dev/zero of=/dev/null bs=256M count=1\n",
    )?;
    machine.run("sudo systemctl start greedy.service")?;
    machine.wait_for("the end of the greedy one", SOON, |machine| {
        property(machine, "greedy.service", "ActiveState").is_ok_and(|state| state == "failed")
    })?;
    assert_eq!(property(machine, "greedy.service", "Result")?, "oom-kill");
    assert!(machine.run("journalctl -u greedy.service --no-pager")?.contains("oom-kill"));
    // one of several is ended, and the unit goes on where it says so
    unit(
        machine,
        "patient.service",
        "[Service]\nMemoryMax=48M\nOOMPolicy=continue\n\
         ExecStart=/bin/sh -c \"dd if=/dev/zero of=/dev/null bs=256M count=1; exec sleep 100000\"\n",
    )?;
    machine.run("sudo systemctl start patient.service")?;
    machine.wait_for("the kernel has ended one", SOON, |machine| {
        let events = machine.run("cat /sys/fs/cgroup/system.slice/patient.service/memory.events");
        events.is_ok_and(|events| {
            events.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0")
        })
    })?;
    assert_eq!(property(machine, "patient.service", "ActiveState")?, "active");
    machine.run("sudo systemctl stop patient.service")?;
    machine.run("sudo systemctl reset-failed")?;
    answers(machine)
}

/// Output without end: the journal takes some of it, and room for the others.
fn a_flood(machine: &mut Machine) -> Result<()> {
    unit(
        machine,
        "flood.service",
        "[Service]\nLogRateLimitIntervalSec=1s\nLogRateLimitBurst=100\nExecStart=/usr/bin/yes nobody wants to read this\n",
    )?;
    machine.run("sudo systemctl start flood.service")?;
    machine.run("sleep 5; logger heard-all-the-same || echo heard-all-the-same | systemd-cat")?;
    answers(machine)?;
    machine.run("sudo systemctl stop flood.service")?;
    machine.wait_for("the journal has both", SOON, |machine| {
        machine
            .run("sudo journalctl -b --no-pager")
            .is_ok_and(|all| all.contains("heard-all-the-same") && all.contains("Suppressed"))
    })?;
    answers(machine)
}

/// The clock is set forth and back: timers by the calendar follow it, the others do not.
fn a_clock_that_jumps(machine: &mut Machine) -> Result<()> {
    for (name, when) in [("calendar", "OnCalendar=*-*-* 04:00:00"), ("steady", "OnActiveSec=1h")] {
        unit(
            machine,
            &format!("{name}.service"),
            &format!("[Service]\nType=oneshot\nExecStart=/bin/sh -c \"echo ran >> /run/{name}\"\n"),
        )?;
        unit(machine, &format!("{name}.timer"), &format!("[Timer]\n{when}\nAccuracySec=1\n"))?;
        machine.run(&format!("sudo systemctl start {name}.timer"))?;
    }
    let count = "cat /run/calendar 2>/dev/null | wc -l";
    assert_eq!(machine.run(count)?.trim(), "0");
    machine.run("sudo date -s '2037-05-05 03:59:50'")?;
    machine.wait_for("the calendar's hour", SOON, |machine| {
        machine.run(count).is_ok_and(|lines| lines.trim() == "1")
    })?;
    // back, and the same hour again
    machine.run("sudo date -s '2036-05-05 03:59:50'")?;
    machine.wait_for("the same hour again", SOON, |machine| {
        machine.run(count).is_ok_and(|lines| lines.trim() == "2")
    })?;
    machine.run("test ! -e /run/steady")?;
    assert_eq!(property(machine, "steady.timer", "SubState")?, "waiting");
    Ok(())
}
