//! Whatever bytes a decoder is given, it answers, in time and within bounds; and what was written is read back.
//!
//! `PROPTEST_CASES=N` runs more of them.

use std::io::Write;
use std::sync::LazyLock;

use bytes::Bytes;
use kv::proto::internal::{Command, Entry, HardState, Identity, Message, V2Node, V2Request};
use kv::serve::gateway;
use kv::serve::v2_users::{self, Role, User};
use kv::state::record::{Bucket, parse_record, parse_revision};
use kv::state::{State, txn, v2};
use kv::storage::{snapshot, wal::Wal};
use kv::{form, password, proto, server, span};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;

/// Bytes by chance, and such as come near to what is expected: a good text with some of it changed.
fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = good.len().max(1);
    let changes = vec((0..length, any::<u8>()), 0..8);
    let near = (changes, 0..=length).prop_map(move |(changes, keep)| {
        let mut bytes = good.clone();
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(keep);
        bytes
    });
    prop_oneof![vec(any::<u8>(), 0..600), near]
}

fn entry(index: u64) -> Entry {
    Entry { term: 1, index, data: vec![index as u8; 40].into(), ..Entry::default() }
}

/// The name and the bytes of a log of three writes, without the zeros behind it.
static LOG: LazyLock<(String, Vec<u8>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    let mut wal = Wal::create(folder.path(), Identity { cluster_id: 7, member_id: 9 }, 0).expect("a log");
    for index in 1..4 {
        let hard_state = HardState { term: 1, vote: 9, commit: index - 1 };
        wal.append(Some(hard_state), &[entry(index)], true).expect("a write");
    }
    let found = std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|found| found.path());
    let path = found.into_iter().find(|path| path.extension().is_some_and(|end| end == "wal")).expect("it");
    let mut bytes = std::fs::read(&path).expect("bytes");
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).expect("something") + 1);
    (path.file_name().expect("a name").to_string_lossy().into_owned(), bytes)
});

/// A snapshot of a small state, as a file.
fn snapshot_file() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut state = State::default();
    let put = proto::PutRequest { key: "k".into(), value: "v".into(), ..proto::PutRequest::default() };
    let request = Some(proto::internal::command::Request::Put(put));
    state.apply(&Command { id: 1, request, ..Command::default() }).expect("applied");
    state.mark(5, 1);
    let path = folder.path().join("it");
    snapshot::write(&path, &state.view()).expect("written");
    std::fs::read(path).expect("bytes")
}

fn message() -> Vec<u8> {
    let entries = vec![entry(3), entry(4)];
    Message { from: 1, to: 2, term: 3, entries, commit: 2, ..Message::default() }.encode_to_vec()
}

fn txn_request() -> Vec<u8> {
    use proto::request_op::Request;
    let op = |request| proto::RequestOp { request: Some(request) };
    let put = proto::PutRequest { key: "a".into(), ..proto::PutRequest::default() };
    let range =
        proto::RangeRequest { key: "a".into(), range_end: "b".into(), ..proto::RangeRequest::default() };
    let inner =
        proto::TxnRequest { success: vec![op(Request::RequestPut(put.clone()))], ..Default::default() };
    let compare = proto::Compare { key: "a".into(), ..proto::Compare::default() };
    proto::TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestPut(put)), op(Request::RequestRange(range))],
        failure: vec![op(Request::RequestTxn(inner))],
    }
    .encode_to_vec()
}

/// Reads everything that a client or another member may send, as the server does.
fn read_messages(bytes: &[u8]) {
    let _ = Message::decode(bytes);
    let _ = V2Request::decode(bytes);
    let _ = V2Node::decode(bytes);
    let _ = proto::WatchRequest::decode(bytes);
    if let Ok(request) = proto::TxnRequest::decode(bytes) {
        let checked = txn::check_txn(&request, 128);
        let _ = (txn::is_write(&request), txn::has_put(&request));
        // What passes the check can be applied, or is refused: it does not fail.
        if checked.is_ok() {
            let request = Some(proto::internal::command::Request::Txn(request));
            let _ = State::default().apply(&Command { id: 1, request, ..Command::default() });
        }
    }
    if let Ok(request) = proto::RangeRequest::decode(bytes) {
        let _ = txn::check_range(&request).map(|()| State::default().range(&request).map(drop));
        let _ = span::Span::new(&request.key, &request.range_end).bounds().is_some();
    }
    if let Ok(request) = proto::PutRequest::decode(bytes) {
        let _ = txn::check_put(&request);
    }
    // A log may hold any command that was ever proposed.
    let entry = Entry { index: 2, term: 1, data: Bytes::copy_from_slice(bytes), ..Entry::default() };
    let _ = kv::replica::apply_entry(&mut State::default(), &entry);
}

/// Bodies of the JSON gateway, with what is hard in them: base64, numbers as texts, names of enums, oneofs.
const BODIES: &[(&str, &str)] = &[
    ("kv/put", r#"{"key":"Zm9v","value":"YmFy","lease":"7587848390297","prev_kv":true}"#),
    ("kv/range", r#"{"key":"Zm9v","range_end":"AA==","limit":10,"sort_order":"DESCEND","sort_target":2}"#),
    (
        "kv/txn",
        r#"{"compare":[{"key":"Zm9v","target":"CREATE","create_revision":"2","result":"EQUAL"}],
            "success":[{"requestRange":{"key":"Zm9v"}},{"request_txn":{"failure":[{"requestPut":{"key":"YQ=="}}]}}]}"#,
    ),
    ("watch", r#"{"create_request":{"key":"Zm9v","start_revision":"-1","filters":["NOPUT"]}}"#),
    ("auth/role/grant", r#"{"name":"r","perm":{"permType":"READWRITE","key":"Zm9v","range_end":"Z29v"}}"#),
];

/// Reads a body as the gateway does; what it was understood as is written and understood the same way again.
fn read_body(path: &str, body: &[u8]) {
    let (method, _) = gateway::find(path).expect("a path");
    let Ok(message) = gateway::from_json(&method, body) else { return };
    let json = gateway::to_json(&message).expect("what was read can be written").to_string();
    let again = gateway::from_json(&method, json.as_bytes()).expect("what was written can be read");
    assert_eq!(message.encode_to_vec(), again.encode_to_vec(), "{path}: {json}");
}

fn user() -> Vec<u8> {
    br#"{"user":"alice","password":"x","roles":["guest"],"grant":["a"],"revoke":["b"]}"#.to_vec()
}

fn role() -> Vec<u8> {
    br#"{"role":"r","permissions":{"kv":{"read":["/*"],"write":null}},"grant":{"kv":{"read":["/a*","/a"]}}}"#
        .to_vec()
}

#[test]
fn bodies_nested_without_end_are_refused() {
    for open in ["[", r#"{"success":[{"request_txn":"#, r#"{"compare":["#] {
        let body = open.repeat(20_000);
        for path in gateway::paths() {
            let (method, _) = gateway::find(path).expect("a path");
            assert!(gateway::from_json(&method, body.as_bytes()).is_err(), "{path} takes {open}…");
        }
        assert!(v2_users::parse::<User>(body.as_bytes()).is_err());
        assert!(v2_users::parse::<Role>(body.as_bytes()).is_err());
    }
}

proptest! {
    #[test]
    fn gateway_bodies_of_any_bytes(
        (which, bytes) in (0..BODIES.len()).prop_flat_map(|which| {
            (Just(which), damaged(BODIES[which].1.as_bytes().to_vec()))
        }),
        other in any::<prop::sample::Index>(),
    ) {
        let (path, good) = BODIES[which];
        read_body(path, good.as_bytes());
        read_body(path, &bytes);
        // What is meant for one method comes to another.
        let all: Vec<&str> = gateway::paths().collect();
        read_body(all[other.index(all.len())], &bytes);
    }

    #[test]
    fn users_and_roles_of_any_bytes(one in damaged(user()), other in damaged(role())) {
        if let Ok(user) = v2_users::parse::<User>(&one) {
            let user = user.with_root();
            let json = serde_json::to_vec(&user).expect("JSON");
            prop_assert_eq!(v2_users::parse::<User>(&json).ok(), Some(user.clone()));
            if let Ok(merged) = user.merge(&user, None) {
                prop_assert!(!merged.roles.iter().flatten().any(|role| user.revoke.iter().flatten().any(|r| r == role)));
            }
        }
        if let Ok(role) = v2_users::parse::<Role>(&other) {
            let json = serde_json::to_vec(&role).expect("JSON");
            prop_assert_eq!(v2_users::parse::<Role>(&json).ok(), Some(role.clone()));
            let _ = role.allows("/a", true, false);
            if let Ok(merged) = role.merge(&role) {
                // A change leaves nothing that is still to be changed.
                prop_assert!(!merged.is_change());
            }
        }
    }

    #[test]
    fn messages_of_any_bytes(bytes in prop_oneof![damaged(message()), damaged(txn_request())]) {
        read_messages(&bytes);
    }

    #[test]
    fn frames_of_any_bytes(bytes in damaged(message()), sum in any::<Option<u32>>(), length in any::<Option<u32>>()) {
        // With the right length and sum the message itself decides.
        let mut frame = length.unwrap_or(bytes.len() as u32).to_be_bytes().to_vec();
        frame.extend(sum.unwrap_or_else(|| crc32fast::hash(&bytes)).to_be_bytes());
        frame.extend(&bytes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let read = runtime.block_on(server::peer::read_frame(&mut frame.as_slice()));
        if let (Ok(message), None, None) = (read, sum, length) {
            prop_assert_eq!(Message::decode(bytes.as_slice()).ok(), Some(message));
        }
    }

    #[test]
    fn logs_of_any_bytes(bytes in damaged(LOG.1.clone())) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut file = std::fs::File::create(folder.path().join(&LOG.0)).expect("a file");
        file.write_all(&bytes).expect("written");
        file.set_len(bytes.len() as u64 + 4096).expect("grown");
        if let Ok(replay) = Wal::read(folder.path()) {
            // Whatever is read is what was written, from the beginning.
            for (entry, index) in replay.entries.iter().zip(1..) {
                prop_assert_eq!(entry, &self::entry(index));
            }
        }
    }

    #[test]
    fn snapshots_of_any_bytes(bytes in damaged(snapshot_file())) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("it");
        std::fs::write(&path, &bytes).expect("written");
        if let Ok(state) = snapshot::read(&path) {
            prop_assert_eq!(state.applied(), (5, 1));
        }
        // Other etcds' files have no sum of ours.
        let _ = kv::storage::bolt::read(&Bytes::from(bytes.clone()));
        let _ = snapshot::parse(&Bytes::from(bytes), false);
    }

    #[test]
    fn records_of_any_bytes(key in vec(any::<u8>(), 0..30), value in vec(any::<u8>(), 0..100), bucket in 0..11usize) {
        let _ = (parse_revision(&key), parse_record(&key, &value));
        let record = (Bucket::ALL[bucket], Bytes::from(key), Bytes::from(value));
        if let Ok(state) = State::restore([record]) {
            let _ = (state.view().all().count(), state.view().hash_keys(state.mvcc.revision(), 0));
        }
    }

    #[test]
    fn forms_and_paths_of_any_text(text in "\\PC{0,80}", bytes in vec(any::<u8>(), 0..60)) {
        let text = if text.is_empty() { String::from_utf8_lossy(&bytes).into_owned() } else { text };
        let _ = (form::parse(&text), form::decode(&text, true));
        prop_assert_eq!(&form::decode(&form::encode(&text), true), &text);
        let path = v2::clean(&text);
        prop_assert!(path.starts_with('/') && !path.contains("//"));
        prop_assert_eq!(&v2::clean(&path), &path);
        let request = V2Request { path: text.clone(), value: text.clone(), ..V2Request::default() };
        let request = Some(proto::internal::command::Request::V2(request));
        let mut state = State::default();
        let _ = state.apply(&Command { id: 1, request, ..Command::default() });
        let _ = state.v2.get(&path, true);
        let _ = state.v2.event_since(&path, true, 1);
        prop_assert!(!password::verify(&text, &text));
    }
}
