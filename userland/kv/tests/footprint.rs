//! What a key costs in memory, beside its own bytes.

use kv::proto::PutRequest;
use kv::proto::internal::Command;
use kv::proto::internal::command::Request;
use kv::state::State;

const KEYS: usize = 100_000;
const VALUE: usize = 256;

/// Bytes of memory that this process has.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4096
}

fn fill(state: &mut State, value: u8) {
    for number in 0..KEYS {
        let key = format!("{number:032}").into();
        let put = PutRequest { key, value: vec![value; VALUE].into(), ..PutRequest::default() };
        let request = Some(Request::Put(put));
        state.apply(&Command { id: 1, request, ..Command::default() }).expect("applied");
        // As after every turn: what changed is written elsewhere, and encoded for that.
        for change in state.take_changes() {
            let _ = change.encode();
        }
    }
}

#[test]
fn a_key_costs_little_more_than_its_bytes() {
    let mut state = State::default();
    let empty = resident();
    fill(&mut state, 1);
    let once = (resident() - empty) / KEYS;
    println!("{once} bytes for a key of 32 with a value of {VALUE}");
    // Etcd's process takes twice the data and more.
    assert!(once < 2 * (32 + VALUE), "{once} bytes for each key");
    fill(&mut state, 2);
    let twice = (resident() - empty) / KEYS - once;
    println!("{twice} bytes for a second value");
    assert!(twice < 2 * VALUE, "{twice} bytes for each further value");
}
