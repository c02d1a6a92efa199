//! Bringing units into memory: a unit comes with all that it names, and the graph gets their edges.
//!
//! Invariant: the graph is what drawing all units anew would make it. New units only add edges of their own, for what
//! others name was in memory before them; where that does not hold (an alias that was known as a unit, a unit that
//! others name and that was forgotten) all is drawn anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Engine, Entry};
use crate::graph::Graph;
use crate::{Action, Dependency, Level, LoadState, Sources, Unit, UnitName, UnitType, World};

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
        let mut fresh = BTreeSet::new();
        let mut found_new = false;
        while let Some(name) = queue.pop() {
            if self.resolve(&name).is_some() {
                continue;
            }
            found_new = true;
            let (real, sources) = self.look_up(&name, world);
            if real != name {
                self.graph_is_old |= self.graph.contains(&name);
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
                self.graph_is_old |= self.graph.contains(alias);
                self.aliases.entry(alias.clone()).or_insert_with(|| real.clone());
            }
            queue.extend(unit.dependencies.names().cloned());
            queue.extend(mounts_on_the_way(&unit));
            fresh.insert(real.clone());
            self.fx.actions.push(Action::Loaded { unit: real.clone() });
            self.entries.insert(real, Box::new(Entry::new(Arc::new(unit))));
        }
        if found_new && self.graph_is_old {
            self.draw();
        } else if found_new {
            self.draw_new(&fresh);
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

    fn read(&mut self, name: &UnitName, sources: &Result<Sources, String>) -> Unit {
        let mounted = match name.unit_type() {
            UnitType::Mount => name.to_path().and_then(|place| self.mounts.get(&place)),
            _ => None,
        };
        let mut unit = crate::load::load(name, sources, mounted, &self.host);
        unit.exec = self.exec_settings.share(unit.exec);
        unit.cgroup = self.cgroup_settings.share(unit.cgroup);
        unit.dependencies.share(|other| self.entries.get_key_value(other).map(|(known, _)| known.clone()));
        unit
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
                unit.dependencies.names().cloned().chain(mounts_on_the_way(unit)).collect::<Vec<_>>()
            })
            .collect();
        for entry in self.entries.values() {
            for alias in &entry.base.unit.aliases {
                self.aliases.insert(alias.clone(), entry.base.unit.name.clone());
            }
        }
        self.graph_is_old = true;
        self.bring_in_all(&named.into_iter().collect::<Vec<_>>(), world);
        if self.graph_is_old {
            self.draw();
        }
    }

    /// Takes a unit that is down out of memory, if nothing is left to know of it.
    pub(super) fn forget(&mut self, name: &UnitName) {
        let idle =
            self.entries.get(name).is_some_and(|entry| entry.base.active.is_down() && entry.job.is_none());
        if idle {
            let others = self.graph.of(name, Dependency::ALL);
            self.graph_is_old |= others.iter().any(|other| self.names(other, name));
            self.entries.remove(name);
            self.aliases.retain(|_, real| real != name);
            self.graph.remove(name);
        }
    }

    /// Whether a unit names another one itself, by whatever name.
    fn names(&self, unit: &UnitName, other: &UnitName) -> bool {
        let Some(entry) = self.entries.get(unit) else { return false };
        let unit = &entry.base.unit;
        let is_it = |name: &UnitName| self.aliases.get(name).unwrap_or(name) == other;
        unit.dependencies.names().any(is_it) || mounts_on_the_way(unit).iter().any(is_it)
    }

    /// The same for who asks from outside: what others still name of it is looked up anew.
    pub(super) fn forget_asked(&mut self, name: &UnitName, world: &World<'_>) {
        let Some(name) = self.resolve(name) else { return };
        self.forget(&name);
        let names_it = |entry: &Entry| entry.base.unit.dependencies.names().any(|other| *other == name);
        if !self.entries.contains_key(&name) && self.entries.values().any(|entry| names_it(entry)) {
            self.bring_in(&name, world);
        }
    }

    /// Draws the graph of all units in memory.
    fn draw(&mut self) {
        self.graph = Graph::default();
        self.graph_is_old = false;
        let all = self.entries.keys().cloned().collect();
        self.draw_new(&all);
        // who waits for whom may be another now
        self.wake();
    }

    /// Draws what these units add to the graph.
    fn draw_new(&mut self, fresh: &BTreeSet<UnitName>) {
        let mut graph = std::mem::take(&mut self.graph);
        for name in fresh {
            let Some(entry) = self.entries.get(name) else { continue };
            self.draw_edges(name, &entry.base.unit, &mut graph);
        }
        self.order_targets(fresh, &mut graph);
        graph.settle(fresh.iter());
        self.graph = graph;
    }

    /// What a unit says itself.
    fn draw_edges(&self, name: &UnitName, unit: &Unit, graph: &mut Graph) {
        let real = |name: &UnitName| self.aliases.get(name).unwrap_or(name).clone();
        for (kind, other) in &unit.dependencies {
            graph.add(name, *kind, &real(other));
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

    /// A target comes after what it pulls in, unless one of them says otherwise.
    fn order_targets(&self, fresh: &BTreeSet<UnitName>, graph: &mut Graph) {
        use Dependency::{
            After, Before, BindsTo, BoundBy, RequiredBy, Requires, Requisite, RequisiteOf, UpheldBy, Upholds,
            WantedBy, Wants,
        };
        let pulling = [RequiredBy, RequisiteOf, WantedBy, BoundBy, UpheldBy];
        let mut targets: BTreeSet<UnitName> =
            fresh.iter().flat_map(|name| graph.of(name, &pulling)).chain(fresh.iter().cloned()).collect();
        targets.retain(|name| name.unit_type() == UnitType::Target);
        for name in targets {
            let Some(entry) = self.entries.get(&name) else { continue };
            if !entry.base.unit.default_dependencies {
                continue;
            }
            let is_new = fresh.contains(&name);
            for other in graph.of(&name, &[Requires, Requisite, Wants, BindsTo, Upholds]) {
                let defaults =
                    self.entries.get(&other).is_some_and(|entry| entry.base.unit.default_dependencies);
                let is_settled = !is_new && !fresh.contains(&other);
                if defaults && !is_settled && !graph.has(&name, Before, &other) {
                    graph.add(&name, After, &other);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Catalog, Event, Host, Nowhere, Text, UnitFileState};

    const FILES: &[(&str, &str)] = &[
        ("a.target", "[Unit]\nWants=b.service c.target d.service\nBefore=d.service\n"),
        ("b.service", "[Unit]\nRequires=alias.service\nAfter=c.target\n[Service]\nExecStart=/b\n"),
        ("c.target", "[Unit]\nRequires=a.target e.socket\n"),
        ("d.service", "[Unit]\nRequiresMountsFor=/srv/x\nPartOf=b.service\n[Service]\nExecStart=/d\n"),
        ("e.socket", "[Unit]\nUpholds=late.service\n[Socket]\nListenStream=/e\n"),
        ("f.service", "[Unit]\nConflicts=d.service\nOnFailure=e.service\n[Service]\nExecStart=/f\n"),
        ("real.service", "[Unit]\nBindsTo=b.service\n[Service]\nExecStart=/r\n"),
        ("srv.mount", "[Mount]\nWhat=/dev/x\nWhere=/srv\n"),
    ];

    struct Files;

    impl Catalog for Files {
        fn find(&self, name: &UnitName) -> Result<Sources, String> {
            if name.as_str() == "alias.service" {
                let alias_of = UnitName::parse("real.service").ok();
                return Ok(Sources { alias_of, ..Sources::default() });
            }
            let text = FILES.iter().find(|(file, _)| *file == name.as_str());
            let fragment = text.map(|(file, text)| Text { path: format!("/{file}"), text: (*text).into() });
            Ok(Sources { fragment, ..Sources::default() })
        }

        fn list(&self) -> Vec<(UnitName, UnitFileState)> {
            Vec::new()
        }
    }

    fn edges(engine: &Engine) -> BTreeMap<UnitName, BTreeMap<Dependency, Vec<UnitName>>> {
        let known = |name: UnitName| {
            let mut edges = engine.graph.all(&name);
            edges.retain(|_, others| !others.is_empty());
            (name, edges)
        };
        engine.units().into_iter().map(known).collect()
    }

    fn check(engine: &mut Engine, after: &UnitName) {
        let grown = edges(engine);
        engine.draw();
        assert_eq!(grown, edges(engine), "after {after}");
    }

    #[test]
    fn what_is_added_to_the_graph_is_what_drawing_it_anew_gives() {
        let world = World { now: 0, realtime: 0, catalog: &Files, probe: &Nowhere };
        for first in 0..FILES.len() {
            let mut engine = Engine::new(Host::default());
            for turn in 0..FILES.len() {
                let unit = UnitName::parse(FILES[(first + turn) % FILES.len()].0).unwrap();
                engine.handle(Event::Load { unit: unit.clone() }, &world);
                check(&mut engine, &unit);
                // an event in between may take one away that others name
                engine.forget(&UnitName::parse("late.service").unwrap());
                engine.handle(
                    Event::Load { unit: UnitName::parse(&format!("x{turn}.service")).unwrap() },
                    &world,
                );
                if turn % 3 == 1 {
                    engine.handle(Event::Reload, &world);
                }
                check(&mut engine, &unit);
            }
            let [needy, mount] = ["d.service", "srv.mount"].map(|name| UnitName::parse(name).unwrap());
            engine.handle(Event::Load { unit: needy.clone() }, &world);
            assert!(engine.graph.has(&needy, Dependency::Requires, &mount));
        }
    }
}
