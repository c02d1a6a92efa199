//! Who owns which name: owners, and those in the queue for it (D-Bus specification, `RequestName`).
//!
//! Invariants: a name in the registry has an owner; a client is in a name's queue at most once. Pure.

use std::collections::{BTreeMap, VecDeque};

/// A client's number; its unique name is `:1.` and the number.
pub type Id = u64;

/// Let others take the name over.
const ALLOW_REPLACEMENT: u32 = 1;
/// Take the name over where that is allowed.
const REPLACE: u32 = 2;
/// Do not wait in the queue.
const DO_NOT_QUEUE: u32 = 4;

/// What `RequestName` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requested {
    /// It is the caller's now.
    PrimaryOwner = 1,
    /// The caller waits for it.
    InQueue = 2,
    /// Somebody else has it, and the caller does not wait.
    Exists = 3,
    /// It was the caller's already.
    AlreadyOwner = 4,
}

/// What `ReleaseName` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It is no longer the caller's.
    Released = 1,
    /// Nobody has that name.
    NonExistent = 2,
    /// It is not the caller's.
    NotOwner = 3,
}

/// A name went from one client to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: String,
    /// Whose it was.
    pub old: Option<Id>,
    /// Whose it is.
    pub new: Option<Id>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    id: Id,
    flags: u32,
}

/// All well-known names.
#[derive(Debug, Default)]
pub struct Names {
    /// The first of the queue is the owner.
    claims: BTreeMap<String, VecDeque<Claim>>,
}

impl Names {
    /// The owner.
    pub fn owner(&self, name: &str) -> Option<Id> {
        self.claims.get(name)?.front().map(|claim| claim.id)
    }

    /// The owner and those who wait, in order.
    pub fn queue(&self, name: &str) -> Vec<Id> {
        self.claims.get(name).into_iter().flatten().map(|claim| claim.id).collect()
    }

    /// Every name that has an owner.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.claims.keys().map(String::as_str)
    }

    /// How many names a client has or waits for.
    pub fn count(&self, id: Id) -> usize {
        self.claims.values().filter(|queue| queue.iter().any(|claim| claim.id == id)).count()
    }

    /// Whether that client owns that name.
    pub fn owns(&self, id: Id, name: &str) -> bool {
        self.owner(name) == Some(id)
    }

    /// `RequestName`.
    pub fn request(&mut self, name: &str, id: Id, flags: u32) -> (Requested, Option<Change>) {
        let claim = Claim { id, flags };
        let queue = self.claims.entry(name.to_owned()).or_default();
        let Some(owner) = queue.front_mut() else {
            queue.push_back(claim);
            return (
                Requested::PrimaryOwner,
                Some(Change { name: name.to_owned(), old: None, new: Some(id) }),
            );
        };
        if owner.id == id {
            owner.flags = flags;
            return (Requested::AlreadyOwner, None);
        }
        let old = *owner;
        let waits = queue.iter().position(|waiting| waiting.id == id);
        if flags & REPLACE != 0 && old.flags & ALLOW_REPLACEMENT != 0 {
            if let Some(at) = waits {
                queue.remove(at);
            }
            if old.flags & DO_NOT_QUEUE != 0 {
                queue.pop_front();
            }
            queue.push_front(claim);
            return (
                Requested::PrimaryOwner,
                Some(Change { name: name.to_owned(), old: Some(old.id), new: Some(id) }),
            );
        }
        match (waits, flags & DO_NOT_QUEUE != 0) {
            (Some(at), true) => _ = queue.remove(at),
            (Some(at), false) => {
                if let Some(waiting) = queue.get_mut(at) {
                    waiting.flags = flags;
                }
                return (Requested::InQueue, None);
            }
            (None, true) => {}
            (None, false) => {
                queue.push_back(claim);
                return (Requested::InQueue, None);
            }
        }
        (Requested::Exists, None)
    }

    /// `ReleaseName`.
    pub fn release(&mut self, name: &str, id: Id) -> (Released, Option<Change>) {
        let Some(queue) = self.claims.get_mut(name) else { return (Released::NonExistent, None) };
        let Some(at) = queue.iter().position(|claim| claim.id == id) else {
            return (Released::NotOwner, None);
        };
        queue.remove(at);
        let new = queue.front().map(|claim| claim.id);
        if new.is_none() {
            self.claims.remove(name);
        }
        let change = (at == 0).then(|| Change { name: name.to_owned(), old: Some(id), new });
        (Released::Released, change)
    }

    /// A client is gone, and all its claims with it.
    pub fn forget(&mut self, id: Id) -> Vec<Change> {
        let names: Vec<String> = self
            .claims
            .iter()
            .filter(|(_, queue)| queue.iter().any(|claim| claim.id == id))
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().filter_map(|name| self.release(name, id).1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(old: Option<Id>, new: Option<Id>) -> Option<Change> {
        Some(Change { name: "a.b".into(), old, new })
    }

    #[test]
    fn names_go_from_one_to_the_next() {
        let mut names = Names::default();
        assert_eq!(names.request("a.b", 1, 0), (Requested::PrimaryOwner, change(None, Some(1))));
        assert_eq!(names.request("a.b", 1, 0), (Requested::AlreadyOwner, None));
        assert_eq!(names.request("a.b", 2, DO_NOT_QUEUE), (Requested::Exists, None));
        assert_eq!(names.request("a.b", 2, REPLACE), (Requested::InQueue, None));
        assert_eq!(names.request("a.b", 3, 0), (Requested::InQueue, None));
        assert_eq!(names.queue("a.b"), [1, 2, 3]);
        assert_eq!(names.release("a.b", 4), (Released::NotOwner, None));
        assert_eq!(names.release("x.y", 1), (Released::NonExistent, None));
        assert_eq!(names.release("a.b", 1), (Released::Released, change(Some(1), Some(2))));
        assert_eq!(names.forget(3), []);
        assert_eq!(names.forget(2), [Change { name: "a.b".into(), old: Some(2), new: None }]);
        assert_eq!(names.all().count(), 0);
    }

    #[test]
    fn an_owner_that_allows_it_is_replaced() {
        let mut names = Names::default();
        names.request("a.b", 1, ALLOW_REPLACEMENT);
        assert_eq!(names.request("a.b", 2, REPLACE), (Requested::PrimaryOwner, change(Some(1), Some(2))));
        assert_eq!(names.queue("a.b"), [2, 1], "the old owner waits to have it back");
        assert_eq!(names.request("a.b", 1, DO_NOT_QUEUE), (Requested::Exists, None));
        assert_eq!((names.queue("a.b"), names.count(1)), (vec![2], 0));
    }
}
