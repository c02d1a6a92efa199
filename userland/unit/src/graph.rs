//! The kinds of dependencies, and the graph of them in both directions.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Edges, UnitName};

macro_rules! dependencies {
    ($($variant:ident $text:literal $inverse:ident,)*) => {
        /// A kind of dependency, as D-Bus names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Dependency { $($variant,)* }

        impl Dependency {
            /// Every kind.
            pub const ALL: &'static [Dependency] = &[$(Dependency::$variant,)*];

            /// The directive's, or property's, name.
            pub fn as_str(self) -> &'static str {
                match self { $(Dependency::$variant => $text,)* }
            }

            /// The kind seen from the other unit.
            pub fn inverse(self) -> Dependency {
                match self { $(Dependency::$variant => Dependency::$inverse,)* }
            }
        }
    };
}

dependencies! {
    Requires "Requires" RequiredBy,
    Requisite "Requisite" RequisiteOf,
    Wants "Wants" WantedBy,
    BindsTo "BindsTo" BoundBy,
    PartOf "PartOf" ConsistsOf,
    Upholds "Upholds" UpheldBy,
    RequiredBy "RequiredBy" Requires,
    RequisiteOf "RequisiteOf" Requisite,
    WantedBy "WantedBy" Wants,
    BoundBy "BoundBy" BindsTo,
    ConsistsOf "ConsistsOf" PartOf,
    UpheldBy "UpheldBy" Upholds,
    Conflicts "Conflicts" ConflictedBy,
    ConflictedBy "ConflictedBy" Conflicts,
    Before "Before" After,
    After "After" Before,
    OnSuccess "OnSuccess" OnSuccessOf,
    OnSuccessOf "OnSuccessOf" OnSuccess,
    OnFailure "OnFailure" OnFailureOf,
    OnFailureOf "OnFailureOf" OnFailure,
    Triggers "Triggers" TriggeredBy,
    TriggeredBy "TriggeredBy" Triggers,
    PropagatesReloadTo "PropagatesReloadTo" ReloadPropagatedFrom,
    ReloadPropagatedFrom "ReloadPropagatedFrom" PropagatesReloadTo,
    PropagatesStopTo "PropagatesStopTo" StopPropagatedFrom,
    StopPropagatedFrom "StopPropagatedFrom" PropagatesStopTo,
    JoinsNamespaceOf "JoinsNamespaceOf" JoinsNamespaceOf,
    Slice "Slice" SliceOf,
    SliceOf "SliceOf" Slice,
}

impl Dependency {
    /// The kind that a [Unit] directive of this name sets, old names included.
    pub fn from_directive(name: &str) -> Option<Dependency> {
        Some(match name {
            "BindTo" => Dependency::BindsTo,
            "RequiresOverridable" => Dependency::Requires,
            "RequisiteOverridable" => Dependency::Requisite,
            "PropagateReloadTo" => Dependency::PropagatesReloadTo,
            "PropagateReloadFrom" => Dependency::ReloadPropagatedFrom,
            "Requires"
            | "Requisite"
            | "Wants"
            | "BindsTo"
            | "PartOf"
            | "Upholds"
            | "Conflicts"
            | "Before"
            | "After"
            | "OnSuccess"
            | "OnFailure"
            | "PropagatesReloadTo"
            | "ReloadPropagatedFrom"
            | "PropagatesStopTo"
            | "StopPropagatedFrom"
            | "JoinsNamespaceOf" => *Dependency::ALL.iter().find(|kind| kind.as_str() == name)?,
            _ => return None,
        })
    }
}

/// Who depends on whom: every edge is there from both ends.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    edges: BTreeMap<UnitName, Edges>,
}

impl Graph {
    /// Adds an edge and its inverse. A unit does not depend on itself.
    pub fn add(&mut self, from: &UnitName, kind: Dependency, to: &UnitName) {
        if from == to {
            return;
        }
        let mut half = |a: &UnitName, kind, b: &UnitName| {
            let edges = match self.edges.get_mut(a) {
                Some(edges) => edges,
                None => self.edges.entry(a.clone()).or_default(),
            };
            edges.insert(kind, b);
        };
        half(from, kind, to);
        half(to, kind.inverse(), from);
    }

    /// Keeps no memory for what these units may get.
    pub fn settle<'a>(&mut self, units: impl Iterator<Item = &'a UnitName>) {
        for unit in units {
            if let Some(edges) = self.edges.get_mut(unit) {
                edges.settle();
            }
        }
    }

    /// Takes a unit out, with all its edges.
    pub fn remove(&mut self, unit: &UnitName) {
        for (kind, other) in self.edges.remove(unit).unwrap_or_default() {
            if let Some(edges) = self.edges.get_mut(&other) {
                edges.remove(kind.inverse(), unit);
            }
        }
    }

    /// The units at the other end of these kinds of edges, each once, in the order of the kinds.
    pub fn of(&self, unit: &UnitName, kinds: &[Dependency]) -> Vec<UnitName> {
        if let [kind] = kinds {
            return self.each(unit, *kind).cloned().collect();
        }
        let mut seen = BTreeSet::new();
        kinds
            .iter()
            .flat_map(|kind| self.each(unit, *kind))
            .filter(|name| seen.insert(*name))
            .cloned()
            .collect()
    }

    /// The units at the other end of one kind of edges.
    pub fn each(&self, unit: &UnitName, kind: Dependency) -> impl DoubleEndedIterator<Item = &UnitName> {
        self.edges.get(unit).into_iter().flat_map(move |edges| edges.each(kind))
    }

    /// Whether a unit has, or had, edges.
    pub fn contains(&self, unit: &UnitName) -> bool {
        self.edges.contains_key(unit)
    }

    /// Whether there is such an edge.
    pub fn has(&self, from: &UnitName, kind: Dependency, to: &UnitName) -> bool {
        self.edges.get(from).is_some_and(|edges| edges.has(kind, to))
    }

    /// All edges of a unit.
    pub fn all(&self, unit: &UnitName) -> BTreeMap<Dependency, Vec<UnitName>> {
        let mut all: BTreeMap<Dependency, Vec<UnitName>> = BTreeMap::new();
        for (kind, name) in self.edges.get(unit).into_iter().flatten() {
            all.entry(*kind).or_default().push(name.clone());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_the_inverse_of_its_inverse() {
        for kind in Dependency::ALL {
            assert_eq!(kind.inverse().inverse(), *kind);
        }
    }
}
