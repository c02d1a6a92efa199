//! Debian's own systemctl, journalctl, busctl and systemd-run, against the booted machine.

use qemu::Result;
use qemu::fixtures::Programs;

use crate::stage::{BOOT, play};

const CONFIG: &str = "\
#cloud-config
coreos:
  units:
    - name: beat.service
      command: start
      content: |
        [Unit]
        Description=Beats
        [Service]
        ExecStart=/bin/sh -c 'while true; do echo beat; sleep 1; done'
        ExecReload=/bin/kill -CONT $MAINPID
        [Install]
        WantedBy=multi-user.target
    - name: broken.service
      content: |
        [Service]
        ExecStart=/bin/false
";

/// A command line of a stock client, the exit code it must have, and words that it must say.
type Expected = (&'static str, i32, &'static [&'static str]);

fn holds(programs: &Programs<'_>, all: &[Expected]) -> Result<()> {
    for (line, code, words) in all {
        let output = programs.run(line)?;
        let said = format!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, *code, "{line}: {said}");
        for word in *words {
            assert!(said.contains(word), "{line}: no {word:?} in:\n{said}");
        }
    }
    Ok(())
}

#[test]
fn debians_clients_work_against_the_machine() -> Result<()> {
    play("stock-clients", |stage| {
        let mut machine = stage.boot(&stage.fresh_machine()?.cloud_config(CONFIG))?;
        machine.wait_for_success("systemctl is-active beat.service multi-user.target", BOOT)?;
        let programs =
            Programs::take(&machine, &["/bin/systemctl", "/bin/journalctl"], &stage.path("programs"))?;
        holds(
            &programs,
            &[
                ("systemctl is-active beat.service", 0, &["active"]),
                (
                    "systemctl status beat.service --no-pager",
                    0,
                    &["Beats", "active (running)", "sh[", "beat"],
                ),
                (
                    "systemctl list-units --no-pager --all",
                    0,
                    &["beat.service", "multi-user.target", "loaded units listed"],
                ),
                (
                    "systemctl list-unit-files --no-pager",
                    0,
                    &["beat.service", "disabled", "unit files listed"],
                ),
                (
                    "systemctl list-dependencies --no-pager multi-user.target",
                    0,
                    &["sshd.socket", "basic.target"],
                ),
                ("systemctl list-jobs --no-pager", 0, &["No jobs running."]),
                ("systemctl list-sockets --no-pager", 0, &["sockets listed."]),
                ("systemctl list-timers --no-pager", 0, &["timers listed."]),
                ("systemctl cat beat.service", 0, &["ExecReload=/bin/kill"]),
                (
                    "systemctl show beat.service -p ActiveState,Type",
                    0,
                    &["Type=simple", "ActiveState=active"],
                ),
                ("systemctl reload beat.service", 0, &[]),
                ("systemctl kill --signal=KILL beat.service", 0, &[]),
                ("systemctl reset-failed beat.service", 0, &[]),
                ("systemctl restart beat.service", 0, &[]),
                ("systemctl try-restart beat.service", 0, &[]),
                ("systemctl enable beat.service", 0, &["Created symlink"]),
                ("systemctl is-enabled beat.service", 0, &["enabled"]),
                ("systemctl disable beat.service", 0, &["Removed"]),
                ("systemctl mask beat.service", 1, &["already exists"]),
                ("systemctl mask console-shell.service", 0, &["/dev/null"]),
                ("systemctl unmask console-shell.service", 0, &["Removed"]),
                ("systemctl daemon-reload", 0, &[]),
                ("systemctl start broken.service", 0, &[]),
                ("systemctl is-failed broken.service", 0, &["failed"]),
                ("systemctl --failed --no-pager", 0, &["broken.service", "1 loaded units listed"]),
                ("systemctl reset-failed", 0, &[]),
                ("systemctl start no-such.service", 5, &["Unit no-such.service not found."]),
                ("systemctl stop beat.service", 0, &[]),
                ("systemctl is-active beat.service", 3, &["inactive"]),
                ("systemctl is-system-running", 0, &["running"]),
                ("systemctl get-default", 0, &["multi-user.target"]),
                ("journalctl -u beat.service --no-pager -n 3 -o cat", 0, &["beat"]),
                ("journalctl --list-boots --no-pager", 0, &["0"]),
                ("journalctl -p err -b --no-pager -q", 0, &[]),
                ("journalctl --verify", 0, &["PASS"]),
            ],
        )
    })
}
