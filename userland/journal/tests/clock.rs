//! Clocks that jump: each file keeps its order, and the entries of all are in the order in which they came.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::process::Command;

use journal::config::Config;
use journal::file::Timestamp;
use journal::place::Place;
use journal::query::matches::Expression;
use journal::query::merge::{Merged, Range, find, open};
use journal::store::Store;
use proptest::prelude::*;

const START: u64 = 1_735_689_600_000_000;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn the_order_is_that_of_arrival(jumps in prop::collection::vec(-1_000_000_i64..1_000_000, 1..20)) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("var/log/journal")).unwrap();
        let mut store = Store::open(&Place::new(root.path()), &Config::default(), [7; 16]);
        let (mut realtime, mut monotonic) = (START, 1000);
        for (number, jump) in jumps.iter().enumerate() {
            realtime = realtime.saturating_add_signed(*jump * 1000);
            monotonic += 1;
            let message = format!("MESSAGE={number}");
            store.append(Timestamp { realtime, monotonic }, None, &[message.as_bytes(), b"A=1"]);
        }
        store.close();
        let directory = store.directory().to_owned();
        let mut sources = open(&find(&directory));
        let mut merged = Merged::new(&mut sources, &Range::all(Expression::term("A", "1")));
        let mut last = 0;
        let mut count = 0;
        while let Some((_, entry)) = merged.advance() {
            prop_assert!(entry.seqnum > last);
            last = entry.seqnum;
            count += 1;
        }
        prop_assert_eq!(count, jumps.len());
        for source in &mut sources {
            prop_assert!(source.objects.verify().is_ok());
        }
        let stock = Command::new("journalctl").arg("-D").arg(&directory).args(["--no-pager", "-q", "-o", "cat"]).output();
        let stock = String::from_utf8_lossy(&stock.unwrap().stdout).into_owned();
        let expected: Vec<String> = (0..jumps.len()).map(|number| number.to_string()).collect();
        prop_assert_eq!(stock.lines().collect::<Vec<_>>(), expected);
    }
}
