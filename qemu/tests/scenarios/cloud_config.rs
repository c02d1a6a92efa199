//! A cloud-config that is right is applied; of one that is wrong, the rest is.

use qemu::Result;

use crate::stage::{BOOT, play};

#[test]
fn a_cloud_config_makes_files_users_and_units() -> Result<()> {
    play("cloud-config", |stage| {
        let config = stage.fresh_machine()?.cloud_config(
            "\
#cloud-config
hostname: rusty
users:
  - name: ada
    groups: [sudo]
write_files:
  - path: /etc/motto
    permissions: '0640'
    content: bare metal
coreos:
  units:
    - name: motto.service
      command: start
      content: |
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/usr/bin/cat /etc/motto
",
        );
        let mut machine = stage.boot(&config)?;
        machine.wait_for_success("systemctl is-active motto.service", BOOT)?;
        assert_eq!(machine.run("hostname")?.trim(), "rusty");
        assert_eq!(machine.run("stat -c %a /etc/motto")?.trim(), "640");
        assert!(machine.run("id ada")?.contains("sudo"));
        assert!(machine.run("journalctl -u motto --no-pager")?.contains("bare metal"));
        Ok(())
    })
}

#[test]
fn of_a_cloud_config_with_faults_the_rest_is_applied() -> Result<()> {
    play("cloud-config-faults", |stage| {
        let config = stage.fresh_machine()?.cloud_config(
            "\
#cloud-config
hostname: [not, a, name]
no_such_key: 1
write_files:
  - path: /etc/motto
    content: bare metal
  - content: without a path
coreos:
  units: 7
",
        );
        let machine = stage.boot(&config)?;
        assert_eq!(machine.run("cat /etc/motto")?.trim(), "bare metal");
        let journal = machine.run("journalctl -u coreos-cloudinit --no-pager")?;
        let console = machine.console().text();
        for fault in ["hostname", "no_such_key", "units"] {
            assert!(journal.contains(fault), "the journal does not speak of {fault}: {journal}");
            assert!(console.contains(fault), "the console does not speak of {fault}");
        }
        Ok(())
    })
}

/// Boots with a cloud-config that is no use at all: the machine comes up and says so.
fn survives(name: &str, text: Vec<u8>) -> Result<()> {
    play(name, |stage| {
        let machine = stage.boot(&stage.fresh_machine()?.cloud_config(text))?;
        assert!(machine.console().text().contains("cloud-config"), "the console does not speak of it");
        assert!(machine.run("journalctl -u coreos-cloudinit --no-pager")?.contains("cloud-config"));
        Ok(())
    })
}

#[test]
fn survives_a_cloud_config_that_is_not_yaml() -> Result<()> {
    survives("cloud-config-not-yaml", b"#cloud-config\n{[\x00\xff: ]]\n\t- x".to_vec())
}

#[test]
fn survives_a_cloud_config_of_10_megabytes() -> Result<()> {
    let mut text = b"#cloud-config\nwrite_files:\n".to_vec();
    while text.len() < 10 << 20 {
        text.extend_from_slice(b"  - path: /etc/motto\n    content: again and again\n");
    }
    survives("cloud-config-10-mb", text)
}
