//! The log against what can happen to a disk: a write cut short anywhere, a byte changed anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use kv::proto::internal::{Entry, HardState, Identity};
use kv::storage::Damage;
use kv::storage::wal::Wal;

const IDENTITY: Identity = Identity { cluster_id: 7, member_id: 9 };

fn entry(index: u64) -> Entry {
    Entry { term: 1, index, data: vec![index as u8; 50].into(), ..Entry::default() }
}

/// A log of some writes of two entries each. Returns its file and the bytes that were written.
fn make(directory: &Path, writes: u64) -> (PathBuf, usize) {
    let mut wal = Wal::create(directory, IDENTITY, 0).expect("a log");
    for write in 0..writes {
        let hard_state = HardState { term: 1, vote: 9, commit: 2 * write };
        wal.append(Some(hard_state), &[entry(2 * write + 1), entry(2 * write + 2)], true).expect("a write");
    }
    assert_eq!(wal.syncs(), writes, "every write was brought to the disk");
    let file = fs::read_dir(directory).expect("a folder").flatten().map(|found| found.path());
    let file =
        file.into_iter().find(|path| path.extension().is_some_and(|end| end == "wal")).expect("a segment");
    let bytes = fs::read(&file).expect("bytes");
    (file, bytes.iter().rposition(|byte| *byte != 0).expect("something") + 1)
}

fn indexes(directory: &Path) -> Result<Vec<u64>, Damage> {
    Wal::open(directory).map(|(_, replay)| replay.entries.iter().map(|entry| entry.index).collect())
}

#[test]
fn what_was_written_is_read_and_written_on() {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), 3);
    let (mut wal, replay) = Wal::open(folder.path()).expect("it is sound");
    assert_eq!((replay.identity, replay.hard_state.commit, replay.torn), (IDENTITY, 4, 0));
    // A new leader's entry takes the place of what was not decided.
    wal.append(None, &[Entry { term: 2, ..entry(5) }], true).expect("a write");
    drop(wal);
    assert_eq!(indexes(folder.path()).expect("it is sound"), [1, 2, 3, 4, 5]);
}

#[test]
fn a_write_cut_short_anywhere_is_dropped_and_nothing_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, length) = make(folder.path(), 3);
    let whole = fs::read(&file).expect("bytes");
    let before = {
        let other = tempfile::tempdir().expect("a folder");
        make(other.path(), 2).1
    };
    for cut in (before..length).step_by(29) {
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        fs::write(&file, &torn).expect("written");
        let found = indexes(folder.path()).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert!(found.starts_with(&[1, 2, 3, 4]), "cut at {cut}: {found:?}");
    }
}

#[test]
fn a_changed_byte_is_named_and_never_taken_for_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, _) = make(folder.path(), 4);
    let whole = fs::read(&file).expect("bytes");
    let early = {
        let other = tempfile::tempdir().expect("a folder");
        make(other.path(), 2).1
    };
    for at in (0..early).step_by(37) {
        let mut changed = whole.clone();
        changed[at] ^= 0x55;
        fs::write(&file, &changed).expect("written");
        match indexes(folder.path()) {
            Err(Damage::Corrupt { path, .. }) => assert_eq!(path, file),
            other => panic!("byte {at} changed: {other:?}"),
        }
    }
}

#[test]
fn segments_go_when_nothing_needs_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wal = Wal::create(folder.path(), IDENTITY, 0).expect("a log");
    let large = |index| Entry { term: 1, index, data: vec![1; 6 << 20].into(), ..Entry::default() };
    for index in 1..=8 {
        wal.append(None, &[large(index)], false).expect("a write");
    }
    let segments = || {
        let all = fs::read_dir(folder.path()).expect("a folder").flatten();
        all.filter(|found| found.file_name().to_string_lossy().ends_with(".wal")).count()
    };
    let before = segments();
    assert!(before > 2);
    wal.release(6).expect("released");
    assert!(segments() < before);
    drop(wal);
    let found = indexes(folder.path()).expect("it is sound");
    assert!(found.contains(&7) && found.contains(&8), "{found:?}");
}
