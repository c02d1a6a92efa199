//! Looking into the journal: `journalctl`. An expression of matches ([`matches`]) is resolved in each file to the
//! entries that may fit; those of all files are merged by time ([`merge`]) and printed ([`output`]).

pub mod boots;
pub mod cli;
pub mod follow;
pub mod manage;
pub mod matches;
pub mod merge;
pub mod output;
pub mod pick;
pub mod time;
