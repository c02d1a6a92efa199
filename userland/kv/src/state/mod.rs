//! What the members agree on: the state machine that the log is applied to.
//!
//! Pure: the same entries give the same state, the same answers and the same records on every member. It reads no
//! clock (time comes with the commands that need it), no disk and no network; what has to be kept is handed out
//! as [`Change`]s.

pub mod auth;
mod hash;
mod history;
pub mod lease;
mod log;
pub mod member;
pub mod mvcc;
pub mod record;
pub mod txn;
pub mod v2;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use crate::fault::Fault;
use crate::proto::alarm_request::AlarmAction;
use crate::proto::internal::command::Request;
use crate::proto::internal::{Command, LeaseRecord, MembershipChange};
use crate::proto::{AlarmMember, AlarmRequest, AlarmType, DeleteRangeResponse, PutResponse, TxnResponse};
use crate::span::Span;
use auth::{Auth, Caller};
use lease::Leases;
use member::Members;
use mvcc::{Mvcc, Record, Revision};
use record::{Bucket, Change, meta};
use v2::{Tree, V2Error, V2Event};

/// What a command came to.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// A put.
    Put(PutResponse),
    /// A delete.
    Delete(DeleteRangeResponse),
    /// A transaction.
    Txn(TxnResponse),
    /// A lease: its number and its time.
    Lease(i64, i64),
    /// Alarms that were changed.
    Alarms(Vec<AlarmMember>),
    /// The roles of a user, or names.
    Names(Vec<String>),
    /// What a role may do.
    Permissions(Vec<crate::proto::Permission>),
    /// A change of the v2 keyspace.
    V2(Result<Box<V2Event>, V2Error>),
}

/// The replicated state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Keys.
    pub mvcc: Mvcc,
    /// Leases.
    pub leases: Leases,
    /// Users and roles.
    pub auth: Auth,
    /// Members.
    pub members: Members,
    /// The v2 keyspace.
    pub v2: Tree,
    alarms: BTreeSet<(u64, i32)>,
    cluster_version: String,
    index: u64,
    term: u64,
    changes: Vec<Change>,
}

/// A record that cannot be what a member has written.
#[derive(Debug, thiserror::Error)]
#[error("bucket {bucket}: the record {key} cannot be read")]
pub struct Unreadable {
    bucket: &'static str,
    key: String,
}

impl State {
    /// Index and term of the last entry that was applied.
    pub fn applied(&self) -> (u64, u64) {
        (self.index, self.term)
    }

    /// Alarms that are on.
    pub fn alarms(&self) -> impl Iterator<Item = AlarmMember> + '_ {
        self.alarms.iter().map(|(member_id, alarm)| AlarmMember { member_id: *member_id, alarm: *alarm })
    }

    /// Whether an alarm of this kind is on.
    pub fn has_alarm(&self, kind: AlarmType) -> bool {
        self.alarms.iter().any(|(_, alarm)| *alarm == kind as i32)
    }

    /// The version that all members understand; empty before the first said so.
    pub fn cluster_version(&self) -> &str {
        &self.cluster_version
    }

    /// What has changed since this was last asked.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Notes that an entry is applied; the last step of each.
    pub fn mark(&mut self, index: u64, term: u64) {
        (self.index, self.term) = (index, term);
    }

    /// Applies a change of membership.
    ///
    /// # Errors
    /// Where it makes no sense any more.
    pub fn apply_membership(&mut self, change: &MembershipChange) -> Result<(), Fault> {
        self.members.apply(change, &mut self.changes)?;
        if let Some(member) = &change.member {
            self.drop_alarms_of_removed(member.id);
        }
        Ok(())
    }

    fn drop_alarms_of_removed(&mut self, id: u64) {
        if self.members.get(id).is_none() {
            let old: Vec<(u64, i32)> =
                self.alarms.iter().copied().filter(|(member, _)| *member == id).collect();
            for alarm in old {
                self.set_alarm(alarm.0, alarm.1, false);
            }
        }
    }

    /// Applies a command.
    ///
    /// # Errors
    /// Why it was refused: then nothing has changed.
    pub fn apply(&mut self, command: &Command) -> Result<Reply, Fault> {
        let caller = Caller { user: command.user.clone(), revision: command.auth_revision };
        let Some(request) = &command.request else { return Ok(Reply::Done) };
        self.check(&caller, request)?;
        let reply = self.carry_out(request);
        self.mvcc.commit();
        reply
    }

    /// Whether the caller may, and the alarms allow it.
    fn check(&self, caller: &Caller, request: &Request) -> Result<(), Fault> {
        let adds = match request {
            Request::Put(_) | Request::LeaseGrant(_) => true,
            Request::Txn(txn) => txn::has_put(txn),
            _ => false,
        };
        let keyspace =
            adds || matches!(request, Request::DeleteRange(_) | Request::Compaction(_) | Request::Txn(_));
        if keyspace && self.has_alarm(AlarmType::Corrupt) {
            return Err(Fault::Corrupt);
        }
        if adds && self.has_alarm(AlarmType::Nospace) {
            return Err(Fault::NoSpace);
        }
        match request {
            Request::Put(put) => {
                self.auth.check_put(caller, put)?;
                self.check_lease_keys(caller, put.lease)
            }
            Request::DeleteRange(delete) => self.auth.check_delete(caller, delete),
            Request::Txn(txn) => self.auth.check_txn(caller, txn),
            Request::LeaseRevoke(revoke) => self.check_lease_keys(caller, revoke.id),
            Request::UserGet(get) if get.name == caller.user => Ok(()),
            Request::RoleGet(get)
                if self.auth.user(&caller.user).is_some_and(|user| user.roles.contains(&get.role)) =>
            {
                Ok(())
            }
            Request::AuthEnable(_)
            | Request::AuthDisable(_)
            | Request::UserAdd(_)
            | Request::UserDelete(_)
            | Request::UserChangePassword(_)
            | Request::UserGrantRole(_)
            | Request::UserRevokeRole(_)
            | Request::UserGet(_)
            | Request::UserList(_)
            | Request::RoleAdd(_)
            | Request::RoleDelete(_)
            | Request::RoleGrantPermission(_)
            | Request::RoleRevokePermission(_)
            | Request::RoleGet(_)
            | Request::RoleList(_) => self.auth.check_admin(caller),
            _ => Ok(()),
        }
    }

    /// Who ends a lease, or hangs a key on it, decides over all its keys.
    fn check_lease_keys(&self, caller: &Caller, id: i64) -> Result<(), Fault> {
        // A lease that has run out is revoked by the leader itself.
        if !self.auth.is_enabled() || id == 0 || caller.user == EXPIRY {
            return Ok(());
        }
        let keys = self.leases.get(id).into_iter().flat_map(|lease| &lease.keys);
        for key in keys {
            self.auth.check(caller, &Span::Key(key.clone()), true)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, request: &Request) -> Result<Reply, Fault> {
        let changes = &mut self.changes;
        match request {
            Request::Put(put) => return self.apply_put(put).map(Reply::Put),
            Request::DeleteRange(delete) => return Ok(Reply::Delete(self.apply_delete(delete))),
            Request::Txn(txn) => return self.apply_txn(txn).map(Reply::Txn),
            Request::Compaction(compaction) => self.compact(compaction.revision)?,
            Request::LeaseGrant(grant) => return self.grant(grant.id, grant.ttl),
            Request::LeaseRevoke(revoke) => self.revoke(revoke.id)?,
            Request::Alarm(alarm) => return Ok(Reply::Alarms(self.change_alarms(alarm))),
            Request::AuthEnable(_) => self.auth.enable(changes)?,
            Request::AuthDisable(_) => self.auth.disable(changes),
            Request::Authenticate(_) => {}
            Request::UserAdd(add) => self.auth.add_user(add, changes)?,
            Request::UserDelete(delete) => self.auth.delete_user(&delete.name, changes)?,
            Request::UserChangePassword(change) => self.auth.change_password(change, changes)?,
            Request::UserGrantRole(grant) => self.auth.grant_role(&grant.user, &grant.role, changes)?,
            Request::UserRevokeRole(revoke) => self.auth.revoke_role(&revoke.name, &revoke.role, changes)?,
            Request::RoleAdd(add) => self.auth.add_role(&add.name, changes)?,
            Request::RoleDelete(delete) => self.auth.delete_role(&delete.role, changes)?,
            Request::RoleGrantPermission(grant) => self.auth.grant_permission(grant, changes)?,
            Request::RoleRevokePermission(revoke) => self.auth.revoke_permission(revoke, changes)?,
            Request::UserGet(get) => {
                let user = self.auth.user(&get.name).ok_or(Fault::UserNotFound)?;
                return Ok(Reply::Names(user.roles.iter().cloned().collect()));
            }
            Request::UserList(_) => return Ok(Reply::Names(self.auth.users())),
            Request::RoleGet(get) => return self.auth.role(&get.role).map(Reply::Permissions),
            Request::RoleList(_) => return Ok(Reply::Names(self.auth.roles())),
            Request::Attributes(member) => self.members.set_attributes(member, changes),
            Request::V2(request) => return Ok(Reply::V2(self.v2.apply(request, changes).map(Box::new))),
            Request::ClusterVersion(version) => {
                self.cluster_version = version.clone();
                let value = Bytes::copy_from_slice(version.as_bytes());
                changes.push(Change::Set(Bucket::Cluster, "clusterVersion".into(), value));
            }
        }
        Ok(Reply::Done)
    }

    fn compact(&mut self, revision: i64) -> Result<(), Fault> {
        self.mvcc.compact(revision, &mut self.changes)?;
        self.changes.extend(compaction_changes(revision));
        Ok(())
    }

    fn grant(&mut self, id: i64, ttl: i64) -> Result<Reply, Fault> {
        if self.leases.contains(id) {
            return Err(Fault::LeaseExists);
        }
        self.leases.insert(id, ttl);
        self.changes.push(lease_change(id, ttl));
        Ok(Reply::Lease(id, ttl))
    }

    fn revoke(&mut self, id: i64) -> Result<(), Fault> {
        let lease = self.leases.remove(id).ok_or(Fault::LeaseNotFound)?;
        self.changes.push(Change::Remove(Bucket::Lease, Bytes::copy_from_slice(&id.to_be_bytes())));
        for key in lease.keys {
            self.mvcc.delete(&Span::Key(key), &mut self.changes);
        }
        Ok(())
    }

    fn change_alarms(&mut self, request: &AlarmRequest) -> Vec<AlarmMember> {
        let on = match request.action() {
            AlarmAction::Get => return self.alarms().collect(),
            AlarmAction::Activate => true,
            AlarmAction::Deactivate => false,
        };
        if on {
            self.set_alarm(request.member_id, request.alarm, true);
            return vec![AlarmMember { member_id: request.member_id, alarm: request.alarm }];
        }
        let matching: Vec<(u64, i32)> = self
            .alarms
            .iter()
            .copied()
            .filter(|(member, alarm)| {
                (request.member_id == 0 || request.member_id == *member)
                    && (request.alarm == AlarmType::None as i32 || request.alarm == *alarm)
            })
            .collect();
        for (member, alarm) in &matching {
            self.set_alarm(*member, *alarm, false);
        }
        matching.into_iter().map(|(member_id, alarm)| AlarmMember { member_id, alarm }).collect()
    }

    fn set_alarm(&mut self, member_id: u64, alarm: i32, on: bool) {
        let key = AlarmMember { member_id, alarm }.encode_to_vec().into();
        if on {
            self.alarms.insert((member_id, alarm));
            self.changes.push(Change::Set(Bucket::Alarm, key, Bytes::new()));
        } else if self.alarms.remove(&(member_id, alarm)) {
            self.changes.push(Change::Remove(Bucket::Alarm, key));
        }
    }

    /// A view of all records as of now; cheap, for values are shared.
    pub fn view(&self) -> View {
        let mut rest: Vec<Change> = self.auth.dump();
        rest.extend(self.members.dump());
        rest.extend(self.v2.dump());
        rest.extend(self.leases.iter().map(|(id, lease)| lease_change(id, lease.ttl)));
        rest.extend(
            self.alarms().map(|alarm| Change::Set(Bucket::Alarm, alarm.encode_to_vec().into(), Bytes::new())),
        );
        if !self.cluster_version.is_empty() {
            let value = Bytes::copy_from_slice(self.cluster_version.as_bytes());
            rest.push(Change::Set(Bucket::Cluster, "clusterVersion".into(), value));
        }
        rest.extend(applied_changes(self.index, self.term));
        if self.mvcc.compacted() > 0 {
            rest.extend(compaction_changes(self.mvcc.compacted()));
        }
        View { records: self.mvcc.records().cloned().collect(), rest, index: self.index, term: self.term }
    }

    /// Makes a state of records in any order but that of the bucket `key`, which is ascending.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub fn restore(records: impl IntoIterator<Item = (Bucket, Bytes, Bytes)>) -> Result<State, Unreadable> {
        let mut state = State::default();
        let mut compacted = 0;
        let mut read = |(bucket, key, value): &(Bucket, Bytes, Bytes)| -> Option<()> {
            let number = |value: &[u8]| <[u8; 8]>::try_from(value).ok().map(u64::from_be_bytes);
            match bucket {
                Bucket::Key => state.mvcc.restore(record::parse_record(key, value)?),
                Bucket::Lease => {
                    let lease = LeaseRecord::decode(value.clone()).ok()?;
                    state.leases.insert(lease.id, lease.ttl);
                }
                Bucket::Alarm => {
                    let alarm = AlarmMember::decode(key.clone()).ok()?;
                    state.alarms.insert((alarm.member_id, alarm.alarm));
                }
                Bucket::Auth | Bucket::AuthUsers | Bucket::AuthRoles => {
                    state.auth.restore(*bucket, key, value).then_some(())?;
                }
                Bucket::Members | Bucket::MembersRemoved => {
                    state.members.restore(*bucket, key, value).then_some(())?;
                }
                Bucket::Cluster => state.cluster_version = String::from_utf8_lossy(value).into_owned(),
                Bucket::V2 => state.v2.restore(key, value).then_some(())?,
                Bucket::Meta if key == meta::INDEX => state.index = number(value)?,
                Bucket::Meta if key == meta::TERM => state.term = number(value)?,
                Bucket::Meta if key == meta::V2_INDEX => state.v2.restore_index(number(value)?),
                Bucket::Meta if key == meta::COMPACTED => compacted = record::parse_revision(value)?.0.main,
                Bucket::Meta => {}
            }
            Some(())
        };
        for entry in records {
            if read(&entry).is_none() {
                let key = String::from_utf8_lossy(&entry.1).escape_debug().to_string();
                return Err(Unreadable { bucket: entry.0.name(), key });
            }
        }
        state.mvcc.restore_marks(1, compacted);
        let held: Vec<(i64, Arc<[u8]>)> =
            state.mvcc.live().filter(|r| r.lease != 0).map(|r| (r.lease, r.key.clone())).collect();
        for (lease, key) in held {
            state.leases.attach(lease, &key);
        }
        Ok(state)
    }
}

/// The user of commands that come from a leader's own clock; no client can log in under it.
pub const EXPIRY: &str = "\0expiry";

fn lease_change(id: i64, ttl: i64) -> Change {
    let value = LeaseRecord { id, ttl }.encode_to_vec().into();
    Change::Set(Bucket::Lease, Bytes::copy_from_slice(&id.to_be_bytes()), value)
}

fn compaction_changes(revision: i64) -> [Change; 2] {
    let value = record::revision_key(Revision { main: revision, sub: 0 }, false);
    [meta::COMPACTED, meta::COMPACTING]
        .map(|name| Change::Set(Bucket::Meta, Bytes::from_static(name), value.clone()))
}

/// The records that say how far the others are.
pub fn applied_changes(index: u64, term: u64) -> [Change; 2] {
    [(meta::INDEX, index), (meta::TERM, term)].map(|(name, number)| {
        Change::Set(Bucket::Meta, Bytes::from_static(name), Bytes::copy_from_slice(&number.to_be_bytes()))
    })
}

/// All records as of one entry.
#[derive(Clone, Debug)]
pub struct View {
    records: Vec<Arc<Record>>,
    rest: Vec<Change>,
    /// The entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
}

impl View {
    /// The records of one bucket, by key.
    pub fn bucket(&self, bucket: Bucket) -> Box<dyn Iterator<Item = (Bytes, Bytes)> + '_> {
        if bucket == Bucket::Key {
            return Box::new(self.records.iter().map(|record| {
                (record::revision_key(record.modified, record.is_tombstone()), record::record_value(record))
            }));
        }
        let mut found: Vec<(Bytes, Bytes)> = self
            .rest
            .iter()
            .map(Change::encode)
            .filter(|(of, ..)| *of == bucket)
            .filter_map(|(_, key, value)| value.map(|value| (key, value)))
            .collect();
        found.sort();
        Box::new(found.into_iter())
    }

    /// All records.
    pub fn all(&self) -> impl Iterator<Item = (Bucket, Bytes, Bytes)> + '_ {
        Bucket::ALL
            .into_iter()
            .flat_map(|bucket| self.bucket(bucket).map(move |(key, value)| (bucket, key, value)))
    }
}
