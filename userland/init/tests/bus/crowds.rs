//! Too much of everything: clients that send garbage, or ask without end and read nothing; thousands of units at once,
//! two of them in a cycle; a unit whose file is gone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use wire::Message;

use super::machine::Machine;

const SOCKETS: [&str; 2] = ["/run/systemd/private", "/run/dbus/system_bus_socket"];
const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
/// What root waits for an answer at most, on a machine that has more to do.
const ANSWER: Duration = Duration::from_secs(20);
/// What PID 1 may grow by for strangers, in KiB.
const GROWTH: u64 = 64 << 10;
const CROWD: usize = 3000;

/// The program `flood`, run by somebody who is not root.
pub fn flood() -> ExitCode {
    let call = |serial| {
        let path = "/org/freedesktop/systemd1";
        let mut call =
            Message::call(path, "org.freedesktop.DBus.Properties", "GetAll").to("org.freedesktop.systemd1");
        call.serial = serial;
        call.with(&("",)).and_then(|call| call.encode()).unwrap()
    };
    let connect = |socket: &str| -> std::io::Result<UnixStream> {
        let stream = UnixStream::connect(socket)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut byte = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as u8
        };
        (0..length).map(|_| byte()).collect()
    };
    let mut held = Vec::new();
    for round in 0_u32.. {
        for socket in SOCKETS {
            // garbage instead of a greeting, garbage after it, half a message, a message that has been cut up
            let mut torn = call(1);
            torn.truncate(20);
            for start in [noise(300), [GREETING, &noise(3000)].concat(), [GREETING, &torn].concat()] {
                if let Ok(mut stream) = connect(socket) {
                    let _ = stream.write_all(&start);
                }
            }
            // questions without end from one that reads no answer; those before it stay connected
            if let Ok(mut stream) = connect(socket) {
                let mut all = GREETING.to_vec();
                for serial in 1..2000 {
                    all.extend(call(serial));
                }
                let _ = stream.write_all(&all);
                held.push(stream);
            }
        }
        if round >= 300 {
            held.clear();
        }
    }
    ExitCode::SUCCESS
}

pub fn strangers_do_not_keep_root_out(machine: &Machine) {
    let resident = || -> u64 {
        let status = machine.file("proc/1/status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let before = resident();
    let started = machine.run(&["systemd-run", "-q", "--unit=flood", "--uid=500", "/programs/flood"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    for _ in 0..5 {
        let asked = Instant::now();
        let answer = machine.systemctl(&["is-active", "flood.service"]);
        let said =
            String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr);
        assert_eq!(said.trim(), "active", "after {:?}", asked.elapsed());
        assert!(asked.elapsed() < ANSWER, "root waited {:?}", asked.elapsed());
        sleep(Duration::from_secs(1));
    }
    let asked = Instant::now();
    assert!(machine.systemctl(&["stop", "flood.service"]).status.success());
    assert!(asked.elapsed() < ANSWER, "root waited {:?}", asked.elapsed());
    let grown = resident().saturating_sub(before);
    assert!(grown < GROWTH, "PID 1 has grown by {grown} KiB");
    assert!(machine.says(&["is-active", "hello.service"], "active"));
    machine.until("the bus is itself again", |m| {
        m.run(&["busctl", "--no-pager", "status", "org.freedesktop.systemd1"]).status.success()
    });
}

pub fn thousands_start_at_once(machine: &Machine) {
    let folder = Path::new(&machine.root()).join("etc/systemd/system");
    fs::create_dir_all(folder.join("crowd.target.wants")).unwrap();
    let service = "[Service]\nExecStart=/bin/sleep 1000\n";
    fs::write(folder.join("crowd.target"), "[Unit]\nWants=ring1.service ring2.service\n").unwrap();
    fs::write(folder.join("ring1.service"), format!("[Unit]\nAfter=ring2.service\n{service}")).unwrap();
    fs::write(folder.join("ring2.service"), format!("[Unit]\nAfter=ring1.service\n{service}")).unwrap();
    for number in 0..CROWD {
        let name = format!("crowd{number}.target");
        fs::write(folder.join(&name), format!("[Unit]\nDescription=Number {number}\n")).unwrap();
        std::os::unix::fs::symlink(
            Path::new("..").join(&name),
            folder.join("crowd.target.wants").join(&name),
        )
        .unwrap();
    }
    assert!(machine.systemctl(&["daemon-reload"]).status.success());
    let started = machine.systemctl(&["start", "crowd.target"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let active = machine.systemctl(&["list-units", "--no-legend", "--no-pager", "--state=active", "crowd*"]);
    assert_eq!(String::from_utf8_lossy(&active.stdout).lines().count(), CROWD + 1);
    // One of the cycle goes without, and that is said.
    assert!(
        ["ring1.service", "ring2.service"].iter().any(|unit| machine.says(&["is-active", unit], "active"))
    );
    assert!(machine.console().contains("ordering cycle"), "{}", machine.console());

    // A unit's file may go while it runs.
    let ring = ["ring1.service", "ring2.service"]
        .into_iter()
        .find(|unit| machine.says(&["is-active", unit], "active"));
    let ring = ring.unwrap();
    fs::remove_file(folder.join(ring)).unwrap();
    assert!(machine.systemctl(&["daemon-reload"]).status.success());
    assert!(machine.says(&["is-active", ring], "active"));
    assert!(machine.systemctl(&["stop", ring]).status.success());
    assert!(!machine.says(&["is-active", ring], "active"));
}
