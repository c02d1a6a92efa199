//! What to look for: terms `FIELD=value`, combined with and and or. In a file a term is one DATA object, so an
//! expression is resolved to offsets once a file, and an entry is tested by comparing numbers.

use crate::file::{Chain, Error, Objects};

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
            // Items are in order, in files that are sound; there are so few that looking at all is as fast.
            Resolved::Data(offset) => items.contains(offset),
            Resolved::All(list) => list.iter().all(|part| part.fits(items)),
            Resolved::Any(list) => list.iter().any(|part| part.fits(items)),
        }
    }

    /// Chains of entries among which all that fit are.
    ///
    /// # Errors
    /// The file is broken.
    pub fn chains(&self, objects: &mut Objects) -> Result<Vec<Chain>, Error> {
        Ok(self.narrow(objects)?.unwrap_or_else(|| vec![objects.chain()]))
    }

    /// The same; `None` is all entries of the file.
    fn narrow(&self, objects: &mut Objects) -> Result<Option<Vec<Chain>>, Error> {
        match self {
            Resolved::Data(offset) => Ok(Some(vec![objects.chain_with(*offset)?])),
            Resolved::Any(list) => {
                let mut union = Vec::new();
                for part in list {
                    match part.narrow(objects)? {
                        Some(chains) => union.extend(chains),
                        None => return Ok(None),
                    }
                }
                Ok(Some(union))
            }
            Resolved::All(list) => {
                let size = |chains: &[Chain]| chains.iter().map(Chain::len).sum::<u64>();
                let mut best: Option<Vec<Chain>> = None;
                for part in list {
                    if let Some(chains) = part.narrow(objects)?
                        && best.as_ref().is_none_or(|best| size(&chains) < size(best))
                    {
                        best = Some(chains);
                    }
                }
                Ok(best)
            }
        }
    }
}
