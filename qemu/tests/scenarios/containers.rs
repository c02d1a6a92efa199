//! A real container from a real registry, as a unit of a cloud-config.

use qemu::Result;
use qemu::fixtures::Registry;

use crate::stage::{BOOT, play};

#[test]
fn hello1_runs_and_comes_back_when_its_container_is_killed() -> Result<()> {
    play("hello1", |stage| {
        let registry = Registry::with_busybox(&stage.path("registry"))?;
        let image = format!("10.0.2.2:{}/busybox", registry.port());
        let config = stage.fresh_machine()?.cloud_config(format!(
            "\
#cloud-config
write_files:
  - path: /etc/docker/daemon.json
    content: '{{\"insecure-registries\": [\"10.0.2.2:{port}\"]}}'
coreos:
  units:
    - name: hello1.service
      command: start
      content: |
        [Unit]
        Description=MyApp
        After=docker.service network-online.target
        Requires=docker.service
        Wants=network-online.target
        [Service]
        TimeoutStartSec=0
        Restart=always
        RestartSec=1
        ExecStartPre=-/usr/bin/docker kill busybox1
        ExecStartPre=-/usr/bin/docker rm busybox1
        ExecStartPre=/usr/bin/docker pull {image}
        ExecStart=/usr/bin/docker run --name busybox1 {image} /bin/sh -c \"trap 'exit 0' INT TERM; while true; do echo Hello World; sleep 1; done\"
        [Install]
        WantedBy=multi-user.target
",
            port = registry.port(),
        ));
        let mut machine = stage.boot(&config)?;
        machine.wait_for_success("journalctl -u hello1 --no-pager | grep -q 'Hello World'", BOOT)?;
        assert!(machine.run("systemctl status hello1.service --no-pager")?.contains("active (running)"));
        assert!(machine.run("sudo docker ps")?.contains("busybox1"));

        // Its own namespaces, and its own place in the unit's cgroup.
        let inside = machine.run("sudo docker exec busybox1 /bin/sh -c 'for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done'")?;
        let outside =
            machine.run("sudo sh -c 'for n in mnt pid net uts ipc; do readlink /proc/1/ns/$n; done'")?;
        assert_eq!(inside.lines().count(), 5);
        for (ours, its) in outside.lines().zip(inside.lines()) {
            assert_ne!(ours, its, "a namespace is shared with the host");
        }
        assert!(machine.run("sudo docker exec busybox1 /bin/mount")?.contains("overlay on / type overlay"));

        let before = machine.run("systemctl show hello1.service -p MainPID --value")?;
        machine.run("sudo docker kill busybox1")?;
        machine.wait_for("a new container", BOOT, |machine| {
            machine.ssh("systemctl is-active hello1.service").is_ok_and(|output| output.code == 0)
                && machine
                    .run("systemctl show hello1.service -p MainPID --value")
                    .is_ok_and(|now| now != before && now.trim() != "0")
        })
    })
}
