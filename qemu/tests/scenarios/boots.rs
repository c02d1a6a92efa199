//! The image boots on either firmware and from memory, and an operator can look after it.

use qemu::{Config, Firmware, Result};

use crate::stage::{BOOT, file_of, play};

#[test]
fn boots_on_bios_and_an_operator_looks_around() -> Result<()> {
    play("bios", |stage| {
        let mut machine = stage.boot(&stage.fresh_machine()?)?;

        assert_eq!(machine.run("whoami")?.trim(), "core");
        // What nobody asked for does not run; it is there once somebody does.
        let idle = machine.ssh("systemctl is-active sudod.service dbus.service docker.service")?.stdout;
        assert_eq!(idle.split_whitespace().collect::<Vec<_>>(), ["inactive"; 3]);
        assert_eq!(machine.run("sudo whoami")?.trim(), "root");
        machine.run("systemctl is-active sudod.service")?;
        assert!(machine.run("cat /proc/1/comm")?.starts_with("init"));
        assert!(machine.run("mount")?.contains("on / type erofs (ro"), "the root is not read-only EROFS");
        assert!(machine.run("cat /proc/cmdline")?.contains("verity"), "the root is not verified");
        assert_ne!(machine.ssh("sudo touch /usr/x")?.code, 0, "the system partition was written to");

        let units = machine.run("systemctl list-units --no-pager")?;
        assert!(units.contains("sshd.service"), "{units}");
        machine.wait_for_success("systemctl is-active multi-user.target", BOOT)?;
        assert!(machine.run("journalctl -u sshd --no-pager")?.contains("sshd"));
        for line in ["ps aux", "ip addr", "df -h", "free -m", "ls -la /", "systemctl status sshd.service"] {
            assert!(!machine.run(line)?.is_empty(), "{line} says nothing");
        }
        assert!(
            machine.run("cat /sys/fs/cgroup/system.slice/sshd.service/cgroup.procs")?.lines().count() > 0
        );
        Ok(())
    })
}

#[test]
fn exit_codes_and_files_pass_through_ssh() -> Result<()> {
    play("ssh", |stage| {
        let machine = stage.boot(&stage.fresh_machine()?)?;

        assert_eq!(machine.ssh("exit 42")?.code, 42);
        assert_eq!(machine.ssh("nosuchcommand")?.code, 127);
        let output = machine.ssh("echo out; echo err >&2")?;
        assert_eq!((output.stdout.trim(), output.stderr.trim()), ("out", "err"));

        let (there, back) = (stage.path("there"), stage.path("back"));
        let sent = file_of(&there, 3 << 20)?;
        machine.door().copy_to(&there, "/home/core/file")?;
        machine.door().copy_from("/home/core/file", &back)?;
        assert!(std::fs::read(&back).is_ok_and(|got| got == sent), "the file came back changed");
        Ok(())
    })
}

#[test]
fn boots_on_uefi() -> Result<()> {
    play("uefi", |stage| {
        let machine = stage.boot(&stage.fresh_machine()?.firmware(Firmware::Uefi))?;
        assert_eq!(machine.run("test -d /sys/firmware/efi && echo efi")?.trim(), "efi");
        assert!(machine.run("cat /proc/cmdline")?.contains("corten.slot=a"));
        Ok(())
    })
}

#[test]
fn runs_from_memory_in_512_mib() -> Result<()> {
    play("live", |stage| {
        let live = Config::live(stage.artifacts.kernel()?, stage.artifacts.initrd()?).memory(512);
        let machine = stage.boot(&live)?;
        assert!(machine.run("mount")?.contains("on / type erofs (ro"));
        assert!(machine.run("mount")?.contains("on /var type tmpfs"));
        machine.run("sudo touch /etc/writable /var/writable")?;
        Ok(())
    })
}

#[test]
fn the_serial_line_gives_a_root_shell_only_when_the_command_line_asks() -> Result<()> {
    play("console", |stage| {
        let live = Config::live(stage.artifacts.kernel()?, stage.artifacts.initrd()?);
        let mut machine = stage.boot(&live.clone().kernel_argument("corten.console"))?;
        machine.type_line("echo I am $(whoami)")?;
        machine.wait_for_text("I am root", BOOT)?;

        let mut machine = stage.boot(&live)?;
        machine.type_line("echo I am $(whoami)")?;
        machine.run("sleep 3")?;
        assert!(!machine.console().text().contains("I am root"), "a root shell nobody asked for");
        Ok(())
    })
}
