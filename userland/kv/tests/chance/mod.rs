//! Requests by chance: of few keys, so that they meet, and with every option that there is, so that options meet too.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

use bytes::Bytes;
use kv::proto::compare::TargetUnion;
use kv::proto::request_op::Request;
use kv::proto::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest, WatchCreateRequest,
};

/// A number by chance (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// One of these.
    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }

    /// A key; seldom none.
    pub fn key(&mut self) -> Bytes {
        if self.one_in(60) {
            return Bytes::new();
        }
        self.of(&[&b"a"[..], b"ab", b"abc", b"b", b"c", b"\0", b"\xff", b"k/1", b"k/2"]).to_vec().into()
    }

    /// An end of a range: of a key alone, of a prefix, of all that follows, or of nothing at all.
    pub fn end(&mut self, key: &[u8]) -> Bytes {
        match self.below(10) {
            0..4 => Bytes::new(),
            4 => Bytes::from_static(&[0]),
            5 => key.to_vec().into(),
            6 | 7 => {
                let mut end = key.to_vec();
                if let Some(last) = end.last_mut() {
                    *last = last.wrapping_add(1);
                }
                end.into()
            }
            _ => self.key(),
        }
    }

    /// A revision near the newest one, or nonsense.
    fn revision(&mut self, newest: i64) -> i64 {
        match self.below(12) {
            0..6 => 0,
            6 => -1,
            7 => newest + self.below(3) as i64,
            _ => newest - self.below(30) as i64,
        }
    }

    fn bound(&mut self, newest: i64) -> i64 {
        if self.one_in(5) { newest - self.below(40) as i64 } else { 0 }
    }

    fn lease(&mut self) -> i64 {
        if self.one_in(4) { self.of(&[1, 2, 3, -5, i64::MAX]) } else { 0 }
    }

    pub fn range(&mut self, newest: i64) -> RangeRequest {
        let key = self.key();
        RangeRequest {
            range_end: self.end(&key),
            key,
            limit: self.of(&[0, 0, 0, 1, 2, 3, 100, -1]),
            revision: self.revision(newest),
            // Another number in either ends the process of etcd 3.4.
            sort_order: self.below(3) as i32,
            sort_target: self.below(5) as i32,
            serializable: self.one_in(3),
            keys_only: self.one_in(4),
            count_only: self.one_in(6),
            min_mod_revision: self.bound(newest),
            max_mod_revision: self.bound(newest),
            min_create_revision: self.bound(newest),
            max_create_revision: self.bound(newest),
        }
    }

    pub fn put(&mut self) -> PutRequest {
        let ignore_value = self.one_in(8);
        let ignore_lease = self.one_in(8);
        PutRequest {
            key: self.key(),
            value: if ignore_value && !self.one_in(4) {
                Bytes::new()
            } else {
                self.of(&["", "0", "1", "2", "10"]).into()
            },
            lease: if ignore_lease && !self.one_in(4) { 0 } else { self.lease() },
            prev_kv: self.one_in(2),
            ignore_value,
            ignore_lease,
        }
    }

    pub fn delete(&mut self) -> DeleteRangeRequest {
        let key = self.key();
        DeleteRangeRequest { range_end: self.end(&key), key, prev_kv: self.one_in(2) }
    }

    fn compare(&mut self, newest: i64) -> Compare {
        let key = self.key();
        let number = self.of(&[0, 1, 2, 3, -1, newest, newest - 1, newest - 5]);
        // Mostly of the kind that is compared with, sometimes of another, sometimes none.
        let target = self.below(5) as i32;
        let kind = if self.one_in(12) { self.below(6) as i32 } else { target };
        let target_union = match kind {
            0 => Some(TargetUnion::Version(number)),
            1 => Some(TargetUnion::CreateRevision(number)),
            2 => Some(TargetUnion::ModRevision(number)),
            3 => Some(TargetUnion::Value(self.of(&["", "0", "1", "2"]).into())),
            4 => Some(TargetUnion::Lease(self.lease())),
            _ => None,
        };
        let range_end = if self.one_in(3) { self.end(&key) } else { Bytes::new() };
        Compare { result: self.below(4) as i32, target, range_end, key, target_union }
    }

    fn op(&mut self, newest: i64, depth: u32) -> RequestOp {
        let request = match self.below(if depth < 2 { 10 } else { 9 }) {
            0..4 => Request::RequestPut(self.put()),
            4..7 => Request::RequestRange(self.range(newest)),
            7 | 8 => Request::RequestDeleteRange(self.delete()),
            _ => Request::RequestTxn(self.txn(newest, depth + 1)),
        };
        RequestOp { request: Some(request) }
    }

    pub fn txn(&mut self, newest: i64, depth: u32) -> TxnRequest {
        let compares = self.below(3);
        let [thens, elses] = [self.below(4), self.below(3)];
        let mut txn = TxnRequest {
            compare: (0..compares).map(|_| self.compare(newest)).collect(),
            success: (0..thens).map(|_| self.op(newest, depth)).collect(),
            failure: (0..elses).map(|_| self.op(newest, depth)).collect(),
        };
        // To keep the value of a key that the same transaction has deleted ends the process of etcd 3.4.
        if depth == 0 && deletes_to_the_end(&txn) {
            keep_nothing(&mut txn);
        }
        txn
    }

    pub fn compaction(&mut self, newest: i64) -> CompactionRequest {
        let back = self.of(&[0, 1, 5, 20, 40, -1, 1000]);
        CompactionRequest { revision: newest - back, physical: self.one_in(2) }
    }

    pub fn grant(&mut self) -> LeaseGrantRequest {
        LeaseGrantRequest {
            ttl: self.of(&[1000, 5000, 1000, 1_000_000, 9_000_000_000, 9_000_000_001, i64::MAX]),
            id: self.of(&[1, 2, 3, -5, i64::MAX]),
        }
    }

    pub fn watch(&mut self, newest: i64) -> WatchCreateRequest {
        let key = self.key();
        let filters = self.below(3);
        WatchCreateRequest {
            range_end: self.end(&key),
            key,
            start_revision: match self.below(8) {
                // One below 0 is refused only by the etcds that came later, and by ours.
                0 => i64::MAX - 2,
                1 => newest + 2 + self.below(10) as i64,
                2..5 => 0,
                _ => newest - self.below(60) as i64,
            },
            progress_notify: false,
            filters: (0..filters).map(|_| self.below(2) as i32).collect(),
            prev_kv: self.one_in(2),
            watch_id: self.of(&[0, 0, 0, 0, 3, 7]),
            fragment: self.one_in(3),
        }
    }
}

fn deletes_to_the_end(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestDeleteRange(delete)) => delete.range_end.as_ref() == [0],
        Some(Request::RequestTxn(txn)) => deletes_to_the_end(txn),
        _ => false,
    })
}

fn keep_nothing(txn: &mut TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestPut(put)) => (put.ignore_value, put.ignore_lease) = (false, false),
            Some(Request::RequestTxn(txn)) => keep_nothing(txn),
            _ => {}
        }
    }
}
