//! A running member: a thread that owns the replica and does one turn after the other, and the handle by which
//! everything else asks it.
//!
//! Requests that arrive while the disk works share its next write: that is the group commit.

mod disk;
pub mod latency;
mod run;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot, watch};

pub use disk::{FileDisk, Paths};
pub use run::{Outbox, start, wall_clock};

use crate::fault::Fault;
use crate::proto::internal::command::Request;
use crate::proto::internal::{Command, MembershipChange, Message};
use crate::proto::{AlarmRequest, AlarmType, ResponseHeader, alarm_request::AlarmAction};
use crate::state::auth::Caller;
use crate::state::{Reply, State, View};
use crate::watch::Hub;

/// What a member is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// This member.
    pub member_id: u64,
    /// The cluster.
    pub cluster_id: u64,
    /// One tick.
    pub heartbeat: Duration,
    /// Without a leader for so long, an election is thought of.
    pub election: Duration,
    /// Applied entries after which a snapshot is written.
    pub snapshot_count: u64,
    /// Ask before disturbing.
    pub pre_vote: bool,
    /// Bytes of records after which puts are refused.
    pub quota: u64,
    /// Bytes of a request.
    pub max_request: usize,
    /// How long a token is good after its last use.
    pub token_ttl: Duration,
}

/// Answers that are waited for.
type Answer = oneshot::Sender<Result<(Reply, i64), Fault>>;

/// What the thread is asked.
pub enum Input {
    /// To propose.
    Propose(Command, Answer),
    /// To change the membership.
    Membership(MembershipChange, Answer),
    /// To say when a linearizable read may go on.
    Read(oneshot::Sender<Result<(), Fault>>),
    /// To take a message from another member.
    Message(Message),
    /// To take a snapshot that lies in a file.
    Snapshot(Message, std::path::PathBuf),
    /// To hand over leadership.
    Transfer(u64),
    /// A lease's time: renew it (1) or tell it (2).
    Lease(u64, i64, oneshot::Sender<Option<i64>>),
    /// A member cannot be reached.
    Unreachable(u64),
    /// A snapshot did not arrive.
    SnapshotFailed(u64),
    /// A snapshot as of this entry is on the disk.
    Saved(u64, u64),
    /// To end.
    Stop,
}

/// What leaves for other members.
pub enum Output {
    /// A message.
    Message(Message),
    /// A message that carries the whole state.
    Snapshot(Message, View),
}

/// What is known of the member's part in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The leader, or 0.
    pub leader: u64,
    /// The term.
    pub term: u64,
    /// Up to where a majority has the log.
    pub committed: u64,
    /// Up to where it is applied.
    pub applied: u64,
    /// Voters that the leader hears of, where this member leads.
    pub active: u64,
    /// Members by how far they are, where this member leads.
    pub matched: Vec<(u64, u64)>,
}

/// Counts for /metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Proposals that are not answered yet.
    pub pending: AtomicI64,
    /// Proposals that failed.
    pub failed: AtomicU64,
    /// How often a leader was seen to change.
    pub leader_changes: AtomicU64,
    /// Writes that the disk has confirmed.
    pub syncs: AtomicU64,
    /// Snapshots written.
    pub snapshots: AtomicU64,
    /// Messages that append to the log, from a leader.
    pub appends_received: AtomicU64,
    /// The same, sent as leader.
    pub appends_sent: AtomicU64,
}

/// What the thread shares.
pub struct Shared {
    /// What the member was set up with.
    pub setup: Setup,
    /// The applied state.
    pub state: Arc<RwLock<State>>,
    /// Watchers.
    pub hub: Mutex<Hub>,
    /// Streams of watchers that have to look.
    pub wakers: Mutex<HashMap<u64, Arc<Notify>>>,
    /// Where the member stands.
    pub standing: watch::Receiver<Standing>,
    /// The index of the v2 keyspace.
    pub v2_index: watch::Receiver<u64>,
    /// Users' tokens, with when they run out.
    pub tokens: Mutex<HashMap<String, (String, Instant)>>,
    /// Counts.
    pub counts: Counts,
    /// How fast followers answer, where this member leads.
    pub latencies: Mutex<latency::Latencies>,
    /// Whether the member was removed or has failed.
    pub stopped: AtomicBool,
    /// Told once when it is.
    pub end: Notify,
    /// Where its files are.
    pub paths: Paths,
}

/// A handle to the member.
#[derive(Clone)]
pub struct Node {
    input: mpsc::Sender<Input>,
    shared: Arc<Shared>,
    next_id: Arc<AtomicU64>,
}

impl std::ops::Deref for Node {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Node {
    fn timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.setup.election
    }

    /// Asks the thread; nothing is said where it has ended.
    pub fn send(&self, input: Input) {
        let _ = self.input.send(input);
    }

    /// A number that no other proposal has.
    pub fn unique(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    async fn wait<T>(&self, answer: oneshot::Receiver<Result<T, Fault>>) -> Result<T, Fault> {
        match tokio::time::timeout(self.timeout(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Fault::Stopped),
            Err(_) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                Err(Fault::Timeout)
            }
        }
    }

    /// Proposes a request and waits until it is applied. Returns what it came to, and the revision after it.
    ///
    /// # Errors
    /// Why it was refused, or that nobody could say in time whether it was applied.
    pub async fn propose(&self, caller: Caller, request: Request) -> Result<(Reply, i64), Fault> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Fault::Stopped);
        }
        let command = Command {
            id: self.unique(),
            user: caller.user,
            auth_revision: caller.revision,
            request: Some(request),
        };
        let (send, receive) = oneshot::channel();
        self.counts.pending.fetch_add(1, Ordering::Relaxed);
        self.send(Input::Propose(command, send));
        let result = self.wait(receive).await;
        self.counts.pending.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Changes the membership and waits until that is applied.
    ///
    /// # Errors
    /// As [`Node::propose`].
    pub async fn change_membership(&self, mut change: MembershipChange) -> Result<(Reply, i64), Fault> {
        change.id = self.unique();
        let (send, receive) = oneshot::channel();
        self.send(Input::Membership(change, send));
        self.wait(receive).await
    }

    /// Waits until the state has everything that was committed when this was called.
    ///
    /// # Errors
    /// Where no leader answers.
    pub async fn linearize(&self) -> Result<(), Fault> {
        let (send, receive) = oneshot::channel();
        self.send(Input::Read(send));
        self.wait(receive).await
    }

    /// Renews a lease. Returns its seconds, or nothing where there is none.
    ///
    /// # Errors
    /// Where no leader answers.
    pub async fn keep_alive(&self, id: i64) -> Result<Option<i64>, Fault> {
        self.ask_lease(1, id).await
    }

    /// The seconds that a lease has left.
    ///
    /// # Errors
    /// Where no leader answers.
    pub async fn time_to_live(&self, id: i64) -> Result<Option<i64>, Fault> {
        self.ask_lease(2, id).await
    }

    async fn ask_lease(&self, what: u64, id: i64) -> Result<Option<i64>, Fault> {
        let (send, receive) = oneshot::channel();
        self.send(Input::Lease(what, id, send));
        match tokio::time::timeout(self.timeout(), receive).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Fault::NoLeader),
            Err(_) => Err(Fault::Timeout),
        }
    }

    /// The header of an answer, as of now.
    pub fn header(&self) -> ResponseHeader {
        self.header_at(self.state.read().mvcc.revision())
    }

    /// The header of an answer at a revision.
    pub fn header_at(&self, revision: i64) -> ResponseHeader {
        let raft_term = self.standing.borrow().term;
        ResponseHeader {
            cluster_id: self.setup.cluster_id,
            member_id: self.setup.member_id,
            revision,
            raft_term,
        }
    }

    /// Whether this member only listens.
    pub fn is_learner(&self) -> bool {
        self.state.read().members.get(self.setup.member_id).is_some_and(|member| member.is_learner)
    }

    /// Refuses what would not fit into the quota, and says so to everyone.
    ///
    /// # Errors
    /// `NoSpace`.
    pub async fn check_quota(&self, bytes: usize) -> Result<(), Fault> {
        let (used, alarmed) = {
            let state = self.state.read();
            (state.mvcc.size() as u64, state.has_alarm(AlarmType::Nospace))
        };
        if alarmed {
            return Err(Fault::NoSpace);
        }
        if used + bytes as u64 <= self.setup.quota {
            return Ok(());
        }
        self.raise(AlarmType::Nospace).await;
        Err(Fault::NoSpace)
    }

    /// Raises an alarm for this member.
    pub async fn raise(&self, kind: AlarmType) {
        let alarm = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: self.setup.member_id,
            alarm: kind.into(),
        };
        let _ = self.propose(Caller::default(), Request::Alarm(alarm)).await;
    }

    /// The user of a token, whose time begins anew.
    pub fn user_of(&self, token: &str) -> Option<String> {
        let mut tokens = self.tokens.lock();
        let now = Instant::now();
        let (user, until) = tokens.get_mut(token)?;
        if *until < now {
            tokens.remove(token);
            return None;
        }
        *until = now + self.setup.token_ttl;
        Some(user.clone())
    }
}
