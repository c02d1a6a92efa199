//! Users, roles, and what they may do.
//!
//! Invariant: the revision grows with every change, so that a decision made before one is known to be old.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use super::record::{Bucket, Change};
use crate::fault::Fault;
use crate::proto::internal::{RoleRecord, UserRecord};
use crate::proto::permission::Type;
use crate::proto::request_op::Request;
use crate::proto::{
    AuthRoleGrantPermissionRequest, AuthRoleRevokePermissionRequest, AuthUserAddRequest,
    AuthUserChangePasswordRequest, DeleteRangeRequest, Permission, PutRequest, RangeRequest, TxnRequest,
    UserAddOptions,
};
use crate::span::Span;

/// The user and the role that may do everything.
pub const ROOT: &str = "root";

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The salted hash of the password, as `password` makes it.
    pub hash: String,
    /// Whether it logs in by certificate only.
    pub no_password: bool,
    /// The roles that it has.
    pub roles: BTreeSet<String>,
}

/// Who asks: the user's name, and the revision of the auth store that said so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user; empty for nobody.
    pub user: String,
    /// The auth revision.
    pub revision: u64,
}

/// Users and roles.
#[derive(Clone, Debug)]
pub struct Auth {
    enabled: bool,
    revision: u64,
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Vec<Permission>>,
}

impl Default for Auth {
    fn default() -> Auth {
        Auth { enabled: false, revision: 1, users: BTreeMap::new(), roles: BTreeMap::new() }
    }
}

type Changes = Vec<Change>;

impl Auth {
    /// Whether requests are checked.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Grows with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    /// All names of users.
    pub fn users(&self) -> Vec<String> {
        self.users.keys().cloned().collect()
    }

    /// All names of roles.
    pub fn roles(&self) -> Vec<String> {
        self.roles.keys().cloned().collect()
    }

    /// What a role may do.
    ///
    /// # Errors
    /// `RoleNotFound`.
    pub fn role(&self, name: &str) -> Result<Vec<Permission>, Fault> {
        let permissions = self.roles.get(name).ok_or(Fault::RoleNotFound)?;
        if name == ROOT {
            let range_end = Bytes::from_static(&[0]);
            return Ok(vec![Permission { perm_type: Type::Readwrite.into(), key: Bytes::new(), range_end }]);
        }
        Ok(permissions.clone())
    }

    fn changed(&mut self, changes: &mut Changes) {
        self.revision += 1;
        changes.push(self.revision_change());
    }

    fn revision_change(&self) -> Change {
        let revision = Bytes::copy_from_slice(&self.revision.to_be_bytes());
        Change::Set(Bucket::Auth, "authRevision".into(), revision)
    }

    fn enabled_change(&self) -> Change {
        Change::Set(Bucket::Auth, "authEnabled".into(), Bytes::copy_from_slice(&[u8::from(self.enabled)]))
    }

    fn user_change(&self, name: &str) -> Change {
        let key = Bytes::copy_from_slice(name.as_bytes());
        let Some(user) = self.users.get(name) else { return Change::Remove(Bucket::AuthUsers, key) };
        let record = UserRecord {
            name: key.clone(),
            password: Bytes::copy_from_slice(user.hash.as_bytes()),
            roles: user.roles.iter().cloned().collect(),
            options: Some(UserAddOptions { no_password: user.no_password }),
        };
        Change::Set(Bucket::AuthUsers, key, record.encode_to_vec().into())
    }

    fn role_change(&self, name: &str) -> Change {
        let key = Bytes::copy_from_slice(name.as_bytes());
        let Some(permissions) = self.roles.get(name) else { return Change::Remove(Bucket::AuthRoles, key) };
        let record = RoleRecord { name: key.clone(), permissions: permissions.clone() };
        Change::Set(Bucket::AuthRoles, key, record.encode_to_vec().into())
    }

    /// All of it as records.
    pub fn dump(&self) -> Vec<Change> {
        let mut all = vec![self.enabled_change(), self.revision_change()];
        all.extend(self.users.keys().map(|name| self.user_change(name)));
        all.extend(self.roles.keys().map(|name| self.role_change(name)));
        all
    }

    /// Takes back one record. Returns whether it could be read.
    pub fn restore(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) -> bool {
        match (bucket, key) {
            (Bucket::Auth, b"authEnabled") => self.enabled = value == [1],
            (Bucket::Auth, b"authRevision") => match <[u8; 8]>::try_from(value) {
                Ok(revision) => self.revision = u64::from_be_bytes(revision),
                Err(_) => return false,
            },
            (Bucket::AuthUsers, _) => {
                let (Ok(record), Ok(name)) = (UserRecord::decode(value), String::from_utf8(key.to_vec()))
                else {
                    return false;
                };
                let user = User {
                    hash: String::from_utf8_lossy(&record.password).into_owned(),
                    no_password: record.options.is_some_and(|options| options.no_password),
                    roles: record.roles.into_iter().collect(),
                };
                self.users.insert(name, user);
            }
            (Bucket::AuthRoles, _) => {
                let (Ok(record), Ok(name)) = (RoleRecord::decode(value), String::from_utf8(key.to_vec()))
                else {
                    return false;
                };
                self.roles.insert(name, record.permissions);
            }
            _ => {}
        }
        true
    }

    pub(super) fn enable(&mut self, changes: &mut Changes) -> Result<(), Fault> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(Fault::RootUserMissing)?;
        if !root.roles.contains(ROOT) {
            return Err(Fault::RootRoleMissing);
        }
        self.enabled = true;
        changes.push(self.enabled_change());
        Ok(())
    }

    pub(super) fn disable(&mut self, changes: &mut Changes) {
        if self.enabled {
            self.enabled = false;
            changes.push(self.enabled_change());
            self.changed(changes);
        }
    }

    pub(super) fn add_user(
        &mut self,
        request: &AuthUserAddRequest,
        changes: &mut Changes,
    ) -> Result<(), Fault> {
        if request.name.is_empty() {
            return Err(Fault::UserEmpty);
        }
        if self.users.contains_key(&request.name) {
            return Err(Fault::UserExists);
        }
        let no_password = request.options.as_ref().is_some_and(|options| options.no_password);
        let hash = if no_password { String::new() } else { request.hashed_password.clone() };
        self.users.insert(request.name.clone(), User { hash, no_password, roles: BTreeSet::new() });
        changes.push(self.user_change(&request.name));
        self.changed(changes);
        Ok(())
    }

    pub(super) fn delete_user(&mut self, name: &str, changes: &mut Changes) -> Result<(), Fault> {
        if self.enabled && name == ROOT {
            return Err(Fault::InvalidAuthManagement);
        }
        self.users.remove(name).ok_or(Fault::UserNotFound)?;
        changes.push(self.user_change(name));
        self.changed(changes);
        Ok(())
    }

    pub(super) fn change_password(
        &mut self,
        request: &AuthUserChangePasswordRequest,
        changes: &mut Changes,
    ) -> Result<(), Fault> {
        let user = self.users.get_mut(&request.name).ok_or(Fault::UserNotFound)?;
        user.hash = request.hashed_password.clone();
        user.no_password = false;
        changes.push(self.user_change(&request.name));
        self.changed(changes);
        Ok(())
    }

    pub(super) fn grant_role(&mut self, user: &str, role: &str, changes: &mut Changes) -> Result<(), Fault> {
        let entry = self.users.get_mut(user).ok_or(Fault::UserNotFound)?;
        if role != ROOT && !self.roles.contains_key(role) {
            return Err(Fault::RoleNotFound);
        }
        if entry.roles.insert(role.to_owned()) {
            changes.push(self.user_change(user));
            self.changed(changes);
        }
        Ok(())
    }

    pub(super) fn revoke_role(&mut self, user: &str, role: &str, changes: &mut Changes) -> Result<(), Fault> {
        if self.enabled && user == ROOT && role == ROOT {
            return Err(Fault::InvalidAuthManagement);
        }
        let entry = self.users.get_mut(user).ok_or(Fault::UserNotFound)?;
        if !entry.roles.remove(role) {
            return Err(Fault::RoleNotGranted);
        }
        changes.push(self.user_change(user));
        self.changed(changes);
        Ok(())
    }

    pub(super) fn add_role(&mut self, name: &str, changes: &mut Changes) -> Result<(), Fault> {
        if name.is_empty() {
            return Err(Fault::RoleEmpty);
        }
        if self.roles.contains_key(name) {
            return Err(Fault::RoleExists);
        }
        self.roles.insert(name.to_owned(), Vec::new());
        changes.push(self.role_change(name));
        self.changed(changes);
        Ok(())
    }

    pub(super) fn delete_role(&mut self, name: &str, changes: &mut Changes) -> Result<(), Fault> {
        if self.enabled && name == ROOT {
            return Err(Fault::InvalidAuthManagement);
        }
        self.roles.remove(name).ok_or(Fault::RoleNotFound)?;
        changes.push(self.role_change(name));
        let holders: Vec<String> = self
            .users
            .iter()
            .filter(|(_, user)| user.roles.contains(name))
            .map(|(name, _)| name.clone())
            .collect();
        for holder in holders {
            if let Some(user) = self.users.get_mut(&holder) {
                user.roles.remove(name);
            }
            changes.push(self.user_change(&holder));
        }
        self.changed(changes);
        Ok(())
    }

    pub(super) fn grant_permission(
        &mut self,
        request: &AuthRoleGrantPermissionRequest,
        changes: &mut Changes,
    ) -> Result<(), Fault> {
        let permission = request.perm.as_ref().ok_or(Fault::PermissionNotGiven)?;
        let role = self.roles.get_mut(&request.name).ok_or(Fault::RoleNotFound)?;
        role.retain(|old| (&old.key, &old.range_end) != (&permission.key, &permission.range_end));
        role.push(permission.clone());
        role.sort_by(|a, b| (&a.key, &a.range_end).cmp(&(&b.key, &b.range_end)));
        changes.push(self.role_change(&request.name));
        self.changed(changes);
        Ok(())
    }

    pub(super) fn revoke_permission(
        &mut self,
        request: &AuthRoleRevokePermissionRequest,
        changes: &mut Changes,
    ) -> Result<(), Fault> {
        let role = self.roles.get_mut(&request.role).ok_or(Fault::RoleNotFound)?;
        let before = role.len();
        role.retain(|old| (&old.key, &old.range_end) != (&request.key, &request.range_end));
        if role.len() == before {
            return Err(Fault::PermissionNotGranted);
        }
        changes.push(self.role_change(&request.role));
        self.changed(changes);
        Ok(())
    }

    /// Whether the caller is who an administrator must be.
    ///
    /// # Errors
    /// `UserEmpty`, `PermissionDenied`.
    pub fn check_admin(&self, caller: &Caller) -> Result<(), Fault> {
        if !self.enabled {
            return Ok(());
        }
        if caller.user.is_empty() {
            return Err(Fault::UserEmpty);
        }
        match self.users.get(&caller.user) {
            Some(user) if user.roles.contains(ROOT) => Ok(()),
            _ => Err(Fault::PermissionDenied),
        }
    }

    /// Whether the caller may read or write a span.
    ///
    /// # Errors
    /// `UserEmpty`, `AuthOldRevision`, `PermissionDenied`.
    pub fn check(&self, caller: &Caller, span: &Span, write: bool) -> Result<(), Fault> {
        if !self.enabled {
            return Ok(());
        }
        if caller.user.is_empty() {
            return Err(Fault::UserEmpty);
        }
        if caller.revision < self.revision {
            return Err(Fault::AuthOldRevision);
        }
        let user = self.users.get(&caller.user).ok_or(Fault::PermissionDenied)?;
        if user.roles.contains(ROOT) {
            return Ok(());
        }
        let mut held: Vec<Span> = user
            .roles
            .iter()
            .filter_map(|role| self.roles.get(role))
            .flatten()
            .filter(|permission| {
                let other = if write { Type::Write } else { Type::Read };
                permission.perm_type() == Type::Readwrite || permission.perm_type() == other
            })
            .map(|permission| Span::new(&permission.key, &permission.range_end))
            .collect();
        held.sort_by(|a, b| a.start().cmp(b.start()));
        if merge(held).iter().any(|held| held.covers(span)) { Ok(()) } else { Err(Fault::PermissionDenied) }
    }

    /// Whether the caller may do this.
    ///
    /// # Errors
    /// As [`Auth::check`].
    pub fn check_range(&self, caller: &Caller, request: &RangeRequest) -> Result<(), Fault> {
        self.check(caller, &Span::new(&request.key, &request.range_end), false)
    }

    pub(super) fn check_put(&self, caller: &Caller, request: &PutRequest) -> Result<(), Fault> {
        let span = Span::Key(request.key.clone());
        self.check(caller, &span, true)?;
        if request.prev_kv { self.check(caller, &span, false) } else { Ok(()) }
    }

    pub(super) fn check_delete(&self, caller: &Caller, request: &DeleteRangeRequest) -> Result<(), Fault> {
        let span = Span::new(&request.key, &request.range_end);
        self.check(caller, &span, true)?;
        if request.prev_kv { self.check(caller, &span, false) } else { Ok(()) }
    }

    /// Whether the caller may do all that a transaction might.
    ///
    /// # Errors
    /// As [`Auth::check`].
    pub fn check_txn(&self, caller: &Caller, request: &TxnRequest) -> Result<(), Fault> {
        for compare in &request.compare {
            self.check(caller, &Span::new(&compare.key, &compare.range_end), false)?;
        }
        for op in request.success.iter().chain(&request.failure) {
            match &op.request {
                Some(Request::RequestRange(range)) => self.check_range(caller, range)?,
                Some(Request::RequestPut(put)) => self.check_put(caller, put)?,
                Some(Request::RequestDeleteRange(delete)) => self.check_delete(caller, delete)?,
                Some(Request::RequestTxn(txn)) => self.check_txn(caller, txn)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Joins spans, ordered by their starts, that touch each other.
fn merge(spans: Vec<Span>) -> Vec<Span> {
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        let next = match span {
            // A key is the interval up to its successor.
            Span::Key(key) => {
                let end = Bytes::from([key.as_ref(), &[0]].concat());
                Span::Range(key, end)
            }
            other => other,
        };
        match (merged.last_mut(), next) {
            (Some(Span::From(_)), _) => break,
            (Some(Span::Range(start, end)), Span::From(from)) if from <= *end => {
                let start = start.clone();
                if let Some(last) = merged.last_mut() {
                    *last = Span::From(start);
                }
            }
            (Some(Span::Range(_, end)), Span::Range(from, to)) if from <= *end => {
                if to > *end {
                    *end = to;
                }
            }
            (_, next) => merged.push(next),
        }
    }
    merged
}
