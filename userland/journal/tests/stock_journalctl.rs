//! The real `journalctl` reads what we write, ours reads what the real systemd writes, and both print the same, byte
//! for byte. Debian's packages systemd and systemd-journal-remote provide the peers.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use journal::file::{NewFile, Timestamp, Writer};

const MACHINE: [u8; 16] = [0x11; 16];
/// 2025-01-01 00:00:00 UTC.
const START: u64 = 1_735_689_600_000_000;

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: build the examples (cargo test does)", path.display());
    path
}

fn run(program: &Path, directory: &Path, args: &[&str]) -> (Option<i32>, Vec<u8>, String) {
    let output = Command::new(program)
        .arg("-D")
        .arg(directory)
        .arg("--no-pager")
        .args(args)
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("SYSTEMD_LOG_LEVEL")
        .output()
        .expect("journalctl of Debian's systemd package is installed");
    (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn stock(directory: &Path, args: &[&str]) -> String {
    let (code, out, errors) = run(Path::new("journalctl"), directory, args);
    let out = String::from_utf8_lossy(&out).into_owned();
    assert_eq!(code, Some(0), "journalctl {args:?}: {out}{errors}");
    out
}

fn new_file(compact: bool) -> NewFile {
    NewFile {
        file_id: [0x33; 16],
        machine_id: MACHINE,
        seqnum_id: [0x44; 16],
        seqnum: 0,
        max_size: 32 << 20,
        compact,
        compress: Some(512),
    }
}

/// The fields of the test's entry `number`, every kind of them.
fn fields(number: u64) -> Vec<Vec<u8>> {
    let unit = ["three.service", "other.service", "web@1.service"][(number % 3) as usize];
    let mut fields: Vec<Vec<u8>> = [
        format!("PRIORITY={}", number % 8),
        format!("SYSLOG_FACILITY={}", number % 4),
        format!("_SYSTEMD_UNIT={unit}"),
        format!("_PID={}", 100 + number % 50),
        "_UID=0".to_owned(),
        format!("_BOOT_ID={}", boot_text(number)),
        "_MACHINE_ID=11111111111111111111111111111111".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    let mut add = |field: &[u8]| fields.push(field.to_vec());
    match number % 20 {
        0 => add(b"MESSAGE=two\nlines of text\n"),
        1 => add(b"MESSAGE=a tab\there and \x1b[1;31mred\x1b[0m\r"),
        2 => add(b"MESSAGE=\xff\xfe bytes"),
        3 => add(b"MESSAGE="),
        4 => add("MESSAGE=Ünïcödé – “quoted” \\ \"text\"".as_bytes()),
        5 => add(&[b"MESSAGE=long ".to_vec(), b"x y ".repeat(2000)].concat()),
        6 => add(b"NO_MESSAGE=here"),
        7 => add(b"MESSAGE=\x1b[2Jcleared\x07"),
        _ => add(format!("MESSAGE=message number {number} Alpha").as_bytes()),
    }
    match number % 7 {
        0 => add(format!("_SOURCE_REALTIME_TIMESTAMP={}", START + number * 1_000_000 - 5).as_bytes()),
        1 => add(b"_SOURCE_MONOTONIC_TIMESTAMP=1234567"),
        2 => add(b"BINARY=\x01\x02\n"),
        3 => {
            add(b"TWICE=one");
            add(b"TWICE=two");
        }
        4 => add(b"_SYSTEMD_USER_UNIT=app.service"),
        _ => {}
    }
    match number % 5 {
        0 => add(b"_COMM=program"),
        1 => add(b"SYSLOG_PID=7"),
        _ => {
            add(b"SYSLOG_IDENTIFIER=test");
            add(b"_HOSTNAME=here");
        }
    }
    match number % 11 {
        1 => {
            fields.retain(|field| !field.starts_with(b"_PID=") && !field.starts_with(b"_SYSTEMD_UNIT="));
            fields.push(b"_PID=1".to_vec());
            fields.push(b"UNIT=three.service".to_vec());
        }
        2 => fields.push(b"OBJECT_SYSTEMD_UNIT=three.service".to_vec()),
        3 => fields.extend([
            b"COREDUMP_UNIT=three.service".to_vec(),
            b"MESSAGE_ID=fc2e22bc6ee647b6b90729ab34a250b1".to_vec(),
        ]),
        4 => fields.push(b"_TRANSPORT=kernel".to_vec()),
        5 => fields.push(b"_SYSTEMD_SLICE=system.slice".to_vec()),
        _ => {}
    }
    fields
}

/// Boots of forty entries each.
fn boot_of(number: u64) -> [u8; 16] {
    [0x20 + (number / 40) as u8; 16]
}

fn boot_text(number: u64) -> String {
    boot_of(number).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn time_of(number: u64) -> Timestamp {
    Timestamp { realtime: START + number * 1_000_000, monotonic: 1_000_000 + number % 40 * 1_000_000 }
}

/// Writes entries with our own writer: the first half into an archive.
fn write_ours(directory: &Path, count: u64, compact: bool) {
    let names = [
        "system@44444444444444444444444444444444-0000000000000001-00062a99ba0c6000.journal",
        "system.journal",
    ];
    for (half, name) in names.into_iter().enumerate() {
        let new = NewFile {
            file_id: [0x33 + half as u8; 16],
            seqnum: half as u64 * count / 2,
            ..new_file(compact)
        };
        let mut writer = Writer::create(&directory.join(name), &new).unwrap();
        for number in half as u64 * count / 2..(half as u64 + 1) * count / 2 {
            let fields = fields(number);
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            writer.append(time_of(number), &boot_of(number), &fields).unwrap();
        }
        writer.close(half == 0).unwrap();
    }
}

/// Has systemd-journal-remote write the same entries.
fn write_theirs(directory: &Path, count: u64, environment: &[(&str, &str)], compress: bool) {
    let mut text = Vec::new();
    for number in 0..count {
        let time = time_of(number);
        text.extend(
            format!("__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n", time.realtime, time.monotonic)
                .bytes(),
        );
        text.extend(format!("_BOOT_ID={}\n", boot_text(number)).bytes());
        for field in fields(number).into_iter().filter(|field| !field.starts_with(b"_BOOT_ID=")) {
            let end = field.iter().position(|byte| *byte == b'=').unwrap();
            let (name, value) = (&field[..end], &field[end + 1..]);
            text.extend(name);
            text.push(b'\n');
            text.extend((value.len() as u64).to_le_bytes());
            text.extend(value);
            text.push(b'\n');
        }
        text.push(b'\n');
    }
    let input = directory.join("input.export");
    fs::write(&input, text).unwrap();
    let output = Command::new("/lib/systemd/systemd-journal-remote")
        .arg(format!("--compress={compress}"))
        .arg("-o")
        .arg(directory.join("system.journal"))
        .arg(&input)
        .envs(environment.iter().copied())
        .output()
        .expect("Debian's systemd-journal-remote is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every mode, with every kind of filter. Not here is where ours does better: `-n` with `--until`, which gives the
/// last before that; `T` between date and time; text behind a zero byte with `-a`.
const MODES: &[&str] = &[
    "",
    "-o short",
    "-o short-full",
    "-o short-iso",
    "-o short-iso-precise",
    "-o short-precise",
    "-o short-monotonic",
    "-o short-unix",
    "-o short-delta",
    "-o short-delta -r -n 9",
    "-o verbose",
    "-o export",
    "-o cat",
    "-o with-unit",
    "-a",
    "-a -o verbose",
    "-q",
    "-m",
    "--utc",
    "--no-hostname",
    "--no-full",
    "--no-full -o verbose",
    "-n",
    "-n 5",
    "-n 0",
    "-n all",
    "-r",
    "-r -n 45",
    "-n 90 -o short-monotonic",
    "-e -n 3",
    "-p err",
    "-p 1..3",
    "-p warning..crit -n 4",
    "-t test -n 3",
    "-t test -t nobody",
    "-u three",
    "-u three -o with-unit",
    "-u three -u other.service -n 7",
    "-u web@*",
    "-u t[a-i]*",
    "-u nobody",
    "-u nob*",
    "-u system.slice",
    "--user-unit app",
    "-k",
    "-b",
    "-b -1",
    "-b 1 -r",
    "-b all -n 50",
    "-b 9",
    "-b -9",
    "-b 21212121212121212121212121212121 -n 2",
    "-b 21212121212121212121212121212121-1 -n 2",
    "--list-boots",
    "--list-boots -q",
    "--list-boots -r",
    "--list-boots -o json",
    "--list-boots -o json-pretty",
    "--no-tail -n 3",
    "-e",
    "-e --since @1735689650",
    "-rn3",
    "-rb-1",
    "--list-catalog nope",
    "--output-fields= -o verbose -n 3",
    "--since @1735689650",
    "--since @1735689650 -n 4",
    "--until @1735689650",
    "--until @1735689650 -r -n 4",
    "--since @1735689610 --until @1735689612.5",
    "--since 00:00",
    "--since yesterday",
    "--until yesterday",
    "--since today",
    "--since -1h -o cat",
    "--since 1735689650",
    "-g alpha -n 3",
    "-g ALPHA",
    "-g ALPHA --case-sensitive=no -n 2",
    "-g alpha --case-sensitive",
    "-g number.1[0-3]",
    "-g nothing",
    "-g alpha -r",
    "--facility kern,mail -n 9",
    "--facility 1",
    "TWICE=one",
    "TWICE=one TWICE=two",
    "TWICE=two + PRIORITY=3",
    "_PID=104 PRIORITY=4",
    "_PID=1 + OBJECT_SYSTEMD_UNIT=three.service PRIORITY=5 + NO_MESSAGE=here",
    "/no/such/program",
    "nonsense",
    "+ A=1",
    "--output-fields=MESSAGE,PRIORITY -o verbose -n 30",
    "--output-fields=PRIORITY -o cat -n 30",
    "--output-fields=BINARY -o export -n 30",
    "--show-cursor -n 1",
    "--show-cursor -n 1 -o cat",
    "-c s=44444444444444444444444444444444;i=15 -n 2",
    "-c t=62a99ba2ae480",
    "--after-cursor t=62a99ba2ae480 -n 1 -r",
    "-c nonsense",
    "-r -f",
    "-m -b",
    "--since @5 --until @3",
    "-p loud",
    "-o nonsense",
    "--since nonsense",
    "--disk-usage",
    "--header",
    "--verify",
];

/// Both, with the same arguments on the same journal, must say the same.
fn compare(directory: &Path, what: &str) {
    let ours = example("journalctl");
    let mut wrong = Vec::new();
    for mode in MODES {
        let args: Vec<&str> = mode.split_whitespace().collect();
        let (stock_code, stock_out, stock_errors) = run(Path::new("journalctl"), directory, &args);
        let (code, out, errors) = run(&ours, directory, &args);
        if (stock_code, &stock_out) != (code, &out) {
            let differs = |text: &[u8], other: &[u8]| {
                let at = text.iter().zip(other).take_while(|(a, b)| a == b).count();
                String::from_utf8_lossy(&text[at.saturating_sub(60)..text.len().min(at + 80)]).into_owned()
            };
            wrong.push(format!(
                "journalctl {mode}: {stock_code:?} …{:?}… {stock_errors}\n      ours: {code:?} …{:?}… {errors}",
                differs(&stock_out, &out),
                differs(&out, &stock_out),
            ));
        }
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    // Names and values come in no order from the original; the keys of JSON neither.
    for args in [&["-F", "PRIORITY"][..], &["-F", "NO_SUCH"], &["-N"]] {
        let sorted = |program: &Path| {
            let text = String::from_utf8_lossy(&run(program, directory, args).1).into_owned();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(Path::new("journalctl")), sorted(&ours), "{what}: {args:?}");
    }
    for args in [
        "-o json",
        "-a -o json",
        "--output-fields=MESSAGE -o json",
        "-o json-pretty",
        "-o json-seq",
        "-o json-sse",
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let objects = |program: &Path| {
            let text = String::from_utf8_lossy(&run(program, directory, &args).1).into_owned();
            let text = text.replace("data: ", "").replace('\x1e', "");
            serde_json::Deserializer::from_str(&text)
                .into_iter::<serde_json::Value>()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        };
        assert_eq!(objects(Path::new("journalctl")), objects(&ours), "{what}: {args:?}");
    }
}

#[test]
fn our_compact_files() {
    let directory = tempfile::tempdir().unwrap();
    write_ours(directory.path(), 120, true);
    compare(directory.path(), "ours, compact");
}

#[test]
fn our_regular_files() {
    let directory = tempfile::tempdir().unwrap();
    write_ours(directory.path(), 120, false);
    compare(directory.path(), "ours, regular");
}

#[test]
fn the_real_systemds_compact_files() {
    let directory = tempfile::tempdir().unwrap();
    write_theirs(directory.path(), 120, &[], true);
    compare(directory.path(), "systemd's, compact");
}

#[test]
fn the_real_systemds_older_files() {
    for compress in ["ZSTD", "LZ4", "XZ"] {
        let directory = tempfile::tempdir().unwrap();
        let environment = [
            ("SYSTEMD_JOURNAL_COMPACT", "0"),
            ("SYSTEMD_JOURNAL_KEYED_HASH", "0"),
            ("SYSTEMD_JOURNAL_COMPRESS", compress),
        ];
        write_theirs(directory.path(), 40, &environment, true);
        let (_, theirs, _) = run(Path::new("journalctl"), directory.path(), &["-o", "export"]);
        let (_, ours, errors) = run(&example("journalctl"), directory.path(), &["-o", "export"]);
        assert!(theirs.len() > 10_000);
        assert_eq!(theirs, ours, "{compress}: {errors}");
        let (code, _, errors) = run(&example("journalctl"), directory.path(), &["--verify"]);
        assert_eq!(code, Some(0), "{compress}: {errors}");
    }
}

#[test]
fn it_verifies_and_reads_thirty_thousand_entries() {
    for compact in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let mut writer =
            Writer::create(&directory.path().join("system.journal"), &new_file(compact)).unwrap();
        for number in 0..30_000 {
            let time = Timestamp { realtime: START + number * 1_000_000, monotonic: number * 1_000_000 + 1 };
            let fields = [
                format!("MESSAGE=message number {number}"),
                format!("PRIORITY={}", number % 8),
                format!("_SYSTEMD_UNIT={}.service", if number % 3 == 0 { "three" } else { "other" }),
                "_BOOT_ID=22222222222222222222222222222222".to_owned(),
            ];
            let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
            writer.append(time, &[0x22; 16], &fields).unwrap();
        }
        writer.close(false).unwrap();
        let directory = directory.path();
        stock(directory, &["--verify"]);
        let (code, _, errors) = run(&example("journalctl"), directory, &["--verify"]);
        assert_eq!(code, Some(0), "{errors}");
        let all = stock(directory, &["-o", "cat"]);
        assert_eq!(all.lines().count(), 30_000);
        assert_eq!(all.lines().last(), Some("message number 29999"));
        assert_eq!(stock(directory, &["-u", "three", "-o", "cat"]).lines().count(), 10_000);
        assert_eq!(stock(directory, &["-p", "err", "-o", "cat"]).lines().count(), 15_000);
        let since = stock(directory, &["--since", "2025-01-01 08:19:50", "-o", "short-iso"]);
        assert_eq!(since.lines().filter(|line| line.contains("message")).count(), 10, "{since}");
    }
}

#[test]
fn a_cursor_file_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    write_ours(directory.path(), 120, true);
    let mut said = Vec::new();
    for program in [PathBuf::from("journalctl"), example("journalctl")] {
        let cursor = tempfile::tempdir().unwrap();
        let file = format!("--cursor-file={}", cursor.path().join("cursor").display());
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(run(&program, directory.path(), &["-n", "70", "-o", "cat", &file]).1);
            all.push(fs::read(cursor.path().join("cursor")).unwrap());
        }
        said.push(all);
    }
    assert_eq!(said[0], said[1]);
}
