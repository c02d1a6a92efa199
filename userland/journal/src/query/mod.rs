//! Looking into the journal: `journalctl`. An expression of matches ([`matches`]) is resolved in each file to the
//! entries that may fit; those of all files are merged by time ([`merge`]) and printed ([`output`]).

mod args;
pub mod boots;
pub mod catalog;
pub mod cli;
pub mod cursor;
pub mod follow;
pub mod header;
pub mod manage;
pub mod matches;
pub mod merge;
pub mod output;
mod pager;
pub mod pick;
mod show;
pub mod time;
pub mod units;
pub mod verify;
