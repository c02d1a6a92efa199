//! A namespace: a prefix that clients do not see. Keys of requests get it, keys of answers lose it.
//!
//! Pure. Source: etcd 3.4, clientv3/namespace.

use bytes::Bytes;

use crate::proto::request_op::Request as Op;
use crate::proto::response_op::Response as Reply;
use crate::proto::*;
use crate::span::prefix_end;

/// A prefix; empty for none.
#[derive(Clone, Debug, Default)]
pub struct Namespace(pub Bytes);

impl Namespace {
    /// The key as the store knows it.
    pub fn add(&self, key: &Bytes) -> Bytes {
        if self.0.is_empty() { key.clone() } else { [self.0.as_ref(), key.as_ref()].concat().into() }
    }

    /// The end of a range as the store knows it: what has no end ends with the namespace.
    pub fn add_end(&self, end: &Bytes) -> Bytes {
        match end.as_ref() {
            [] => Bytes::new(),
            _ if self.0.is_empty() => end.clone(),
            [0] => prefix_end(&self.0),
            _ => self.add(end),
        }
    }

    /// The key as the client knows it.
    pub fn strip(&self, key: &Bytes) -> Bytes {
        if key.starts_with(&self.0) { key.slice(self.0.len()..) } else { key.clone() }
    }

    /// A pair as the client knows it.
    pub fn show(&self, kv: &mut KeyValue) {
        kv.key = self.strip(&kv.key);
    }

    /// What is asked of the store.
    pub fn range(&self, request: &mut RangeRequest) {
        request.range_end = self.add_end(&request.range_end);
        request.key = self.add(&request.key);
    }

    /// What is asked of the store.
    pub fn put(&self, request: &mut PutRequest) {
        request.key = self.add(&request.key);
    }

    /// What is asked of the store.
    pub fn delete(&self, request: &mut DeleteRangeRequest) {
        request.range_end = self.add_end(&request.range_end);
        request.key = self.add(&request.key);
    }

    /// What is asked of the store.
    pub fn txn(&self, request: &mut TxnRequest) {
        for compare in &mut request.compare {
            compare.range_end = self.add_end(&compare.range_end);
            compare.key = self.add(&compare.key);
        }
        for op in request.success.iter_mut().chain(&mut request.failure) {
            match &mut op.request {
                Some(Op::RequestRange(range)) => self.range(range),
                Some(Op::RequestPut(put)) => self.put(put),
                Some(Op::RequestDeleteRange(delete)) => self.delete(delete),
                Some(Op::RequestTxn(txn)) => self.txn(txn),
                None => {}
            }
        }
    }

    /// What the client is told.
    pub fn txn_reply(&self, reply: &mut TxnResponse) {
        for one in &mut reply.responses {
            match &mut one.response {
                Some(Reply::ResponseRange(range)) => range.kvs.iter_mut().for_each(|kv| self.show(kv)),
                Some(Reply::ResponsePut(put)) => put.prev_kv.iter_mut().for_each(|kv| self.show(kv)),
                Some(Reply::ResponseDeleteRange(delete)) => {
                    delete.prev_kvs.iter_mut().for_each(|kv| self.show(kv));
                }
                Some(Reply::ResponseTxn(txn)) => self.txn_reply(txn),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stays_within_its_namespace() {
        let space = Namespace("a/".into());
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(space.add(&bytes("k")), "a/k");
        assert_eq!(space.add_end(&bytes("")), "");
        assert_eq!(space.add_end(&bytes("l")), "a/l");
        assert_eq!(space.add_end(&Bytes::from_static(&[0])), "a0");
        assert_eq!(space.strip(&bytes("a/k")), "k");
        let none = Namespace::default();
        assert_eq!(none.add_end(&Bytes::from_static(&[0])), Bytes::from_static(&[0]));
    }
}
