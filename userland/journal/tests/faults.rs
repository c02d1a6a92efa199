//! What goes wrong: the daemon dies, the disk is full, somebody floods, a reader looks while files are rotated; and
//! what the configuration bounds.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod machine;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use machine::{Machine, eventually, output, program};
use rustix::process::Signal;

#[test]
fn no_stream_is_lost_when_it_restarts_or_is_killed() {
    let mut machine = Machine::started();
    let mut stream = machine.stream("hello", "hello1.service");
    let mut expected = Vec::new();
    for round in 0..4 {
        writeln!(stream, "round {round}").unwrap();
        expected.push(format!("round {round}"));
        eventually("the line", || {
            machine.ours(&["-o", "cat", "-t", "hello"]).contains(&format!("round {round}\n"))
        });
        machine.pump();
        if round % 2 == 0 {
            machine.end(Signal::KILL);
            // Whoever writes meanwhile is not told that nobody listens.
            writeln!(stream, "while dead {round}").unwrap();
            expected.push(format!("while dead {round}"));
            // Neither is who sends a datagram, nor who connects.
            machine.send("socket", format!("MESSAGE=datagram {round}\nSYSLOG_IDENTIFIER=sent\n").as_bytes());
            let mut late = machine.stream("late", "late.service");
            writeln!(late, "late {round}").unwrap();
        } else {
            // The beginning of a line survives an orderly restart.
            write!(stream, "begin ").unwrap();
            machine.control("--sync");
            machine.end(Signal::TERM);
            writeln!(stream, "and end {round}").unwrap();
            expected.push(format!("begin and end {round}"));
        }
        machine.start();
    }
    machine.control("--sync");
    let text = machine.ours(&["-o", "cat", "-t", "hello"]);
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    let ids = machine.ours(&["-F", "_STREAM_ID"]);
    assert_eq!(ids.lines().count(), 3, "one stream is one stream: {ids}");
    assert_eq!(machine.ours(&["-o", "cat", "-t", "sent"]), "datagram 0\ndatagram 2\n");
    assert_eq!(machine.ours(&["-o", "cat", "-t", "late"]), "late 0\nlate 2\n");
    drop(stream);
    let streams = machine.root.path().join("run/systemd/journal/streams");
    eventually("the end of the stream", || fs::read_dir(&streams).unwrap().count() == 0);
    eventually("init to be told", || {
        machine.pump();
        machine.kept.iter().all(|(name, _)| !name.starts_with("stream-"))
    });
}

#[test]
fn a_flood_is_held_back_and_counted() {
    let machine = {
        let mut machine = Machine::new();
        machine.configure("RateLimitIntervalSec=2s\nRateLimitBurst=100\nLineMax=100");
        machine.start();
        machine
    };
    let mut stream = machine.stream("noisy", "noisy.service");
    for number in 0..500 {
        writeln!(stream, "<6>line {number}").unwrap();
    }
    writeln!(stream, "<3>but this is an error").unwrap();
    let mut long = machine.stream("long", "long.service");
    writeln!(long, "<3>{}", "x".repeat(250)).unwrap();
    machine.control("--sync");
    let text = machine.ours(&["-o", "cat", "-t", "noisy"]);
    assert!(text.contains("line 99\n") && !text.contains("line 100\n"), "{text}");
    assert!(text.contains("but this is an error\n"), "{text}");
    let long = machine.ours(&["-o", "cat", "-t", "long"]);
    assert_eq!(
        long.lines().map(str::len).collect::<Vec<_>>(),
        [97, 100, 53],
        "the prefix is part of the line"
    );
    eventually("the count", || {
        writeln!(stream, "<6>again").unwrap();
        machine.control("--sync");
        machine.ours(&["-o", "cat", "_TRANSPORT=driver"]).contains("Suppressed 4")
    });
}

/// Bytes of all files of a directory.
fn usage(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::read_dir(directory).unwrap().flatten().map(|item| item.metadata().unwrap().blocks() * 512).sum()
}

fn flood(stream: &mut UnixStream, what: &str, count: usize) {
    let text = (0..count).map(|number| format!("{what} {number} {}\n", "y".repeat(100))).collect::<String>();
    stream.write_all(text.as_bytes()).unwrap();
}

#[test]
fn the_disk_is_bounded_and_a_reader_does_not_mind_rotation() {
    let mut machine = Machine::new();
    machine.configure("SystemMaxUse=4M\nRateLimitBurst=0");
    machine.start();
    let directory = machine.directory();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                let text = output(
                    Command::new(program("journalctl"))
                        .arg("-D")
                        .arg(&directory)
                        .args(["-o", "json", "-q", "-t", "big"]),
                );
                let mut last = 0;
                for line in text.lines() {
                    let entry: serde_json::Value = serde_json::from_str(line).unwrap();
                    let cursor = entry["__CURSOR"].as_str().unwrap().to_owned();
                    let number = cursor.split("i=").nth(1).unwrap().split(';').next().unwrap();
                    let number = u64::from_str_radix(number, 16).unwrap();
                    assert!(number > last, "entries are in order");
                    last = number;
                    seen += 1;
                }
            }
            seen
        });
        let mut stream = machine.stream("big", "big.service");
        for round in 0..20 {
            flood(&mut stream, &format!("round {round}"), 1000);
        }
        machine.control("--sync");
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });
    assert!(usage(&directory) <= 5 << 20, "{} bytes", usage(&directory));
    let text = machine.stock(&["-o", "cat", "-t", "big", "-n", "1"]);
    assert!(text.starts_with("round 19 999 "), "the newest is there: {text}");
    machine.end(Signal::TERM);
    machine.stock(&["--verify"]);
    machine.ours(&["--verify"]);
}

#[test]
fn a_full_disk_costs_the_oldest_and_is_said() {
    let mut machine = Machine::new();
    machine.configure("SystemKeepFree=0\nSystemMaxUse=64M\nSystemMaxFileSize=1M\nRateLimitBurst=0");
    let place = machine.root.path().join("var/log/journal");
    let script = format!("mount -t tmpfs -o size=5m tmpfs '{}' && exec \"$@\"", place.display());
    machine.start_under(&["unshare", "--mount", "sh", "-c", &script, "sh"]);
    let mut stream = machine.stream("big", "big.service");
    for round in 0..20 {
        flood(&mut stream, &format!("round {round}"), 1000);
    }
    machine.control("--sync");
    let pid = machine.daemon.as_ref().unwrap().id();
    let inside =
        PathBuf::from(format!("/proc/{pid}/root")).join(machine.directory().strip_prefix("/").unwrap());
    let ours = |args: &[&str]| {
        output(
            Command::new(program("journalctl")).arg("-D").arg(&inside).args(["-q", "-o", "cat"]).args(args),
        )
    };
    assert!(ours(&["-t", "big", "-n", "1"]).starts_with("round 19 999 "), "the newest is kept");
    assert!(ours(&["_TRANSPORT=driver"]).contains("No space left: removed the oldest archived journal"));
    output(Command::new("journalctl").arg("-D").arg(&inside).args(["--no-pager", "-q", "--verify"]));
}

#[test]
fn volatile_until_it_is_flushed() {
    let mut machine = Machine::new();
    fs::remove_dir(machine.root.path().join("var/log/journal")).unwrap();
    machine.start();
    machine.send("socket", b"MESSAGE=in memory\nSYSLOG_IDENTIFIER=x\n");
    machine.control("--sync");
    let memory = machine.root.path().join("run/log/journal").join(machine::MACHINE);
    assert!(usage(&memory) > 0);
    let flushed = machine.root.path().join("run/systemd/journal/flushed");
    assert!(!flushed.exists());
    fs::create_dir(machine.root.path().join("var/log/journal")).unwrap();
    machine.control("--flush");
    machine.send("socket", b"MESSAGE=on disk\nSYSLOG_IDENTIFIER=x\n");
    machine.control("--sync");
    assert_eq!(machine.stock(&["-o", "cat", "-t", "x"]), "in memory\non disk\n");
    assert!(flushed.exists() && usage(&memory) == 0);
    machine.control("--relinquish-var");
    machine.send("socket", b"MESSAGE=in memory again\nSYSLOG_IDENTIFIER=x\n");
    machine.control("--sync");
    assert!(usage(&memory) > 0 && !flushed.exists());
    machine.end(Signal::TERM);
    machine.stock(&["--verify"]);
}

#[test]
fn users_have_files_of_their_own() {
    let mut machine = Machine::started();
    let socket = machine.socket("dev-log");
    output(
        Command::new("setpriv")
            .args(["--reuid=4242", "--regid=4242", "--clear-groups", "logger", "-t", "mine", "--socket"])
            .arg(&socket)
            .arg("a user speaks"),
    );
    machine.send("dev-log", b"<30>root: root speaks");
    machine.control("--sync");
    let file = machine.directory().join("user-4242.journal");
    let text =
        output(Command::new("journalctl").args(["--no-pager", "-q", "-o", "cat", "--file"]).arg(&file));
    assert_eq!(text, "a user speaks\n");
    assert_eq!(machine.ours(&["-o", "cat", "_UID=4242"]), "a user speaks\n");
    let all = machine.stock(&["-o", "cat"]);
    assert!(all.contains("a user speaks\nroot speaks\n"), "one numbering orders both: {all}");
    machine.control("--rotate");
    assert_eq!(
        fs::read_dir(machine.directory())
            .unwrap()
            .flatten()
            .filter(|item| { item.file_name().to_string_lossy().starts_with("user-4242@") })
            .count(),
        1
    );
    machine.end(Signal::TERM);
    machine.stock(&["--verify"]);
}

#[test]
fn killed_while_it_writes_it_leaves_what_can_be_read() {
    let mut machine = Machine::new();
    machine.configure("RateLimitBurst=0\nSystemMaxUse=64M");
    machine.start();
    for round in 0..3 {
        let mut stream = machine.stream("big", "big.service");
        let writer = thread::spawn(move || {
            for part in 0..40 {
                let pad = "z".repeat(100);
                let text =
                    (0..300).map(|number| format!("round {round} line {} {pad}\n", part * 300 + number));
                if stream.write_all(text.collect::<String>().as_bytes()).is_err() {
                    return;
                }
            }
        });
        eventually("some lines", || machine.ours(&["-o", "cat"]).contains(&format!("round {round} line 1")));
        machine.end(Signal::KILL);
        machine.start();
        writer.join().unwrap();
        machine.control("--sync");
        // All that was sent is there, once: the kernel kept what the dead had not read. Of what it had read up to one
        // buffer may be lost.
        let text = machine.ours(&["-o", "cat", "-t", "big"]);
        let lines: Vec<&str> =
            text.lines().filter(|line| line.starts_with(&format!("round {round} "))).collect();
        assert_eq!(lines.last(), Some(&format!("round {round} line 11999 {}", "z".repeat(100)).as_str()));
        let mut sorted = lines.clone();
        sorted.dedup();
        assert_eq!(sorted.len(), lines.len());
        let stock = machine.stock(&["-o", "cat", "-t", "big"]);
        assert_eq!(stock, text, "the real one sees the same");
    }
}

#[test]
fn the_kernels_messages_come_once_over_restarts() {
    let mut machine = Machine::new();
    let kmsg = machine.root.path().join("dev/kmsg");
    output(Command::new("mkfifo").arg(&kmsg));
    // Both ends: so it never ends.
    let mut kernel = fs::OpenOptions::new().read(true).write(true).open(&kmsg).unwrap();
    let mut write = |machine: &Machine, record: &str, sure: &str| {
        kernel.write_all(record.as_bytes()).unwrap();
        eventually(sure, || machine.ours(&["-o", "cat", "-k", "-b", "all"]).ends_with(&format!("{sure}\n")));
    };
    machine.start();
    write(&machine, "6,10,5000,-;first\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:01.0\n", "first");
    machine.end(Signal::KILL);
    machine.start();
    // The kernel shows a new reader everything again.
    {
        let again = "6,10,5000,-;first\n";
        let mut kernel = fs::OpenOptions::new().read(true).write(true).open(&kmsg).unwrap();
        kernel.write_all(again.as_bytes()).unwrap();
        machine.control("--sync");
    }
    write(&machine, "3,12,6000,-;third\n", "third");
    let text = machine.ours(&["-o", "cat", "-k", "-b", "all"]);
    assert_eq!(text, "first\nthird\n");
    let lost = machine.ours(&["-o", "cat", "MESSAGE_ID=e9bf28e6e834481bb6f48f548ad13606"]);
    assert_eq!(lost, "Missed 1 kernel messages\n");
    let fields = machine.ours(&["-o", "export", "-k", "-b", "all", "-n", "2"]);
    for field in
        ["_KERNEL_SUBSYSTEM=pci", "_KERNEL_DEVICE=+pci:0000:00:01.0", "_SOURCE_MONOTONIC_TIMESTAMP=5000"]
    {
        assert!(fields.contains(&format!("{field}\n")), "{fields}");
    }
}

#[test]
fn what_init_says_of_a_unit_counts() {
    use std::os::unix::fs::symlink;
    let mut machine = Machine::new();
    machine.configure("ForwardToSyslog=yes\nMaxLevelSyslog=err");
    let units = machine.root.path().join("run/systemd/units");
    fs::create_dir_all(&units).unwrap();
    // The test's own cgroup may be a unit's: then that one is meant.
    let own = journal::intake::cgroup::Membership::of(&fs::read_to_string("/proc/self/cgroup").unwrap());
    let unit = own.and_then(|own| own.unit).unwrap_or("told.service".to_owned());
    for (what, value) in [
        ("invocation", "00112233445566778899aabbccddeeff"),
        ("log-level-max", "4"),
        ("log-rate-limit-interval", "600000000"),
        ("log-rate-limit-burst", "3"),
    ] {
        symlink(value, units.join(format!("{what}:{unit}"))).unwrap();
    }
    fs::write(units.join(format!("log-extra-fields:{unit}")), b"\x06\0\0\0\0\0\0\0TEAM=x").unwrap();
    let syslog = machine.socket("syslog");
    machine.start();
    let receiver = std::os::unix::net::UnixDatagram::bind(&syslog).unwrap();
    receiver.set_read_timeout(Some(machine::PATIENCE)).unwrap();
    let mut stream = machine.stream("told", "told.service");
    stream.write_all(b"<6>too low a level\n<3>one\n<3>two\n<3>three\n<3>four\n").unwrap();
    machine.control("--sync");
    let kept =
        machine.ours(&["-o", "cat", "_SYSTEMD_INVOCATION_ID=00112233445566778899aabbccddeeff", "TEAM=x"]);
    assert_eq!(kept, "one\ntwo\nthree\n");
    let mut buffer = [0; 512];
    let count = receiver.recv(&mut buffer).unwrap();
    let line = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert!(line.starts_with("<27>") && line.ends_with("]: one") && line.contains(" told["), "{line}");
}
