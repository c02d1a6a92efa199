//! `coreos-cloudinit` from end to end, below a root of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdQ3Ww0Wg5RtU7vV3l7o8cbD0Ul0Dh0uS8c5KcGqE0b";

struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        machine.write(
            "etc/passwd",
            &format!("root:x:0:0::/root:/bin/bash\ncore:x:{uid}:{gid}::/home/core:/bin/bash\n"),
        );
        machine.write("etc/group", &format!("root:x:0:\ncore:x:{gid}:\nsudo:x:27:\n"));
        machine.write("etc/shadow", "root:*:::::::\ncore:*:::::::\n");
        machine.write("systemctl", "#!/bin/sh\necho \"$@\" >> \"${0%/*}/said\"\n[ \"$1\" != enable ] || [ \"$2\" != broken.service ]\n");
        fs::set_permissions(machine.path("systemctl"), fs::Permissions::from_mode(0o755)).unwrap();
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn run(&self, more: &[&str]) -> bool {
        let root = self.0.path().to_str().unwrap();
        let (systemctl, fw_cfg) = (self.path("systemctl"), self.path("fw_cfg"));
        let mut arguments = vec!["coreos-cloudinit", "--root", root];
        arguments.extend(["--systemctl", systemctl.to_str().unwrap(), "--fw-cfg", fw_cfg.to_str().unwrap()]);
        arguments.extend(more);
        let arguments = arguments.into_iter().map(OsString::from);
        provision::coreos_cloudinit(arguments.collect()) == ExitCode::SUCCESS
    }

    /// Gives the machine a cloud-config as QEMU does.
    fn config(&self, text: &str) {
        self.write("fw_cfg/opt/com.coreos/config/raw", text);
    }
}

#[test]
fn keys_units_and_files_from_qemu() {
    let machine = Machine::new();
    machine.config(&format!(
        "#cloud-config\nhostname: core-1\nmanage_etc_hosts: localhost\nssh_authorized_keys: ['{KEY} me']\n\
         write_files:\n- path: /opt/x\n  permissions: '0750'\n  content: hi\n\
         coreos:\n  units:\n  - name: hello1.service\n    command: start\n    enable: true\n    content: unit\n\
         \x20 - name: old.service\n    mask: true\n"
    ));
    machine.write("fw_cfg/opt/com.coreos/authorized-keys/raw", &format!("# mine\n{KEY} brought\n"));
    assert!(machine.run(&[]));
    assert_eq!(machine.read("home/core/.ssh/authorized_keys.d/coreos-cloudinit"), format!("{KEY} me\n"));
    assert_eq!(machine.read("run/ssh/authorized_keys"), format!("{KEY} brought\n"));
    assert_eq!(machine.read("etc/hostname"), "core-1\n");
    assert!(machine.read("etc/hosts").contains("127.0.0.1\tcore-1\n"));
    assert_eq!(machine.read("etc/systemd/system/hello1.service"), "unit");
    assert_eq!(fs::metadata(machine.path("opt/x")).unwrap().mode() & 0o7777, 0o750);
    assert_eq!(
        fs::read_link(machine.path("etc/systemd/system/old.service")).unwrap(),
        Path::new("/dev/null")
    );
    assert_eq!(
        machine.read("said"),
        "daemon-reload\nenable hello1.service\n--no-block start hello1.service\n"
    );

    // The next boot says the same, and rewrites nothing.
    let before = fs::metadata(machine.path("opt/x")).unwrap().ino();
    assert!(machine.run(&[]));
    assert_eq!(fs::metadata(machine.path("opt/x")).unwrap().ino(), before);
}

#[test]
fn no_configuration_is_no_mistake() {
    assert!(Machine::new().run(&[]));
    assert!(!Machine::new().run(&["--from-file", "/nowhere/at/all"]));
}

#[test]
fn what_is_wrong_does_not_keep_the_rest_away() {
    let machine = Machine::new();
    machine.config(&format!(
        "#cloud-config\nwhat: is this\nssh_authorized_keys: [nonsense, '{KEY}']\n\
         write_files:\n- {{path: /etc/a, owner: nobody-here, content: x}}\n- {{path: /etc/passwd/x, content: x}}\n\
         - {{path: /etc/b, content: x}}\ncoreos: {{units: [{{name: broken.service, enable: true}}, {{name: b.service, command: start}}]}}\n"
    ));
    assert!(!machine.run(&[]));
    assert_eq!(machine.read("home/core/.ssh/authorized_keys.d/coreos-cloudinit"), format!("{KEY}\n"));
    assert_eq!(machine.read("etc/b"), "x");
    assert!(!machine.path("etc/a").exists());
    assert!(machine.read("said").ends_with("--no-block start b.service\n"));
}

#[test]
fn users() {
    let machine = Machine::new();
    // Without root nobody can be given their home.
    let create = if rustix::process::geteuid().is_root() { "" } else { "  no_create_home: true\n" };
    machine.config(&format!(
        "#cloud-config\nusers:\n- name: elroy\n  groups: [sudo]\n  passwd: $6$x$y\n{create}"
    ));
    assert!(machine.run(&[]));
    let accounts = || ["passwd", "group", "shadow"].map(|name| machine.read(&format!("etc/{name}")));
    let once = accounts();
    assert!(once[0].contains("elroy:x:1000:1000::/home/elroy:/bin/bash\n"), "{}", once[0]);
    assert!(once[1].contains("sudo:x:27:elroy\n"), "{}", once[1]);
    assert!(once[2].contains("elroy:$6$x$y:"), "{}", once[2]);
    assert_eq!(machine.path("home/elroy").is_dir(), create.is_empty());
    assert!(machine.run(&[]));
    assert_eq!(accounts(), once);
}

#[test]
fn validate_changes_nothing() {
    let machine = Machine::new();
    let good = machine.path("good");
    machine.write("good", "#cloud-config\nhostname: a\n");
    machine.write("bad", "#cloud-config\nhostname: [\n");
    assert!(machine.run(&["--validate", "--from-file", good.to_str().unwrap()]));
    assert!(!machine.run(&["--validate", "--from-file", machine.path("bad").to_str().unwrap()]));
    assert!(!machine.path("etc/hostname").exists());
}

#[test]
fn addresses_come_from_qemu_and_are_kept() {
    let machine = Machine::new();
    machine.write("fw_cfg/opt/com.coreos/environment/raw", "COREOS_PRIVATE_IPV4=10.9.0.1\n");
    machine.write("etc/environment", "LANG=C\n");
    machine.config(
        "#cloud-config\ncoreos:\n  etcd2:\n    discovery: https://d.example/0123\n    \
         initial-advertise-peer-urls: http://$private_ipv4:2380\nwrite_files:\n  - path: /etc/own\n    \
         content: \\$private_ipv4 is $private_ipv4\n",
    );
    assert!(machine.run(&[]));
    assert_eq!(machine.read("etc/environment"), "LANG=C\nCOREOS_PRIVATE_IPV4=10.9.0.1\n");
    assert_eq!(machine.read("etc/own"), "$private_ipv4 is 10.9.0.1");
    let drop_in = machine.read("run/systemd/system/etcd2.service.d/20-cloudinit.conf");
    assert_eq!(
        drop_in,
        "[Service]\nEnvironment=\"ETCD_DISCOVERY=https://d.example/0123\"\n\
         Environment=\"ETCD_INITIAL_ADVERTISE_PEER_URLS=http://10.9.0.1:2380\"\n"
    );
    // The next boot is told nothing, and knows it still.
    fs::remove_file(machine.path("fw_cfg/opt/com.coreos/environment/raw")).unwrap();
    machine.config("#cloud-config\nwrite_files:\n  - path: /etc/own\n    content: $private_ipv4\n");
    assert!(machine.run(&[]));
    assert_eq!(machine.read("etc/own"), "10.9.0.1");
    machine.config("#cloud-config\nwrite_files:\n  - path: /etc/own\n    content: <$public_ipv4>\n");
    assert!(!machine.run(&[]), "an address that is not known was passed over");
    assert_eq!(machine.read("etc/own"), "<>");
}
