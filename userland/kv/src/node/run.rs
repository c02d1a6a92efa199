//! The thread of a member: takes what has come, does a turn, tells everyone concerned.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::RwLock;
use prost::Message as _;
use tokio::sync::{Notify, oneshot, watch};

use super::{Answer, Counts, FileDisk, Input, Node, Output, Paths, Setup, Shared, Standing};
use crate::fault::Fault;
use crate::lessor::Lessor;
use crate::proto::internal::command::Request;
use crate::proto::internal::message::Kind;
use crate::proto::internal::{Command, Entry, Message, V2Request, entry, v2_request};
use crate::proto::{AlarmType, LeaseRevokeRequest};
use crate::raft::{Log, NOBODY, Raft, Refused, Settings};
use crate::replica::{Applied, Replica, Turn};
use crate::state::{EXPIRY, State};
use crate::storage::applied::Checkpoint;
use crate::storage::snapshot;
use crate::storage::wal::{Replay, Wal};

/// Inputs taken into one turn.
const TURN: usize = 4096;
/// The longest that proposals are gathered for one write.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// Leases ended in one tick.
const EXPIRIES: usize = 500;

/// Where messages to other members go.
pub type Outbox = Box<dyn Fn(Output) + Send>;

/// Starts a member whose disk held `replay`, with `state` as of its newest snapshot or later.
pub fn start(
    setup: Setup,
    paths: Paths,
    (wal, replay): (Wal, Replay),
    state: State,
    checkpoint: Checkpoint,
    outbox: Outbox,
) -> Node {
    let (index, term) = state.applied();
    let mut log = Log::after(index, term);
    log.load(replay.entries, replay.hard_state.commit, index);
    let ticks = setup.election.as_millis() / setup.heartbeat.as_millis().max(1);
    let settings = Settings {
        id: setup.member_id,
        election_ticks: u32::try_from(ticks).unwrap_or(10).max(2),
        heartbeat_ticks: 1,
        append_bytes: 1 << 20,
        pre_vote: setup.pre_vote,
        seed: random(),
    };
    let raft = Raft::new(settings, replay.hard_state, log, state.members.membership());
    let (input, receive) = mpsc::channel();
    let (standing, standing_seen) = watch::channel(Standing::default());
    let (v2_index, v2_seen) = watch::channel(state.v2.index());
    let state = Arc::new(RwLock::new(state));
    let disk = FileDisk::new(wal, paths.clone());
    let full = disk.full.clone();
    let shared = Arc::new(Shared {
        setup,
        state: state.clone(),
        hub: parking_lot::Mutex::default(),
        wakers: parking_lot::Mutex::default(),
        standing: standing_seen,
        v2_index: v2_seen,
        tokens: parking_lot::Mutex::default(),
        counts: Counts::default(),
        latencies: parking_lot::Mutex::default(),
        stopped: AtomicBool::new(false),
        end: Notify::new(),
        paths,
    });
    // Proposals of two runs of one member must not share numbers.
    let next_id = Arc::new(AtomicU64::new((shared.setup.member_id << 40) ^ random()));
    let node = Node { input: input.clone(), shared: shared.clone(), next_id: next_id.clone() };
    let member = Member {
        replica: Replica::new(raft, disk, state, replay.hard_state),
        shared,
        input: Node { input, shared: node.shared.clone(), next_id },
        outbox,
        standing,
        v2_index,
        pending: HashMap::new(),
        proposed: 0,
        answered: 0,
        held: Vec::new(),
        reads: Vec::new(),
        reading: None,
        leases_asked: HashMap::new(),
        lessor: Lessor::default(),
        led: false,
        began: Instant::now(),
        saved: index,
        saving: false,
        checkpoint,
        full,
    };
    thread::Builder::new().name("raft".into()).spawn(move || member.run(&receive)).map(drop).unwrap_or_else(
        |error| {
            eprintln!("etcd: cannot start a thread: {error}");
            std::process::exit(1);
        },
    );
    node
}

fn random() -> u64 {
    let mut bytes = [0u8; 8];
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    u64::from_le_bytes(bytes)
}

/// Milliseconds since 1970.
pub fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

type ReadAnswer = oneshot::Sender<Result<(), Fault>>;

struct Member {
    replica: Replica<FileDisk>,
    shared: Arc<Shared>,
    /// To itself, for what other threads finish.
    input: Node,
    outbox: Outbox,
    standing: watch::Sender<Standing>,
    v2_index: watch::Sender<u64>,
    pending: HashMap<u64, (Answer, Instant)>,
    /// Proposals taken so far.
    proposed: usize,
    /// Those that the last turn answered.
    answered: usize,
    /// Proposals that wait for a leader.
    held: Vec<(u64, Entry, Answer)>,
    reads: Vec<ReadAnswer>,
    /// The read that is on its way, the requests it is for, and when it left.
    reading: Option<(u64, Vec<ReadAnswer>, Instant)>,
    leases_asked: HashMap<u64, (oneshot::Sender<Option<i64>>, Instant)>,
    lessor: Lessor,
    led: bool,
    began: Instant,
    /// The entry of the newest snapshot.
    saved: u64,
    saving: bool,
    checkpoint: Checkpoint,
    full: Arc<AtomicBool>,
}

impl Member {
    fn run(mut self, receive: &Receiver<Input>) {
        let tick = self.shared.setup.heartbeat;
        let mut next_tick = Instant::now() + tick;
        if self.replica.raft.membership().voters.len() == 1 {
            self.replica.raft.hurry();
        }
        loop {
            if self.turn().is_none() {
                return self.stop();
            }
            let wait = next_tick.saturating_duration_since(Instant::now());
            if self.gather(receive, wait).is_none() {
                return self.stop();
            }
            let now = Instant::now();
            if now >= next_tick {
                // After a long pause time is not made up for: that would look like a leader's long silence.
                next_tick = (next_tick + tick).max(now);
                self.tick(now);
            }
        }
    }

    /// Takes what comes within `wait`, and what comes with it. Returns nothing where the member must end.
    ///
    /// Those who were answered together ask again together: they are waited for, no longer than the disk takes, for
    /// whoever is missed now waits for a whole write.
    fn gather(&mut self, receive: &Receiver<Input>, wait: Duration) -> Option<()> {
        let mut input = receive.recv_timeout(wait);
        let until = Instant::now() + self.replica.disk.wal.sync_time().min(GATHER_MAX);
        let before = self.proposed;
        for _ in 0..TURN {
            match input {
                Ok(Input::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => break,
            }
            input = receive.try_recv().map_err(|_| RecvTimeoutError::Timeout);
            let some = self.proposed - before;
            if input.is_err() && some > 0 && some < self.answered {
                input = receive.recv_timeout(until.saturating_duration_since(Instant::now()));
            }
        }
        Some(())
    }

    fn stop(mut self) {
        let _ = self.replica.disk.wal.settle();
        self.checkpoint.flush();
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.pending.clear();
        self.held.clear();
        self.shared.end.notify_waiters();
        self.shared.end.notify_one();
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Propose(command, answer) => {
                self.proposed += 1;
                let entry = Entry { data: command.encode_to_vec().into(), ..Entry::default() };
                self.propose(command.id, entry, answer);
            }
            Input::Membership(change, answer) => {
                let data = Bytes::from(change.encode_to_vec());
                let entry = Entry { kind: entry::Kind::Membership.into(), data, ..Entry::default() };
                self.propose(change.id, entry, answer);
            }
            Input::Read(answer) => self.reads.push(answer),
            Input::Message(message) => self.step(message),
            Input::Snapshot(message, path) => {
                self.replica.disk.arrived = Some(path);
                self.replica.raft.step(message);
            }
            Input::Transfer(to) => self.replica.raft.transfer(to),
            Input::Lease(what, id, answer) => self.ask_lease(what, id, answer),
            Input::Unreachable(id) => {
                self.shared.latencies.lock().failed(id);
                self.replica.raft.unreachable(id);
            }
            Input::SnapshotFailed(id) => self.replica.raft.snapshot_failed(id),
            Input::Saved(index, term) => self.saved(index, term),
            Input::Stop => {}
        }
    }

    fn propose(&mut self, id: u64, entry: Entry, answer: Answer) {
        match self.replica.raft.propose(vec![entry.clone()]) {
            Ok(()) => {
                self.pending.insert(id, (answer, Instant::now()));
            }
            // The client's time runs; mostly a leader is found before it is over.
            Err(Refused::NoLeader | Refused::Transferring) => self.held.push((id, entry, answer)),
            Err(Refused::MembershipPending) => {
                let _ = answer.send(Err(Fault::TooManyRequests));
            }
        }
    }

    /// Proposes again what nobody could take.
    fn release_held(&mut self) {
        if self.held.is_empty() || self.replica.raft.leader() == NOBODY {
            return;
        }
        for (id, entry, answer) in std::mem::take(&mut self.held) {
            if !answer.is_closed() {
                self.propose(id, entry, answer);
            }
        }
    }

    fn step(&mut self, message: Message) {
        match message.kind() {
            Kind::AppendReply if !message.reject => {
                self.shared.latencies.lock().answered(message.from, message.index, Instant::now());
                self.replica.raft.step(message);
            }
            Kind::Lease if self.replica.raft.is_leader() => {
                let id = message.hint as i64;
                let answer = self.lease_now(message.log_term, id);
                let (reject, hint) = (answer.is_none(), answer.unwrap_or(0) as u64);
                let reply = Message {
                    kind: Kind::LeaseReply.into(),
                    from: self.shared.setup.member_id,
                    to: message.from,
                    context: message.context,
                    reject,
                    hint,
                    ..Message::default()
                };
                (self.outbox)(Output::Message(reply));
            }
            Kind::LeaseReply => {
                if let Some((answer, _)) = self.leases_asked.remove(&message.context) {
                    let _ = answer.send((!message.reject).then_some(message.hint as i64));
                }
            }
            Kind::Append | Kind::Heartbeat | Kind::Commit | Kind::Snapshot
                if self.is_stranger(message.from) => {}
            _ => self.replica.raft.step(message),
        }
    }

    /// A member that was removed may not know it yet.
    fn is_stranger(&self, id: u64) -> bool {
        self.shared.state.read().members.is_removed(id)
    }

    fn lease_now(&mut self, what: u64, id: i64) -> Option<i64> {
        let now = self.now();
        if what == 1 { self.lessor.keep_alive(id, now) } else { self.lessor.remaining(id, now) }
    }

    fn ask_lease(&mut self, what: u64, id: i64, answer: oneshot::Sender<Option<i64>>) {
        if self.replica.raft.is_leader() {
            let _ = answer.send(self.lease_now(what, id));
            return;
        }
        let to = self.replica.raft.leader();
        if to == NOBODY {
            return;
        }
        let context = self.input.unique();
        self.leases_asked.insert(context, (answer, Instant::now()));
        let from = self.shared.setup.member_id;
        let (log_term, hint) = (what, id as u64);
        let message =
            Message { kind: Kind::Lease.into(), from, to, context, log_term, hint, ..Message::default() };
        (self.outbox)(Output::Message(message));
    }

    /// One turn, and what follows from it. Returns nothing where the member must end.
    fn turn(&mut self) -> Option<()> {
        self.release_held();
        self.begin_read();
        let (outbox, latencies) = (&self.outbox, &self.shared.latencies);
        let mut snapshots = Vec::new();
        let result = self.replica.turn(&mut |message| {
            if Replica::<FileDisk>::wants_snapshot(&message) {
                snapshots.push(message);
            } else {
                if let Some(last) = message.entries.last().filter(|_| message.kind() == Kind::Append) {
                    latencies.lock().sent(message.to, last.index, Instant::now());
                }
                outbox(Output::Message(message));
            }
        });
        let turn = match result {
            Ok(turn) => turn,
            Err(error) => {
                eprintln!("etcd: stopping, for nothing can be promised any more: {error}");
                return None;
            }
        };
        self.shared.counts.syncs.store(self.replica.disk.wal.syncs(), Ordering::Relaxed);
        for mut message in snapshots {
            message.snapshot = Some(self.replica.mark());
            let view = self.shared.state.read().view();
            (self.outbox)(Output::Snapshot(message, view));
        }
        if turn.installed {
            let (index, _) = self.shared.state.read().applied();
            self.saved = index;
            self.checkpoint.discard();
        }
        // Who asked is answered first: everything else can wait for that.
        let mut turn = turn;
        let last = turn.applied.last().map(|applied| (applied.index, applied.term));
        let removed = self.finish(&mut turn);
        self.publish(&turn);
        if let Some((index, term)) = last {
            self.checkpoint.write(turn.changes, index, term);
        }
        self.follow_leader();
        self.save_if_due();
        if removed {
            eprintln!("etcd: this member has been removed from the cluster");
            return None;
        }
        Some(())
    }

    fn begin_read(&mut self) {
        if self.reading.is_some() || self.reads.is_empty() {
            return;
        }
        let context = self.input.unique();
        if self.replica.raft.read(context).is_ok() {
            self.reading = Some((context, std::mem::take(&mut self.reads), Instant::now()));
        }
    }

    /// Wakes those who wait for changes.
    fn publish(&mut self, turn: &Turn) {
        let state = self.shared.state.read();
        self.v2_index.send_if_modified(|index| {
            let moved = *index != state.v2.index();
            *index = state.v2.index();
            moved
        });
        let records = turn.changes.iter().filter_map(|change| match change {
            crate::state::record::Change::Record(record) => Some(record),
            _ => None,
        });
        let woken = {
            let mut hub = self.shared.hub.lock();
            hub.publish_to(state.mvcc.revision());
            hub.publish(records)
        };
        drop(state);
        let wakers = self.shared.wakers.lock();
        if turn.installed {
            // Nobody knows what has changed: everyone looks.
            wakers.values().for_each(|waker| waker.notify_one());
        }
        for stream in woken {
            if let Some(waker) = wakers.get(&stream) {
                waker.notify_one();
            }
        }
    }

    /// Answers those who asked. Returns whether this member is one no more.
    fn finish(&mut self, turn: &mut Turn) -> bool {
        if !turn.applied.is_empty() {
            self.answered = 0;
        }
        for applied in std::mem::take(&mut turn.applied) {
            self.note(&applied);
            if let Some((answer, _)) = self.pending.remove(&applied.id) {
                self.answered += 1;
                let _ = answer.send(applied.result.map(|reply| (reply, applied.revision)));
            }
        }
        for context in std::mem::take(&mut turn.reads) {
            if let Some((_, answers, _)) = self.reading.take_if(|(reading, ..)| *reading == context) {
                for answer in answers {
                    let _ = answer.send(Ok(()));
                }
            }
        }
        turn.membership && self.shared.state.read().members.is_removed(self.shared.setup.member_id)
    }

    /// What lives beside the state: deadlines and tokens.
    fn note(&mut self, applied: &Applied) {
        let Some(request) = applied.command.as_ref().and_then(|command| command.request.as_ref()) else {
            return;
        };
        if applied.result.is_err() {
            return;
        }
        let now = self.now();
        match request {
            Request::LeaseGrant(grant) => self.lessor.renew(grant.id, grant.ttl, now),
            Request::LeaseRevoke(revoke) => self.lessor.remove(revoke.id),
            Request::Authenticate(login) => {
                let until = Instant::now() + self.shared.setup.token_ttl;
                let mut tokens = self.shared.tokens.lock();
                tokens.retain(|_, (_, until)| *until > Instant::now());
                tokens.insert(login.token.clone(), (login.name.clone(), until));
            }
            Request::AuthDisable(_) => self.shared.tokens.lock().clear(),
            Request::UserDelete(gone) => self.shared.tokens.lock().retain(|_, (user, _)| *user != gone.name),
            Request::UserChangePassword(changed) => {
                self.shared.tokens.lock().retain(|_, (user, _)| *user != changed.name);
            }
            _ => {}
        }
    }

    fn follow_leader(&mut self) {
        let raft = &self.replica.raft;
        let standing = Standing {
            leader: raft.leader(),
            term: raft.term(),
            committed: raft.log().committed(),
            applied: raft.log().applied(),
            active: if raft.is_leader() { raft.active_voters() as u64 } else { 0 },
            matched: if raft.is_leader() {
                raft.progress().iter().map(|(id, progress)| (*id, progress.matched)).collect()
            } else {
                Vec::new()
            },
        };
        let leads = raft.is_leader();
        if leads && !self.led {
            self.shared.latencies.lock().clear();
            let leases: Vec<(i64, i64)> =
                self.shared.state.read().leases.iter().map(|(id, lease)| (id, lease.ttl)).collect();
            let grace = self.shared.setup.election.as_millis() as u64;
            let now = self.now();
            self.lessor.restart(leases, grace, now);
        }
        self.led = leads;
        let counts = &self.shared.counts;
        self.standing.send_if_modified(|old| {
            // How far things are is looked up by who wants to know: nobody is woken for it.
            let moved = (old.leader, old.term) != (standing.leader, standing.term);
            if old.leader != standing.leader {
                counts.leader_changes.fetch_add(1, Ordering::Relaxed);
            }
            *old = standing;
            moved
        });
    }

    fn tick(&mut self, now: Instant) {
        self.replica.raft.tick();
        let limit = Duration::from_secs(30);
        self.pending.retain(|_, (answer, since)| !answer.is_closed() && now - *since < limit);
        self.leases_asked.retain(|_, (answer, since)| !answer.is_closed() && now - *since < limit);
        self.reads.retain(|answer| !answer.is_closed());
        self.held.retain(|(.., answer)| !answer.is_closed());
        // A read whose answer was lost is asked again.
        if let Some((_, mut answers, _)) =
            self.reading.take_if(|(.., since)| now - *since > self.shared.setup.election)
        {
            answers.retain(|answer| !answer.is_closed());
            self.reads.append(&mut answers);
        }
        if self.replica.raft.is_leader() {
            self.expire();
        }
        let wal = &mut self.replica.disk.wal;
        match wal.settle().and_then(|()| wal.prepare()) {
            Ok(()) => self.full.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.full.swap(true, Ordering::Relaxed) {
                    eprintln!("etcd: the disk is full: {error}");
                    self.raise_no_space();
                }
            }
        }
    }

    fn own_proposal(&mut self, request: Request) {
        let command = Command {
            id: self.input.unique(),
            user: EXPIRY.into(),
            auth_revision: u64::MAX,
            request: Some(request),
        };
        let entry = Entry { data: command.encode_to_vec().into(), ..Entry::default() };
        let _ = self.replica.raft.propose(vec![entry]);
    }

    fn raise_no_space(&mut self) {
        self.own_proposal(Request::Alarm(crate::proto::AlarmRequest {
            action: crate::proto::alarm_request::AlarmAction::Activate.into(),
            member_id: self.shared.setup.member_id,
            alarm: AlarmType::Nospace.into(),
        }));
    }

    /// Ends what has run out: the leader's clock decides.
    fn expire(&mut self) {
        let now = self.now();
        for id in self.lessor.expired(now, EXPIRIES) {
            self.own_proposal(Request::LeaseRevoke(LeaseRevokeRequest { id }));
        }
        let now = wall_clock();
        if self.shared.state.read().v2.has_expired(now) {
            let method = v2_request::Method::Expire.into();
            self.own_proposal(Request::V2(V2Request { method, now, ..V2Request::default() }));
        }
    }

    /// Writes a snapshot beside the work, so that the log does not grow for ever.
    fn save_if_due(&mut self) {
        let applied = self.replica.raft.log().applied();
        let many = applied.saturating_sub(self.saved) >= self.shared.setup.snapshot_count;
        if self.saving || !many {
            return;
        }
        self.saving = true;
        let view = self.shared.state.read().view();
        let directory = self.shared.paths.snapshots.clone();
        let node = self.input.clone();
        let spawned = thread::Builder::new().name("snapshot".into()).spawn(move || {
            let path = directory.join(snapshot::name(view.index, view.term));
            match snapshot::write(&path, &view) {
                Ok(()) => {
                    snapshot::prune(&directory, 2);
                    node.send(Input::Saved(view.index, view.term));
                }
                Err(error) => {
                    eprintln!("etcd: no snapshot could be written: {error}");
                    node.send(Input::Saved(0, 0));
                }
            }
        });
        if spawned.is_err() {
            self.saving = false;
        }
    }

    fn saved(&mut self, index: u64, _term: u64) {
        self.saving = false;
        if index == 0 {
            // Tried again after as many entries as the last time.
            self.saved = self.replica.raft.log().applied();
            return;
        }
        self.saved = index;
        self.shared.counts.snapshots.fetch_add(1, Ordering::Relaxed);
        // The one before it is kept too, with the log that goes on from it: if this one is damaged, that one serves.
        let oldest = snapshot::list(&self.shared.paths.snapshots).unwrap_or_default();
        let keep = oldest.get(1).map_or(index, |(index, _)| *index);
        if let Err(error) = self.replica.disk.wal.release(keep) {
            eprintln!("etcd: an old part of the log could not be removed: {error}");
        }
    }
}
