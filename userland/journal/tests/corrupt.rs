//! Broken files: reading and resuming them may fail, but ends, and never panics.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::fs;
use std::path::Path;

use journal::file::{Error, NewFile, Objects, Timestamp, Writer};
use journal::query::matches::Expression;
use journal::query::merge::{Merged, Range, open};
use proptest::prelude::*;

const MACHINE: [u8; 16] = [1; 16];

fn new_file(max_size: u64) -> NewFile {
    NewFile {
        file_id: [2; 16],
        machine_id: MACHINE,
        seqnum_id: [3; 16],
        seqnum: 10,
        max_size,
        compact: true,
        compress: Some(512),
    }
}

fn time(number: u64) -> Timestamp {
    Timestamp { realtime: 1_700_000_000_000_000 + number, monotonic: 1000 + number }
}

fn write(path: &Path, count: u64) {
    write_as(path, count, true);
}

fn write_as(path: &Path, count: u64, compact: bool) {
    let mut writer = Writer::create(path, &NewFile { compact, ..new_file(1 << 20) }).unwrap();
    for number in 0..count {
        let message = format!("MESSAGE={number}");
        let parity = format!("PARITY={}", number % 2);
        writer.append(time(number), &[4; 16], &[message.as_bytes(), parity.as_bytes()]).unwrap();
    }
    writer.close(false).unwrap();
}

/// Reads everything that there is to read, in all ways.
fn read_all(path: &Path) -> usize {
    let mut sources = open(&[path.to_owned()]);
    let mut count = 0;
    for expression in [Expression::All(Vec::new()), Expression::term("PARITY", "1")] {
        for reverse in [false, true] {
            let range = Range {
                expression: expression.clone(),
                since: Some(1_700_000_000_000_001),
                until: Some(u64::MAX),
                start: None,
                reverse,
            };
            let mut merged = Merged::new(&mut sources, &range);
            while let Some(index) = merged.advance().map(|(index, _)| index) {
                let (source, entry) = merged.current(index).unwrap();
                count += entry.items.iter().filter(|item| source.objects.data(**item).is_ok()).count();
            }
        }
    }
    for source in &mut sources {
        for name in source.objects.fields() {
            let _ = source.objects.values_of(&name);
        }
        let _ = source.objects.verify();
    }
    count
}

/// The offsets of all entries.
fn entries(objects: &mut Objects) -> Vec<u64> {
    let chain = objects.chain();
    (0..chain.len()).map(|number| chain.get(objects, number).unwrap()).collect()
}

#[test]
fn entries_come_back() {
    for compact in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("system.journal");
        write_as(&path, 1000, compact);
        let mut objects = Objects::open(&path).unwrap();
        let counts = objects.verify().unwrap();
        assert_eq!((counts.entries, counts.data, counts.fields), (1000, 1002, 2));
        let entries = entries(&mut objects);
        assert_eq!(entries.len(), 1000);
        let odd = objects.find_data(b"PARITY=1").unwrap().unwrap();
        let chain = objects.chain_with(odd).unwrap();
        assert_eq!(chain.len(), 500);
        assert_eq!(chain.get(&mut objects, 250), Some(entries[501]));
        assert_eq!(chain.get(&mut objects, 500), None);
        let after =
            chain.partition_point(&mut objects, |objects, entry| objects.entry_seqnum(entry).unwrap() < 500);
        assert_eq!(chain.get(&mut objects, after), Some(entries[489]));
        let entry = objects.entry(entries[7]).unwrap();
        assert_eq!((entry.seqnum, entry.time), (18, time(7)));
        assert_eq!(*objects.data(entry.items[1]).unwrap(), *b"MESSAGE=7");
    }
}

#[test]
fn a_closed_file_is_gone_on_with_and_an_open_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    write(&path, 10);
    let mut writer = Writer::resume(&path, &MACHINE, 1 << 20, Some(512)).unwrap();
    assert_eq!(writer.append(time(11), &[5; 16], &[b"MESSAGE=more", b"PARITY=1"]).unwrap(), 21);
    writer.flush().unwrap();
    assert!(matches!(Writer::resume(&path, &MACHINE, 1 << 20, Some(512)), Err(Error::Corrupt { .. })));
    writer.close(false).unwrap();
    assert!(Writer::resume(&path, &[9; 16], 1 << 20, None).is_err(), "another machine's");
    assert_eq!(Objects::open(&path).unwrap().chain().len(), 11);
}

#[test]
fn order_and_bounds_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(&directory.path().join("a.journal"), &new_file(1 << 20)).unwrap();
    writer.append(time(5), &[4; 16], &[b"A=1"]).unwrap();
    assert!(matches!(writer.append(time(4), &[4; 16], &[b"A=1"]), Err(Error::ClockSetBack)));
    assert!(matches!(writer.append(time(6), &[4; 16], &[]), Err(Error::BadEntry)));
    assert!(matches!(writer.append(time(6), &[4; 16], &[b"=x"]), Err(Error::BadEntry)));
    let big = [b"BIG=".to_vec(), vec![b'x'; 100_000]].concat();
    let mut number = 6;
    loop {
        let unique = format!("N={number}");
        match writer.append(time(number), &[4; 16], &[&[big.as_slice(), unique.as_bytes()].concat()]) {
            Ok(_) => number += 1,
            Err(Error::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(writer.size() <= 2 << 20);
    assert!(number > 6);
}

#[test]
fn a_torn_tail_costs_only_the_tail() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    write(&path, 200);
    let whole = fs::read(&path).unwrap();
    assert_eq!(read_all(&path), 2 * 2 * 199 + 2 * 2 * 100);
    fs::write(&path, &whole[..whole.len() - 16_384]).unwrap();
    let rest = read_all(&path);
    assert!(rest > 0 && rest < 1196, "{rest}");
    assert!(Writer::resume(&path, &MACHINE, 1 << 20, Some(512)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_fields_come_back(rows: Vec<(Vec<u8>, String)>, compact: bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("system.journal");
        let mut writer = Writer::create(&path, &NewFile { compact, compress: Some(8), ..new_file(4 << 20) }).unwrap();
        for (number, (binary, text)) in rows.iter().enumerate() {
            let fields = [[b"BINARY=".to_vec(), binary.clone()].concat(), format!("TEXT={text}").into_bytes()];
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            writer.append(time(number as u64), &[4; 16], &fields).unwrap();
        }
        writer.close(true).unwrap();
        let mut objects = Objects::open(&path).unwrap();
        objects.verify().unwrap();
        let offsets = entries(&mut objects);
        prop_assert_eq!(offsets.len(), rows.len());
        for (offset, (binary, text)) in offsets.iter().zip(&rows) {
            let items = objects.entry(*offset).unwrap().items;
            let mut fields: Vec<Vec<u8>> = items.iter().map(|item| objects.data(*item).unwrap().to_vec()).collect();
            fields.sort();
            prop_assert_eq!(fields, [[b"BINARY=".to_vec(), binary.clone()].concat(), format!("TEXT={text}").into_bytes()]);
        }
    }

    #[test]
    fn flipped_bytes_are_survived(flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), tail: bool, compact: bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("system.journal");
        write_as(&path, 50, compact);
        let mut bytes = fs::read(&path).unwrap();
        let table = 38_500;
        for (index, value) in flips {
            // The objects lie behind the hash tables; the header is worth a try too.
            let at = if tail { table + index.index(bytes.len() - table) } else { index.index(256) };
            bytes[at] = value;
        }
        fs::write(&path, &bytes).unwrap();
        read_all(&path);
        if let Ok(mut writer) = Writer::resume(&path, &MACHINE, 1 << 20, Some(512)) {
            for number in 50..60 {
                let _ = writer.append(time(number), &[4; 16], &[b"MESSAGE=more", b"PARITY=0"]);
            }
        }
    }
}
