//! How a leader comes to be: timeouts, pre-votes, votes, and stepping down.

use super::{Membership, NOBODY, Progress, Raft, Role};
use crate::proto::internal::message::Kind;
use crate::proto::internal::{Entry, Message};

/// Marks a vote that a leader asked for itself.
const TRANSFER: u64 = 1;

impl Raft {
    pub(super) fn become_follower(&mut self, term: u64, leader: u64) {
        if term > self.term {
            self.term = term;
            self.vote = NOBODY;
        }
        self.role = Role::Follower;
        self.leader = leader;
        self.transferee = NOBODY;
        self.reads.clear();
        self.early_reads.clear();
        self.progress.clear();
        self.reset_timeout();
    }

    fn reset_timeout(&mut self) {
        self.elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.timeout = self.settings.election_ticks + self.random(self.settings.election_ticks);
    }

    /// Asks for votes, or with `pre` whether asking would make sense.
    pub(super) fn campaign(&mut self, pre: bool, transfer: bool) {
        self.reset_timeout();
        self.votes.clear();
        self.leader = NOBODY;
        let (term, kind) = if pre {
            self.role = Role::PreCandidate;
            (self.term + 1, Kind::PreVote)
        } else {
            self.role = Role::Candidate;
            self.term += 1;
            self.vote = self.settings.id;
            (self.term, Kind::Vote)
        };
        self.votes.insert(self.settings.id, true);
        let id = self.settings.id;
        let voters: Vec<u64> = self.membership.voters.iter().copied().filter(|voter| *voter != id).collect();
        for to in voters {
            self.send(Message {
                kind: kind.into(),
                to,
                term,
                index: self.log.last_index(),
                log_term: self.log.last_term(),
                context: if transfer { TRANSFER } else { 0 },
                ..Message::default()
            });
        }
        self.count_votes();
    }

    /// A message from a later term. Returns whether it is to be looked at further.
    pub(super) fn meet_higher_term(&mut self, message: &Message) -> bool {
        match message.kind() {
            Kind::PreVote => {}
            Kind::PreVoteReply if !message.reject => {}
            Kind::Vote => {
                // Who hears a leader does not help to unseat it, so that a member that was cut off cannot disturb.
                let leased = self.leader != NOBODY && self.elapsed < self.settings.election_ticks;
                if leased && message.context != TRANSFER {
                    return false;
                }
                self.become_follower(message.term, NOBODY);
            }
            Kind::Append | Kind::Heartbeat | Kind::Commit | Kind::Snapshot => {
                self.become_follower(message.term, message.from)
            }
            _ => self.become_follower(message.term, NOBODY),
        }
        // A pre-vote leaves the term alone, and is looked at as it is.
        if matches!(message.kind(), Kind::PreVote | Kind::PreVoteReply) && message.term > self.term {
            match message.kind() {
                Kind::PreVote => self.on_vote(message),
                _ => self.on_vote_reply(message),
            }
            return false;
        }
        true
    }

    pub(super) fn on_vote(&mut self, message: &Message) {
        let pre = message.kind() == Kind::PreVote;
        let leased = self.leader != NOBODY && self.elapsed < self.settings.election_ticks;
        let free = if pre {
            message.term > self.term && !leased
        } else {
            self.vote == message.from || (self.vote == NOBODY && self.leader == NOBODY)
        };
        let granted = free && self.log.is_up_to_date(message.index, message.log_term);
        if granted && !pre {
            self.vote = message.from;
            self.elapsed = 0;
        }
        let kind = if pre { Kind::PreVoteReply } else { Kind::VoteReply };
        // A granted pre-vote answers in the term that was asked for, a refused one in ours.
        let term = if granted { message.term } else { self.term };
        self.send(Message {
            kind: kind.into(),
            to: message.from,
            term,
            reject: !granted,
            ..Message::default()
        });
    }

    pub(super) fn on_vote_reply(&mut self, message: &Message) {
        let expected = match message.kind() {
            Kind::PreVoteReply => Role::PreCandidate,
            _ => Role::Candidate,
        };
        if self.role != expected || !self.membership.voters.contains(&message.from) {
            return;
        }
        self.votes.entry(message.from).or_insert(!message.reject);
        self.count_votes();
    }

    fn count_votes(&mut self) {
        let granted = self.votes.values().filter(|granted| **granted).count();
        let refused = self.votes.len() - granted;
        let quorum = self.membership.quorum();
        if granted >= quorum {
            match self.role {
                Role::PreCandidate => self.campaign(false, false),
                Role::Candidate => self.become_leader(),
                _ => {}
            }
        } else if refused >= quorum {
            self.become_follower(self.term, NOBODY);
        }
    }

    fn become_leader(&mut self) {
        self.role = Role::Leader;
        self.leader = self.settings.id;
        self.transferee = NOBODY;
        self.reset_timeout();
        let next = self.log.last_index() + 1;
        let Membership { voters, learners } = &self.membership;
        self.progress = voters
            .iter()
            .chain(learners)
            .filter(|id| **id != self.settings.id)
            .map(|id| (*id, Progress::new(next)))
            .collect();
        // A change of membership that is in the log but not applied may still come: no other before that.
        self.membership_index = self.log.last_index();
        // An empty entry of its own term lets a leader commit what older leaders left.
        let entry = Entry { term: self.term, index: next, ..Entry::default() };
        self.log.append([entry]);
        self.broadcast_appends();
    }
}
