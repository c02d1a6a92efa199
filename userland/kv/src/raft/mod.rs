//! Raft, pure: ticks and messages in, messages and work to do out. It reads no clock, no disk and no network.
//!
//! Invariants: one vote a term; a leader never rewrites its own log; an entry counts as held by this member only
//! once [`Raft::persisted`] has said so; a reply that promises something leaves only after what it promises is
//! durable (see [`Ready`]). One change of membership at a time, so that any two majorities share a member.
//!
//! Follows Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", and Ongaro's thesis: §3.10
//! leader transfer, §4.1 single-server changes, §4.2.1 learners, §6.4 read index, §9.6 pre-vote; and CheckQuorum
//! as etcd has it: a leader that does not hear from a majority steps down.

mod election;
mod log;
mod progress;
mod replication;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use log::Log;
pub use progress::{Feed, Progress};

use crate::proto::internal::message::Kind;
use crate::proto::internal::{Entry, HardState, Message, SnapshotMark, entry};

/// No member.
pub const NOBODY: u64 = 0;

/// What does not change while a member runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This member.
    pub id: u64,
    /// Ticks without a leader after which an election is thought of; the real number is up to twice that.
    pub election_ticks: u32,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: u32,
    /// Bytes of entries in one message.
    pub append_bytes: usize,
    /// Ask before disturbing.
    pub pre_vote: bool,
    /// What chance begins from.
    pub seed: u64,
}

/// What a member is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether an election has a chance.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Decides the order.
    Leader,
}

/// Who decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Members that vote.
    pub voters: BTreeSet<u64>,
    /// Members that only listen.
    pub learners: BTreeSet<u64>,
}

impl Membership {
    /// The smallest number of voters that is a majority.
    pub fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Everyone.
    pub fn members(&self) -> impl Iterator<Item = u64> + '_ {
        self.voters.iter().chain(&self.learners).copied()
    }
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no leader to ask.
    #[error("there is no leader")]
    NoLeader,
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// A change of membership is still on its way.
    #[error("another change of membership is on its way")]
    MembershipPending,
}

/// Work for the shell around Raft, in this order: `early` may leave at once; `snapshot` is installed; `entries`
/// and `hard_state` become durable, then [`Raft::persisted`]; `messages` leave; `committed` is applied.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    /// Messages that promise nothing.
    pub early: Vec<Message>,
    /// A snapshot that takes the place of everything before it.
    pub snapshot: Option<SnapshotMark>,
    /// Term, vote and commit, where they changed.
    pub hard_state: Option<HardState>,
    /// Whether the hard state must be durable before `messages` leave: a commit alone need not.
    pub must_sync: bool,
    /// Entries for the disk.
    pub entries: Vec<Entry>,
    /// Messages that promise what is above.
    pub messages: Vec<Message>,
    /// Entries for the state machine.
    pub committed: Vec<Entry>,
    /// Reads that may go on once this index is applied.
    pub reads: Vec<(u64, u64)>,
}

/// A read that waits until a majority has said that this leader still leads.
#[derive(Clone, Debug)]
struct Read {
    from: u64,
    context: u64,
    index: u64,
    round: u64,
}

/// One member's Raft.
#[derive(Clone, Debug)]
pub struct Raft {
    settings: Settings,
    term: u64,
    vote: u64,
    leader: u64,
    role: Role,
    log: Log,
    membership: Membership,
    progress: BTreeMap<u64, Progress>,
    votes: BTreeMap<u64, bool>,
    elapsed: u32,
    heartbeat_elapsed: u32,
    timeout: u32,
    /// Index of the newest proposed change of membership.
    membership_index: u64,
    transferee: u64,
    /// Entries were proposed that were not sent yet: those of one turn share a message.
    unsent: bool,
    /// Rounds of heartbeats, counted by a leader.
    round: u64,
    reads: VecDeque<Read>,
    /// Reads that came before this leader's first entry was committed.
    early_reads: Vec<(u64, u64)>,
    ready: Ready,
    hard_state: HardState,
    chance: u64,
}

impl Raft {
    /// A member that goes on from what its disk held: `log` is loaded, `membership` is as of its applied entry.
    pub fn new(settings: Settings, hard_state: HardState, log: Log, membership: Membership) -> Raft {
        let mut raft = Raft {
            term: hard_state.term,
            vote: hard_state.vote,
            leader: NOBODY,
            role: Role::Follower,
            log,
            membership,
            progress: BTreeMap::new(),
            votes: BTreeMap::new(),
            elapsed: 0,
            heartbeat_elapsed: 0,
            timeout: 0,
            membership_index: 0,
            transferee: NOBODY,
            unsent: false,
            round: 0,
            reads: VecDeque::new(),
            early_reads: Vec::new(),
            ready: Ready::default(),
            hard_state,
            chance: settings.seed ^ settings.id.rotate_left(17) | 1,
            settings,
        };
        raft.become_follower(raft.term, NOBODY);
        raft
    }

    /// This member.
    pub fn id(&self) -> u64 {
        self.settings.id
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The leader, or [`NOBODY`].
    pub fn leader(&self) -> u64 {
        self.leader
    }

    /// What this member is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether this member leads.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Who decides.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// What the leader knows of the others.
    pub fn progress(&self) -> &BTreeMap<u64, Progress> {
        &self.progress
    }

    /// A leader heard from a majority of voters lately: new members may be trusted to it.
    pub fn active_voters(&self) -> usize {
        self.membership.voters.iter().filter(|id| self.is_active(**id)).count()
    }

    fn is_active(&self, id: u64) -> bool {
        id == self.settings.id || self.progress.get(&id).is_some_and(|progress| progress.active)
    }

    fn is_voter(&self) -> bool {
        self.membership.voters.contains(&self.settings.id)
    }

    /// A number by chance, below `bound`.
    fn random(&mut self, bound: u32) -> u32 {
        // xorshift64*: enough to keep members from waking at the same moment.
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        ((self.chance.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as u32) % bound.max(1)
    }

    fn send(&mut self, mut message: Message) {
        message.from = self.settings.id;
        if message.term == 0 && !matches!(message.kind(), Kind::Propose | Kind::ReadIndex) {
            message.term = self.term;
        }
        let promises = match message.kind() {
            Kind::AppendReply | Kind::VoteReply | Kind::PreVoteReply | Kind::Vote => true,
            // A heartbeat's reply says who leads, in a term that must be durable. And it may not overtake the replies
            // to what was sent before the heartbeat: the leader would take those for lost.
            Kind::HeartbeatReply => true,
            _ => false,
        };
        if promises { self.ready.messages.push(message) } else { self.ready.early.push(message) }
    }

    /// Time passes.
    pub fn tick(&mut self) {
        self.elapsed += 1;
        if self.role == Role::Leader {
            self.tick_leader();
        } else if self.elapsed >= self.timeout && self.is_voter() {
            self.elapsed = 0;
            self.campaign(self.settings.pre_vote, false);
        }
    }

    fn tick_leader(&mut self) {
        self.heartbeat_elapsed += 1;
        if self.elapsed >= self.settings.election_ticks {
            self.elapsed = 0;
            self.transferee = NOBODY;
            if self.active_voters() < self.membership.quorum() {
                self.become_follower(self.term, NOBODY);
                return;
            }
            self.progress.values_mut().for_each(|progress| progress.active = false);
        }
        if self.heartbeat_elapsed >= self.settings.heartbeat_ticks {
            self.heartbeat_elapsed = 0;
            self.send_heartbeats();
        }
    }

    /// Thinks of an election at once, as when the only member starts.
    pub fn hurry(&mut self) {
        if self.is_voter() && self.role != Role::Leader {
            self.campaign(self.settings.pre_vote, false);
        }
    }

    /// Takes a message from another member.
    pub fn step(&mut self, message: Message) {
        let kind = message.kind();
        match kind {
            Kind::Propose => {
                let _ = self.propose(message.entries);
                return;
            }
            Kind::ReadIndex => {
                self.lead_read(message.from, message.context);
                return;
            }
            Kind::Transfer => {
                self.transfer(message.context);
                return;
            }
            Kind::Lease | Kind::LeaseReply => return,
            _ => {}
        }
        if message.term > self.term && !self.meet_higher_term(&message) {
            return;
        }
        if message.term < self.term {
            self.answer_the_past(&message);
            return;
        }
        match kind {
            Kind::Vote | Kind::PreVote => self.on_vote(&message),
            Kind::VoteReply | Kind::PreVoteReply => self.on_vote_reply(&message),
            Kind::Append => self.on_append(message),
            Kind::Heartbeat => self.on_heartbeat(&message),
            Kind::Commit => self.on_commit(&message),
            Kind::Snapshot => self.on_snapshot(message),
            Kind::AppendReply => self.on_append_reply(&message),
            Kind::HeartbeatReply => self.on_heartbeat_reply(&message),
            Kind::TimeoutNow => {
                if self.is_voter() {
                    self.campaign(false, true);
                }
            }
            Kind::ReadIndexReply => self.ready.reads.push((message.context, message.index)),
            Kind::Propose | Kind::ReadIndex | Kind::Transfer | Kind::Lease | Kind::LeaseReply => {}
        }
    }

    /// Answers a member that lives in an older term, where silence would leave it stuck.
    fn answer_the_past(&mut self, message: &Message) {
        let reply = match message.kind() {
            // A leader that was cut off has to learn that its time is over.
            Kind::Append | Kind::Heartbeat | Kind::Commit => Kind::AppendReply,
            Kind::PreVote => Kind::PreVoteReply,
            _ => return,
        };
        self.send(Message { kind: reply.into(), to: message.from, reject: true, ..Message::default() });
    }

    /// Adds commands to the log; a follower passes them to its leader.
    ///
    /// # Errors
    /// Where nobody can take them now.
    pub fn propose(&mut self, mut entries: Vec<Entry>) -> Result<(), Refused> {
        if self.role != Role::Leader {
            if self.leader == NOBODY || self.leader == self.settings.id {
                return Err(Refused::NoLeader);
            }
            let to = self.leader;
            // Those of one turn go together.
            match self.ready.early.last_mut().filter(|last| last.kind() == Kind::Propose && last.to == to) {
                Some(last) if fits(&last.entries, self.settings.append_bytes) => last.entries.extend(entries),
                _ => self.send(Message { kind: Kind::Propose.into(), to, entries, ..Message::default() }),
            }
            return Ok(());
        }
        if self.transferee != NOBODY {
            return Err(Refused::Transferring);
        }
        let mut index = self.log.last_index();
        for entry in &mut entries {
            index += 1;
            if entry.kind() == entry::Kind::Membership {
                if self.membership_index > self.log.applied() {
                    return Err(Refused::MembershipPending);
                }
                self.membership_index = index;
            }
            entry.index = index;
            entry.term = self.term;
        }
        self.log.append(entries);
        self.unsent = true;
        Ok(())
    }

    /// Takes over a change of membership that was applied.
    pub fn set_membership(&mut self, membership: Membership) {
        self.membership = membership;
        if self.role != Role::Leader {
            return;
        }
        let ids: BTreeSet<u64> = self.membership.members().collect();
        self.progress.retain(|id, _| ids.contains(id));
        let next = self.log.last_index() + 1;
        for id in ids {
            if id != self.settings.id {
                self.progress.entry(id).or_insert_with(|| Progress::new(next));
            }
        }
        if !self.is_voter() {
            self.become_follower(self.term, NOBODY);
            return;
        }
        if !self.membership.voters.contains(&self.transferee) {
            self.transferee = NOBODY;
        }
        self.advance_commit();
        self.broadcast_appends();
    }

    /// Hands leadership to `to`; a follower asks its leader to.
    pub fn transfer(&mut self, to: u64) {
        if self.role != Role::Leader {
            if self.leader != NOBODY {
                let leader = self.leader;
                self.send(Message {
                    kind: Kind::Transfer.into(),
                    to: leader,
                    context: to,
                    ..Message::default()
                });
            }
            return;
        }
        if to == self.settings.id || !self.membership.voters.contains(&to) {
            return;
        }
        self.transferee = to;
        self.elapsed = 0;
        self.hand_over_or_feed(to);
    }

    /// Asks for the index that a linearizable read must wait for; the answer comes in [`Ready::reads`].
    ///
    /// # Errors
    /// Without a leader to ask.
    pub fn read(&mut self, context: u64) -> Result<(), Refused> {
        if self.role == Role::Leader {
            self.lead_read(self.settings.id, context);
            return Ok(());
        }
        if self.leader == NOBODY {
            return Err(Refused::NoLeader);
        }
        let to = self.leader;
        self.send(Message { kind: Kind::ReadIndex.into(), to, context, ..Message::default() });
        Ok(())
    }

    /// Whether [`Raft::ready`] would return anything.
    pub fn has_ready(&self) -> bool {
        let ready = &self.ready;
        !ready.early.is_empty()
            || !ready.messages.is_empty()
            || !ready.reads.is_empty()
            || ready.snapshot.is_some()
            || self.log.has_unstable()
            || self.log.has_committed()
            || self.current_hard_state() != self.hard_state
    }

    fn current_hard_state(&self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.log.committed() }
    }

    /// Takes the work that has gathered. Entries to apply are those that are durable already.
    pub fn ready(&mut self) -> Ready {
        if std::mem::take(&mut self.unsent) && self.role == Role::Leader {
            self.broadcast_appends();
        }
        let mut ready = std::mem::take(&mut self.ready);
        ready.entries = self.log.take_unstable();
        ready.must_sync = !ready.entries.is_empty();
        let state = self.current_hard_state();
        if state != self.hard_state {
            ready.must_sync |= (state.term, state.vote) != (self.hard_state.term, self.hard_state.vote);
            ready.hard_state = Some(state);
            self.hard_state = state;
        }
        ready.committed = self.log.take_committed(COMMITTED_BYTES);
        ready
    }

    /// The disk has everything up to this entry.
    pub fn persisted(&mut self, index: u64, term: u64) {
        self.log.persisted(index, term);
        if self.role == Role::Leader {
            self.advance_commit();
        }
    }

    /// A snapshot that was asked for did not reach `to`, or nothing has come of it: it is asked again.
    pub fn snapshot_failed(&mut self, to: u64) {
        if let Some(progress) = self.progress.get_mut(&to)
            && matches!(progress.feed, Feed::Snapshot(_))
        {
            progress.probe();
        }
    }

    /// A member cannot be reached: what was sent is taken for lost.
    pub fn unreachable(&mut self, to: u64) {
        if let Some(progress) = self.progress.get_mut(&to)
            && progress.feed == Feed::Stream
        {
            progress.probe();
        }
    }

    /// Forgets entries up to `index` that are applied and kept elsewhere.
    pub fn forget(&mut self, index: u64) {
        self.log.forget(index);
    }
}

/// Bytes of entries applied in one round, so that heartbeats are not kept waiting.
const COMMITTED_BYTES: usize = 4 << 20;
/// Proposals in one message to the leader.
const PROPOSALS: usize = 64;

/// Whether more proposals may go with these.
fn fits(entries: &[Entry], bytes: usize) -> bool {
    entries.len() < PROPOSALS && entries.iter().map(|entry| entry.data.len()).sum::<usize>() < bytes
}
