//! A transaction: changes that take effect together, or not at all.

use crate::attribute::Attributes;
use crate::element::shape;
use crate::{Chain, Element, Family, Rule, Set, Table};

/// `enum nf_tables_msg_types`
mod message {
    pub const NEW_TABLE: u8 = 0;
    pub const DELETE_TABLE: u8 = 2;
    pub const NEW_CHAIN: u8 = 3;
    pub const NEW_RULE: u8 = 6;
    pub const NEW_SET: u8 = 9;
    pub const NEW_ELEMENTS: u8 = 12;
    pub const DELETE_ELEMENTS: u8 = 14;
}

/// `NLM_F_CREATE`, `NLM_F_APPEND`
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// One message of a transaction.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub message: u8,
    pub flags: u16,
    pub family: Family,
    pub attributes: Attributes,
    /// What it is, for the one who reads an error.
    pub what: String,
}

/// Changes to tables, in the order they are made.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub(crate) changes: Vec<Change>,
    sets: u32,
}

impl Transaction {
    /// Nothing to do yet.
    pub fn new() -> Transaction {
        Transaction::default()
    }

    /// The table is as told, whatever it was before.
    #[must_use]
    pub fn replace(self, table: &Table) -> Transaction {
        let mut all = self.remove(table.family, &table.name);
        all.table(message::NEW_TABLE, table.family, &table.name);
        // Chains before rules: a rule may jump ahead.
        for chain in &table.chains {
            all.chain(table, chain);
        }
        for set in &table.sets {
            all.set(table, set);
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                all.rule(table, chain, rule);
            }
        }
        all
    }

    /// The table is not there any more; that it was not there before is no error.
    #[must_use]
    pub fn remove(mut self, family: Family, table: &str) -> Transaction {
        self.table(message::NEW_TABLE, family, table);
        self.table(message::DELETE_TABLE, family, table);
        self
    }

    /// Elements come into a set. One that is there with the same value is no error.
    #[must_use]
    pub fn add(mut self, family: Family, table: &str, set: &str, elements: &[Element]) -> Transaction {
        self.elements(message::NEW_ELEMENTS, family, table, set, elements);
        self
    }

    /// Elements leave a set. One that is not there is an error: the transaction is refused.
    #[must_use]
    pub fn take(mut self, family: Family, table: &str, set: &str, elements: &[Element]) -> Transaction {
        self.elements(message::DELETE_ELEMENTS, family, table, set, elements);
        self
    }

    fn table(&mut self, message: u8, family: Family, name: &str) {
        const NAME: u16 = 1;
        let what = format!("table {} {name}", family.name());
        self.push(message, CREATE, family, Attributes::new().text(NAME, name), what);
    }

    /// `enum nft_chain_attributes`, `enum nft_hook_attributes`
    fn chain(&mut self, table: &Table, chain: &Chain) {
        let mut attributes = Attributes::new().text(1, &table.name).text(3, &chain.name);
        if let Some(base) = &chain.base {
            let hook = Attributes::new().number(1, base.hook as u32).number(2, base.priority.cast_unsigned());
            attributes = attributes.nested(4, hook).number(5, base.policy as u32).text(7, base.kind);
        }
        let what = format!("table {} {}: chain {}", table.family.name(), table.name, chain.name);
        self.push(message::NEW_CHAIN, CREATE, table.family, attributes, what);
    }

    /// `enum nft_rule_attributes`
    fn rule(&mut self, table: &Table, chain: &Chain, rule: &Rule) {
        let list = rule.expressions.iter().fold(Attributes::new(), |list, expression| {
            const ELEMENT: u16 = 1;
            list.nested(ELEMENT, expression.encode())
        });
        let mut attributes = Attributes::new().text(1, &table.name).text(2, &chain.name).nested(4, list);
        if let Some(comment) = &rule.comment {
            // nft(8) keeps a comment as kind 0, length, text and zero byte.
            let mut text = vec![0, comment.len() as u8 + 1];
            text.extend_from_slice(comment.as_bytes());
            text.push(0);
            attributes = attributes.bytes(7, &text);
        }
        let what = format!("table {} {}: a rule of chain {}", table.family.name(), table.name, chain.name);
        self.push(message::NEW_RULE, CREATE | APPEND, table.family, attributes, what);
    }

    /// `enum nft_set_attributes`
    fn set(&mut self, table: &Table, set: &Set) {
        const MAP: u32 = 8;
        let flags = if set.value.is_empty() { 0 } else { MAP };
        let (kind, length) = shape(&set.key);
        self.sets += 1;
        let mut attributes = Attributes::new()
            .text(1, &table.name)
            .text(2, &set.name)
            .number(3, flags)
            .number(4, kind)
            .number(5, length)
            .number(10, self.sets);
        if !set.value.is_empty() {
            let (kind, length) = shape(&set.value);
            attributes = attributes.number(6, kind).number(7, length);
        }
        let what = format!("table {} {}: set {}", table.family.name(), table.name, set.name);
        self.push(message::NEW_SET, CREATE, table.family, attributes, what);
        self.elements(message::NEW_ELEMENTS, table.family, &table.name, &set.name, &set.elements);
    }

    /// `enum nft_set_elem_list_attributes`. An attribute ends at 64 KiB: many elements are many messages.
    fn elements(&mut self, message: u8, family: Family, table: &str, set: &str, elements: &[Element]) {
        const FULL: usize = 60_000;
        const ELEMENT: u16 = 1;
        let what = format!("table {} {table}: elements of set {set}", family.name());
        let mut list = Attributes::new();
        for (index, element) in elements.iter().enumerate() {
            list = list.nested(ELEMENT, encode(element));
            if list.len() > FULL || index + 1 == elements.len() {
                let full = std::mem::take(&mut list);
                let attributes = Attributes::new().text(1, table).text(2, set).nested(3, full);
                self.push(message, CREATE, family, attributes, what.clone());
            }
        }
    }

    fn push(&mut self, message: u8, flags: u16, family: Family, attributes: Attributes, what: String) {
        let flags = match message {
            message::DELETE_TABLE | message::DELETE_ELEMENTS => 0,
            _ => flags,
        };
        self.changes.push(Change { message, flags, family, attributes, what });
    }
}

/// `enum nft_set_elem_attributes`
fn encode(element: &Element) -> Attributes {
    let data = |bytes: &[u8]| Attributes::new().bytes(1, bytes);
    let key = Attributes::new().nested(1, data(&element.key.bytes()));
    match &element.value {
        Some(value) => key.nested(2, data(&value.bytes())),
        None => key,
    }
}
