//! Three machines become a cluster with nothing but a token in common, and lose nothing when one loses its power.

use qemu::fixtures::Discovery;
use qemu::network::{Network, Plug};
use qemu::{Config, Disk, Machine, Result};

use crate::stage::{BOOT, Stage, play};

const SIZE: usize = 3;

/// What all machines are told, in the same words.
fn cloud_config(discovery: &str) -> String {
    format!(
        "\
#cloud-config
coreos:
  etcd2:
    discovery: {discovery}
    advertise-client-urls: http://$private_ipv4:2379
    initial-advertise-peer-urls: http://$private_ipv4:2380
    listen-client-urls: http://0.0.0.0:2379
    listen-peer-urls: http://$private_ipv4:2380
    heartbeat-interval: 500
    election-timeout: 5000
  units:
    - name: 10-cluster.network
      content: |
        [Match]
        Name=eth1
        [Network]
        Address=$private_ipv4/24
    - name: etcd2.service
      command: start
"
    )
}

struct Seat {
    disk: Disk,
    plug: Plug,
}

fn config(seat: &Seat, cloud_config: &str) -> Config {
    Config::disk(seat.disk.clone()).memory(384).plug(seat.plug).cloud_config(cloud_config)
}

fn seats(stage: &Stage, network: &Network) -> Result<Vec<Seat>> {
    (1..=SIZE)
        .map(|number| {
            let disk = Disk::overlay(&stage.artifacts.disk()?, &stage.path(&format!("disk-{number}.qcow2")))?;
            Ok(Seat { disk, plug: network.plug()? })
        })
        .collect()
}

/// Puts keys one after the other in the guest, and prints those that were acknowledged.
fn put(machine: &Machine, prefix: &str, count: usize) -> Result<Vec<String>> {
    let line = format!(
        "i=0; while [ $i -lt {count} ]; do ETCDCTL_API=3 etcdctl --command-timeout=30s put {prefix}-$i $i >/dev/null && \
         echo {prefix}-$i; i=$((i+1)); done"
    );
    Ok(machine.ssh(&line)?.stdout.lines().map(str::to_owned).collect())
}

/// What a machine has itself, whatever the others say.
fn keys_of(machine: &Machine) -> Result<Vec<String>> {
    let listed = machine.run("ETCDCTL_API=3 etcdctl get '' --prefix --keys-only --consistency=s")?;
    Ok(listed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[test]
fn three_machines_meet_at_a_token_and_survive_the_power_cut_of_any() -> Result<()> {
    play("cluster", |stage| {
        let discovery = Discovery::start(&stage.artifacts, &stage.path("discovery"))?;
        let network = Network::new()?;
        let told = cloud_config(&discovery.token(SIZE)?);
        let seats = seats(stage, &network)?;
        let mut machines: Vec<Option<Machine>> = Vec::new();
        for seat in &seats {
            machines.push(Some(stage.switch_on(&config(seat, &told))?));
        }
        for machine in machines.iter_mut().flatten() {
            machine.wait_for_ssh(BOOT)?;
            machine.wait_for_success("ETCDCTL_API=2 etcdctl cluster-health", BOOT)?;
        }
        if let Some(machine) = machines.iter().flatten().next() {
            let members = machine.run("ETCDCTL_API=2 etcdctl member list")?;
            for seat in &seats {
                assert!(
                    members.contains(&format!("peerURLs=http://{}:2380", seat.plug.address())),
                    "{members}"
                );
            }
            machine.run("ETCDCTL_API=2 etcdctl set /motto 'bare metal'")?;
        }

        let mut acknowledged = Vec::new();
        for victim in 0..SIZE {
            let other = (victim + 1) % SIZE;
            let Some(witness) = machines.get(other).and_then(Option::as_ref) else { continue };
            acknowledged.extend(put(witness, &format!("before-{victim}"), 3)?);
            if let Some(machine) = machines.get_mut(victim).and_then(Option::take) {
                machine.cut_power()?;
            }
            let Some(witness) = machines.get_mut(other).and_then(Option::as_mut) else { continue };
            // Two of three go on, after an election if it was the leader that went.
            let line = format!("ETCDCTL_API=3 etcdctl put without-{victim} x");
            witness.wait_for_success(&line, BOOT)?;
            acknowledged.push(format!("without-{victim}"));
            acknowledged.extend(put(witness, &format!("meanwhile-{victim}"), 3)?);
            assert_eq!(witness.run("ETCDCTL_API=2 etcdctl get /motto")?, "bare metal\n");

            let Some(seat) = seats.get(victim) else { continue };
            let mut back = stage.boot(&config(seat, &told))?;
            back.wait_for_success("ETCDCTL_API=3 etcdctl endpoint health", BOOT)?;
            back.wait_for(&format!("all that was acknowledged on machine {victim}"), BOOT, |machine| {
                keys_of(machine).is_ok_and(|keys| acknowledged.iter().all(|key| keys.contains(key)))
            })?;
            if let Some(place) = machines.get_mut(victim) {
                *place = Some(back);
            }
        }
        assert!(acknowledged.len() >= SIZE * 5, "too little was acknowledged: {acknowledged:?}");
        for machine in machines.iter_mut().flatten() {
            machine.wait_for_success("ETCDCTL_API=2 etcdctl cluster-health", BOOT)?;
            let keys = keys_of(machine)?;
            assert!(
                acknowledged.iter().all(|key| keys.contains(key)),
                "{keys:?} lacks some of {acknowledged:?}"
            );
        }
        Ok(())
    })
}
