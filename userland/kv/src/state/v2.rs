//! The v2 keyspace: a tree of files and directories with times to live, and the last thousand events.
//!
//! Invariants: paths begin with `/` and have no empty part; every parent of a node is a directory; `index` grows
//! by one with each change. Time comes with the request: all members expire the same nodes at the same entry.
//!
//! Source: etcd 2.3, Documentation/api.md and errors.md.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use prost::Message;

use super::record::{Bucket, Change, meta};
use crate::proto::internal::v2_request::Method;
use crate::proto::internal::{V2Node, V2Request};

/// Events that are kept for watchers that come late.
const HISTORY: usize = 1000;

/// Why a request of the v2 API failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Error {
    /// etcd's number.
    pub code: u32,
    /// What it is about.
    pub cause: String,
    /// The index when it failed.
    pub index: u64,
}

impl V2Error {
    /// What the number means.
    pub fn message(&self) -> &'static str {
        match self.code {
            100 => "Key not found",
            101 => "Compare failed",
            102 => "Not a file",
            104 => "Not a directory",
            105 => "Key already exists",
            107 => "Root is read only",
            108 => "Directory not empty",
            110 => "The request requires user authentication",
            201 => "PrevValue is Required in POST form",
            202 => "The given TTL in POST form is not a number",
            203 => "The given index in POST form is not a number",
            209 => "Invalid field",
            210 => "Invalid POST form",
            211 => "Value provided on refresh",
            212 => "A TTL must be provided on refresh",
            301 => "During Leader Election",
            400 => "watcher is cleared due to etcd recovery",
            401 => "The event in requested index is outdated and cleared",
            _ => "Raft Internal Error",
        }
    }

    /// The HTTP status that it is sent with.
    pub fn status(&self) -> u16 {
        match self.code {
            100 => 404,
            101 | 105 => 412,
            102 | 108 => 403,
            110 => 401,
            300.. if self.code < 400 => 500,
            _ => 400,
        }
    }
}

/// A node as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its path.
    pub key: String,
    /// What is in it; nothing for a directory.
    pub value: Option<String>,
    /// Whether it is a directory.
    pub dir: bool,
    /// When it ends, in milliseconds since 1970; 0: never.
    pub expires: u64,
    /// What is in the directory.
    pub nodes: Vec<Shown>,
    /// The change that made it.
    pub created: u64,
    /// The change that wrote it.
    pub modified: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Event {
    /// `set`, `create`, `update`, `compareAndSwap`, `delete`, `compareAndDelete`, `expire`, `get`.
    pub action: &'static str,
    /// The node now.
    pub node: Shown,
    /// The node before.
    pub previous: Option<Shown>,
    /// The index after it.
    pub index: u64,
    /// Whether only the time to live was renewed: watchers are not told.
    pub refresh: bool,
    /// Whether it was made new.
    pub is_created: bool,
}

/// How often a kind of change went well, and how often not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Went well.
    pub success: u64,
    /// Was refused.
    pub fail: u64,
}

impl Count {
    /// One more.
    pub fn add<T, E>(&mut self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.success += 1,
            Err(_) => self.fail += 1,
        }
    }
}

/// Changes since this member started. They are no part of what is replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes, whatever was there.
    pub sets: Count,
    /// Writes of what was there.
    pub updates: Count,
    /// Writes of what was not there.
    pub creates: Count,
    /// Removals.
    pub deletes: Count,
    /// Writes of what was as expected.
    pub swaps: Count,
    /// Removals of what was as expected.
    pub compared_deletes: Count,
    /// Nodes that ran out.
    pub expired: u64,
}

/// The tree.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    counts: Counts,
    nodes: BTreeMap<String, V2Node>,
    expiries: std::collections::BTreeSet<(u64, String)>,
    index: u64,
    history: VecDeque<V2Event>,
}

type Answer = Result<V2Event, V2Error>;

/// Where users and roles are: a path that no client can name, for theirs begin with `/`.
pub const SECURITY: &str = "2";

/// Whether a path is of users and roles.
fn is_of_security(path: &str) -> bool {
    path.strip_prefix(SECURITY).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A path without empty parts.
pub fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

fn parent(path: &str) -> Option<&str> {
    let at = path.rfind('/')?;
    if path.len() == 1 { None } else { Some(if at == 0 { "/" } else { &path[..at] }) }
}

fn below(path: &str) -> String {
    if path == "/" { "/".into() } else { format!("{path}/") }
}

/// Whether a watcher of `watched` must not see `key`, for a part between them begins with `_`.
fn is_hidden(watched: &str, key: &str) -> bool {
    key.strip_prefix(watched)
        .is_some_and(|rest| rest.contains("/_") || (watched == "/" && rest.starts_with('_')))
}

impl Tree {
    /// The number of the newest change.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// What was done since this member started.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether nothing was ever written.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn fail(&self, code: u32, cause: impl Into<String>) -> V2Error {
        V2Error { code, cause: cause.into(), index: self.index }
    }

    /// Why there is nothing at a path: the first part of it that is not there, or is no directory.
    fn missing(&self, path: &str) -> V2Error {
        let mut above = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            above = format!("{above}/{part}");
            match self.node(&above) {
                None => return self.fail(100, above),
                Some(node) if !node.dir && above != path => return self.fail(104, above),
                Some(_) => {}
            }
        }
        self.fail(100, path)
    }

    fn node(&self, path: &str) -> Option<V2Node> {
        if path == "/" {
            return Some(V2Node { dir: true, ..V2Node::default() });
        }
        self.nodes.get(path).cloned()
    }

    fn show(&self, path: &str, node: &V2Node) -> Shown {
        Shown {
            key: path.to_owned(),
            value: (!node.dir).then(|| node.value.clone()),
            dir: node.dir,
            expires: node.expires,
            nodes: Vec::new(),
            created: node.created,
            modified: node.modified,
        }
    }

    /// Paths of all nodes below a directory.
    fn descendants(&self, path: &str) -> Vec<String> {
        let prefix = below(path);
        self.nodes
            .range::<str, _>((Bound::Excluded(prefix.as_str()), Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(&prefix))
            .cloned()
            .collect()
    }

    fn list(&self, path: &str, recursive: bool) -> Vec<Shown> {
        let prefix = below(path);
        let mut listed = Vec::new();
        let mut from = Bound::Excluded(prefix.clone());
        while let Some((key, node)) = self.nodes.range((from, Bound::Unbounded)).next() {
            let Some(name) = key.strip_prefix(&prefix) else { break };
            // Steps over what is in a child: `/` is followed by `0`.
            let name = name.split('/').next().unwrap_or(name);
            let child = format!("{prefix}{name}");
            from = if key == &child {
                Bound::Excluded(child.clone())
            } else {
                Bound::Included(format!("{child}0"))
            };
            if key != &child || name.starts_with('_') {
                continue;
            }
            let mut shown = self.show(key, node);
            if recursive && node.dir {
                shown.nodes = self.list(key, true);
            }
            listed.push(shown);
        }
        listed
    }

    /// Reads a node, and what is in it.
    ///
    /// # Errors
    /// 100 where there is none.
    pub fn get(&self, path: &str, recursive: bool) -> Answer {
        let Some(node) = self.node(path) else { return Err(self.missing(path)) };
        let mut shown = self.show(path, &node);
        if node.dir {
            shown.nodes = self.list(path, recursive);
        }
        Ok(self.event("get", shown, None))
    }

    fn event(&self, action: &'static str, node: Shown, previous: Option<Shown>) -> V2Event {
        V2Event { action, node, previous, index: self.index, refresh: false, is_created: false }
    }

    /// The first event at or after `since` that a watcher of `path` is told.
    ///
    /// # Errors
    /// 401 where it may have been forgotten.
    pub fn event_since(&self, path: &str, recursive: bool, since: u64) -> Result<Option<V2Event>, V2Error> {
        if let Some(oldest) = self.history.front()
            && self.history.len() >= HISTORY
            && since < oldest.index
        {
            let cause = format!("the requested history has been cleared [{}/{since}]", oldest.index);
            return Err(self.fail(401, cause));
        }
        let found =
            self.history.iter().filter(|event| event.index >= since && !event.refresh).find(|event| {
                let key = event.node.key.as_str();
                let gone = matches!(event.action, "delete" | "expire" | "compareAndDelete");
                key == path
                || (recursive && key.starts_with(&below(path)) && !is_hidden(path, key))
                // What is in a directory goes with it.
                || (gone && path.starts_with(&below(key)))
            });
        Ok(found.cloned())
    }

    /// Carries out a request, and counts it.
    pub(super) fn apply(&mut self, request: &V2Request, changes: &mut Vec<Change>) -> Answer {
        let answer = self.carry_out(request, changes);
        let compares = request.prev_index != 0 || request.has_prev_value;
        let counts = &mut self.counts;
        let count = match request.method() {
            Method::Get | Method::Expire => return answer,
            Method::CreateInOrder => &mut counts.creates,
            Method::Delete if compares => &mut counts.compared_deletes,
            Method::Delete => &mut counts.deletes,
            Method::Set if request.prev_exist == 1 => &mut counts.creates,
            Method::Set if compares => &mut counts.swaps,
            Method::Set if request.prev_exist == 2 => &mut counts.updates,
            Method::Set => &mut counts.sets,
        };
        count.add(&answer);
        answer
    }

    fn carry_out(&mut self, request: &V2Request, changes: &mut Vec<Change>) -> Answer {
        let path = if is_of_security(&request.path) { request.path.clone() } else { clean(&request.path) };
        match request.method() {
            Method::Get => self.get(&path, request.recursive),
            Method::Expire => {
                self.expire(request.now, changes);
                Ok(self.event("expire", self.show("/", &V2Node { dir: true, ..V2Node::default() }), None))
            }
            _ if path == "/" && request.method() != Method::CreateInOrder => Err(self.fail(107, "/")),
            Method::CreateInOrder => {
                let unique = format!("{}{:020}", below(&path), self.index + 1);
                self.create("create", &unique, request, false, changes)
            }
            Method::Delete => self.delete(&path, request, changes),
            Method::Set if request.prev_exist == 1 => self.create("create", &path, request, false, changes),
            Method::Set if request.prev_index != 0 || request.has_prev_value => {
                self.swap(&path, request, changes)
            }
            Method::Set if request.prev_exist == 2 => self.update("update", &path, request, changes),
            Method::Set => self.create("set", &path, request, true, changes),
        }
    }

    fn write(&mut self, path: &str, node: V2Node, changes: &mut Vec<Change>) {
        let key = Bytes::copy_from_slice(path.as_bytes());
        changes.push(Change::Set(Bucket::V2, key, node.encode_to_vec().into()));
        self.insert(path.to_owned(), node);
    }

    fn insert(&mut self, path: String, node: V2Node) {
        if node.expires != 0 {
            self.expiries.insert((node.expires, path.clone()));
        }
        if let Some(old) = self.nodes.insert(path.clone(), node.clone())
            && old.expires != 0
            && old.expires != node.expires
        {
            self.expiries.remove(&(old.expires, path));
        }
    }

    fn remove(&mut self, path: &str, changes: &mut Vec<Change>) {
        if let Some(old) = self.nodes.remove(path) {
            self.expiries.remove(&(old.expires, path.to_owned()));
            changes.push(Change::Remove(Bucket::V2, Bytes::copy_from_slice(path.as_bytes())));
        }
    }

    fn advance(&mut self, changes: &mut Vec<Change>) -> u64 {
        self.index += 1;
        changes.push(self.index_change());
        self.index
    }

    fn index_change(&self) -> Change {
        let value = Bytes::copy_from_slice(&self.index.to_be_bytes());
        Change::Set(Bucket::Meta, Bytes::from_static(meta::V2_INDEX), value)
    }

    fn record(&mut self, mut event: V2Event) -> V2Event {
        event.index = self.index;
        self.history.push_back(event.clone());
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        event
    }

    /// The nearest thing above `path` that is there must be a directory.
    fn check_parents(&self, path: &str) -> Result<(), V2Error> {
        let mut above = parent(path);
        while let Some(path) = above {
            match self.node(path) {
                Some(node) if !node.dir => return Err(self.fail(104, path)),
                Some(_) => return Ok(()),
                None => above = parent(path),
            }
        }
        Ok(())
    }

    fn make_parents(&mut self, path: &str, index: u64, changes: &mut Vec<Change>) {
        let mut missing = Vec::new();
        let mut above = parent(path);
        while let Some(path) = above.filter(|path| self.node(path).is_none()) {
            missing.push(path.to_owned());
            above = parent(path);
        }
        for path in missing.into_iter().rev() {
            let node = V2Node { dir: true, created: index, modified: index, ..V2Node::default() };
            self.write(&path, node, changes);
        }
    }

    fn create(
        &mut self,
        action: &'static str,
        path: &str,
        request: &V2Request,
        replace: bool,
        changes: &mut Vec<Change>,
    ) -> Answer {
        let old = self.node(path);
        if old.is_none() && request.refresh {
            return Err(self.missing(path));
        }
        if let Some(old) = &old {
            if !replace {
                return Err(self.fail(105, path));
            }
            if old.dir {
                return Err(self.fail(102, path));
            }
        }
        self.check_parents(path)?;
        let previous = old.as_ref().map(|old| self.show(path, old));
        let index = self.advance(changes);
        self.make_parents(path, index, changes);
        let value = match &old {
            Some(old) if request.refresh => old.value.clone(),
            _ if request.dir => String::new(),
            _ => request.value.clone(),
        };
        let node =
            V2Node { value, dir: request.dir, created: index, modified: index, expires: request.expires };
        let shown = self.show(path, &node);
        self.write(path, node, changes);
        let mut event = self.event(action, shown, previous);
        event.is_created = old.is_none();
        event.refresh = request.refresh;
        Ok(self.record(event))
    }

    fn update(
        &mut self,
        action: &'static str,
        path: &str,
        request: &V2Request,
        changes: &mut Vec<Change>,
    ) -> Answer {
        let Some(old) = self.node(path) else { return Err(self.missing(path)) };
        if old.dir && !request.value.is_empty() {
            return Err(self.fail(102, path));
        }
        let previous = self.show(path, &old);
        let modified = self.advance(changes);
        let value = if request.refresh || old.dir { old.value.clone() } else { request.value.clone() };
        let node = V2Node { value, modified, expires: request.expires, ..old };
        let shown = self.show(path, &node);
        self.write(path, node, changes);
        let mut event = self.event(action, shown, Some(previous));
        event.refresh = request.refresh;
        Ok(self.record(event))
    }

    /// Whether the node is what the request takes it for.
    fn compare(&self, node: &V2Node, request: &V2Request) -> Result<(), V2Error> {
        let value_differs = request.has_prev_value && request.prev_value != node.value;
        let index_differs = request.prev_index != 0 && request.prev_index != node.modified;
        let mut causes = Vec::new();
        if value_differs {
            causes.push(format!("[{} != {}]", request.prev_value, node.value));
        }
        if index_differs {
            causes.push(format!("[{} != {}]", request.prev_index, node.modified));
        }
        if causes.is_empty() { Ok(()) } else { Err(self.fail(101, causes.join(" "))) }
    }

    fn swap(&mut self, path: &str, request: &V2Request, changes: &mut Vec<Change>) -> Answer {
        let Some(old) = self.node(path) else { return Err(self.missing(path)) };
        if old.dir {
            return Err(self.fail(102, path));
        }
        self.compare(&old, request)?;
        self.update("compareAndSwap", path, request, changes)
    }

    fn delete(&mut self, path: &str, request: &V2Request, changes: &mut Vec<Change>) -> Answer {
        let Some(old) = self.node(path) else { return Err(self.missing(path)) };
        let compares = request.prev_index != 0 || request.has_prev_value;
        if old.dir && (compares || !(request.dir || request.recursive)) {
            return Err(self.fail(102, path));
        }
        if compares {
            self.compare(&old, request)?;
        }
        if old.dir && !request.recursive && !self.descendants(path).is_empty() {
            return Err(self.fail(108, path));
        }
        let action = if compares { "compareAndDelete" } else { "delete" };
        Ok(self.end(action, path, &old, changes))
    }

    /// Takes a node out, with all that is in it.
    fn end(&mut self, action: &'static str, path: &str, old: &V2Node, changes: &mut Vec<Change>) -> V2Event {
        let modified = self.advance(changes);
        for path in self.descendants(path) {
            self.remove(&path, changes);
        }
        self.remove(path, changes);
        let previous = self.show(path, old);
        let node = Shown { value: None, expires: 0, modified, ..previous.clone() };
        let event = self.event(action, node, Some(previous));
        self.record(event)
    }

    /// Whether something has run out.
    pub fn has_expired(&self, now: u64) -> bool {
        self.expiries.first().is_some_and(|(at, _)| *at <= now)
    }

    fn expire(&mut self, now: u64, changes: &mut Vec<Change>) {
        while let Some((at, path)) = self.expiries.first().cloned()
            && at <= now
        {
            self.expiries.remove(&(at, path.clone()));
            if let Some(node) = self.nodes.get(&path).cloned() {
                self.end("expire", &path, &node, changes);
                self.counts.expired += 1;
            }
        }
    }

    /// All as records.
    pub fn dump(&self) -> Vec<Change> {
        let nodes = self.nodes.iter().map(|(path, node)| {
            Change::Set(Bucket::V2, Bytes::copy_from_slice(path.as_bytes()), node.encode_to_vec().into())
        });
        nodes.chain([self.index_change()]).collect()
    }

    /// Takes back one record. Returns whether it could be read.
    pub fn restore(&mut self, path: &[u8], value: &[u8]) -> bool {
        let (Ok(path), Ok(node)) = (String::from_utf8(path.to_vec()), V2Node::decode(value)) else {
            return false;
        };
        self.insert(path, node);
        true
    }

    /// Takes back the mark.
    pub fn restore_index(&mut self, index: u64) {
        self.index = index;
    }
}
