//! How entries reach the others: appends, heartbeats, snapshots, and reads that need no entry.

use super::{Feed, NOBODY, Raft, Read, Role};
use crate::proto::internal::message::Kind;
use crate::proto::internal::{Message, SnapshotMark};

impl Raft {
    pub(super) fn broadcast_appends(&mut self) {
        let ids: Vec<u64> = self.progress.keys().copied().collect();
        for id in ids {
            self.feed(id);
        }
    }

    /// Sends a member what it is missing, as far as it may be sent now.
    pub(super) fn feed(&mut self, to: u64) {
        loop {
            let Some(progress) = self.progress.get_mut(&to) else { return };
            if progress.is_paused() {
                return;
            }
            let before = progress.next - 1;
            let Some(log_term) = self.log.term(before).filter(|_| before + 1 >= self.log.first_index())
            else {
                self.feed_snapshot(to);
                return;
            };
            let entries = self.log.following(before, self.settings.append_bytes);
            let Some(last) = entries.last().map(|entry| entry.index) else {
                if progress.feed == Feed::Probe {
                    progress.in_flight = 1;
                    self.send_append(to, before, log_term, entries);
                }
                return;
            };
            progress.in_flight += 1;
            if progress.feed == Feed::Stream {
                progress.next = last + 1;
            }
            self.send_append(to, before, log_term, entries);
        }
    }

    fn send_append(
        &mut self,
        to: u64,
        index: u64,
        log_term: u64,
        entries: Vec<crate::proto::internal::Entry>,
    ) {
        let commit = self.log.committed();
        let kind = Kind::Append.into();
        self.send(Message { kind, to, index, log_term, entries, commit, ..Message::default() });
    }

    fn feed_snapshot(&mut self, to: u64) {
        let index = self.log.applied();
        let Some(term) = self.log.term(index) else { return };
        let Some(progress) = self.progress.get_mut(&to) else { return };
        if !progress.active {
            return;
        }
        progress.feed = Feed::Snapshot(index);
        let mark = SnapshotMark {
            index,
            term,
            voters: self.membership.voters.iter().copied().collect(),
            learners: self.membership.learners.iter().copied().collect(),
        };
        self.send(Message { kind: Kind::Snapshot.into(), to, snapshot: Some(mark), ..Message::default() });
    }

    pub(super) fn send_heartbeats(&mut self) {
        let round = self.round;
        let to: Vec<(u64, u64, u64)> = self
            .progress
            .iter()
            .map(|(id, progress)| (*id, progress.matched, progress.next.saturating_sub(1)))
            .collect();
        for (to, matched, index) in to {
            let commit = self.log.committed().min(matched);
            let kind = Kind::Heartbeat.into();
            // The index is what was sent before it: the reply brings it back.
            self.send(Message { kind, to, commit, index, context: round, ..Message::default() });
        }
    }

    pub(super) fn on_append(&mut self, message: Message) {
        self.follow(message.from);
        let to = message.from;
        let kind = Kind::AppendReply.into();
        if message.index < self.log.committed() {
            let index = self.log.committed();
            self.send(Message { kind, to, index, ..Message::default() });
            return;
        }
        let (before, commit) = (message.index, message.commit);
        match self.log.merge(before, message.log_term, message.entries) {
            Ok(last) => {
                self.log.commit(commit.min(last));
                self.send(Message { kind, to, index: last, ..Message::default() });
            }
            Err(hint) => {
                let hint = self.log.agreement(hint, message.log_term);
                let hint_term = self.log.term(hint).unwrap_or(0);
                let reject = true;
                self.send(Message { kind, to, index: before, reject, hint, hint_term, ..Message::default() });
            }
        }
    }

    pub(super) fn on_heartbeat(&mut self, message: &Message) {
        self.follow(message.from);
        self.log.commit(message.commit);
        let (to, context, index) = (message.from, message.context, message.index);
        self.send(Message { kind: Kind::HeartbeatReply.into(), to, context, index, ..Message::default() });
    }

    pub(super) fn on_commit(&mut self, message: &Message) {
        self.follow(message.from);
        if self.log.term(message.index) == Some(message.log_term) {
            self.log.commit(message.commit.min(message.index));
        }
    }

    pub(super) fn on_snapshot(&mut self, message: Message) {
        self.follow(message.from);
        let Some(mark) = message.snapshot else { return };
        if mark.index > self.log.committed() {
            self.log = super::Log::after(mark.index, mark.term);
            self.membership.voters = mark.voters.iter().copied().collect();
            self.membership.learners = mark.learners.iter().copied().collect();
            self.ready.snapshot = Some(mark);
        }
        let index = self.log.committed();
        self.send(Message { kind: Kind::AppendReply.into(), to: message.from, index, ..Message::default() });
    }

    fn follow(&mut self, leader: u64) {
        if self.role != Role::Follower {
            self.become_follower(self.term, leader);
        }
        self.elapsed = 0;
        self.leader = leader;
    }

    pub(super) fn on_append_reply(&mut self, message: &Message) {
        let agreement = self.log.agreement(message.hint, message.hint_term);
        let Some(progress) = self.progress.get_mut(&message.from).filter(|_| self.role == Role::Leader)
        else {
            return;
        };
        progress.active = true;
        if message.reject {
            progress.refuse(message.index, agreement);
        } else if message.index <= self.log.last_index() && progress.accept(message.index) {
            self.advance_commit();
        }
        if self.transferee == message.from {
            self.hand_over_or_feed(message.from);
        } else {
            self.feed(message.from);
        }
    }

    pub(super) fn on_heartbeat_reply(&mut self, message: &Message) {
        let last = self.log.last_index();
        let Some(progress) = self.progress.get_mut(&message.from).filter(|_| self.role == Role::Leader)
        else {
            return;
        };
        progress.active = true;
        progress.round = progress.round.max(message.context);
        match progress.feed {
            // What was sent may have been lost: one more may go out.
            Feed::Probe => progress.in_flight = 0,
            // Replies come in the order of what they answer: what went before this heartbeat is lost.
            Feed::Stream if progress.matched < message.index => progress.probe(),
            Feed::Stream if progress.matched + 1 == progress.next => progress.in_flight = 0,
            _ => {}
        }
        let behind = progress.matched < last;
        self.release_reads();
        if behind {
            self.feed(message.from);
        }
    }

    pub(super) fn hand_over_or_feed(&mut self, to: u64) {
        if self.progress.get(&to).is_some_and(|progress| progress.matched == self.log.last_index()) {
            self.send(Message { kind: Kind::TimeoutNow.into(), to, ..Message::default() });
        } else {
            self.feed(to);
        }
    }

    /// Commits what a majority has, if it is of this leader's own term.
    pub(super) fn advance_commit(&mut self) {
        let mut held: Vec<u64> = self.membership.voters.iter().map(|id| self.held_by(*id)).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        let Some(index) = held.get(self.membership.quorum() - 1).copied() else { return };
        if self.log.term(index) == Some(self.term) && self.log.commit(index) {
            for (from, context) in std::mem::take(&mut self.early_reads) {
                self.lead_read(from, context);
            }
            self.broadcast_commit();
        }
    }

    /// Says what is committed to those that wait for nothing else.
    fn broadcast_commit(&mut self) {
        let last = self.log.last_index();
        let idle: Vec<u64> = self
            .progress
            .iter()
            .filter(|(_, progress)| progress.feed == Feed::Stream && progress.next == last + 1)
            .map(|(id, _)| *id)
            .collect();
        for to in idle {
            let (kind, commit) = (Kind::Commit.into(), self.log.committed());
            let log_term = self.log.last_term();
            self.send(Message { kind, to, index: last, log_term, commit, ..Message::default() });
        }
    }

    fn held_by(&self, id: u64) -> u64 {
        if id == self.settings.id {
            self.log.stable()
        } else {
            self.progress.get(&id).map_or(0, |progress| progress.matched)
        }
    }

    pub(super) fn lead_read(&mut self, from: u64, context: u64) {
        if self.role != Role::Leader {
            return;
        }
        if self.log.term(self.log.committed()) != Some(self.term) {
            self.early_reads.push((from, context));
            return;
        }
        let index = self.log.committed();
        if self.membership.quorum() == 1 && self.membership.voters.contains(&self.settings.id) {
            self.answer_read(from, context, index);
            return;
        }
        self.round += 1;
        self.reads.push_back(Read { from, context, index, round: self.round });
        self.send_heartbeats();
    }

    fn answer_read(&mut self, from: u64, context: u64, index: u64) {
        if from == self.settings.id {
            self.ready.reads.push((context, index));
        } else if from != NOBODY {
            self.send(Message {
                kind: Kind::ReadIndexReply.into(),
                to: from,
                context,
                index,
                ..Message::default()
            });
        }
    }

    /// Lets reads go on whose round a majority has answered.
    fn release_reads(&mut self) {
        let mut rounds: Vec<u64> = self
            .membership
            .voters
            .iter()
            .map(|id| match self.progress.get(id) {
                _ if *id == self.settings.id => u64::MAX,
                progress => progress.map_or(0, |progress| progress.round),
            })
            .collect();
        rounds.sort_unstable_by(|a, b| b.cmp(a));
        let Some(round) = rounds.get(self.membership.quorum() - 1).copied() else { return };
        while let Some(read) = self.reads.pop_front_if(|read| read.round <= round) {
            self.answer_read(read.from, read.context, read.index);
        }
    }
}
