//! One member: Raft, its disk, and the state, in the one order that keeps promises. Pure but for the disk that it is
//! given, so that the simulator runs the same steps as the server.

use std::sync::Arc;

use parking_lot::RwLock;
use prost::Message as _;

use crate::fault::Fault;
use crate::proto::internal::message::Kind;
use crate::proto::internal::{Command, Entry, HardState, MembershipChange, Message, SnapshotMark, entry};
use crate::raft::Raft;
use crate::state::record::Change;
use crate::state::{Reply, State};

/// Where promises are kept.
pub trait Disk {
    /// What can go wrong.
    type Error;

    /// Writes entries and a promise; with `sync` they are safe when it returns.
    ///
    /// # Errors
    /// Then nothing may be promised.
    fn append(
        &mut self,
        hard_state: Option<HardState>,
        entries: &[Entry],
        sync: bool,
    ) -> Result<(), Self::Error>;

    /// Puts the state of a snapshot that has arrived in place of everything, safely, and returns it.
    ///
    /// # Errors
    /// Then nothing has changed.
    fn install(&mut self, mark: &SnapshotMark, hard_state: HardState) -> Result<State, Self::Error>;
}

/// An entry that was applied.
#[derive(Debug)]
pub struct Applied {
    /// The number that its proposer gave it; 0 for none.
    pub id: u64,
    /// What it came to.
    pub result: Result<Reply, Fault>,
    /// The revision after it.
    pub revision: i64,
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// What was asked, where more than the state has to know.
    pub command: Option<Command>,
}

/// What one turn brought.
#[derive(Debug, Default)]
pub struct Turn {
    /// Messages to send.
    pub messages: Vec<Message>,
    /// Entries that were applied.
    pub applied: Vec<Applied>,
    /// Records that changed.
    pub changes: Vec<Change>,
    /// Reads that may go on.
    pub reads: Vec<u64>,
    /// Whether the state is another one now, from a snapshot.
    pub installed: bool,
    /// Whether the membership changed.
    pub membership: bool,
}

/// One member.
pub struct Replica<D> {
    /// Its Raft.
    pub raft: Raft,
    /// Its disk.
    pub disk: D,
    state: Arc<RwLock<State>>,
    hard_state: HardState,
    /// Reads that wait until an index is applied.
    waiting: Vec<(u64, u64)>,
}

/// Entries kept in memory behind the applied one, for members that are a little slow.
const CATCH_UP: u64 = 5_000;
/// Entries and bytes above which those behind are forgotten.
const HELD_MAX: u64 = 10_000;
const HELD_BYTES_MAX: usize = 64 << 20;

impl<D: Disk> Replica<D> {
    /// A member that goes on from `hard_state`, with a state that has everything the log counts as applied.
    pub fn new(raft: Raft, disk: D, state: Arc<RwLock<State>>, hard_state: HardState) -> Replica<D> {
        Replica { raft, disk, state, hard_state, waiting: Vec::new() }
    }

    /// The state.
    pub fn state(&self) -> &Arc<RwLock<State>> {
        &self.state
    }

    /// Does the work that has gathered: disk, then messages, then the state.
    ///
    /// # Errors
    /// Of the disk: the member must stop, for it cannot know what is safe.
    pub fn turn(&mut self, send: &mut dyn FnMut(Message)) -> Result<Turn, D::Error> {
        let mut turn = Turn::default();
        while self.raft.has_ready() {
            let ready = self.raft.ready();
            ready.early.into_iter().for_each(&mut *send);
            if let Some(mark) = &ready.snapshot {
                let hard_state = ready.hard_state.unwrap_or(self.hard_state);
                *self.state.write() = self.disk.install(mark, hard_state)?;
                turn.installed = true;
            }
            if let Some(hard_state) = ready.hard_state {
                self.hard_state = hard_state;
            }
            if ready.hard_state.is_some() || !ready.entries.is_empty() {
                self.disk.append(ready.hard_state, &ready.entries, ready.must_sync)?;
            }
            if let Some(last) = ready.entries.last() {
                self.raft.persisted(last.index, last.term);
            }
            ready.messages.into_iter().for_each(&mut *send);
            self.apply(&ready.committed, &mut turn);
            self.waiting.extend(ready.reads);
        }
        let applied = self.raft.log().applied();
        self.waiting.retain(|(context, index)| {
            let due = *index <= applied;
            if due {
                turn.reads.push(*context);
            }
            !due
        });
        self.forget();
        Ok(turn)
    }

    fn apply(&mut self, entries: &[Entry], turn: &mut Turn) {
        if entries.is_empty() {
            return;
        }
        let mut state = self.state.write();
        let mut membership = false;
        for entry in entries {
            let (index, term) = (entry.index, entry.term);
            let (id, result, command) = apply_entry(&mut state, entry);
            membership |= entry.kind() == entry::Kind::Membership;
            state.mark(index, term);
            turn.applied.push(Applied { id, result, revision: state.mvcc.revision(), index, term, command });
        }
        turn.changes.extend(state.take_changes());
        if membership {
            turn.membership = true;
            let members = state.members.membership();
            drop(state);
            self.raft.set_membership(members);
        }
    }

    /// Entries in memory are for those that lag a little; others get a snapshot.
    fn forget(&mut self) {
        let log = self.raft.log();
        let held = log.last_index() + 1 - log.first_index();
        if held > HELD_MAX || (held > 64 && held.is_multiple_of(64) && log.size().1 > HELD_BYTES_MAX) {
            let keep = if held > HELD_MAX { CATCH_UP } else { 32 };
            let applied = log.applied();
            self.raft.forget(applied.saturating_sub(keep));
        }
    }

    /// The mark of the state as it is, for a member that needs a snapshot.
    pub fn mark(&self) -> SnapshotMark {
        let (index, term) = self.state.read().applied();
        let membership = self.raft.membership();
        SnapshotMark {
            index,
            term,
            voters: membership.voters.iter().copied().collect(),
            learners: membership.learners.iter().copied().collect(),
        }
    }

    /// Whether a message asks for a snapshot to be sent.
    pub fn wants_snapshot(message: &Message) -> bool {
        message.kind() == Kind::Snapshot
    }
}

/// Applies one entry to a state. Returns the proposer's number, what it came to, and the command.
pub fn apply_entry(state: &mut State, entry: &Entry) -> (u64, Result<Reply, Fault>, Option<Command>) {
    // What cannot be decoded came from a member that knows more than this one: all members of one version skip it.
    match entry.kind() {
        entry::Kind::Command if entry.data.is_empty() => (0, Ok(Reply::Done), None),
        entry::Kind::Command => match Command::decode(entry.data.clone()) {
            Ok(command) => (command.id, state.apply(&command), Some(command)),
            Err(_) => (0, Ok(Reply::Done), None),
        },
        entry::Kind::Membership => match MembershipChange::decode(entry.data.clone()) {
            Ok(change) => (change.id, state.apply_membership(&change).map(|()| Reply::Done), None),
            Err(_) => (0, Ok(Reply::Done), None),
        },
    }
}
