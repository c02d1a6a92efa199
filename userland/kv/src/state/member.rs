//! The members of the cluster, as the log says.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::record::{Bucket, Change};
use crate::fault::Fault;
use crate::proto::Member;
use crate::proto::internal::MembershipChange;
use crate::proto::internal::membership_change::Kind;
use crate::raft::Membership;

/// Members that are, and numbers of those that were and must not come back.
#[derive(Clone, Debug, Default)]
pub struct Members {
    members: BTreeMap<u64, Member>,
    removed: BTreeSet<u64>,
}

/// A member as etcd keeps it.
#[derive(Serialize, Deserialize)]
struct Json {
    id: u64,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Vec<String>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Vec::is_empty")]
    client_urls: Vec<String>,
}

impl Members {
    /// The member of this number.
    pub fn get(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    /// All, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Whether this number was a member's and is no more.
    pub fn is_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Who decides.
    pub fn membership(&self) -> Membership {
        let (learners, voters): (BTreeSet<u64>, BTreeSet<u64>) =
            self.members.keys().partition(|id| self.members.get(id).is_some_and(|member| member.is_learner));
        Membership { voters, learners }
    }

    /// Whether a change makes sense.
    ///
    /// # Errors
    /// Which of the rules it would break.
    pub fn check(&self, change: &MembershipChange) -> Result<(), Fault> {
        let Some(member) = &change.member else { return Err(Fault::MemberNotFound) };
        let taken = |ours: u64| {
            let mut others = self.members.values().filter(|other| other.id != ours);
            others.any(|other| other.peer_ur_ls.iter().any(|url| member.peer_ur_ls.contains(url)))
        };
        let known = self.members.get(&member.id);
        match change.kind() {
            Kind::Add | Kind::AddLearner => {
                if known.is_some() || self.removed.contains(&member.id) {
                    return Err(Fault::MemberExists);
                }
                if taken(member.id) {
                    return Err(Fault::PeerUrlExists);
                }
                if change.kind() == Kind::AddLearner && self.members.values().any(|other| other.is_learner) {
                    return Err(Fault::TooManyLearners);
                }
            }
            Kind::Remove => {
                known.ok_or(Fault::MemberNotFound)?;
            }
            Kind::Update => {
                known.ok_or(Fault::MemberNotFound)?;
                if taken(member.id) {
                    return Err(Fault::PeerUrlExists);
                }
            }
            Kind::Promote => {
                if !known.ok_or(Fault::MemberNotFound)?.is_learner {
                    return Err(Fault::NotLearner);
                }
            }
        }
        Ok(())
    }

    pub(super) fn apply(
        &mut self,
        change: &MembershipChange,
        changes: &mut Vec<Change>,
    ) -> Result<(), Fault> {
        self.check(change)?;
        let Some(member) = &change.member else { return Err(Fault::MemberNotFound) };
        match change.kind() {
            Kind::Add | Kind::AddLearner => {
                let is_learner = change.kind() == Kind::AddLearner;
                self.members.insert(member.id, Member { is_learner, ..member.clone() });
            }
            Kind::Remove => {
                self.members.remove(&member.id);
                self.removed.insert(member.id);
                changes.push(Change::Set(
                    Bucket::MembersRemoved,
                    key(member.id),
                    Bytes::from_static(b"removed"),
                ));
            }
            Kind::Update => {
                if let Some(known) = self.members.get_mut(&member.id) {
                    known.peer_ur_ls = member.peer_ur_ls.clone();
                }
            }
            Kind::Promote => {
                if let Some(known) = self.members.get_mut(&member.id) {
                    known.is_learner = false;
                }
            }
        }
        changes.push(self.change(member.id));
        Ok(())
    }

    /// A member says its name and where clients find it.
    pub(super) fn set_attributes(&mut self, member: &Member, changes: &mut Vec<Change>) {
        if let Some(known) = self.members.get_mut(&member.id) {
            known.name = member.name.clone();
            known.client_ur_ls = member.client_ur_ls.clone();
            changes.push(self.change(member.id));
        }
    }

    fn change(&self, id: u64) -> Change {
        let Some(member) = self.members.get(&id) else { return Change::Remove(Bucket::Members, key(id)) };
        let json = Json {
            id,
            peer_urls: member.peer_ur_ls.clone(),
            is_learner: member.is_learner,
            name: member.name.clone(),
            client_urls: member.client_ur_ls.clone(),
        };
        Change::Set(Bucket::Members, key(id), serde_json::to_vec(&json).unwrap_or_default().into())
    }

    /// All as records.
    pub fn dump(&self) -> Vec<Change> {
        let removed = self
            .removed
            .iter()
            .map(|id| Change::Set(Bucket::MembersRemoved, key(*id), Bytes::from_static(b"removed")));
        self.members.keys().map(|id| self.change(*id)).chain(removed).collect()
    }

    /// Takes back one record. Returns whether it could be read.
    pub fn restore(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> bool {
        let id = std::str::from_utf8(key).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
        let Some(id) = id else { return false };
        if bucket == Bucket::MembersRemoved {
            self.removed.insert(id);
            return true;
        }
        let Ok(json) = serde_json::from_slice::<Json>(value) else { return false };
        let member = Member {
            id,
            name: json.name,
            peer_ur_ls: json.peer_urls,
            client_ur_ls: json.client_urls,
            is_learner: json.is_learner,
        };
        self.members.insert(id, member);
        true
    }

    /// Puts these members in place of all, as at the start of a cluster or after a restore.
    pub fn replace(&mut self, members: impl IntoIterator<Item = Member>) {
        self.members = members.into_iter().map(|member| (member.id, member)).collect();
        self.removed.clear();
    }
}

fn key(id: u64) -> Bytes {
    format!("{id:x}").into()
}
