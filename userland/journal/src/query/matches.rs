//! What to look for: terms `FIELD=value`, combined with and and or. In a file a term is one DATA object, so an
//! expression is resolved to offsets once a file, and an entry is tested by comparing numbers.

use crate::file::{Error, Objects};

/// An expression over fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// `FIELD=value`.
    Term(Vec<u8>),
    /// All of them; of none, true.
    All(Vec<Expression>),
    /// One of them; of none, false.
    Any(Vec<Expression>),
}

/// An expression in one file.
#[derive(Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Has this data.
    Data(u64),
    /// All of them.
    All(Vec<Resolved>),
    /// One of them.
    Any(Vec<Resolved>),
}

impl Expression {
    /// `FIELD=value`.
    #[must_use]
    pub fn term(field: &str, value: &str) -> Expression {
        Expression::Term(format!("{field}={value}").into_bytes())
    }

    /// Looks up the terms in a file.
    ///
    /// # Errors
    /// The file is broken.
    pub fn resolve(&self, objects: &mut Objects) -> Result<Resolved, Error> {
        let mut each = |list: &[Expression]| {
            list.iter().map(|part| part.resolve(objects)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match self {
            Expression::All(list) => Resolved::All(each(list)?),
            Expression::Any(list) => Resolved::Any(each(list)?),
            Expression::Term(payload) => match objects.find_data(payload)? {
                Some(offset) => Resolved::Data(offset),
                None => Resolved::Any(Vec::new()),
            },
        })
    }
}

impl Resolved {
    /// Whether an entry with these data fits.
    #[must_use]
    pub fn fits(&self, items: &[u64]) -> bool {
        match self {
            Resolved::Data(offset) => items.contains(offset),
            Resolved::All(list) => list.iter().all(|part| part.fits(items)),
            Resolved::Any(list) => list.iter().any(|part| part.fits(items)),
        }
    }

    /// Entries among which all that fit are, in order; `None` is all entries of the file.
    ///
    /// # Errors
    /// The file is broken.
    pub fn candidates(&self, objects: &mut Objects) -> Result<Option<Vec<u64>>, Error> {
        match self {
            Resolved::Data(offset) => objects.entries_with(*offset).map(Some),
            Resolved::Any(list) => {
                let mut union = Vec::new();
                for part in list {
                    match part.candidates(objects)? {
                        Some(entries) => union.extend(entries),
                        None => return Ok(None),
                    }
                }
                union.sort_unstable();
                union.dedup();
                Ok(Some(union))
            }
            Resolved::All(list) => {
                let mut best: Option<Vec<u64>> = None;
                for part in list {
                    if let Some(entries) = part.candidates(objects)?
                        && best.as_ref().is_none_or(|best| entries.len() < best.len())
                    {
                        best = Some(entries);
                    }
                }
                Ok(best)
            }
        }
    }
}
