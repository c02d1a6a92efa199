//! Bringing units into memory: a unit comes with all that it names, and the graph is drawn anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Engine, Entry};
use crate::graph::Graph;
use crate::{Dependency, Level, LoadState, Sources, Unit, UnitName, UnitType, World};

/// A chain of aliases longer than this leads nowhere.
const MOST_ALIASES: usize = 8;

impl Engine {
    /// Brings a unit and all that it names into memory. Returns its name there.
    pub(super) fn bring_in(&mut self, name: &UnitName, world: &World<'_>) -> UnitName {
        self.bring_in_all(std::slice::from_ref(name), world);
        self.resolve(name).unwrap_or_else(|| name.clone())
    }

    pub(super) fn bring_in_all(&mut self, names: &[UnitName], world: &World<'_>) {
        let mut queue: Vec<UnitName> = names.to_vec();
        let mut found_new = false;
        while let Some(name) = queue.pop() {
            if self.resolve(&name).is_some() {
                continue;
            }
            found_new = true;
            let (real, sources) = self.look_up(&name, world);
            if real != name {
                self.aliases.insert(name.clone(), real.clone());
                if self.entries.contains_key(&real) {
                    continue;
                }
            }
            let unit = self.read(&real, &sources);
            for warning in &unit.warnings {
                self.log(Some(real.clone()), Level::Warning, warning.clone());
            }
            for alias in &unit.aliases {
                self.aliases.entry(alias.clone()).or_insert_with(|| real.clone());
            }
            queue.extend(unit.dependencies.values().flatten().cloned());
            queue.extend(mounts_on_the_way(&unit));
            self.entries.insert(real, Entry::new(Arc::new(unit)));
        }
        if found_new {
            self.draw();
        }
    }

    fn look_up(&self, name: &UnitName, world: &World<'_>) -> (UnitName, Result<Sources, String>) {
        let mut real = name.clone();
        for _ in 0..MOST_ALIASES {
            let sources = world.catalog.find(&real);
            match sources.as_ref().ok().and_then(|sources| sources.alias_of.clone()) {
                Some(next) if next != real => real = next,
                _ => return (real, sources),
            }
        }
        (name.clone(), Err("too many levels of aliases".into()))
    }

    fn read(&self, name: &UnitName, sources: &Result<Sources, String>) -> Unit {
        let mounted = match name.unit_type() {
            UnitType::Mount => name.to_path().and_then(|place| self.mounts.get(&place)),
            _ => None,
        };
        crate::load::load(name, sources, mounted, &self.host)
    }

    /// daemon-reload: definitions are new, states stay. Units without state or job are forgotten.
    pub(super) fn reload(&mut self, world: &World<'_>) {
        let names: Vec<UnitName> = self.entries.keys().cloned().collect();
        self.aliases.clear();
        for name in &names {
            let Some(entry) = self.entries.get(name) else { continue };
            let idle =
                entry.base.active.is_down() && entry.job.is_none() && entry.base.state_change.monotonic == 0;
            if idle {
                self.entries.remove(name);
                continue;
            }
            let unit = self.read(name, &world.catalog.find(name));
            if let Some(entry) = self.entries.get_mut(name) {
                entry.base.unit = Arc::new(unit);
            }
        }
        let named: BTreeSet<UnitName> = self
            .entries
            .values()
            .flat_map(|entry| {
                let unit = &entry.base.unit;
                unit.dependencies
                    .values()
                    .flatten()
                    .cloned()
                    .chain(mounts_on_the_way(unit))
                    .collect::<Vec<_>>()
            })
            .collect();
        for entry in self.entries.values() {
            for alias in &entry.base.unit.aliases {
                self.aliases.insert(alias.clone(), entry.base.unit.name.clone());
            }
        }
        self.bring_in_all(&named.into_iter().collect::<Vec<_>>(), world);
        self.draw();
    }

    /// Takes a unit that is down out of memory, if nothing is left to know of it.
    pub(super) fn forget(&mut self, name: &UnitName) {
        let idle =
            self.entries.get(name).is_some_and(|entry| entry.base.active.is_down() && entry.job.is_none());
        if idle {
            self.entries.remove(name);
            self.aliases.retain(|_, real| real != name);
            self.graph.remove(name);
        }
    }

    /// The same for who asks from outside: what others still name of it is looked up anew.
    pub(super) fn forget_asked(&mut self, name: &UnitName, world: &World<'_>) {
        let Some(name) = self.resolve(name) else { return };
        self.forget(&name);
        let names_it =
            |entry: &Entry| entry.base.unit.dependencies.values().any(|names| names.contains(&name));
        if !self.entries.contains_key(&name) && self.entries.values().any(names_it) {
            self.bring_in(&name, world);
        }
    }

    /// Draws the graph of all units in memory.
    fn draw(&mut self) {
        let mut graph = Graph::default();
        let real = |name: &UnitName| self.aliases.get(name).unwrap_or(name).clone();
        for (name, entry) in &self.entries {
            let unit = &entry.base.unit;
            for (kind, others) in &unit.dependencies {
                for other in others {
                    graph.add(name, *kind, &real(other));
                }
            }
            let needs_mounts = unit.load == LoadState::Loaded;
            for mount in needs_mounts.then(|| mounts_on_the_way(unit)).into_iter().flatten() {
                let Some(other) = self.entries.get(&real(&mount)) else { continue };
                let other = &other.base.unit;
                if other.load != LoadState::Loaded {
                    continue;
                }
                graph.add(name, Dependency::After, &other.name);
                if other.fragment.is_some() {
                    graph.add(name, Dependency::Requires, &other.name);
                }
            }
        }
        self.order_targets(&mut graph);
        self.graph = graph;
    }

    /// A target comes after what it pulls in, unless one of them says otherwise.
    fn order_targets(&self, graph: &mut Graph) {
        use Dependency::{After, Before, BindsTo, Requires, Requisite, Upholds, Wants};
        for (name, entry) in &self.entries {
            if name.unit_type() != UnitType::Target || !entry.base.unit.default_dependencies {
                continue;
            }
            for other in graph.of(name, &[Requires, Requisite, Wants, BindsTo, Upholds]) {
                let defaults =
                    self.entries.get(&other).is_some_and(|entry| entry.base.unit.default_dependencies);
                if defaults && !graph.has(name, Before, &other) {
                    graph.add(name, After, &other);
                }
            }
        }
    }
}

/// The mount units that RequiresMountsFor= may mean: one for each leading part of each path.
fn mounts_on_the_way(unit: &Unit) -> Vec<UnitName> {
    let mut found = Vec::new();
    for path in &unit.mounts_for {
        let mut place = path.trim_end_matches('/');
        loop {
            let name = UnitName::from_path(if place.is_empty() { "/" } else { place }, UnitType::Mount);
            found.extend(name.ok().filter(|name| *name != unit.name));
            match place.rsplit_once('/') {
                Some((parent, _)) => place = parent,
                None => break,
            }
        }
    }
    found
}
