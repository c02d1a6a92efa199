//! The edges from one unit to others, in little memory: a thousand units have some ten thousand, and as tables of
//! tables of names they would take more than the units themselves.

use std::cmp::Ordering;

use crate::{Dependency, UnitName};

/// Edges, each once, sorted by kind and then by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edges(Vec<(Dependency, UnitName)>);

impl Edges {
    /// Adds one, if it is not there.
    pub fn insert(&mut self, kind: Dependency, name: &UnitName) {
        if let Err(place) = self.place(kind, name) {
            self.0.insert(place, (kind, name.clone()));
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, kind: Dependency, name: &UnitName) {
        if let Ok(place) = self.place(kind, name) {
            self.0.remove(place);
        }
    }

    /// Takes out all of a kind.
    pub fn clear(&mut self, kind: Dependency) {
        self.0.retain(|(other, _)| *other != kind);
    }

    /// The units at the other end of one kind.
    pub fn each(&self, kind: Dependency) -> impl DoubleEndedIterator<Item = &UnitName> {
        let begin = self.0.partition_point(|(other, _)| *other < kind);
        let end = self.0.partition_point(|(other, _)| *other <= kind);
        self.0.get(begin..end).into_iter().flatten().map(|(_, name)| name)
    }

    /// The units at the other end of all kinds: one that has several edges comes several times.
    pub fn names(&self) -> impl Iterator<Item = &UnitName> {
        self.0.iter().map(|(_, name)| name)
    }

    /// Whether there is this one.
    pub fn has(&self, kind: Dependency, name: &UnitName) -> bool {
        self.place(kind, name).is_ok()
    }

    /// Has equal names be those that others have as well, and keeps no memory for what may come.
    pub fn share(&mut self, known: impl Fn(&UnitName) -> Option<UnitName>) {
        for (_, name) in &mut self.0 {
            if let Some(same) = known(name) {
                *name = same;
            }
        }
        self.settle();
    }

    /// Keeps no memory for what may come.
    pub fn settle(&mut self) {
        self.0.shrink_to_fit();
    }

    fn place(&self, kind: Dependency, name: &UnitName) -> Result<usize, usize> {
        let order = |(other, at): &(Dependency, UnitName)| -> Ordering {
            other.cmp(&kind).then_with(|| at.cmp(name))
        };
        self.0.binary_search_by(order)
    }
}

impl<'a> IntoIterator for &'a Edges {
    type Item = &'a (Dependency, UnitName);
    type IntoIter = std::slice::Iter<'a, (Dependency, UnitName)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Edges {
    type Item = (Dependency, UnitName);
    type IntoIter = std::vec::IntoIter<(Dependency, UnitName)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> UnitName {
        UnitName::parse(text).unwrap()
    }

    #[test]
    fn each_edge_is_there_once_and_in_its_place() {
        let (a, b) = (name("a.service"), name("b.service"));
        let mut edges = Edges::default();
        for (kind, other) in [
            (Dependency::After, &b),
            (Dependency::Wants, &a),
            (Dependency::After, &a),
            (Dependency::After, &b),
        ] {
            edges.insert(kind, other);
        }
        assert_eq!(edges.each(Dependency::After).collect::<Vec<_>>(), [&a, &b]);
        assert_eq!(edges.names().count(), 3);
        assert!(edges.has(Dependency::Wants, &a) && !edges.has(Dependency::Wants, &b));
        edges.remove(Dependency::After, &a);
        edges.remove(Dependency::Before, &a);
        assert_eq!(edges.each(Dependency::After).collect::<Vec<_>>(), [&b]);
        edges.clear(Dependency::After);
        assert_eq!(edges.each(Dependency::After).count(), 0);
        assert_eq!(edges.into_iter().collect::<Vec<_>>(), [(Dependency::Wants, a)]);
    }
}
