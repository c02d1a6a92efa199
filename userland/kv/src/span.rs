//! Which keys a request means: one key, an interval, or everything from a key on.
//!
//! On the wire an empty `range_end` means the one key, and a single zero byte means no end.

use std::ops::Bound;

use bytes::Bytes;

/// Where a search in an ordered map begins and ends.
pub type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The key that a watcher means where it names none: etcd's clients write one zero byte for the very first.
pub fn first_key(key: &Bytes) -> Bytes {
    if key.is_empty() { Bytes::from_static(&[0]) } else { key.clone() }
}

/// A set of keys without gaps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Span {
    /// Exactly this key.
    Key(Bytes),
    /// From the first key, up to but not including the second.
    Range(Bytes, Bytes),
    /// From this key on.
    From(Bytes),
}

impl Span {
    /// Reads the two fields of a request.
    pub fn new(key: &Bytes, range_end: &Bytes) -> Span {
        match range_end.as_ref() {
            [] => Span::Key(key.clone()),
            [0] => Span::From(key.clone()),
            _ => Span::Range(key.clone(), range_end.clone()),
        }
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Span::Key(only) => only == key,
            Span::Range(start, end) => start <= key && key < end.as_ref(),
            Span::From(start) => start <= key,
        }
    }

    /// The first key that could be in it.
    pub fn start(&self) -> &Bytes {
        match self {
            Span::Key(start) | Span::Range(start, _) | Span::From(start) => start,
        }
    }

    /// Bounds for a search in an ordered map; `None` where it holds nothing.
    pub fn bounds(&self) -> Option<Bounds<'_>> {
        match self {
            Span::Key(key) => Some((Bound::Included(key), Bound::Included(key))),
            Span::Range(start, end) if start < end => Some((Bound::Included(start), Bound::Excluded(end))),
            Span::Range(..) => None,
            Span::From(start) => Some((Bound::Included(start), Bound::Unbounded)),
        }
    }

    /// Whether it ends before it begins.
    pub fn is_inverted(&self) -> bool {
        matches!(self, Span::Range(start, end) if start >= end)
    }

    /// Whether all of `other` is in this one.
    pub fn covers(&self, other: &Span) -> bool {
        match (self, other) {
            (_, Span::Key(key)) => self.contains(key),
            (Span::Key(_), _) => false,
            (Span::From(start), other) => start <= other.start(),
            (Span::Range(..), Span::From(_)) => false,
            (Span::Range(start, end), Span::Range(from, to)) => start <= from && to <= end,
        }
    }
}

/// The end of the interval that holds all keys beginning with `prefix`, as clients write it in `range_end`.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(prefix_end(b"ab"), "ac");
        assert_eq!(prefix_end(b"a\xff"), "b");
        assert_eq!(prefix_end(b"\xff\xff"), Bytes::from_static(&[0]));
    }

    #[test]
    fn an_interval_upside_down_is_empty() {
        let span = Span::new(&Bytes::from("b"), &Bytes::from("a"));
        assert!(span.bounds().is_none());
        assert!(!span.contains(b"b"));
    }
}
