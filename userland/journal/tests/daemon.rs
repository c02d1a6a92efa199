//! The daemon in a scratch directory, spoken to as programs do, read with the real `journalctl`.
//!
//! Needs Debian's systemd package. The daemon is an example of this crate, which `cargo test` builds.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod machine;

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command};

use machine::{Machine, eventually, program};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Signal;

#[test]
fn every_way_in() {
    let mut machine = Machine::started();
    let mut stream = machine.stream("hello", "hello1.service");
    stream.write_all(b"from a stream\n<3>an error\nunfinished").unwrap();
    drop(stream);
    machine.send("socket", b"MESSAGE=native\nPRIORITY=4\nEXTRA=1\n_PID=1\n");
    machine.send("dev-log", b"<30>Nov 24 02:26:46 prog[77]: from syslog\n");
    let memory = memfd_create("message", MemfdFlags::CLOEXEC).unwrap();
    rustix::io::write(&memory, format!("MESSAGE=from memory\nBIG={}\n", "x".repeat(500_000)).as_bytes())
        .unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(machine.socket("socket")).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [memory.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&sender, &[], &mut control, SendFlags::empty()).unwrap();
    machine.control("--sync");

    let pid = std::process::id().to_string();
    for (field, value, message) in [
        ("_TRANSPORT", "journal", "native\nfrom memory\n"),
        ("_TRANSPORT", "syslog", "from syslog\n"),
        ("_SYSTEMD_UNIT", "hello1.service", "from a stream\nan error\nunfinished\n"),
        ("SYSLOG_PID", "77", "from syslog\n"),
        ("EXTRA", "1", "native\n"),
    ] {
        let found = machine.stock(&["-o", "cat", &format!("{field}={value}"), &format!("_PID={pid}")]);
        // A test runner with a unit of its own gives that one: then the header's counts for nothing.
        if field == "_SYSTEMD_UNIT" && found.is_empty() {
            assert!(machine.stock(&["-o", "cat", "-t", "hello"]).starts_with("from a stream\n"));
        } else {
            assert_eq!(found, message, "{field}={value}");
        }
    }
    assert_eq!(machine.stock(&["-o", "cat", "-p", "err"]), "an error\n");
    assert_eq!(machine.stock(&["-o", "cat", "_PID=1"]), "", "nobody can claim to be another");
    let json = machine.stock(&["-o", "json", "EXTRA=1"]);
    for field in [
        "_UID",
        "_GID",
        "_COMM",
        "_EXE",
        "_CMDLINE",
        "_BOOT_ID",
        "_MACHINE_ID",
        "_HOSTNAME",
        "_CAP_EFFECTIVE",
    ] {
        assert!(json.contains(&format!("\"{field}\":\"")), "{field} is missing in {json}");
    }
    machine.end(Signal::TERM);
    machine.stock(&["--verify"]);
}

#[test]
fn ours_prints_what_the_real_one_prints() {
    let mut machine = Machine::started();
    let mut stream = machine.stream("hello", "hello1.service");
    for number in 0..500 {
        writeln!(stream, "<{}>line {number}\ttab \x1b[1mbold\x1b[0m", number % 8).unwrap();
    }
    machine.send("socket", b"MESSAGE\n\x08\0\0\0\0\0\0\0two\nline\nA=1\nA=2\nPRIORITY=1\n");
    machine.send("socket", b"MESSAGE\n\x03\0\0\0\0\0\0\0\xff\x01x\nBINARY=\x01\n");
    machine.control("--sync");
    machine.control("--rotate");
    writeln!(stream, "after rotation").unwrap();
    machine.control("--sync");
    assert_eq!(machine.files(".journal"), 2);
    machine.end(Signal::TERM);
    for args in [
        "",
        "-n 5",
        "-n",
        "-r",
        "-o verbose",
        "-o export",
        "-o cat",
        "-o short-iso",
        "-o short-precise",
        "-o short-full",
        "-o short-unix",
        "-o short-monotonic",
        "-p err",
        "-p 1..3",
        "-t hello -n 3",
        "-u hello1",
        "--list-boots",
        "--since yesterday",
        "--until yesterday",
        "--since -1h -o cat",
        "-g LINE.1",
        "-g rotation",
        "A=1",
        "A=1 A=2",
        "A=2 + PRIORITY=3",
        "--no-hostname",
        "-k",
        "-b",
        "-b -0",
        "-u hell*",
        "--disk-usage",
    ] {
        let args: Vec<&str> = args.split_whitespace().collect();
        let run = |program: &mut Command| {
            let output = program.args(&args).env("TZ", "UTC").env("LC_ALL", "C.UTF-8").output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let stock = run(Command::new("journalctl").arg("--no-pager").arg("-D").arg(machine.directory()));
        let ours =
            run(Command::new(program("journalctl")).arg("--no-pager").arg("-D").arg(machine.directory()));
        assert_eq!(stock, ours, "journalctl {args:?}");
    }
    for args in [["-F", "PRIORITY"], ["-F", "NO_SUCH_FIELD"]] {
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(machine.stock(&args)), sorted(machine.ours(&args)));
    }
    let objects = |text: String| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    assert_eq!(objects(machine.stock(&["-o", "json"])), objects(machine.ours(&["-o", "json"])));
}

#[test]
fn killed_at_any_time_it_goes_on() {
    let mut machine = Machine::started();
    for round in 0..4 {
        let mut stream = machine.stream("hello", "hello1.service");
        for number in 0..200 * (round + 1) {
            writeln!(stream, "round {round} line {number}").unwrap();
        }
        eventually("the first line", || {
            machine.ours(&["-o", "cat"]).contains(&format!("round {round} line 0\n"))
        });
        machine.end(Signal::KILL);
        machine.start();
    }
    machine.send("socket", b"MESSAGE=still here\n");
    machine.control("--sync");
    for text in [machine.stock(&["-o", "cat"]), machine.ours(&["-o", "cat"])] {
        assert!(text.contains("round 3 line 0\n"), "{text}");
        assert!(text.contains("still here\n"), "{text}");
    }
    assert_eq!(machine.files(".journal~"), 4);
}

#[test]
fn what_is_no_journal_is_set_aside() {
    let mut machine = Machine::new();
    fs::create_dir_all(machine.directory()).unwrap();
    fs::write(machine.directory().join("system.journal"), vec![0xaa; 100_000]).unwrap();
    machine.start();
    machine.send("socket", b"MESSAGE=hello\n");
    machine.control("--sync");
    assert_eq!(machine.files(".journal~"), 1);
    assert!(machine.ours(&["-o", "cat"]).ends_with("hello\n"));
}

#[test]
fn signals_and_the_real_control_client() {
    let mut machine = Machine::started();
    machine.send("socket", b"MESSAGE=before\n");
    machine.control("--sync");
    machine.signal(Signal::USR2);
    eventually("the archive", || machine.files(".journal") == 2);
    machine.send("socket", b"MESSAGE=after\n");
    machine.control("--sync");
    let text = machine.stock(&["-o", "cat"]);
    assert!(text.contains("before\nafter\n"), "{text}");
    machine.end(Signal::TERM);
    machine.stock(&["--verify"]);
    // In order closed, it goes on with the same file.
    machine.start();
    assert_eq!(machine.files(".journal"), 2);
    assert_eq!(machine.files(".journal~"), 0);
}

#[test]
fn strangers_do_no_harm() {
    let machine = Machine::started();
    let mut stream = UnixStream::connect(machine.socket("stdout")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut control = UnixStream::connect(machine.socket("io.systemd.journal")).unwrap();
    control.write_all(b"{\"method\": 7}\0nonsense\0").unwrap();
    machine.send("socket", b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff");
    machine.send("socket", b"=\n==\n\0\0\n");
    machine.send("dev-log", b"\xff\xfe<");
    let idle: Vec<UnixStream> =
        (0..200).map(|_| UnixStream::connect(machine.socket("stdout")).unwrap()).collect();
    machine.send("socket", b"MESSAGE=well\n");
    machine.control("--sync");
    assert!(machine.stock(&["-o", "cat"]).contains("well\n"));
    drop(idle);
}

#[test]
fn following_sees_what_comes_and_rotation_does_not_matter() {
    let machine = Machine::started();
    let log = machine.root.path().join("followed");
    let mut followers: Vec<Child> = [PathBuf::from("journalctl"), program("journalctl")]
        .iter()
        .enumerate()
        .map(|(index, program)| {
            let out = fs::File::create(log.with_extension(index.to_string())).unwrap();
            let mut command = Command::new(program);
            command.arg("-D").arg(machine.directory()).args(["-f", "-o", "cat"]).stdout(out).spawn().unwrap()
        })
        .collect();
    let read = |index: usize| fs::read_to_string(log.with_extension(index.to_string())).unwrap();
    for (round, text) in ["one", "two", "three"].into_iter().enumerate() {
        if round == 2 {
            machine.control("--rotate");
        }
        machine.send("socket", format!("MESSAGE=follow {text}\n").as_bytes());
        for index in 0..2 {
            eventually(text, || read(index).contains(&format!("follow {text}\n")));
        }
    }
    for follower in &mut followers {
        follower.kill().unwrap();
        follower.wait().unwrap();
    }
    for index in 0..2 {
        assert_eq!(read(index).matches("follow ").count(), 3, "each once");
    }
}
