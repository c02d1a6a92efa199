//! A transaction: the jobs that one wish comes to, consistent, ordered without cycles, or refused as a whole.
//!
//! The steps are systemd's: pull in what dependencies ask for; drop what changes nothing; break ordering cycles by
//! dropping jobs that the wish does not need; merge the jobs of each unit; check what is destroyed.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Engine;
use crate::{Dependency, JobKind, JobMode, LoadState, RequestError, UnitName};

/// More levels of dependencies than any sane set of units has.
const DEEPEST: usize = 1000;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) kind: JobKind,
    pub(crate) unit: &'a UnitName,
    pub(crate) mode: JobMode,
}

/// A job to install.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) unit: UnitName,
    pub(crate) kind: JobKind,
    pub(crate) anchor: bool,
}

#[derive(Debug, Clone)]
struct Candidate {
    unit: UnitName,
    kind: JobKind,
    /// The wish fails without it.
    matters: bool,
    /// It stops the unit because another one has Conflicts= with it.
    conflicted_by: bool,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    from: usize,
    to: usize,
    matters: bool,
}

type Notes = Vec<(UnitName, String)>;

pub(crate) struct Plan<'a> {
    engine: &'a Engine,
    jobs: BTreeMap<usize, Candidate>,
    by_unit: BTreeMap<UnitName, Vec<usize>>,
    links: Vec<Link>,
    anchor: usize,
    last: usize,
    ignore_requirements: bool,
}

/// Who asks for a job, and how much it is needed.
#[derive(Clone, Copy)]
struct Because {
    from: Option<usize>,
    matters: bool,
    conflicted_by: bool,
}

impl<'a> Plan<'a> {
    /// Makes the plan. `notes` says what was left out, for the log.
    pub(crate) fn make(
        engine: &'a Engine,
        wish: Wish<'_>,
        notes: &mut Notes,
    ) -> Result<Vec<Planned>, RequestError> {
        let unit = wish.unit;
        if wish.mode == JobMode::Isolate {
            let allowed = engine.entries.get(unit).is_some_and(|entry| entry.base.unit.allow_isolate);
            if !allowed || wish.kind != JobKind::Start {
                return Err(RequestError::NoIsolate(unit.clone()));
            }
        }
        let mut plan = Plan {
            engine,
            jobs: BTreeMap::new(),
            by_unit: BTreeMap::new(),
            links: Vec::new(),
            anchor: 0,
            last: 0,
            ignore_requirements: matches!(
                wish.mode,
                JobMode::IgnoreDependencies | JobMode::IgnoreRequirements
            ),
        };
        let because = Because { from: None, matters: true, conflicted_by: false };
        plan.anchor = plan.add(wish.kind, unit, because, 0, notes)?;
        if wish.mode == JobMode::Isolate {
            plan.isolate(notes)?;
        }
        plan.mark();
        plan.drop_redundant();
        if wish.mode == JobMode::Fail {
            plan.minimize_impact();
            plan.drop_redundant();
        }
        loop {
            plan.collect_garbage();
            if plan.break_cycle(wish.mode, notes)? {
                continue;
            }
            break;
        }
        while plan.merge_one()? {
            plan.collect_garbage();
        }
        plan.drop_redundant();
        plan.check_destruction(wish)?;
        let anchor = plan.anchor;
        if !plan.jobs.contains_key(&anchor) {
            return Err(RequestError::Contradiction(unit.clone()));
        }
        Ok(plan
            .jobs
            .into_iter()
            .map(|(id, job)| Planned { unit: job.unit, kind: job.kind, anchor: id == anchor })
            .collect())
    }

    fn add(
        &mut self,
        kind: JobKind,
        unit: &UnitName,
        because: Because,
        depth: usize,
        notes: &mut Notes,
    ) -> Result<usize, RequestError> {
        self.check(kind, unit)?;
        if depth > DEEPEST {
            return Err(RequestError::Cycle);
        }
        let known = self.by_unit.get(unit).into_iter().flatten();
        let known = known.copied().find(|id| self.jobs.get(id).is_some_and(|job| job.kind == kind));
        let id = known.unwrap_or_else(|| {
            self.last += 1;
            let job =
                Candidate { unit: unit.clone(), kind, matters: false, conflicted_by: because.conflicted_by };
            self.jobs.insert(self.last, job);
            self.by_unit.entry(unit.clone()).or_default().push(self.last);
            self.last
        });
        if let Some(from) = because.from {
            self.links.push(Link { from, to: id, matters: because.matters });
        }
        if known.is_none()
            && !self.ignore_requirements
            && let Err(error) = self.pull_in(id, kind, unit, depth, notes)
        {
            self.delete(id);
            return Err(error);
        }
        Ok(id)
    }

    /// Whether there can be such a job at all.
    fn check(&self, kind: JobKind, unit: &UnitName) -> Result<(), RequestError> {
        let Some(entry) = self.engine.entries.get(unit) else {
            return Err(RequestError::NotFound(unit.clone()));
        };
        let definition = &entry.base.unit;
        if kind != JobKind::Stop {
            let why = || definition.load_error.clone().unwrap_or_default();
            match definition.load {
                LoadState::Loaded => {}
                LoadState::NotFound => return Err(RequestError::NotFound(unit.clone())),
                LoadState::Masked => return Err(RequestError::Masked(unit.clone())),
                LoadState::BadSetting | LoadState::Error => {
                    return Err(RequestError::BadSetting { unit: unit.clone(), why: why() });
                }
            }
        }
        if !self.engine.can(unit, kind) {
            return Err(RequestError::NotApplicable { unit: unit.clone(), verb: kind.as_str() });
        }
        Ok(())
    }

    fn pull_in(
        &mut self,
        id: usize,
        kind: JobKind,
        unit: &UnitName,
        depth: usize,
        notes: &mut Notes,
    ) -> Result<(), RequestError> {
        use Dependency::*;
        let from = Some(id);
        let needed = Because { from, matters: true, conflicted_by: false };
        let welcome = Because { from, matters: false, conflicted_by: false };
        let of = |kinds: &[Dependency]| self.engine.graph.of(unit, kinds);
        if matches!(kind, JobKind::Start | JobKind::Restart) {
            let rules: [(&[Dependency], JobKind, Because); 5] = [
                (&[Requires, BindsTo], JobKind::Start, needed),
                (&[Wants, Upholds], JobKind::Start, welcome),
                (&[Requisite], JobKind::VerifyActive, needed),
                (&[Conflicts], JobKind::Stop, needed),
                (&[ConflictedBy], JobKind::Stop, Because { conflicted_by: true, ..welcome }),
            ];
            let wishes: Vec<_> = rules
                .iter()
                .flat_map(|(kinds, kind, because)| {
                    of(kinds).into_iter().map(|other| (other, *kind, *because))
                })
                .collect();
            for (other, kind, because) in wishes {
                match self.add(kind, &other, because, depth + 1, notes) {
                    Ok(_) | Err(RequestError::NotApplicable { .. }) => {}
                    Err(error) if because.matters => return Err(error),
                    Err(error) => {
                        if !matches!(error, RequestError::NotFound(_) | RequestError::Masked(_)) {
                            notes.push((
                                other.clone(),
                                format!("Cannot add dependency job, ignoring: {error}"),
                            ));
                        }
                    }
                }
            }
        }
        if kind.stops() {
            for other in of(&[RequiredBy, RequisiteOf, BoundBy, ConsistsOf, PropagatesStopTo]) {
                let up = !self.engine.active(&other).is_down();
                let follow = match kind {
                    JobKind::Stop => JobKind::Stop,
                    // what is not there is not started
                    _ if up => JobKind::Restart,
                    _ => continue,
                };
                // a Stop cannot be refused
                match self.add(follow, &other, needed, depth + 1, notes) {
                    Ok(_) | Err(RequestError::NotApplicable { .. }) => {}
                    Err(error) if follow == JobKind::Restart => {
                        notes.push((other, format!("Cannot restart along, ignoring: {error}")));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        if kind == JobKind::Reload {
            for other in of(&[PropagatesReloadTo]) {
                if self.engine.active(&other).is_up() {
                    // best effort
                    let _ = self.add(JobKind::Reload, &other, welcome, depth + 1, notes);
                }
            }
        }
        Ok(())
    }

    /// Stops everything that the wish did not name.
    fn isolate(&mut self, notes: &mut Notes) -> Result<(), RequestError> {
        let engine = self.engine;
        for (name, entry) in &engine.entries {
            let idle = entry.base.active.is_down() && entry.job.is_none();
            if entry.base.unit.ignore_on_isolate || idle || self.by_unit.contains_key(name) {
                continue;
            }
            let because = Because { from: Some(self.anchor), matters: true, conflicted_by: false };
            self.add(JobKind::Stop, name, because, 0, notes)?;
        }
        Ok(())
    }

    /// Finds the jobs without which the wish fails.
    fn mark(&mut self) {
        for job in self.jobs.values_mut() {
            job.matters = false;
        }
        let mut queue = vec![self.anchor];
        while let Some(id) = queue.pop() {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            if std::mem::replace(&mut job.matters, true) {
                continue;
            }
            queue
                .extend(self.links.iter().filter(|link| link.from == id && link.matters).map(|link| link.to));
        }
    }

    /// Takes a job out, with all that cannot be without it.
    fn delete(&mut self, id: usize) {
        let mut queue = vec![id];
        while let Some(id) = queue.pop() {
            let Some(job) = self.jobs.remove(&id) else { continue };
            if let Some(ids) = self.by_unit.get_mut(&job.unit) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.by_unit.remove(&job.unit);
                }
            }
            queue
                .extend(self.links.iter().filter(|link| link.to == id && link.matters).map(|link| link.from));
            self.links.retain(|link| link.from != id && link.to != id);
        }
    }

    /// Takes out jobs that nobody asks for any more.
    fn collect_garbage(&mut self) {
        loop {
            let wanted: BTreeSet<usize> = self.links.iter().map(|link| link.to).collect();
            let orphan = self.jobs.keys().copied().find(|id| *id != self.anchor && !wanted.contains(id));
            match orphan {
                Some(id) => self.remove(id),
                None => return,
            }
        }
    }

    /// Takes just this job out.
    fn remove(&mut self, id: usize) {
        self.links.retain(|link| link.to != id);
        self.delete(id);
    }

    /// Takes out the jobs of units that are already as wanted.
    fn drop_redundant(&mut self) {
        let units: Vec<UnitName> = self.by_unit.keys().cloned().collect();
        for unit in units {
            let ids = self.by_unit.get(&unit).cloned().unwrap_or_default();
            let state = self.engine.active(&unit);
            let queued = self.engine.job_of(&unit).map(|job| job.kind);
            let keep = ids.iter().any(|id| {
                let Some(job) = self.jobs.get(id) else { return false };
                *id == self.anchor
                    || !job.kind.is_redundant(state)
                    || queued.is_some_and(|queued| queued.merge(job.kind, state).is_none())
            });
            if !keep {
                for id in ids {
                    self.remove(id);
                }
            }
        }
    }

    /// JobMode::Fail: leaves alone what runs and what is queued, where the wish can do without.
    fn minimize_impact(&mut self) {
        let victims: Vec<usize> = self
            .jobs
            .iter()
            .filter(|(_, job)| !job.matters)
            .filter(|(_, job)| {
                let state = self.engine.active(&job.unit);
                let queued = self.engine.job_of(&job.unit).map(|queued| queued.kind);
                let stops = job.kind == JobKind::Stop && !state.is_down();
                stops || queued.is_some_and(|queued| queued.merge(job.kind, state).is_none())
            })
            .map(|(id, _)| *id)
            .collect();
        for id in victims {
            self.delete(id);
        }
    }

    /// Finds an ordering cycle and drops one of its jobs. `false`: there is none.
    fn break_cycle(&mut self, mode: JobMode, notes: &mut Notes) -> Result<bool, RequestError> {
        if mode == JobMode::IgnoreDependencies {
            return Ok(false);
        }
        let Some(cycle) = self.find_cycle() else { return Ok(false) };
        let names = cycle.iter().map(UnitName::as_str).collect::<Vec<_>>().join(" after ");
        let victim = cycle.iter().find(|unit| {
            let ids = self.by_unit.get(*unit);
            ids.is_some_and(|ids| ids.iter().all(|id| self.jobs.get(id).is_some_and(|job| !job.matters)))
        });
        let Some(victim) = victim.cloned() else {
            notes.push((cycle[0].clone(), format!("Unable to break cycle: {names}")));
            return Err(RequestError::Cycle);
        };
        notes.push((victim.clone(), format!("Job {victim} deleted to break ordering cycle: {names}")));
        for id in self.by_unit.get(&victim).cloned().unwrap_or_default() {
            self.delete(id);
        }
        Ok(true)
    }

    /// Units with jobs, here or queued, each after the next, the last after the first.
    fn find_cycle(&self) -> Option<Vec<UnitName>> {
        let installed = self.engine.jobs.values().filter(|job| !job.ignore_order).map(|job| &job.unit);
        let nodes: BTreeSet<&UnitName> = self.by_unit.keys().chain(installed).collect();
        let mut after: BTreeMap<&UnitName, BTreeSet<&UnitName>> = BTreeMap::new();
        for unit in &nodes {
            let earlier = self.engine.graph.of(unit, &[Dependency::After]);
            after.insert(unit, earlier.iter().filter_map(|name| nodes.get(name).copied()).collect());
        }
        // take away whoever waits for nobody until only cycles, and what waits for them, are left
        let mut later: BTreeMap<&UnitName, Vec<&UnitName>> = BTreeMap::new();
        for (unit, earlier) in &after {
            for other in earlier {
                later.entry(other).or_default().push(unit);
            }
        }
        let mut open: BTreeMap<&UnitName, usize> =
            after.iter().map(|(unit, set)| (*unit, set.len())).collect();
        let mut free: Vec<&UnitName> =
            open.iter().filter(|(_, count)| **count == 0).map(|(unit, _)| *unit).collect();
        while let Some(unit) = free.pop() {
            open.remove(unit);
            for other in later.get(unit).into_iter().flatten() {
                if let Some(count) = open.get_mut(other) {
                    *count -= 1;
                    if *count == 0 {
                        free.push(other);
                    }
                }
            }
        }
        // everyone left waits for someone left: follow until somebody comes again
        let mut path: Vec<&UnitName> = vec![open.keys().next()?];
        loop {
            let last = path.last()?;
            let next = after.get(last)?.iter().find(|unit| open.contains_key(*unit))?;
            if let Some(begin) = path.iter().position(|unit| unit == next) {
                return Some(path.into_iter().skip(begin).cloned().collect());
            }
            path.push(next);
        }
    }

    /// Merges the jobs of one unit that has several, or drops one. `false`: every unit has one job.
    fn merge_one(&mut self) -> Result<bool, RequestError> {
        let several =
            self.by_unit.iter().find(|(_, ids)| ids.len() > 1).map(|(unit, ids)| (unit.clone(), ids.clone()));
        let Some((unit, ids)) = several else { return Ok(false) };
        let state = self.engine.active(&unit);
        let (first, second) = (ids[0], ids[1]);
        let (Some(a), Some(b)) = (self.jobs.get(&first).cloned(), self.jobs.get(&second).cloned()) else {
            return Ok(false);
        };
        if let Some(kind) = a.kind.merge(b.kind, state) {
            let (keep, lose) = if second == self.anchor { (second, first) } else { (first, second) };
            for link in &mut self.links {
                if link.to == lose {
                    link.to = keep;
                }
                if link.from == lose {
                    link.from = keep;
                }
            }
            self.jobs.remove(&lose);
            if let Some(ids) = self.by_unit.get_mut(&unit) {
                ids.retain(|id| *id != lose);
            }
            if let Some(job) = self.jobs.get_mut(&keep) {
                job.kind = kind;
            }
            // what one of them needs, both now need
            self.mark();
            return Ok(true);
        }
        let victim = match (a.matters, b.matters) {
            (true, true) => return Err(RequestError::Contradiction(unit)),
            (true, false) => second,
            (false, true) => first,
            // whoever is in conflict with somebody that starts is rather not started; else rather not stopped
            (false, false) => {
                let (stop, other) = if a.kind == JobKind::Stop { (&a, second) } else { (&b, first) };
                match (stop.conflicted_by, a.kind == JobKind::Stop) {
                    (true, _) => other,
                    (false, true) => first,
                    (false, false) => second,
                }
            }
        };
        self.delete(victim);
        Ok(true)
    }

    fn check_destruction(&self, wish: Wish<'_>) -> Result<(), RequestError> {
        for job in self.jobs.values() {
            let Some(queued) = self.engine.job_of(&job.unit) else { continue };
            let guarded = wish.mode == JobMode::Fail || queued.irreversible;
            if guarded && queued.kind.merge(job.kind, self.engine.active(&job.unit)).is_none() {
                return Err(RequestError::Destructive {
                    unit: wish.unit.clone(),
                    verb: wish.kind.as_str(),
                    other: job.unit.clone(),
                });
            }
        }
        Ok(())
    }
}
