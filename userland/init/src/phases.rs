//! What a unit's cgroup has by the time, and by its place: Startup*= while the system comes up and goes down, and
//! DefaultMemoryLow= and DefaultMemoryMin= of the slices that it is in (systemd.resource-control(5)).

use std::borrow::Cow;

use unit::settings::{Amount, CgroupSettings, Phase};
use unit::{Dependency, UnitName};

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
        if own.memory_low.is_some() && own.memory_min.is_some() {
            return Cow::Borrowed(own);
        }
        let low = self.of_slices(unit, |slice| slice.default_memory_low);
        let min = self.of_slices(unit, |slice| slice.default_memory_min);
        if low.is_none() && min.is_none() {
            return Cow::Borrowed(own);
        }
        let (memory_low, memory_min) = (own.memory_low.or(low), own.memory_min.or(min));
        Cow::Owned(CgroupSettings { memory_low, memory_min, ..own.clone() })
    }

    /// What the nearest slice above says that says something.
    fn of_slices(&self, unit: &UnitName, said: impl Fn(&CgroupSettings) -> Option<Amount>) -> Option<Amount> {
        let above = |name: &UnitName| {
            let definition = self.engine.definition(name)?;
            definition.names(Dependency::Slice).next().cloned()
        };
        std::iter::successors(above(unit), above)
            .find_map(|slice| said(&self.engine.definition(&slice)?.cgroup))
    }
}
