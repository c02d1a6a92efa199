//! The semaphore: how many machines may be away at once, and which are. Pure.
//!
//! Schema and key are locksmith's: `{"semaphore":1,"max":1,"holders":["ID"]}` with the free places, all places and the
//! sorted holders. Free places are always counted from the other two: where somebody else wrote a number that does not
//! fit, the holders count.

use serde::{Deserialize, Serialize};

/// The key of machines that say no group.
pub const KEY: &str = "coreos.com/updateengine/rebootlock/semaphore";

/// The key of a group; an empty name is none.
#[must_use]
pub fn key(group: &str) -> String {
    if group.is_empty() {
        return KEY.to_owned();
    }
    let mut escaped = String::new();
    for byte in group.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    format!("coreos.com/updateengine/rebootlock/groups/{escaped}/semaphore")
}

/// Why it stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// All places are taken.
    #[error("no reboot lock is free: {} of {max} held, by {}", .holders.len(), .holders.join(" "))]
    Full {
        /// All places.
        max: u64,
        /// Who has them.
        holders: Vec<String>,
    },
    /// The machine holds none.
    #[error("{0} holds no reboot lock")]
    NotHeld(String),
    /// Nobody could ever reboot.
    #[error("at least one machine must be able to hold the lock")]
    NoPlaces,
}

/// The semaphore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semaphore {
    max: u64,
    holders: Vec<String>,
}

impl Default for Semaphore {
    fn default() -> Semaphore {
        Semaphore { max: 1, holders: Vec::new() }
    }
}

/// As it is written. `semaphore` may be below 0 where locksmith wrote it.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    semaphore: i64,
    max: u64,
    holders: Option<Vec<String>>,
}

impl Semaphore {
    /// Reads one.
    ///
    /// # Errors
    /// It is no semaphore.
    pub fn parse(text: &str) -> Result<Semaphore, serde_json::Error> {
        let written: Written = serde_json::from_str(text)?;
        let mut holders = written.holders.unwrap_or_default();
        holders.sort();
        holders.dedup();
        Ok(Semaphore { max: written.max, holders })
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> String {
        let taken = i64::try_from(self.holders.len()).unwrap_or(i64::MAX);
        let semaphore = i64::try_from(self.max).unwrap_or(i64::MAX).saturating_sub(taken).max(0);
        let holders = (!self.holders.is_empty()).then(|| self.holders.clone());
        serde_json::to_string(&Written { semaphore, max: self.max, holders }).unwrap_or_default()
    }

    /// How many may be away at once.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// How many more may go; none where an operator took places away from those who are.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.max.saturating_sub(self.holders.len() as u64)
    }

    /// Who is away.
    #[must_use]
    pub fn holders(&self) -> &[String] {
        &self.holders
    }

    /// A machine takes a place. Who has one keeps it, however full it is.
    ///
    /// # Errors
    /// All places are taken.
    pub fn lock(mut self, holder: &str) -> Result<Semaphore, Refused> {
        match self.holders.binary_search_by(|known| known.as_str().cmp(holder)) {
            Ok(_) => Ok(self),
            Err(_) if self.available() == 0 => Err(Refused::Full { max: self.max, holders: self.holders }),
            Err(place) => {
                self.holders.insert(place, holder.to_owned());
                Ok(self)
            }
        }
    }

    /// A machine gives its place back.
    ///
    /// # Errors
    /// It has none.
    pub fn unlock(mut self, holder: &str) -> Result<Semaphore, Refused> {
        match self.holders.binary_search_by(|known| known.as_str().cmp(holder)) {
            Ok(place) => {
                self.holders.remove(place);
                Ok(self)
            }
            Err(_) => Err(Refused::NotHeld(holder.to_owned())),
        }
    }

    /// The same with so many places. Who has one keeps it, even if there are more of them than places.
    ///
    /// # Errors
    /// There would be none.
    pub fn with_max(self, max: u64) -> Result<Semaphore, Refused> {
        if max == 0 { Err(Refused::NoPlaces) } else { Ok(Semaphore { max, ..self }) }
    }

    /// As `locksmithctl status` prints it.
    #[must_use]
    pub fn status(&self) -> String {
        let mut text = format!("Available: {}\nMax: {}\n", self.available(), self.max);
        if !self.holders.is_empty() {
            text.push_str("\nMACHINE ID\n");
            for holder in &self.holders {
                text.push_str(holder);
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(max: u64, holders: &[&str]) -> Semaphore {
        holders.iter().fold(Semaphore { max, ..Semaphore::default() }, |semaphore, holder| {
            semaphore.lock(holder).unwrap()
        })
    }

    #[test]
    fn is_written_as_locksmith_does() {
        assert_eq!(Semaphore::default().text(), r#"{"semaphore":1,"max":1,"holders":null}"#);
        assert_eq!(held(3, &["b", "a"]).text(), r#"{"semaphore":1,"max":3,"holders":["a","b"]}"#);
        assert_eq!(held(3, &["b", "a"]).status(), "Available: 1\nMax: 3\n\nMACHINE ID\na\nb\n");
        assert_eq!(key(""), KEY);
        assert_eq!(key("a b/c"), "coreos.com/updateengine/rebootlock/groups/a%20b%2Fc/semaphore");
        assert!(Semaphore::parse("{}").is_err());
    }

    /// A holder that asks again while all places are taken has been refused by locksmith.
    #[test]
    fn a_holder_keeps_its_place_when_it_is_full() {
        let full = held(1, &["a"]);
        assert_eq!(full.clone().lock("a"), Ok(full.clone()));
        let refused = full.clone().lock("b").unwrap_err();
        assert_eq!(refused.to_string(), "no reboot lock is free: 1 of 1 held, by a");
        assert_eq!(full.clone().unlock("b"), Err(Refused::NotHeld("b".to_owned())));
        assert_eq!(full.unlock("a"), Ok(Semaphore::default()));
    }

    /// Fewer places than holders have made locksmith's number negative.
    #[test]
    fn fewer_places_than_holders_are_no_negative_number() {
        let narrowed = held(3, &["a", "b", "c"]).with_max(1).unwrap();
        assert_eq!((narrowed.available(), narrowed.holders().len()), (0, 3));
        assert_eq!(narrowed.text(), r#"{"semaphore":0,"max":1,"holders":["a","b","c"]}"#);
        let fewer = narrowed.unlock("a").unwrap().unlock("b").unwrap();
        assert!(fewer.clone().lock("d").is_err());
        assert_eq!(fewer.unlock("c").unwrap().available(), 1);
        assert_eq!(Semaphore::default().with_max(0), Err(Refused::NoPlaces));
        let theirs = Semaphore::parse(r#"{"semaphore":-2,"max":1,"holders":["c","a","b"]}"#).unwrap();
        assert_eq!((theirs.available(), theirs.holders()), (0, &["a", "b", "c"].map(str::to_owned)[..]));
    }

    proptest! {
        #[test]
        fn never_more_holders_than_places(steps in prop::collection::vec((0..4_u8, 0..3_u8, 1..4_u64), 0..60)) {
            let mut semaphore = Semaphore::default();
            for (machine, what, max) in steps {
                let (before, name) = (semaphore.clone(), format!("m{machine}"));
                let after = match what {
                    0 => semaphore.clone().lock(&name),
                    1 => semaphore.clone().unlock(&name),
                    _ => semaphore.clone().with_max(max),
                };
                if let Ok(after) = after {
                    let grew = after.holders.len() > before.holders.len();
                    prop_assert!(!grew || after.holders.len() as u64 <= after.max);
                    semaphore = after;
                }
                prop_assert_eq!(&Semaphore::parse(&semaphore.text()).unwrap(), &semaphore);
            }
        }
    }
}
