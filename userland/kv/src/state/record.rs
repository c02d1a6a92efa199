//! The applied state as records in buckets: what is written to sled, to snapshots, and sent to members.
//!
//! Buckets, keys and values are etcd's own, so that its tools read our snapshots and we read its. The bucket `v2`
//! and a few marks in `meta` are ours; others skip them.
//!
//! Source: etcd 3.4, mvcc/kvstore.go, mvcc/revision.go, lease, auth, alarm and membership stores.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::mvcc::{Record, Revision};
use crate::proto::KeyValue;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// Alarms that are on.
    Alarm,
    /// Whether auth is on, and its revision.
    Auth,
    /// Roles.
    AuthRoles,
    /// Users.
    AuthUsers,
    /// The cluster's version.
    Cluster,
    /// Keys by revision.
    Key,
    /// Leases.
    Lease,
    /// Members.
    Members,
    /// Numbers of members that were.
    MembersRemoved,
    /// Marks.
    Meta,
    /// Nodes of the v2 keyspace by path.
    V2,
}

impl Bucket {
    /// All, in the order of their names.
    pub const ALL: [Bucket; 11] = [
        Bucket::Alarm,
        Bucket::Auth,
        Bucket::AuthRoles,
        Bucket::AuthUsers,
        Bucket::Cluster,
        Bucket::Key,
        Bucket::Lease,
        Bucket::Members,
        Bucket::MembersRemoved,
        Bucket::Meta,
        Bucket::V2,
    ];

    /// Its name in a snapshot.
    pub fn name(self) -> &'static str {
        match self {
            Bucket::Alarm => "alarm",
            Bucket::Auth => "auth",
            Bucket::AuthRoles => "authRoles",
            Bucket::AuthUsers => "authUsers",
            Bucket::Cluster => "cluster",
            Bucket::Key => "key",
            Bucket::Lease => "lease",
            Bucket::Members => "members",
            Bucket::MembersRemoved => "members_removed",
            Bucket::Meta => "meta",
            Bucket::V2 => "v2",
        }
    }

    /// The bucket of this name.
    pub fn find(name: &[u8]) -> Option<Bucket> {
        Bucket::ALL.into_iter().find(|bucket| bucket.name().as_bytes() == name)
    }
}

/// Names in the bucket `meta`.
pub mod meta {
    /// Index of the entry that the records are as of, eight bytes.
    pub const INDEX: &[u8] = b"consistent_index";
    /// Its term, eight bytes.
    pub const TERM: &[u8] = b"term";
    /// The revision below which history is gone.
    pub const COMPACTED: &[u8] = b"finishedCompactRev";
    /// The same; etcd takes up a compaction that it did not finish.
    pub const COMPACTING: &[u8] = b"scheduledCompactRev";
    /// The index of the v2 keyspace, eight bytes.
    pub const V2_INDEX: &[u8] = b"v2_index";
}

/// One change of the records.
#[derive(Clone, Debug)]
pub enum Change {
    /// A record of the keyspace was written.
    Record(Arc<Record>),
    /// One is gone; whether it was a tombstone.
    Drop(Revision, bool),
    /// A record has this value now.
    Set(Bucket, Bytes, Bytes),
    /// A record is gone.
    Remove(Bucket, Bytes),
}

impl Change {
    /// Bucket and key, and the value unless the record is gone.
    pub fn encode(&self) -> (Bucket, Bytes, Option<Bytes>) {
        match self {
            Change::Record(record) => {
                let key = revision_key(record.modified, record.is_tombstone());
                (Bucket::Key, key, Some(record_value(record)))
            }
            Change::Drop(revision, tombstone) => (Bucket::Key, revision_key(*revision, *tombstone), None),
            Change::Set(bucket, key, value) => (*bucket, key.clone(), Some(value.clone())),
            Change::Remove(bucket, key) => (*bucket, key.clone(), None),
        }
    }
}

/// A revision as the key of a record; a `t` at the end marks a tombstone.
pub fn revision_key(revision: Revision, tombstone: bool) -> Bytes {
    let mut key = BytesMut::with_capacity(18);
    key.put_i64(revision.main);
    key.put_u8(b'_');
    key.put_i64(revision.sub);
    if tombstone {
        key.put_u8(b't');
    }
    key.freeze()
}

/// Reads [`revision_key`].
pub fn parse_revision(key: &[u8]) -> Option<(Revision, bool)> {
    let (main, rest) = key.split_first_chunk::<8>()?;
    let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk::<8>()?;
    let revision = Revision { main: i64::from_be_bytes(*main), sub: i64::from_be_bytes(*sub) };
    match mark {
        [] => Some((revision, false)),
        [b't'] => Some((revision, true)),
        _ => None,
    }
}

/// A record's value on disk.
pub fn record_value(record: &Arc<Record>) -> Bytes {
    if record.is_tombstone() {
        return KeyValue { key: record.key_bytes(), ..KeyValue::default() }.encode_to_vec().into();
    }
    record.key_value().encode_to_vec().into()
}

/// Reads a record of the bucket `key`.
pub fn parse_record(key: &[u8], value: &[u8]) -> Option<Record> {
    let (modified, tombstone) = parse_revision(key)?;
    let kv = KeyValue::decode(value).ok()?;
    let sound = modified.main > 0 && modified.sub >= 0 && (tombstone || kv.version > 0);
    sound.then(|| Record {
        key: kv.key.as_ref().into(),
        value: kv.value.as_ref().into(),
        created: if tombstone { 0 } else { kv.create_revision },
        modified,
        version: if tombstone { 0 } else { kv.version },
        lease: if tombstone { 0 } else { kv.lease },
    })
}
