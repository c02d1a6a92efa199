//! Units that do the machine no good: what a unit may use is all that it gets, and the manager stays at its work.

use std::time::Duration;

use qemu::Result;

use crate::stage::{BOOT, play};

const CONFIG: &str = "\
#cloud-config
coreos:
  units:
    - name: bomb.service
      content: |
        [Service]
        TasksMax=30
        ExecStart=/bin/sh -c 'bomb() { bomb & bomb; }; bomb'
    - name: hungry.service
      content: |
        [Service]
        MemoryMax=30M
        MemorySwapMax=0
        ExecStart=/bin/sh -c 'x=0123456789abcdef; while true; do x=$x$x; done'
    - name: flood.service
      content: |
        [Service]
        ExecStart=/bin/sh -c 'while true; do echo 0123456789012345678901234567890123456789; done'
    - name: mute.service
      content: |
        [Service]
        ExecStart=/bin/sh -c 'exec >&- 2>&-; while true; do sleep 5; done'
    - name: walled.service
      command: start
      content: |
        [Service]
        DynamicUser=yes
        StateDirectory=walled
        ProtectSystem=strict
        ProtectHome=yes
        PrivateTmp=yes
        PrivateDevices=yes
        NoNewPrivileges=yes
        SystemCallFilter=@system-service
        RestrictAddressFamilies=AF_UNIX
        MemoryDenyWriteExecute=yes
        ExecStart=/bin/sh -c 'echo kept >/var/lib/walled/file; echo no >/etc/file || echo kept out; while true; do sleep 5; done'
    - name: often.timer
      command: start
      content: |
        [Timer]
        OnCalendar=*-*-* 12:00:00
    - name: often.service
      content: |
        [Service]
        Type=oneshot
        ExecStart=/bin/sh -c 'echo it is noon'
";

/// The longest that PID 1 may take to answer while a unit does its worst.
const ANSWER: Duration = Duration::from_secs(60);

#[test]
fn units_that_run_wild_are_held() -> Result<()> {
    play("unit-faults", |stage| {
        let mut machine = stage.boot(&stage.fresh_machine()?.cloud_config(CONFIG))?;
        machine.wait_for_success("systemctl is-active multi-user.target walled.service", BOOT)?;
        machine.wait_for_success("journalctl -u walled.service | grep -q 'kept out'", ANSWER)?;

        // A fork bomb has its tasks and no more, and ends when it is told to.
        machine.run("sudo systemctl start bomb.service")?;
        machine.wait_for_success("systemctl is-active bomb.service sshd.service", ANSWER)?;
        let tasks: u32 =
            machine.run("systemctl show -p TasksCurrent --value bomb.service")?.trim().parse().unwrap_or(0);
        assert!((1..=30).contains(&tasks), "{tasks} tasks");
        machine.run("sudo systemctl stop bomb.service")?;
        assert!(!machine.run("cat /proc/*/cmdline 2>/dev/null || true")?.contains("bomb()"));

        // Who eats more than its share is killed, and nobody else.
        machine.run("sudo systemctl start hungry.service")?;
        machine.wait_for_success("systemctl is-failed hungry.service", BOOT)?;
        machine.run("systemctl is-active sshd.service walled.service")?;

        // Output without end, and none at all.
        machine.run("sudo systemctl start flood.service mute.service")?;
        machine.wait_for_success("systemctl is-active flood.service mute.service", ANSWER)?;
        machine.wait_for_success("journalctl -u flood.service -n 1 | grep -q 01234", ANSWER)?;
        machine.run("sudo systemctl stop flood.service")?;

        // A unit's file may go while it runs: it is stopped all the same.
        machine.run("sudo rm /etc/systemd/system/mute.service && sudo systemctl daemon-reload")?;
        machine.run("systemctl is-active mute.service && sudo systemctl stop mute.service")?;

        // The clock jumps over noon: what was to be done then is done; it jumps back: services stay.
        machine.run("sudo date -s '2030-01-01 11:59:59'")?;
        machine.wait_for_success("journalctl -u often.service | grep -q 'it is noon'", ANSWER)?;
        machine.run("sudo date -s '2029-06-01 00:00:00'")?;
        machine.run("systemctl is-active walled.service sshd.service often.timer")?;
        assert!(machine.run("systemctl list-timers --no-pager")?.contains("2029-06-01 12:00:00"));
        Ok(())
    })
}
