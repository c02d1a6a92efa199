//! A table: the one thing of nf_tables that has an owner.

use crate::{Chain, Set};

/// Which packets a table sees (`enum nfproto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// Frames that a bridge forwards.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

impl Family {
    /// As nft(8) calls it.
    pub fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Bridge => "bridge",
            Family::Ip6 => "ip6",
        }
    }
}

/// A table with all that is in it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Which packets it sees.
    pub family: Family,
    /// Unique among the tables of its family.
    pub name: String,
    /// Sets and maps that rules look up.
    pub sets: Vec<Set>,
    /// Chains of rules.
    pub chains: Vec<Chain>,
}

impl Table {
    /// An empty table.
    pub fn new(family: Family, name: &str) -> Table {
        Table { family, name: name.to_owned(), sets: Vec::new(), chains: Vec::new() }
    }

    /// Adds a set.
    #[must_use]
    pub fn set(mut self, set: Set) -> Table {
        self.sets.push(set);
        self
    }

    /// Adds a chain.
    #[must_use]
    pub fn chain(mut self, chain: Chain) -> Table {
        self.chains.push(chain);
        self
    }
}
