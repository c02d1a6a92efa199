//! The checker of histories accepts what is right and finds what is wrong.

mod linear;

use linear::{Event, Operation, check};

fn event(called: u64, answered: impl Into<Option<u64>>, operation: Operation) -> Event {
    Event { key: "a".into(), called, answered: answered.into(), operation }
}

#[test]
fn what_overlaps_may_come_in_any_order() {
    let history = [
        event(0, 10, Operation::Put(1)),
        event(1, 9, Operation::Put(2)),
        event(11, 12, Operation::Get(Some(1))),
        event(13, 14, Operation::Swap { from: 1, to: 3, done: Some(true) }),
        event(15, 16, Operation::Get(Some(3))),
    ];
    check(&history).expect("it can be told");
}

#[test]
fn what_nobody_answered_may_have_happened_later_or_never() {
    let put = event(0, None, Operation::Put(1));
    check(&[put.clone(), event(5, 6, Operation::Get(None)), event(7, 8, Operation::Get(Some(1)))])
        .expect("later");
    check(&[put.clone(), event(5, 6, Operation::Get(None))]).expect("never");
    check(&[put, event(5, 6, Operation::Get(Some(1))), event(7, 8, Operation::Get(None))])
        .expect_err("not undone");
}

#[test]
fn a_stale_read_a_lost_write_and_a_false_swap_are_found() {
    let put = event(0, 1, Operation::Put(1));
    check(&[put.clone(), event(2, 3, Operation::Get(None))]).expect_err("lost");
    let second = event(2, 3, Operation::Put(2));
    check(&[put.clone(), second.clone(), event(4, 5, Operation::Get(Some(1)))]).expect_err("stale");
    let swap = event(4, 5, Operation::Swap { from: 1, to: 3, done: Some(true) });
    check(&[put, second, swap]).expect_err("false");
}
