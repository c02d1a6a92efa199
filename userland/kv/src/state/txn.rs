//! Puts, deletes and transactions: what is refused before it is proposed, and how it is carried out.
//!
//! Invariant: a transaction is checked to its end before its first change, so that it happens whole or not at all.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::State;
use crate::fault::Fault;
use crate::proto::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::request_op::Request;
use crate::proto::response_op::Response;
use crate::proto::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use crate::span::Span;

/// Refuses a range that says something that it cannot mean.
///
/// # Errors
/// `EmptyKey`, `InvalidSortOption`.
pub fn check_range(request: &RangeRequest) -> Result<(), Fault> {
    if !(0..=2).contains(&request.sort_order) || !(0..=4).contains(&request.sort_target) {
        return Err(Fault::InvalidSortOption);
    }
    check_key(&request.key)
}

fn check_key(key: &Bytes) -> Result<(), Fault> {
    if key.is_empty() { Err(Fault::EmptyKey) } else { Ok(()) }
}

/// Refuses a put that contradicts itself.
///
/// # Errors
/// `EmptyKey`, `ValueProvided`, `LeaseProvided`.
pub fn check_put(request: &PutRequest) -> Result<(), Fault> {
    check_key(&request.key)?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(Fault::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Fault::LeaseProvided);
    }
    Ok(())
}

/// Refuses a delete without a key.
///
/// # Errors
/// `EmptyKey`.
pub fn check_delete(request: &DeleteRangeRequest) -> Result<(), Fault> {
    check_key(&request.key)
}

/// Refuses a transaction that is too long or writes a key twice.
///
/// # Errors
/// `TooManyOps`, `DuplicateKey`, and those of its parts.
pub fn check_txn(request: &TxnRequest, max_ops: usize) -> Result<(), Fault> {
    check_shape(request, max_ops, 0)?;
    writes(&request.success)?;
    writes(&request.failure)?;
    Ok(())
}

/// Transactions within transactions at most: deeper ones would exhaust the stack.
const DEPTH_MAX: usize = 32;

fn check_shape(request: &TxnRequest, max_ops: usize, depth: usize) -> Result<(), Fault> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    if ops > max_ops || depth > DEPTH_MAX {
        return Err(Fault::TooManyOps);
    }
    request.compare.iter().try_for_each(|compare| check_key(&compare.key))?;
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete(delete)?,
            Some(Request::RequestTxn(txn)) => check_shape(txn, max_ops, depth + 1)?,
            None => return Err(Fault::KeyNotFound),
        }
    }
    Ok(())
}

/// The keys that a branch puts and what it deletes.
type Writes = (BTreeSet<Bytes>, Vec<Deleted>);

/// What a delete says that it deletes. To etcd an end of one zero byte is no more than that here: what is deleted from a
/// key on to the last meets no put.
struct Deleted(Bytes, Bytes);

impl Deleted {
    fn contains(&self, key: &Bytes) -> bool {
        let Deleted(start, end) = self;
        if end.is_empty() { key == start } else { start <= key && key < end }
    }
}

fn writes(ops: &[RequestOp]) -> Result<Writes, Fault> {
    let (mut puts, mut deletes): Writes = Writes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            deletes.push(Deleted(delete.key.clone(), delete.range_end.clone()));
        }
    }
    let deleted = |deletes: &[Deleted], key: &Bytes| deletes.iter().any(|span| span.contains(key));
    for op in ops {
        let Some(Request::RequestTxn(txn)) = &op.request else { continue };
        let (then_puts, then_deletes) = writes(&txn.success)?;
        let (else_puts, else_deletes) = writes(&txn.failure)?;
        // Only one of the two branches runs: they may write the same keys.
        for key in then_puts.union(&else_puts) {
            if puts.contains(key) || deleted(&deletes, key) {
                return Err(Fault::DuplicateKey);
            }
        }
        if puts.iter().any(|key| deleted(&then_deletes, key) || deleted(&else_deletes, key)) {
            return Err(Fault::DuplicateKey);
        }
        puts.extend(then_puts);
        puts.extend(else_puts);
        deletes.extend(then_deletes);
        deletes.extend(else_deletes);
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request
            && (deleted(&deletes, &put.key) || !puts.insert(put.key.clone()))
        {
            return Err(Fault::DuplicateKey);
        }
    }
    Ok((puts, deletes))
}

/// Whether a transaction may change something.
pub fn is_write(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => true,
        Some(Request::RequestTxn(txn)) => is_write(txn),
        _ => false,
    })
}

/// Whether a transaction may add data.
pub fn has_put(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(txn)) => has_put(txn),
        _ => false,
    })
}

/// The header of a transaction within another is there, and says nothing.
fn inner(reply: TxnResponse) -> TxnResponse {
    TxnResponse { header: Some(ResponseHeader::default()), ..reply }
}

fn inner_header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

impl State {
    /// Answers a range; inner headers carry only the revision.
    ///
    /// # Errors
    /// A revision that cannot be read.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Fault> {
        let found = self.mvcc.range(request)?;
        let header = inner_header(self.mvcc.current());
        Ok(RangeResponse { header, kvs: found.kvs, more: found.more, count: found.count })
    }

    /// Answers a transaction that only reads.
    ///
    /// # Errors
    /// A revision that cannot be read.
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, Fault> {
        let chosen = self.choose(request);
        self.check_chosen(&chosen)?;
        let mut responses = Vec::new();
        for op in &chosen.ops {
            let response = match op {
                Chosen::Op(Request::RequestRange(range)) => Response::ResponseRange(self.range(range)?),
                Chosen::Txn(branch) => Response::ResponseTxn(inner(self.read_txn(branch.request)?)),
                Chosen::Op(_) => continue,
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: inner_header(self.mvcc.current()), succeeded: chosen.succeeded, responses })
    }

    pub(super) fn apply_put(&mut self, request: &PutRequest) -> Result<PutResponse, Fault> {
        // Outside of a transaction the lease is looked at first.
        self.check_lease(request)?;
        self.check_old(request)?;
        Ok(self.put(request))
    }

    pub(super) fn apply_delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        self.delete(request)
    }

    pub(super) fn apply_txn(&mut self, request: &TxnRequest) -> Result<TxnResponse, Fault> {
        let chosen = self.choose(request);
        self.check_chosen(&chosen)?;
        self.run(&chosen)
    }

    fn check_old(&self, request: &PutRequest) -> Result<(), Fault> {
        let needs_old = request.ignore_value || request.ignore_lease;
        if needs_old && self.mvcc.get(&request.key, i64::MAX).is_none() {
            return Err(Fault::KeyNotFound);
        }
        Ok(())
    }

    fn check_lease(&self, request: &PutRequest) -> Result<(), Fault> {
        if request.lease != 0 && !self.leases.contains(request.lease) {
            return Err(Fault::LeaseNotFound);
        }
        Ok(())
    }

    fn put(&mut self, request: &PutRequest) -> PutResponse {
        let old = self.mvcc.get(&request.key, i64::MAX).cloned();
        let lease = match &old {
            Some(old) if request.ignore_lease => old.lease,
            _ => request.lease,
        };
        let value = match &old {
            Some(old) if request.ignore_value => old.value.as_ref(),
            _ => request.value.as_ref(),
        };
        let old_lease = old.as_ref().map_or(0, |old| old.lease);
        self.mvcc.put(&request.key, value, lease, &mut self.changes);
        if old_lease != lease {
            self.leases.detach(old_lease, &request.key);
            self.leases.attach(lease, &request.key);
        }
        PutResponse {
            header: inner_header(self.mvcc.current()),
            prev_kv: old.filter(|_| request.prev_kv).map(|old| old.key_value()),
        }
    }

    fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let gone = self.mvcc.delete(&Span::new(&request.key, &request.range_end), &mut self.changes);
        for record in gone.iter().filter(|record| record.lease != 0) {
            self.leases.detach(record.lease, &record.key);
        }
        DeleteRangeResponse {
            header: inner_header(self.mvcc.current()),
            deleted: gone.len() as i64,
            prev_kvs: if request.prev_kv {
                gone.iter().map(|record| record.key_value()).collect()
            } else {
                vec![]
            },
        }
    }

    /// Decides which branches run, all by what was there before the first change.
    fn choose<'a>(&self, request: &'a TxnRequest) -> Branch<'a> {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &request.success } else { &request.failure };
        let ops = ops.iter().filter_map(|op| op.request.as_ref()).map(|request| match request {
            Request::RequestTxn(txn) => Chosen::Txn(self.choose(txn)),
            other => Chosen::Op(other),
        });
        Branch { request, succeeded, ops: ops.collect() }
    }

    /// All puts first, then all ranges: which of two faults is told is known so.
    fn check_chosen(&self, branch: &Branch<'_>) -> Result<(), Fault> {
        self.check_each(branch, &|request| match request {
            Request::RequestPut(put) => self.check_old(put).and_then(|()| self.check_lease(put)),
            _ => Ok(()),
        })?;
        self.check_each(branch, &|request| match request {
            Request::RequestRange(range) => self.mvcc.check_revision_in_txn(range.revision),
            _ => Ok(()),
        })
    }

    fn check_each(
        &self,
        branch: &Branch<'_>,
        check: &dyn Fn(&Request) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        branch.ops.iter().try_for_each(|op| match op {
            Chosen::Txn(branch) => self.check_each(branch, check),
            Chosen::Op(request) => check(request),
        })
    }

    fn run(&mut self, branch: &Branch<'_>) -> Result<TxnResponse, Fault> {
        let mut responses = Vec::with_capacity(branch.ops.len());
        for op in &branch.ops {
            let response = match op {
                Chosen::Txn(branch) => Response::ResponseTxn(inner(self.run(branch)?)),
                Chosen::Op(Request::RequestRange(range)) => Response::ResponseRange(self.range(range)?),
                Chosen::Op(Request::RequestPut(put)) => Response::ResponsePut(self.put(put)),
                Chosen::Op(Request::RequestDeleteRange(delete)) => {
                    Response::ResponseDeleteRange(self.delete(delete))
                }
                Chosen::Op(Request::RequestTxn(_)) => continue,
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: inner_header(self.mvcc.current()), succeeded: branch.succeeded, responses })
    }

    /// Whether a comparison holds for every key that it names.
    fn holds(&self, compare: &Compare) -> bool {
        let span = Span::new(&compare.key, &compare.range_end);
        let mut records = self.mvcc.scan(&span, i64::MAX).peekable();
        if records.peek().is_none() {
            // A value that is not there is neither equal nor different; numbers of what is not there are 0.
            return compare.target() != CompareTarget::Value && compare_one(compare, None);
        }
        records.all(|record| compare_one(compare, Some(record)))
    }
}

fn compare_one(compare: &Compare, record: Option<&super::mvcc::Record>) -> bool {
    let union = compare.target_union.as_ref();
    let number = |actual: i64, wanted: Option<i64>| actual.cmp(&wanted.unwrap_or(0));
    let ordering = match compare.target() {
        CompareTarget::Value => {
            let wanted = match union {
                Some(TargetUnion::Value(value)) => value.as_ref(),
                _ => &[],
            };
            record.map_or(&[][..], |record| record.value.as_ref()).cmp(wanted)
        }
        CompareTarget::Create => number(
            record.map_or(0, |record| record.created),
            match union {
                Some(TargetUnion::CreateRevision(wanted)) => Some(*wanted),
                _ => None,
            },
        ),
        CompareTarget::Mod => number(
            record.map_or(0, |record| record.modified.main),
            match union {
                Some(TargetUnion::ModRevision(wanted)) => Some(*wanted),
                _ => None,
            },
        ),
        CompareTarget::Version => number(
            record.map_or(0, |record| record.version),
            match union {
                Some(TargetUnion::Version(wanted)) => Some(*wanted),
                _ => None,
            },
        ),
        CompareTarget::Lease => number(
            record.map_or(0, |record| record.lease),
            match union {
                Some(TargetUnion::Lease(wanted)) => Some(*wanted),
                _ => None,
            },
        ),
    };
    match compare.result() {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
    }
}

/// The branch of a transaction that runs.
struct Branch<'a> {
    request: &'a TxnRequest,
    succeeded: bool,
    ops: Vec<Chosen<'a>>,
}

enum Chosen<'a> {
    Op(&'a Request),
    Txn(Branch<'a>),
}
