//! What a unit's cgroup has by the time, and by its place: Startup*= while the system comes up and goes down, and
//! DefaultMemoryLow= and DefaultMemoryMin= of the slices that it is in (systemd.resource-control(5)).

use std::borrow::Cow;

use unit::settings::{Amount, CgroupSettings, Phase};
use unit::{Dependency, Engine, UnitName};

use crate::manager::Manager;

impl Manager {
    /// Begins a phase: the cgroups whose settings differ by it get those of this one.
    pub(crate) fn enter(&mut self, phase: Phase) {
        if self.tree.phase() == phase {
            return;
        }
        let all = self.engine.units().into_iter().filter_map(|name| {
            let definition = self.engine.definition(&name).filter(|unit| unit.cgroup.has_phases())?;
            let cgroup = std::sync::Arc::clone(&definition.cgroup);
            Some((self.engine.status(&name)?.cgroup?, cgroup))
        });
        let all: Vec<_> = all.collect();
        self.tree.enter(phase, all.iter().map(|(path, settings)| (path.as_str(), &**settings)));
    }

    /// Whether the job that ends everything is queued.
    pub(crate) fn goes_down(&self) -> bool {
        self.engine.jobs().iter().any(|job| job.unit.as_str() == "shutdown.target" && !job.kind.stops())
    }

    /// A unit's settings with what its slices say of the memory of all that is in them.
    pub(crate) fn completed<'a>(&self, unit: &UnitName, own: &'a CgroupSettings) -> Cow<'a, CgroupSettings> {
        completed(&self.engine, unit, own)
    }
}

fn completed<'a>(engine: &Engine, unit: &UnitName, own: &'a CgroupSettings) -> Cow<'a, CgroupSettings> {
    if own.memory_low.is_some() && own.memory_min.is_some() {
        return Cow::Borrowed(own);
    }
    let low = of_slices(engine, unit, |slice| slice.default_memory_low);
    let min = of_slices(engine, unit, |slice| slice.default_memory_min);
    if low.is_none() && min.is_none() {
        return Cow::Borrowed(own);
    }
    let (memory_low, memory_min) = (own.memory_low.or(low), own.memory_min.or(min));
    Cow::Owned(CgroupSettings { memory_low, memory_min, ..own.clone() })
}

/// What the nearest slice above says that says something.
fn of_slices(
    engine: &Engine,
    unit: &UnitName,
    said: impl Fn(&CgroupSettings) -> Option<Amount>,
) -> Option<Amount> {
    let above = |name: &UnitName| engine.definition(name)?.names(Dependency::Slice).next().cloned();
    std::iter::successors(above(unit), above).find_map(|slice| said(&engine.definition(&slice)?.cgroup))
}

#[cfg(test)]
mod tests {
    use unit::{Event, Host, InMemory, Nowhere, World};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn text(name: &str) -> Option<&'static str> {
        Some(match name {
            "a.slice" => "[Slice]\nDefaultMemoryLow=64M\nDefaultMemoryMin=32M\n",
            "a-b.slice" => "[Slice]\nDefaultMemoryLow=16M\n",
            "a-c.slice" => "[Slice]\nMemoryLow=8M\n",
            "silent.service" => "[Service]\nExecStart=/bin/x\nSlice=a-b.slice\n",
            "low.service" => "[Service]\nExecStart=/bin/x\nSlice=a-b.slice\nMemoryLow=1M\n",
            "both.service" => "[Service]\nExecStart=/bin/x\nSlice=a.slice\nMemoryLow=0\nMemoryMin=2M\n",
            "elsewhere.service" => "[Service]\nExecStart=/bin/x\n",
            _ => return None,
        })
    }

    /// MemoryLow= and MemoryMin= as they count for a unit, in MiB.
    fn low_and_min(name: &str) -> [Option<u64>; 2] {
        let mut engine = Engine::new(Host::default());
        let world = World { now: 1, realtime: 1, catalog: &InMemory(text), probe: &Nowhere };
        let name = UnitName::parse(name).unwrap();
        let _ = engine.handle(Event::Load { unit: name.clone() }, &world);
        let own = std::sync::Arc::clone(&engine.definition(&name).unwrap().cgroup);
        let all = completed(&engine, &name, &own);
        [all.memory_low, all.memory_min].map(|amount| {
            amount.map(|amount| match amount {
                Amount::Absolute(bytes) => bytes / MIB,
                other => panic!("{other:?}"),
            })
        })
    }

    #[test]
    fn slices_say_what_units_do_not() {
        assert_eq!(low_and_min("silent.service"), [Some(16), Some(32)], "the nearest slice counts");
        assert_eq!(low_and_min("low.service"), [Some(1), Some(32)], "the unit's own word counts first");
        assert_eq!(low_and_min("both.service"), [Some(0), Some(2)], "zero is a word, too");
        assert_eq!(low_and_min("a-b.slice"), [Some(64), Some(32)], "a slice is in the one above");
        assert_eq!(low_and_min("a-c.slice"), [Some(8), Some(32)]);
        assert_eq!(low_and_min("elsewhere.service"), [None, None]);
    }
}
