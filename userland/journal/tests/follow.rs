//! Following a journal that is written while it is read.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use journal::file::{NewFile, Timestamp, Writer};
use journal::query::follow::Follow;
use journal::query::matches::Expression;
use journal::query::merge::{Merged, Range, open};

fn writer(path: &Path, id: u8, seqnum: u64) -> Writer {
    let new = NewFile {
        file_id: [id; 16],
        machine_id: [1; 16],
        seqnum_id: [4; 16],
        seqnum,
        max_size: 8 << 20,
        compact: true,
        compress: None,
    };
    Writer::create(path, &new).unwrap()
}

fn append(writer: &mut Writer, number: u64) {
    let time = Timestamp { realtime: 1_735_689_600_000_000 + number, monotonic: 1 + number };
    let message = format!("MESSAGE={number}");
    writer.append(time, &[2; 16], &[message.as_bytes(), b"SYSLOG_IDENTIFIER=news"]).unwrap();
    writer.flush().unwrap();
}

#[test]
fn every_entry_is_shown_once_though_it_comes_while_the_file_is_gone_through() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("system.journal");
    let mut writer = writer(&path, 3, 0);
    append(&mut writer, 0);
    let paths = [path];
    let expression = Expression::term("SYSLOG_IDENTIFIER", "news");
    let mut shown = Vec::new();

    let mut sources = open(&paths);
    let mut follow = Follow::begin(&sources, &[directory.path().to_owned()]).unwrap();
    append(&mut writer, 1);
    let range = Range::all(expression.clone());
    let mut merged = Merged::new(&mut sources, &range);
    while let Some((_, entry)) = merged.advance() {
        shown.push(entry.seqnum);
    }
    append(&mut writer, 2);
    follow.go_on(sources);
    for number in 3..5 {
        let each = &mut |_: &mut _, entry: &journal::file::Entry| {
            shown.push(entry.seqnum);
            Ok(())
        };
        follow.news(&paths, &expression, each).unwrap();
        append(&mut writer, number);
    }
    assert_eq!(shown, [1, 2, 3, 4]);
}
