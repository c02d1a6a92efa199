//! The two slots and their state, as `image/grub/grub.cfg` reads and writes it.
//!
//! A slot is eligible when its priority is above 0 and it is known to be good or has tries left; the higher priority
//! wins, A before B when they are equal. The boot loader takes a try from a slot that is not yet good *before* it
//! loads the kernel; [`mark_good`](Slots::mark_good) ends the trial. Nothing eligible: the last good slot.
//!
//! A variable that is missing or no number reads as 0, like an empty string in GRUB's script: a damaged block makes a
//! slot ineligible, never eligible.

use std::fmt;

use crate::grubenv::{Block, BlockError};

/// The highest priority.
pub const MAX_PRIORITY: u8 = 15;

/// One of the two system partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// ROOT-A
    A,
    /// ROOT-B
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Slot; 2] = [Slot::A, Slot::B];

    /// The slot of `corten.slot=` and `last_good=`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Slot> {
        Slot::ALL.into_iter().find(|slot| slot.name() == name)
    }

    /// `a` or `b`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Slot::A => "a",
            Slot::B => "b",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the boot loader knows of a slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct State {
    /// 0: never; up to [`MAX_PRIORITY`].
    pub priority: u8,
    /// Boots left to prove itself.
    pub tries: u8,
    /// It has come up at least once.
    pub ok: bool,
}

impl State {
    /// May the boot loader pick it?
    #[must_use]
    pub fn eligible(self) -> bool {
        self.priority > 0 && (self.ok || self.tries > 0)
    }
}

/// The state of both slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Slot A.
    pub a: State,
    /// Slot B.
    pub b: State,
    /// What to boot when nothing else may be booted.
    pub last_good: Slot,
}

impl Slots {
    /// The state that a new disk has: A is good, B is empty.
    #[must_use]
    pub fn new_disk() -> Slots {
        Slots { a: State { priority: 1, tries: 0, ok: true }, b: State::default(), last_good: Slot::A }
    }

    /// Reads the variables of a block.
    #[must_use]
    pub fn read(block: &Block) -> Slots {
        let number = |slot: Slot, what: &str| {
            block.get(&format!("{slot}_{what}")).and_then(|text| text.parse::<u8>().ok()).unwrap_or(0)
        };
        let state = |slot| State {
            priority: number(slot, "prio").min(MAX_PRIORITY),
            tries: number(slot, "tries"),
            ok: number(slot, "ok") == 1,
        };
        Slots {
            a: state(Slot::A),
            b: state(Slot::B),
            last_good: block.get("last_good").and_then(Slot::parse).unwrap_or(Slot::A),
        }
    }

    /// Writes the variables into a block; others in it stay.
    ///
    /// # Errors
    /// None in practice: the names are fixed.
    pub fn write(&self, block: &mut Block) -> Result<(), BlockError> {
        for slot in Slot::ALL {
            let state = self.state(slot);
            block.set(&format!("{slot}_prio"), state.priority.to_string())?;
            block.set(&format!("{slot}_tries"), state.tries.to_string())?;
            block.set(&format!("{slot}_ok"), u8::from(state.ok).to_string())?;
        }
        block.set("last_good", self.last_good.name())
    }

    /// The state of one slot.
    #[must_use]
    pub fn state(&self, slot: Slot) -> State {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    fn state_mut(&mut self, slot: Slot) -> &mut State {
        match slot {
            Slot::A => &mut self.a,
            Slot::B => &mut self.b,
        }
    }

    /// What the boot loader will pick.
    #[must_use]
    pub fn choose(&self) -> Slot {
        match (self.a.eligible(), self.b.eligible()) {
            (true, true) if self.b.priority > self.a.priority => Slot::B,
            (true, _) => Slot::A,
            (false, true) => Slot::B,
            (false, false) => self.last_good,
        }
    }

    /// One boot as the boot loader does it: the slot, and the state it leaves behind.
    #[must_use]
    pub fn boot(mut self) -> (Slot, Slots) {
        let slot = self.choose();
        let state = self.state_mut(slot);
        if state.eligible() && !state.ok {
            state.tries -= 1;
        }
        (slot, self)
    }

    /// The good slot that the machine would go back to, while `slot` has yet to prove itself.
    #[must_use]
    pub fn trial(&self, slot: Slot) -> Option<Slot> {
        let fallback = slot.other();
        (!self.state(slot).ok && self.state(fallback).ok && self.state(fallback).priority > 0)
            .then_some(fallback)
    }

    /// The slot may not be booted, for what is in it is about to change.
    #[must_use]
    pub fn retire(mut self, slot: Slot) -> Slots {
        *self.state_mut(slot) = State::default();
        self
    }

    /// The slot holds a new release: it is booted next, and has so many tries to prove itself.
    #[must_use]
    pub fn put_on_trial(mut self, slot: Slot, tries: u8) -> Slots {
        let other = self.state_mut(slot.other());
        // Above the other one, where there is room.
        other.priority = other.priority.min(MAX_PRIORITY - 1);
        let priority = other.priority + 1;
        *self.state_mut(slot) = State { priority, tries, ok: false };
        self
    }

    /// The slot has had its chance: it is not tried again.
    #[must_use]
    pub fn give_up(mut self, slot: Slot) -> Slots {
        let state = self.state_mut(slot);
        if !state.ok {
            state.tries = 0;
        }
        self
    }

    /// The release in this slot was tried, and none of its boots came up.
    #[must_use]
    pub fn has_failed(&self, slot: Slot) -> bool {
        let state = self.state(slot);
        state.priority > 0 && !state.ok && state.tries == 0
    }

    /// This slot, which is good, is booted next, and not the other one. `None`: it is not good.
    #[must_use]
    pub fn go_back_to(mut self, slot: Slot) -> Option<Slots> {
        if !self.state(slot).ok {
            return None;
        }
        let other = self.state_mut(slot.other());
        other.priority = other.priority.min(MAX_PRIORITY - 1);
        self.state_mut(slot).priority = self.state(slot.other()).priority + 1;
        Some(self)
    }

    /// The running slot has come up: it is good, and the one to fall back to.
    #[must_use]
    pub fn mark_good(mut self, slot: Slot) -> Slots {
        let state = self.state_mut(slot);
        state.ok = true;
        state.tries = 0;
        // A slot that was booted as a last resort is eligible again.
        state.priority = state.priority.max(1);
        self.last_good = slot;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_trial(tries: u8) -> Slots {
        Slots { b: State { priority: 2, tries, ok: false }, ..Slots::new_disk() }
    }

    #[test]
    fn a_slot_that_never_comes_up_burns_its_tries_and_falls_back() {
        let mut slots = on_trial(3);
        let mut booted = Vec::new();
        for _ in 0..5 {
            let (slot, after) = slots.boot();
            booted.push(slot);
            slots = after;
        }
        assert_eq!(booted, [Slot::B, Slot::B, Slot::B, Slot::A, Slot::A]);
        assert_eq!(slots.b, State { priority: 2, tries: 0, ok: false });
    }

    #[test]
    fn a_slot_marked_good_stays() {
        let (slot, slots) = on_trial(3).boot();
        let slots = slots.mark_good(slot);
        assert_eq!(slots.last_good, Slot::B);
        assert_eq!(slots.b, State { priority: 2, tries: 0, ok: true });
        assert_eq!(slots.boot(), (Slot::B, slots));
    }

    #[test]
    fn a_slot_that_is_given_up_is_not_booted_and_known_to_have_failed() {
        let given_up = on_trial(3).boot().1.give_up(Slot::B);
        assert_eq!(given_up.choose(), Slot::A);
        assert!(given_up.has_failed(Slot::B) && !given_up.has_failed(Slot::A));
        assert!(!on_trial(3).has_failed(Slot::B) && !on_trial(1).retire(Slot::B).has_failed(Slot::B));
        let good = on_trial(3).mark_good(Slot::B);
        assert_eq!(good.give_up(Slot::B), good);
    }

    #[test]
    fn going_back_needs_a_good_slot() {
        let good = on_trial(3).mark_good(Slot::B);
        assert_eq!(good.go_back_to(Slot::A).map(|slots| slots.choose()), Some(Slot::A));
        assert_eq!(on_trial(3).go_back_to(Slot::B), None);
        let full = Slots { a: State { priority: MAX_PRIORITY, ..good.a }, ..good };
        assert_eq!(full.go_back_to(Slot::B).map(|slots| slots.choose()), Some(Slot::B));
    }

    #[test]
    fn a_trial_needs_somewhere_to_go_back_to() {
        assert_eq!(on_trial(1).trial(Slot::B), Some(Slot::A));
        assert_eq!(on_trial(1).mark_good(Slot::B).trial(Slot::B), None);
        let alone = Slots { a: State::default(), ..on_trial(1) };
        assert_eq!(alone.trial(Slot::B), None);
    }

    #[test]
    fn nothing_eligible_boots_the_last_good_one() {
        let none = Slots { a: State::default(), b: State::default(), last_good: Slot::B };
        assert_eq!(none.boot(), (Slot::B, none));
        assert!(none.mark_good(Slot::B).b.eligible());
    }

    #[test]
    fn a_block_without_sense_makes_no_slot_eligible() {
        let mut block = Block::default();
        block.set("a_prio", "x").unwrap();
        block.set("a_tries", "-1").unwrap();
        block.set("b_prio", "999").unwrap();
        block.set("last_good", "q").unwrap();
        let slots = Slots::read(&block);
        assert!(!slots.a.eligible() && !slots.b.eligible());
        assert_eq!(slots.choose(), Slot::A);
    }

    /// The power goes while the block is written: sectors are old or new, and one may be torn at any byte. Whatever is
    /// read then, the slot that is chosen is whole: the running one, or the other as long as nothing was written to it,
    /// or since it was read back.
    #[test]
    fn a_torn_block_chooses_a_slot_that_is_whole() {
        let bytes = |slots: Slots| {
            let mut block = Block::default();
            slots.write(&mut block).unwrap();
            block.to_bytes().unwrap()
        };
        let new_disk = Slots::new_disk();
        let crowded = Slots { a: State { priority: MAX_PRIORITY, ..new_disk.a }, ..new_disk };
        let retired = on_trial(3).retire(Slot::B);
        let (good, spent) = (on_trial(3).mark_good(Slot::B), on_trial(0));
        // Before, after, and whether slot B is whole while it is written.
        let changes = [
            (retired, retired.put_on_trial(Slot::B, 3), true),
            (crowded, crowded.put_on_trial(Slot::B, 3), true),
            (on_trial(3), on_trial(3).retire(Slot::B), true),
            (on_trial(3), on_trial(3).boot().1, true),
            (on_trial(2), on_trial(2).give_up(Slot::B), true),
            (on_trial(2), on_trial(2).mark_good(Slot::B), true),
            (good, good.go_back_to(Slot::A).unwrap(), true),
            (spent, spent.retire(Slot::B), false),
            (new_disk, new_disk.retire(Slot::B), false),
        ];
        for (before, after, b_is_whole) in changes {
            let (old, new) = (bytes(before), bytes(after));
            for torn in 0..=old.len() {
                for second_first in [false, true] {
                    let mut read = old;
                    let part = if second_first { torn..old.len() } else { 0..torn };
                    read[part.clone()].copy_from_slice(&new[part]);
                    // A block that cannot be read: the boot loader takes what it began with, slot A.
                    let Ok(block) = Block::parse(&read) else { continue };
                    let chosen = Slots::read(&block).choose();
                    assert!(
                        chosen == Slot::A || b_is_whole,
                        "{before:?} to {after:?}, torn at {torn}: slot {chosen}"
                    );
                    if torn.is_multiple_of(512) {
                        let slots = Slots::read(&block);
                        assert!(slots == before || slots == after, "whole sectors are all or nothing");
                    }
                }
            }
        }
    }

    #[test]
    fn comes_back_from_the_block() {
        let slots = on_trial(2);
        let mut block = Block::default();
        slots.write(&mut block).unwrap();
        assert_eq!(Slots::read(&Block::parse(&block.to_bytes().unwrap()).unwrap()), slots);
    }
}
