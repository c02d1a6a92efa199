//! The boots that the journal knows of.

use std::collections::BTreeMap;

use crate::file::Id128;
use crate::place::parse_id;
use crate::query::merge::Source;

/// A boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot {
    /// Its id.
    pub id: Id128,
    /// Microseconds since 1970 of its first entry.
    pub first: u64,
    /// Of its last.
    pub last: u64,
}

/// All boots, oldest first.
pub fn list(sources: &mut [Source]) -> Vec<Boot> {
    let mut boots: BTreeMap<Id128, Boot> = BTreeMap::new();
    for source in sources {
        let objects = &mut source.objects;
        for data in objects.values_of(b"_BOOT_ID").unwrap_or_default() {
            let Ok(payload) = objects.data(data) else { continue };
            let Some(id) = payload
                .strip_prefix(b"_BOOT_ID=")
                .and_then(|value| std::str::from_utf8(value).ok())
                .and_then(parse_id)
            else {
                continue;
            };
            let chain = objects.chain_with(data).unwrap_or_default();
            let ends = [chain.get(objects, 0), chain.get(objects, chain.len().saturating_sub(1))];
            for offset in ends.into_iter().flatten() {
                let Ok(time) = objects.entry_realtime(offset) else { continue };
                let boot = boots.entry(id).or_insert(Boot { id, first: time, last: time });
                boot.first = boot.first.min(time);
                boot.last = boot.last.max(time);
            }
        }
    }
    let mut boots: Vec<Boot> = boots.into_values().collect();
    boots.sort_by_key(|boot| boot.first);
    boots
}

/// Why a boot was not found.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Neither an id, nor a number, nor both.
    #[error("Failed to parse boot descriptor '{0}': give an id, an offset such as -1, or both")]
    Malformed(String),
    /// The journal does not reach so far.
    #[error("Data from the specified boot ({0}) is not available: see --list-boots")]
    Absent(String),
}

/// The boot that `-b` names: `ID`, `±N`, `ID±N`; 0 and -0 are the last one, positive numbers count from the first.
///
/// # Errors
/// There is none.
pub fn choose(boots: &[Boot], descriptor: &str) -> Result<Id128, Error> {
    let malformed = || Error::Malformed(descriptor.to_owned());
    let absent = || Error::Absent(descriptor.to_owned());
    let (id, offset) = match descriptor.get(..32).and_then(parse_id) {
        Some(id) => (Some(id), descriptor.get(32..).unwrap_or_default()),
        None => (None, descriptor),
    };
    let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().map_err(|_| malformed())? };
    let start = match id {
        Some(id) => boots.iter().position(|boot| boot.id == id).ok_or_else(absent)?,
        None if offset > 0 => 0,
        None => boots.len().checked_sub(1).ok_or_else(absent)?,
    };
    let offset = if id.is_none() && offset > 0 { offset - 1 } else { offset };
    let index = i64::try_from(start).ok().and_then(|start| start.checked_add(offset)).ok_or_else(absent)?;
    usize::try_from(index).ok().and_then(|index| boots.get(index)).map(|boot| boot.id).ok_or_else(absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors() {
        let boots: Vec<Boot> =
            (1..=3).map(|n| Boot { id: [n; 16], first: n.into(), last: n.into() }).collect();
        let number = |descriptor: &str| choose(&boots, descriptor).map(|id| id[0]);
        assert_eq!(number("0"), Ok(3));
        assert_eq!(number("-1"), Ok(2));
        assert_eq!(number("1"), Ok(1));
        assert_eq!(number("02020202020202020202020202020202"), Ok(2));
        assert_eq!(number("02020202020202020202020202020202+1"), Ok(3));
        assert!(matches!(number("-3"), Err(Error::Absent(_))));
        assert!(matches!(number("9223372036854775807"), Err(Error::Absent(_))));
        assert!(matches!(number("x"), Err(Error::Malformed(_))));
    }
}
