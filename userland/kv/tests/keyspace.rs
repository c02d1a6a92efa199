//! The keyspace against a model so simple that it is right: a list of all versions, searched from end to end.

use bytes::Bytes;
use kv::fault::Fault;
use kv::proto::internal::Command;
use kv::proto::internal::command::Request;
use kv::proto::request_op::Request as Op;
use kv::proto::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use kv::state::{Reply, State, txn};
use proptest::prelude::*;

/// A version of a key; without a value it ended there.
#[derive(Clone, Debug)]
struct Version {
    key: String,
    revision: i64,
    value: Option<String>,
}

#[derive(Default)]
struct Model {
    versions: Vec<Version>,
    revision: i64,
    compacted: i64,
}

impl Model {
    fn at(&self, revision: i64) -> Vec<(String, String, i64, i64, i64)> {
        let mut keys: Vec<&String> = self.versions.iter().map(|version| &version.key).collect();
        keys.sort();
        keys.dedup();
        let mut found = Vec::new();
        for key in keys {
            let mut life: Vec<&Version> = Vec::new();
            for version in self.versions.iter().filter(|v| v.key == *key && v.revision <= revision) {
                if version.value.is_none() {
                    life.clear();
                } else {
                    life.push(version);
                }
            }
            if let (Some(first), Some(last)) = (life.first(), life.last()) {
                let value = last.value.clone().expect("a life has values");
                found.push((key.clone(), value, first.revision, last.revision, life.len() as i64));
            }
        }
        found
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    Txn(Vec<(u8, u8)>, Option<(u8, u8)>),
    Compact(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..6u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..6u8, 0..7u8).prop_map(|(from, to)| Step::Delete(from, to)),
        2 => (prop::collection::vec((0..6u8, any::<u8>()), 0..3), prop::option::of((6..8u8, 7..9u8)))
            .prop_map(|(puts, delete)| Step::Txn(puts, delete)),
        1 => (0..40u8).prop_map(Step::Compact),
    ]
}

fn key(number: u8) -> String {
    format!("k{number}")
}

fn put(number: u8, value: u8) -> PutRequest {
    PutRequest { key: key(number).into(), value: value.to_string().into(), ..PutRequest::default() }
}

fn apply(state: &mut State, request: Request) -> Result<Reply, Fault> {
    state.apply(&Command { request: Some(request), ..Command::default() })
}

fn remove(model: &mut Model, from: &str, to: &str, revision: i64) -> usize {
    let gone: Vec<String> = model.at(i64::MAX).into_iter().map(|found| found.0).collect();
    let gone: Vec<String> =
        gone.into_iter().filter(|key| key.as_str() >= from && key.as_str() < to).collect();
    for key in &gone {
        model.versions.push(Version { key: key.clone(), revision, value: None });
    }
    gone.len()
}

fn run(state: &mut State, model: &mut Model, step: &Step) {
    let next = model.revision + 1;
    match step {
        Step::Put(number, value) => {
            apply(state, Request::Put(put(*number, *value))).expect("a put is possible");
            model.versions.push(Version {
                key: key(*number),
                revision: next,
                value: Some(value.to_string()),
            });
            model.revision = next;
        }
        Step::Delete(from, to) => {
            let request =
                DeleteRangeRequest { key: key(*from).into(), range_end: key(*to).into(), prev_kv: false };
            let reply = apply(state, Request::DeleteRange(request)).expect("a delete is possible");
            let deleted = remove(model, &key(*from), &key(*to), next);
            assert!(matches!(reply, Reply::Delete(answer) if answer.deleted == deleted as i64));
            model.revision += i64::from(deleted > 0);
        }
        Step::Txn(puts, delete) => {
            let mut success: Vec<RequestOp> = puts
                .iter()
                .map(|(number, value)| RequestOp { request: Some(Op::RequestPut(put(*number, *value))) })
                .collect();
            if let Some((from, to)) = delete {
                let (key, range_end) = (key(*from).into(), key(*to).into());
                let delete = DeleteRangeRequest { key, range_end, prev_kv: false };
                success.push(RequestOp { request: Some(Op::RequestDeleteRange(delete)) });
            }
            let request = TxnRequest { success, ..TxnRequest::default() };
            let twice = puts.len() == 2 && puts[0].0 == puts[1].0;
            if twice {
                assert_eq!(txn::check_txn(&request, 128), Err(Fault::DuplicateKey));
                return;
            }
            txn::check_txn(&request, 128).expect("it is sound");
            apply(state, Request::Txn(request)).expect("it is possible");
            let mut changed = puts.len();
            for (number, value) in puts {
                let value = Some(value.to_string());
                model.versions.push(Version { key: key(*number), revision: next, value });
            }
            if let Some((from, to)) = delete {
                changed += remove(model, &key(*from), &key(*to), next);
            }
            model.revision += i64::from(changed > 0);
        }
        Step::Compact(revision) => {
            let revision = i64::from(*revision);
            let result = apply(state, Request::Compaction(CompactionRequest { revision, physical: false }));
            if revision <= model.compacted {
                assert_eq!(result.err(), Some(Fault::Compacted));
            } else if revision > model.revision {
                assert_eq!(result.err(), Some(Fault::FutureRevision));
            } else {
                result.expect("it is possible");
                model.compacted = revision;
            }
        }
    }
}

fn compare(state: &State, model: &Model) {
    assert_eq!(state.mvcc.revision(), model.revision);
    for revision in 1..=model.revision + 1 {
        let all = RangeRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            revision,
            ..RangeRequest::default()
        };
        let found = state.mvcc.range(&all);
        if revision > model.revision {
            assert_eq!(found.err(), Some(Fault::FutureRevision));
        } else if revision < model.compacted {
            assert_eq!(found.err(), Some(Fault::Compacted));
        } else {
            let found: Vec<_> = found
                .expect("it is there")
                .kvs
                .into_iter()
                .map(|kv| {
                    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
                    (text(kv.key), text(kv.value), kv.create_revision, kv.mod_revision, kv.version)
                })
                .collect();
            assert_eq!(found, model.at(revision), "at revision {revision}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_revision_reads_as_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let mut state = State::default();
        let mut model = Model { revision: 1, ..Model::default() };
        for step in &steps {
            run(&mut state, &mut model, step);
        }
        compare(&state, &model);
        // The same from its records, through a snapshot's view.
        let restored = State::restore(state.view().all()).expect("its own records can be read");
        compare(&restored, &model);
    }

    #[test]
    fn changes_lead_to_the_same_records_as_a_view(steps in prop::collection::vec(step(), 1..60)) {
        let mut state = State::default();
        let mut model = Model { revision: 1, ..Model::default() };
        let mut disk = std::collections::BTreeMap::new();
        for step in &steps {
            run(&mut state, &mut model, step);
            for change in state.take_changes() {
                match change.encode() {
                    (bucket, key, Some(value)) => drop(disk.insert((bucket, key), value)),
                    (bucket, key, None) => drop(disk.remove(&(bucket, key))),
                }
            }
        }
        let kept: Vec<_> = disk.into_iter().map(|((bucket, key), value)| (bucket, key, value)).collect();
        let restored = State::restore(kept).expect("the changes can be read");
        compare(&restored, &model);
    }

    #[test]
    fn no_bytes_can_hurt_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let bytes = Bytes::from(bytes);
        let _ = kv::storage::bolt::read(&bytes);
        let _ = kv::storage::snapshot::parse(&bytes, false);
        let _ = kv::serve::tls::common_name(&bytes);
        let _ = kv::form::parse(&String::from_utf8_lossy(&bytes));
        let _ = kv::state::record::parse_record(&bytes, &bytes);
    }
}
