//! nf_tables by netlink: a table of ours, told whole, put in place in one step.
//!
//! A [`Table`] holds chains of [`Rule`]s and sets of elements. A [`Transaction`] says what has to
//! become of the kernel's tables; [`Nftables::commit`] has all of it take effect at once, or
//! nothing. What other programs keep in tables of their own is never touched.
//!
//! ```no_run
//! use nftables::{Chain, Family, Nftables, Rule, Table, Transaction};
//!
//! let leaving = Rule::new().source("10.2.0.0/16".parse().unwrap()).masquerade();
//! let table = Table::new(Family::Inet, "corten").chain(Chain::source_nat("postrouting").rule(leaving));
//! Nftables::open()?.commit(&Transaction::new().replace(&table))?;
//! # Ok::<(), nftables::Error>(())
//! ```
//!
//! A rule becomes a list of the kernel's small instructions ([`expression`]), those that nft(8)
//! makes of the same words: `nft list ruleset` shows our tables as if it had made them. The numbers
//! are those of `linux/netfilter/nf_tables.h`.

mod attribute;
mod chain;
mod element;
mod expression;
mod rule;
mod socket;
mod table;
mod transaction;

pub use chain::{Chain, Hook, Policy};
pub use element::{Element, Field, Set};
pub use rule::{Protocol, Rule};
pub use socket::{Error, Nftables};
pub use table::{Family, Table};
pub use transaction::Transaction;
