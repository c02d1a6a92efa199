//! A chain: rules in their order, and where in a packet's way they are asked.

use crate::Rule;

/// Where in a packet's way through the kernel (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// Before it is decided where it goes.
    Prerouting = 0,
    /// On its way to a process of this machine.
    Input = 1,
    /// On its way through.
    Forward = 2,
    /// Made by a process of this machine.
    Output = 3,
    /// Just before it leaves.
    Postrouting = 4,
}

/// What becomes of a packet that no rule decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// It is gone.
    Drop = 0,
    /// It goes on.
    Accept = 1,
}

/// Where a chain hangs: its hook, what it is for, when among the others of the hook, its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub hook: Hook,
    pub kind: &'static str,
    pub priority: i32,
    pub policy: Policy,
}

/// A chain of rules.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(crate) name: String,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

/// Priorities as nft(8) names them: `dstnat`, `filter`, `srcnat`.
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

impl Chain {
    /// A chain that others jump to.
    pub fn regular(name: &str) -> Chain {
        Chain { name: name.to_owned(), base: None, rules: Vec::new() }
    }

    /// A chain that lets packets through or not. `later` is when, counted from `filter`: negative is sooner.
    pub fn filter(name: &str, hook: Hook, later: i32, policy: Policy) -> Chain {
        Chain::base(name, Base { hook, kind: "filter", priority: FILTER + later, policy })
    }

    /// Where a connection that comes in, or begins here, is sent elsewhere. `hook` is
    /// [`Hook::Prerouting`] or [`Hook::Output`].
    pub fn destination_nat(name: &str, hook: Hook) -> Chain {
        Chain::base(name, Base { hook, kind: "nat", priority: DESTINATION_NAT, policy: Policy::Accept })
    }

    /// Where a connection that leaves is given another source.
    pub fn source_nat(name: &str) -> Chain {
        let hook = Hook::Postrouting;
        Chain::base(name, Base { hook, kind: "nat", priority: SOURCE_NAT, policy: Policy::Accept })
    }

    /// Adds a rule behind the others.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Chain {
        self.rules.push(rule);
        self
    }

    fn base(name: &str, base: Base) -> Chain {
        Chain { base: Some(base), ..Chain::regular(name) }
    }
}
