//! Users and roles of the v2 API: what they are as JSON, how a change of one is merged, and what they may.
//!
//! Pure. Lists that were never written are `null`, as etcd's client expects.
//!
//! Source: etcd 2.3, Documentation/auth_api.md; etcd 3.4, etcdserver/api/v2auth.

use std::collections::BTreeSet;

use hyper::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The role, and the user, that may do everything.
pub const ROOT: &str = "root";
/// The role of who does not say who he is.
pub const GUEST: &str = "guest";

/// Why a request was refused: the status of the answer and its text.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub StatusCode, pub String);

/// One that etcd's own store of users would say.
pub fn refuse(status: StatusCode, text: impl AsRef<str>) -> Refusal {
    Refusal(status, format!("auth: {}", text.as_ref()))
}

/// One of a request that makes no sense.
pub fn bad(what: &str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, what.into())
}

/// The first JSON value of a body.
///
/// # Errors
/// Where that is none of this kind.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let first = serde_json::Deserializer::from_slice(bytes).into_iter::<T>().next();
    first.and_then(Result::ok).ok_or_else(|| bad("Invalid JSON in request body."))
}

type Names = Option<Vec<String>>;

/// A user, or what is to change about one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct User {
    /// Its name.
    pub user: String,
    /// As it was sent, or its hash where it is kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// Names of its roles.
    pub roles: Names,
    /// Roles that it gets.
    #[serde(skip_serializing_if = "is_empty")]
    pub grant: Names,
    /// Roles that it loses.
    #[serde(skip_serializing_if = "is_empty")]
    pub revoke: Names,
}

/// Patterns of keys: one that ends with `*` stands for all that begin so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// What may be read.
    pub read: Names,
    /// What may be written.
    pub write: Names,
}

/// What a role may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    /// With keys: there is nothing else.
    pub kv: Access,
}

/// A role, or what is to change about one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Role {
    /// Its name.
    pub role: String,
    /// What it may.
    pub permissions: Permissions,
    /// What it may from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<Permissions>,
    /// What it may not any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke: Option<Permissions>,
}

/// Whether a list names nothing.
pub fn is_empty(names: &Names) -> bool {
    names.as_ref().is_none_or(Vec::is_empty)
}

fn set(names: &Names) -> BTreeSet<String> {
    names.iter().flatten().cloned().collect()
}

fn list(names: BTreeSet<String>) -> Names {
    Some(names.into_iter().collect())
}

impl User {
    /// The user root has the role root, whatever is kept.
    pub fn with_root(mut self) -> User {
        if self.user == ROOT && !self.roles.iter().flatten().any(|role| role == ROOT) {
            self.roles.get_or_insert_default().push(ROOT.into());
        }
        self
    }

    /// This user after a change; `password` is the hash of a new one.
    ///
    /// # Errors
    /// Where a role is granted twice, or revoked that was never granted.
    pub fn merge(&self, change: &User, password: Option<String>) -> Result<User, Refusal> {
        let mut roles = set(&self.roles);
        let conflict = |text: String| Err(refuse(StatusCode::CONFLICT, text));
        for role in change.grant.iter().flatten() {
            if !roles.insert(role.clone()) {
                return conflict(format!("Granting duplicate role {role} for user {}", change.user));
            }
        }
        for role in change.revoke.iter().flatten() {
            if !roles.remove(role) {
                return conflict(format!("Revoking ungranted role {role} for user {}", change.user));
            }
        }
        let password = password.unwrap_or_else(|| self.password.clone());
        Ok(User { user: self.user.clone(), password, roles: list(roles), ..User::default() })
    }
}

impl Access {
    fn grant(&self, more: &Access) -> Result<Access, Refusal> {
        let add = |kind: &str, have: &Names, more: &Names| {
            let mut have = set(have);
            for pattern in more.iter().flatten() {
                if !have.insert(pattern.clone()) {
                    let text = format!("Granting duplicate {kind} permission {pattern}");
                    return Err(refuse(StatusCode::CONFLICT, text));
                }
            }
            Ok(list(have))
        };
        Ok(Access {
            read: add("read", &self.read, &more.read)?,
            write: add("write", &self.write, &more.write)?,
        })
    }

    fn revoke(&self, less: &Access) -> Access {
        let take = |have: &Names, less: &Names| {
            let less = set(less);
            list(set(have).into_iter().filter(|pattern| !less.contains(pattern)).collect())
        };
        Access { read: take(&self.read, &less.read), write: take(&self.write, &less.write) }
    }
}

impl Permissions {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        is_empty(&self.kv.read) && is_empty(&self.kv.write)
    }

    /// All keys.
    pub fn all() -> Permissions {
        let everything = Some(vec!["/*".to_owned()]);
        Permissions { kv: Access { read: everything.clone(), write: everything } }
    }
}

impl Role {
    /// A role that may do everything with keys.
    pub fn of_all(name: &str) -> Role {
        Role { role: name.into(), permissions: Permissions::all(), grant: None, revoke: None }
    }

    /// Whether it says what is to be added or taken away.
    pub fn is_change(&self) -> bool {
        [&self.grant, &self.revoke].into_iter().flatten().any(|permissions| !permissions.is_empty())
    }

    /// This role after a change.
    ///
    /// # Errors
    /// Where something is granted twice.
    pub fn merge(&self, change: &Role) -> Result<Role, Refusal> {
        let mut kv = self.permissions.kv.clone();
        if let Some(grant) = &change.grant {
            kv = kv.grant(&grant.kv)?;
        }
        if let Some(revoke) = &change.revoke {
            kv = kv.revoke(&revoke.kv);
        }
        Ok(Role { role: self.role.clone(), permissions: Permissions { kv }, grant: None, revoke: None })
    }

    /// Whether it may read or write a key, or with `recursive` all that is below it.
    pub fn allows(&self, key: &str, write: bool, recursive: bool) -> bool {
        let access = &self.permissions.kv;
        let patterns = if write { &access.write } else { &access.read };
        self.role == ROOT
            || patterns.iter().flatten().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => key.starts_with(prefix),
                None => !recursive && key == pattern,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(read: &[&str], write: &[&str]) -> Role {
        let names = |all: &[&str]| Some(all.iter().map(|name| (*name).to_owned()).collect());
        let kv = Access { read: names(read), write: names(write) };
        Role { role: "r".into(), permissions: Permissions { kv }, grant: None, revoke: None }
    }

    #[test]
    fn a_star_stands_for_all_that_begin_so() {
        let role = role(&["/a", "/b*"], &["/a/*"]);
        assert!(role.allows("/a", false, false) && !role.allows("/a", false, true));
        assert!(role.allows("/bc/d", false, true) && !role.allows("/c", false, false));
        assert!(!role.allows("/a", true, false) && role.allows("/a/b", true, true));
        assert!(Role { role: ROOT.into(), ..Role::default() }.allows("/any", true, true));
    }

    #[test]
    fn what_is_revoked_need_not_have_been_granted_but_nothing_is_granted_twice() {
        let change = Role { grant: Some(role(&["/c"], &[]).permissions), ..Role::default() };
        let merged = role(&["/b"], &["/w"]).merge(&change).expect("merged");
        assert_eq!(merged, role(&["/b", "/c"], &["/w"]));
        assert_eq!(
            merged.merge(&change),
            Err(refuse(StatusCode::CONFLICT, "Granting duplicate read permission /c"))
        );
        let change = Role { revoke: Some(role(&["/c", "/none"], &["/w"]).permissions), ..Role::default() };
        assert_eq!(merged.merge(&change), Ok(role(&["/b"], &[])));
    }

    #[test]
    fn lists_that_were_never_written_are_null() {
        let json = serde_json::to_string(&Role { role: "x".into(), ..Role::default() }).expect("JSON");
        assert_eq!(json, r#"{"role":"x","permissions":{"kv":{"read":null,"write":null}}}"#);
        let user = User { user: "a".into(), ..User::default() };
        assert_eq!(serde_json::to_string(&user).expect("JSON"), r#"{"user":"a","roles":null}"#);
        let merged = user.merge(&User::default(), Some("hash".into())).expect("merged");
        assert_eq!(merged.roles, Some(Vec::new()));
    }
}
