//! The real `journalctl` reads what we write. Debian's systemd package provides it.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;
use std::process::Command;

use journal::file::{NewFile, Timestamp, Writer};

const MACHINE: [u8; 16] = [0x11; 16];
const BOOT: [u8; 16] = [0x22; 16];

fn journalctl(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("journalctl")
        .arg("-D")
        .arg(directory)
        .arg("--no-pager")
        .args(args)
        .env("TZ", "UTC")
        .env_remove("SYSTEMD_LOG_LEVEL")
        .output()
        .expect("journalctl of Debian's systemd package is installed");
    assert!(
        output.status.success(),
        "journalctl {args:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn new_file() -> NewFile {
    NewFile { file_id: [0x33; 16], machine_id: MACHINE, seqnum_id: [0x44; 16], seqnum: 0, max_size: 32 << 20 }
}

/// Writes `count` entries of two units, one second apart, from 2025-01-01 00:00:00 UTC.
fn write(path: &Path, count: u64) {
    let mut writer = Writer::create(path, &new_file()).unwrap();
    for number in 0..count {
        let time = Timestamp {
            realtime: 1_735_689_600_000_000 + number * 1_000_000,
            monotonic: 1_000_000 + number * 1_000_000,
        };
        let fields = [
            format!("MESSAGE=message number {number}"),
            format!("PRIORITY={}", number % 8),
            format!("_SYSTEMD_UNIT={}.service", if number % 3 == 0 { "three" } else { "other" }),
            format!("_PID={}", 100 + number % 50),
            "_BOOT_ID=22222222222222222222222222222222".to_owned(),
            "_MACHINE_ID=11111111111111111111111111111111".to_owned(),
            "_HOSTNAME=here".to_owned(),
            "SYSLOG_IDENTIFIER=test".to_owned(),
        ];
        let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
        writer.append(time, &BOOT, &fields).unwrap();
    }
    writer.close(false).unwrap();
}

#[test]
fn it_verifies_and_reads_thirty_thousand_entries() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory.path().join("system.journal"), 30_000);
    journalctl(directory.path(), &["--verify"]);
    let all = journalctl(directory.path(), &["-o", "cat"]);
    assert_eq!(all.lines().count(), 30_000);
    assert_eq!(all.lines().last(), Some("message number 29999"));
    let unit = journalctl(directory.path(), &["-u", "three", "-o", "cat"]);
    assert_eq!(unit.lines().count(), 10_000);
    let urgent = journalctl(directory.path(), &["-p", "err", "-o", "cat"]);
    assert_eq!(urgent.lines().count(), 15_000);
    assert_eq!(journalctl(directory.path(), &["-F", "_SYSTEMD_UNIT"]).lines().count(), 2);
    let boots = journalctl(directory.path(), &["--list-boots"]);
    assert!(boots.contains("22222222222222222222222222222222"), "{boots}");
    let since = journalctl(directory.path(), &["--since", "2025-01-01 08:19:50", "-o", "short-iso"]);
    assert_eq!(since.lines().filter(|line| line.contains("message")).count(), 10, "{since}");
    let json = journalctl(directory.path(), &["-n", "1", "-o", "json"]);
    assert!(json.contains(r#""MESSAGE":"message number 29999""#), "{json}");
}
