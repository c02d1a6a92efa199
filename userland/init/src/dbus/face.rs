//! The server as the event loop knows it, and the real manager as the server knows it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use unit::{Catalog, JobId, JobMode, KillWhom, RequestId, Shutdown, UnitName, UnitStatus, Verb};
use zvariant::Value;

use super::property::{Facts, strings};
use super::world::{Failure, FileChanges, FileVerb, Job, Listed, Notice, Process, Settings, World};
use super::{SOCKET, Server, control, dump, facts};
use crate::catalog::{self, ChangeError, ChangeKind};
use crate::face::News;
use crate::handover::Inherited;
use crate::manager::Manager;

/// The D-Bus face on `/run/systemd/private`.
pub struct Face(Server);

impl Face {
    /// Binds the socket.
    ///
    /// # Errors
    /// `/run/systemd` is missing or not writable.
    pub fn listen() -> std::io::Result<Face> {
        Server::listen(Path::new(SOCKET), Path::new(super::bus::SOCKET)).map(Face)
    }
}

impl Face {
    /// Goes on where an earlier one was written down.
    ///
    /// # Errors
    /// As [`Face::listen`].
    pub fn again(saved: super::Saved, inherited: &mut Inherited) -> std::io::Result<Face> {
        Server::again(saved, inherited).map(Face)
    }
}

impl crate::face::Face for Face {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    fn save(&self) -> super::Saved {
        self.0.save()
    }

    fn begin(&mut self, manager: &mut Manager) {
        self.0.begin(manager);
    }

    fn ready(&mut self, manager: &mut Manager) {
        self.0.ready(manager);
    }

    fn tell(&mut self, manager: &mut Manager, news: &[News]) {
        let notices: Vec<Notice> = news.iter().map(notice).collect();
        self.0.tell(manager, &notices);
    }
}

fn notice(news: &News) -> Notice {
    match news {
        News::Queued { job, request, unit } => {
            Notice::Queued { job: job.0, ticket: request.map(|request| request.0), unit: unit.to_string() }
        }
        News::Done { job, unit, result, .. } => {
            Notice::Done { job: job.0, unit: unit.to_string(), result: result.as_str() }
        }
        News::Refused { request: RequestId(ticket), error } => {
            Notice::Refused { ticket: *ticket, failure: Failure::new(error.dbus_name(), error.to_string()) }
        }
        News::Changed { unit } => Notice::Changed(unit.to_string()),
        News::Loaded { unit } => Notice::Loaded(unit.to_string()),
        News::StartupFinished { kernel, all } => {
            Notice::StartupFinished([0, 0, *kernel, 0, all.saturating_sub(*kernel), *all])
        }
        News::Forgotten { unit } => Notice::Forgotten(unit.to_string()),
        News::Reloading(active) => Notice::Reloading(*active),
        News::UnitFilesChanged => Notice::UnitFilesChanged,
    }
}

/// What was done to unit files, or why not, in the face's words.
fn file_changes(changes: Result<catalog::Changes, ChangeError>) -> Result<FileChanges, Failure> {
    let changes = changes.map_err(|error| {
        let name = match &error {
            ChangeError::Name(_) => "org.freedesktop.DBus.Error.InvalidArgs",
            ChangeError::Missing(_) => "org.freedesktop.DBus.Error.FileNotFound",
            ChangeError::Masked(_) => "org.freedesktop.systemd1.UnitMasked",
            ChangeError::InTheWay { .. } => "org.freedesktop.systemd1.UnitExists",
            ChangeError::Unreadable(_) => "org.freedesktop.systemd1.BadUnitSetting",
            ChangeError::Io { .. } => "org.freedesktop.DBus.Error.Failed",
        };
        Failure::new(name, error.to_string())
    })?;
    let line = |(kind, link, target): (ChangeKind, std::path::PathBuf, std::path::PathBuf)| {
        let kind = if kind == ChangeKind::Symlink { "symlink" } else { "unlink" };
        (kind.to_owned(), link.display().to_string(), target.display().to_string())
    };
    let done = changes.done.into_iter().map(line).collect();
    Ok(FileChanges { carries_install_info: changes.carries_install_info, done })
}

fn listed(status: &UnitStatus) -> Listed {
    Listed {
        id: status.definition.name.to_string(),
        description: status.definition.description.clone(),
        load: status.load.as_str(),
        active: status.active.as_str(),
        sub: status.sub,
        job: status.job.as_ref().map(|job| (job.id.0, job.kind.as_str())),
    }
}

impl Manager {
    /// All that the engine knows of a unit, and of what has to be looked up what is wanted.
    fn facts_where(&self, name: &str, wanted: impl Fn(&str) -> bool) -> Facts {
        let Some(status) = UnitName::parse(name).ok().and_then(|name| self.engine().status(&name)) else {
            return Facts::new();
        };
        let unit = &status.definition;
        let name = &unit.name;
        let mut facts = facts::of_unit(&status);
        facts.insert("Transient", self.is_transient(name).into());
        if wanted("UnitFileState") || wanted("UnitFilePreset") {
            facts::of_unit_file(self.catalog(), unit, &mut facts);
        }
        if ["MemoryCurrent", "TasksCurrent", "CPUUsageNSec"].into_iter().any(&wanted) {
            let resources = self.resources(name);
            let measured = [
                ("MemoryCurrent", resources.memory_current),
                ("TasksCurrent", resources.tasks_current),
                ("CPUUsageNSec", resources.cpu_usage_nsec),
            ];
            facts.extend(measured.into_iter().filter_map(|(name, value)| Some((name, Value::from(value?)))));
        }
        if wanted("ControlGroup") {
            facts.insert("ControlGroup", self.cgroup_of(name).unwrap_or_default().into());
        }
        if wanted("NeedDaemonReload") {
            facts.insert("NeedDaemonReload", self.is_stale(unit).into());
        }
        if wanted("FreezerState") {
            facts.insert("FreezerState", control::freezer_state(self, name).into());
        }
        facts
    }
}

impl World for Manager {
    fn unit(&self, name: &str) -> Option<Listed> {
        self.engine().status(&UnitName::parse(name).ok()?).as_ref().map(listed)
    }

    fn is_active(&self, name: &str) -> bool {
        let state = UnitName::parse(name).ok().and_then(|name| self.engine().active_state(&name));
        state == Some(unit::ActiveState::Active)
    }

    fn load(&mut self, name: &str) -> Option<Listed> {
        Manager::load(self, &UnitName::parse(name).ok()?);
        self.unit(name)
    }

    fn units(&self) -> Vec<Listed> {
        self.engine()
            .units()
            .iter()
            .filter_map(|name| self.engine().status(name))
            .map(|status| listed(&status))
            .collect()
    }

    fn facts(&self, name: &str) -> Facts {
        self.facts_where(name, |_| true)
    }

    fn facts_for(&self, name: &str, property: &str) -> Facts {
        self.facts_where(name, |known| known == property)
    }

    fn state_facts(&self, name: &str) -> Facts {
        let Some(status) = UnitName::parse(name).ok().and_then(|name| self.engine().status(&name)) else {
            return Facts::new();
        };
        let mut facts = facts::of_unit(&status);
        let group = self.cgroup_of(&status.definition.name).unwrap_or_default();
        facts.insert("ControlGroup", group.into());
        facts
    }

    fn manager_facts(&self) -> Facts {
        let engine = self.engine();
        let failed = engine.failed_count() as u32;
        let jobs = engine.jobs();
        let times = self.times();
        let state = match () {
            () if self.goes_down() => "stopping",
            () if times.finish == (0, 0) => "starting",
            () if failed > 0 => "degraded",
            () => "running",
        };
        let mut facts = Facts::from([
            ("SystemState", Value::from(state)),
            ("NNames", (engine.name_count() as u32).into()),
            ("NFailedUnits", failed.into()),
            ("NJobs", (jobs.len() as u32).into()),
            ("NInstalledJobs", jobs.iter().map(|job| job.id.0).max().unwrap_or(0).into()),
            ("Architecture", self.host().architecture.clone().into()),
            ("Environment", strings(Manager::environment(self))),
            ("LogLevel", crate::log::level().into()),
            ("LogTarget", crate::log::target().into()),
            ("UnitPath", strings(self.catalog().folders().iter().map(|folder| folder.display().to_string()))),
        ]);
        facts::manager::of_configuration(&self.configuration, &mut facts);
        let stamps = [
            ("KernelTimestamp", "KernelTimestampMonotonic", times.kernel),
            ("UserspaceTimestamp", "UserspaceTimestampMonotonic", times.userspace),
            ("UnitsLoadTimestamp", "UnitsLoadTimestampMonotonic", times.units_load),
            ("FinishTimestamp", "FinishTimestampMonotonic", times.finish),
        ];
        for (realtime, monotonic, (at, since_boot)) in stamps {
            facts.extend([(realtime, at.into()), (monotonic, since_boot.into())]);
        }
        facts
    }

    fn jobs(&self) -> Vec<Job> {
        let job = |status: unit::JobStatus| Job {
            id: status.id.0,
            unit: status.unit.to_string(),
            kind: status.kind.as_str(),
            state: status.state.as_str(),
        };
        self.engine().jobs().into_iter().map(job).collect()
    }

    fn cancel(&mut self, job: u32) -> bool {
        Manager::cancel(self, JobId(job))
    }

    fn submit(&mut self, verb: Verb, name: &str, mode: JobMode) -> u64 {
        // The dispatcher has checked the name.
        UnitName::parse(name).map_or(0, |name| Manager::submit(self, verb, name, mode).0)
    }

    fn kill(&mut self, name: &str, whom: KillWhom, signal: i32) {
        if let Ok(name) = UnitName::parse(name) {
            Manager::kill(self, name, whom, signal);
        }
    }

    fn reset_failed(&mut self, name: Option<&str>) {
        Manager::reset_failed(self, name.and_then(|name| UnitName::parse(name).ok()));
    }

    fn unit_of(&self, pid: u32) -> Option<String> {
        Manager::unit_of(self, pid).map(|name| name.to_string())
    }

    fn processes(&self, name: &str) -> Vec<Process> {
        let Ok(name) = UnitName::parse(name) else { return Vec::new() };
        Manager::processes(self, &name)
            .into_iter()
            .map(|process| (process.cgroup, process.pid, process.command))
            .collect()
    }

    fn unit_files(&self) -> Vec<(String, &'static str)> {
        let place = |name: &UnitName| {
            let paths = self.catalog().folders().iter().map(|folder| folder.join(name.as_str()));
            paths.into_iter().find(|path| path.symlink_metadata().is_ok())
        };
        let line = |(name, state): (UnitName, unit::UnitFileState)| {
            (place(&name).map_or_else(|| name.to_string(), |path| path.display().to_string()), state.as_str())
        };
        self.catalog().list().into_iter().map(line).collect()
    }

    fn unit_file_state(&self, name: &str) -> Option<&'static str> {
        Some(self.catalog().state(&UnitName::parse(name).ok()?)?.as_str())
    }

    fn change_unit_files(
        &mut self,
        verb: FileVerb,
        names: &[String],
        runtime: bool,
        force: bool,
    ) -> Result<FileChanges, Failure> {
        let verb = match verb {
            FileVerb::Enable => catalog::Verb::Enable,
            FileVerb::Disable => catalog::Verb::Disable,
            FileVerb::Reenable => catalog::Verb::Reenable,
            FileVerb::Mask => catalog::Verb::Mask,
            FileVerb::Unmask => catalog::Verb::Unmask,
            FileVerb::Preset => catalog::Verb::Preset,
            FileVerb::PresetEnable => catalog::Verb::PresetEnable,
            FileVerb::PresetDisable => catalog::Verb::PresetDisable,
            FileVerb::Link => catalog::Verb::Link,
            FileVerb::Revert => catalog::Verb::Revert,
        };
        let change = catalog::Change { verb, names: names.to_vec(), runtime, force };
        file_changes(Manager::change_unit_files(self, &change))
    }

    fn set_default_target(&mut self, name: &str, force: bool) -> Result<FileChanges, Failure> {
        let Ok(name) = UnitName::parse(name) else { return Err(Failure::no_such_unit(name)) };
        let changes = self.catalog().set_default(&name, force);
        self.tell(News::UnitFilesChanged);
        file_changes(changes)
    }

    fn add_dependency(
        &mut self,
        names: &[String],
        target: &str,
        kind: &str,
        runtime: bool,
    ) -> Result<FileChanges, Failure> {
        let mut all = FileChanges::default();
        for name in [target].into_iter().chain(names.iter().map(String::as_str)) {
            UnitName::parse(name).map_err(|error| Failure::arguments(error.to_string()))?;
        }
        for name in names {
            let (Ok(unit), Ok(target)) = (UnitName::parse(name), UnitName::parse(target)) else { continue };
            all.done.extend(file_changes(self.catalog().add_dependency(&unit, &target, kind, runtime))?.done);
        }
        self.tell(News::UnitFilesChanged);
        Ok(all)
    }

    fn set_properties(&mut self, name: &str, runtime: bool, properties: &Settings) -> Result<(), Failure> {
        control::set_properties(self, name, runtime, properties)
    }

    fn make_transient(
        &mut self,
        name: &str,
        properties: &Settings,
        handed: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        control::make_transient(self, name, properties, handed)
    }

    fn attach(&mut self, name: &str, below: &str, pids: &[u32]) -> Result<(), Failure> {
        control::attach(self, name, below, pids)
    }

    fn abandon(&mut self, name: &str) {
        control::abandon(self, name);
    }

    fn freeze(&mut self, name: &str, frozen: bool) -> Result<(), Failure> {
        control::freeze(self, name, frozen)
    }

    fn clean(&mut self, name: &str, kinds: &[String]) -> Result<(), Failure> {
        control::clean(self, name, kinds)
    }

    fn unit_file_links(&self, name: &str, runtime: bool) -> Result<Vec<String>, Failure> {
        let name = UnitName::parse(name).map_err(|error| Failure::arguments(error.to_string()))?;
        let links = self.catalog().links(&name, runtime);
        let changes = file_changes(links)?;
        Ok(changes.done.into_iter().map(|(_, link, _)| link).collect())
    }

    fn dynamic_users(&self) -> Vec<(u32, String)> {
        crate::exec::dynamic_user::all()
    }

    fn dump(&self) -> String {
        dump::text(self)
    }

    fn set_show_status(&mut self, show: bool) {
        self.show_status = show;
    }

    fn log_level(&self) -> &'static str {
        crate::log::level()
    }

    fn set_log_level(&mut self, level: &str) -> bool {
        crate::log::set_level(level)
    }

    fn log_target(&self) -> &'static str {
        crate::log::target()
    }

    fn set_log_target(&mut self, target: &str) -> bool {
        crate::log::set_target(target)
    }

    fn hold(&mut self, name: &str, holder: &str) {
        if let Ok(name) = UnitName::parse(name) {
            Manager::hold(self, name, holder);
        }
    }

    fn release(&mut self, name: &str, holder: &str) {
        if let Ok(name) = UnitName::parse(name) {
            Manager::release(self, &name, holder);
        }
    }

    fn bus_names(&self) -> Vec<String> {
        self.engine().bus_names().into_iter().collect()
    }

    fn bus_name_of(&self, unit: &str) -> Option<String> {
        self.engine().bus_name_of(&UnitName::parse(unit).ok()?).map(str::to_owned)
    }

    fn bus_name(&mut self, name: &str, owned: bool) {
        self.handle(unit::Event::BusName { name: name.to_owned(), owned });
    }

    fn holders(&self) -> Vec<String> {
        self.holders.values().flatten().cloned().collect()
    }

    fn has_holders(&self) -> bool {
        !self.holders.is_empty()
    }

    fn unref(&mut self, holder: &str) {
        self.release_all(holder);
    }

    fn default_target(&self) -> Option<String> {
        let name = UnitName::parse("default.target").ok()?;
        self.catalog().state(&name)?;
        Some(self.catalog().resolve(&name).to_string())
    }

    fn reload(&mut self) {
        Manager::reload(self);
    }

    fn reexecute(&mut self) {
        Manager::reexecute(self);
    }

    fn power(&mut self, how: Shutdown) {
        Manager::power(self, how);
    }

    fn environment(&self) -> Vec<String> {
        Manager::environment(self)
    }

    fn change_environment(&mut self, unset: &[String], set: &[String]) {
        Manager::change_environment(self, unset, set);
    }
}
