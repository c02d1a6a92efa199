//! From files to a [`Unit`]: fragment, drop-ins, `.wants` and `.requires`, then the defaults.
//!
//! A line that cannot be used is warned of and skipped; only what a unit cannot do without makes it unusable.

mod automount;
mod cgroup;
mod defaults;
mod exec;
mod kill;
pub mod manager;
mod mount;
mod path;
mod scope;
mod service;
mod socket;
mod swap;
mod timer;
mod unit;
mod value;

pub(crate) use timer::STAMPS;
pub use value::{CAPABILITIES, amount, capability_name, percent, signal_name};
pub(crate) use value::{capability, status_name};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::settings::{
    AutomountSettings, CgroupSettings, Commands, Defaults, ExecSettings, KillSettings, MountSettings,
    PathSettings, ScopeSettings, ServiceSettings, SocketSettings, SwapSettings, TimerSettings,
};
use crate::specifier::Context;
use crate::{
    Dependency, Edges, Host, INFINITY, JobMode, Kind, LoadState, MountEntry, Role, Sources, Text, Unit,
    UnitName, UnitType, text, unenforced,
};

/// A unit on its way: the parts while lines are read into them.
struct Draft<'a> {
    context: Context<'a>,
    unit: Unit,
    exec: ExecSettings,
    cgroup: CgroupSettings,
    service: ServiceSettings,
    mount: MountSettings,
    socket: SocketSettings,
    timer: TimerSettings,
    path: PathSettings,
    automount: AutomountSettings,
    swap: SwapSettings,
    scope: ScopeSettings,
    /// Keys that were set, where "unset" differs from every value.
    set: BTreeSet<&'static str>,
    /// Directives that were used but are not carried out.
    idle: Vec<&'static str>,
    /// A line without which the unit would not be what was meant: it is not to be used.
    fatal: Option<(LoadState, String)>,
}

/// What a directive's function says.
enum Taken {
    /// Used.
    Yes,
    /// Not one of ours.
    Unknown,
}

type Outcome = Result<Taken, String>;

/// Loads a unit of a name that is no alias. `mounted`: the mount table's line for a mount unit.
pub fn load(
    name: &UnitName,
    sources: &Result<Sources, String>,
    mounted: Option<&MountEntry>,
    host: &Host,
) -> Unit {
    let none = Sources::default();
    let (sources, error) = match sources {
        Ok(sources) => (sources, None),
        Err(error) => (&none, Some(error.clone())),
    };
    let fragment = sources.fragment.as_ref().map(|text| text.path.as_str());
    let defaults = &host.defaults;
    let mut draft = Draft {
        context: Context { unit: name, host, fragment },
        unit: blank(name, defaults),
        exec: ExecSettings::default(),
        cgroup: CgroupSettings::default(),
        service: ServiceSettings {
            restart_usec: defaults.restart,
            timeout_start: defaults.timeout_start,
            timeout_stop: defaults.timeout_stop,
            timeout_abort: defaults.timeout_abort,
            ..ServiceSettings::default()
        },
        mount: MountSettings {
            directory_mode: 0o755,
            timeout: defaults.timeout_start,
            ..MountSettings::default()
        },
        socket: SocketSettings { timeout: defaults.timeout_start, ..SocketSettings::default() },
        timer: TimerSettings { accuracy: defaults.timer_accuracy, ..TimerSettings::default() },
        path: PathSettings::default(),
        automount: AutomountSettings::default(),
        swap: SwapSettings { timeout: defaults.timeout_start, ..SwapSettings::default() },
        scope: ScopeSettings { timeout_stop: defaults.timeout_stop, ..ScopeSettings::default() },
        set: BTreeSet::new(),
        idle: Vec::new(),
        fatal: None,
    };
    draft.unit.aliases = sources.aliases.clone();
    draft.unit.fragment = fragment.map(str::to_string);
    if let Some(error) = error {
        draft.unit.load = LoadState::Error;
        draft.unit.load_error = Some(error);
    } else if sources.masked {
        draft.unit.load = LoadState::Masked;
        draft.unit.load_error = Some(format!("Unit {name} is masked."));
    } else if name.is_template() {
        draft.unit.load = LoadState::BadSetting;
        draft.unit.load_error = Some(format!("Unit name {name} is missing the instance name."));
    } else if sources.fragment.is_none() && mounted.is_none() && !is_built_in(name) {
        draft.unit.load = LoadState::NotFound;
        draft.unit.load_error = Some(format!("Unit {name} not found."));
    } else if let Err((load, why)) = draft.read(sources, mounted) {
        draft.unit.load = load;
        draft.unit.load_error = Some(why);
    }
    draft.finish()
}

/// Units that need no file.
fn is_built_in(name: &UnitName) -> bool {
    matches!(name.unit_type(), UnitType::Slice | UnitType::Device) || name.is_perpetual()
}

fn blank(name: &UnitName, defaults: &Defaults) -> Unit {
    Unit {
        name: name.clone(),
        aliases: Vec::new(),
        load: LoadState::Loaded,
        load_error: None,
        description: String::new(),
        documentation: Vec::new(),
        fragment: None,
        drop_ins: Vec::new(),
        source_path: None,
        dependencies: Edges::default(),
        mounts_for: BTreeSet::new(),
        default_dependencies: true,
        conditions: Vec::new(),
        asserts: Vec::new(),
        stop_when_unneeded: false,
        refuse_manual_start: false,
        refuse_manual_stop: false,
        allow_isolate: false,
        ignore_on_isolate: matches!(
            name.unit_type(),
            UnitType::Slice
                | UnitType::Device
                | UnitType::Mount
                | UnitType::Automount
                | UnitType::Swap
                | UnitType::Scope
        ),
        on_failure_mode: JobMode::Replace,
        on_success_mode: JobMode::Fail,
        job_timeout: INFINITY,
        job_running_timeout: INFINITY,
        job_timeout_action: Default::default(),
        start_limit_interval: defaults.start_limit_interval,
        start_limit_burst: defaults.start_limit_burst,
        start_limit_action: Default::default(),
        failure_action: Default::default(),
        success_action: Default::default(),
        failure_exit_status: None,
        success_exit_status: None,
        reboot_argument: None,
        job_timeout_reboot_argument: None,
        collect_failed: false,
        exec: Arc::default(),
        cgroup: Arc::default(),
        kill: KillSettings::default(),
        kind: Kind::Target,
        warnings: Vec::new(),
    }
}

impl Draft<'_> {
    fn read(&mut self, sources: &Sources, mounted: Option<&MountEntry>) -> Result<(), (LoadState, String)> {
        if let Some(entry) = mounted {
            self.mount.what = entry.what.clone();
            self.mount.place = entry.place.clone();
            self.mount.fs_type = entry.fs_type.clone();
            self.mount.options = entry.options.clone();
        }
        if let Some(text) = &sources.fragment {
            self.file(text)?;
        }
        for text in &sources.drop_ins {
            self.unit.drop_ins.push(text.path.clone());
            // a broken drop-in does not take the unit with it
            let _ = self.file(text);
        }
        for (kind, names) in [(Dependency::Wants, &sources.wants), (Dependency::Requires, &sources.requires)]
        {
            for name in names {
                self.add(kind, name.clone());
            }
        }
        self.defaults()
            .and_then(|()| self.verify())
            .inspect_err(|why| self.unit.warnings.push(why.clone()))
            .map_err(|why| (LoadState::BadSetting, why))?;
        self.attach();
        let failures = self.unit.names(Dependency::OnFailure).count();
        if failures > 1 && self.unit.on_failure_mode == JobMode::Isolate {
            let why =
                "More than one OnFailure= dependencies specified but OnFailureJobMode=isolate set. Refusing.";
            return Err((LoadState::BadSetting, format!("{}: {why}", self.unit.name)));
        }
        Ok(())
    }

    /// Reads a file up to its end, or to the line that makes it unusable.
    fn file(&mut self, source: &Text) -> Result<(), (LoadState, String)> {
        let found = text::parse(&source.text);
        let warn = |line: usize, why: &str| format!("{}:{line}: {why}", source.path);
        self.unit.warnings.extend(found.warnings.iter().map(|(line, why)| warn(*line, why)));
        let mut unknown_sections = BTreeSet::new();
        for assignment in &found.all {
            let (section, key) = (assignment.section.as_str(), assignment.key.as_str());
            if section.starts_with("X-") || key.starts_with("X-") {
                continue;
            }
            let message = match self.directive(section, key, &assignment.value) {
                Some(Ok(Taken::Yes)) => {
                    self.note_idle(section, key, &assignment.value);
                    continue;
                }
                Some(Ok(Taken::Unknown)) => format!("Unknown key '{key}' in section [{section}], ignoring."),
                Some(Err(why)) => format!("Cannot use {key}=, ignoring: {why}"),
                None if unknown_sections.insert(section) => format!("Unknown section '{section}'. Ignoring."),
                None => continue,
            };
            let message = warn(assignment.line, &message);
            // a line is enough for what is said often
            if !self.unit.warnings.contains(&message) && self.unit.warnings.len() < 1000 {
                self.unit.warnings.push(message);
            }
            if let Some(why) = self.fatal.take() {
                return Err(why);
            }
        }
        match found.broken {
            None => Ok(()),
            Some(error) => {
                self.unit.warnings.push(format!("{}:{error}", source.path));
                Err((LoadState::Error, error.errno().into()))
            }
        }
    }

    /// Remembers a directive that is read but not carried out.
    fn note_idle(&mut self, section: &str, key: &str, value: &str) {
        let entry = unenforced::entry(section, key).filter(|_| !value.is_empty());
        if let Some(entry) = entry.filter(|entry| !self.idle.contains(&entry.directive)) {
            self.idle.push(entry.directive);
        }
    }

    /// `None`: not a section of this kind of unit.
    fn directive(&mut self, section: &str, key: &str, value: &str) -> Option<Outcome> {
        let own = match self.unit.unit_type() {
            UnitType::Service => "Service",
            UnitType::Mount => "Mount",
            UnitType::Slice => "Slice",
            UnitType::Socket => "Socket",
            UnitType::Timer => "Timer",
            UnitType::Path => "Path",
            UnitType::Automount => "Automount",
            UnitType::Swap => "Swap",
            UnitType::Scope => "Scope",
            UnitType::Target | UnitType::Device => "",
        };
        match section {
            "Unit" => Some(unit::unit(self, key, value)),
            "Install" => Some(unit::install(self, key, value)),
            _ if section != own => None,
            "Service" => Some(first_known(
                [service::set, exec::set, kill::set, cgroup::set].map(|set| set(self, key, value)),
            )),
            "Mount" => Some(first_known(
                [mount::set, exec::set, kill::set, cgroup::set].map(|set| set(self, key, value)),
            )),
            "Socket" => Some(first_known(
                [socket::set, exec::set, kill::set, cgroup::set].map(|set| set(self, key, value)),
            )),
            "Swap" => Some(first_known(
                [swap::set, exec::set, kill::set, cgroup::set].map(|set| set(self, key, value)),
            )),
            "Scope" => {
                Some(first_known([scope::set, kill::set, cgroup::set].map(|set| set(self, key, value))))
            }
            "Timer" => Some(timer::set(self, key, value)),
            "Path" => Some(path::set(self, key, value)),
            "Automount" => Some(automount::set(self, key, value)),
            _ => Some(cgroup::set(self, key, value)),
        }
    }

    fn add(&mut self, kind: Dependency, name: UnitName) {
        if name != self.unit.name {
            self.unit.dependencies.insert(kind, &name);
        }
    }

    /// A timer or path triggers what Unit= says, else the unit of its own name; and goes before it.
    fn triggers(&mut self, default: UnitType) {
        if self.unit.names(Dependency::Triggers).next().is_none() {
            let name = self.unit.name.with_type(default);
            self.add(Dependency::Triggers, name);
        }
        let units: Vec<UnitName> = self.unit.names(Dependency::Triggers).cloned().collect();
        for unit in units {
            self.add(Dependency::Before, unit);
        }
    }

    fn finish(mut self) -> Unit {
        if !self.idle.is_empty() {
            let names: Vec<String> = self.idle.iter().map(|name| format!("{name}=")).collect();
            let message = format!("{}: without effect here: {}.", self.unit.name, names.join(", "));
            self.unit.warnings.push(message);
        }
        let unit = &mut self.unit;
        unit.failure_action = unit.failure_action.exiting_with(unit.failure_exit_status);
        unit.success_action = unit.success_action.exiting_with(unit.success_exit_status);
        self.unit.exec = Arc::new(self.exec);
        self.unit.cgroup = Arc::new(self.cgroup);
        if self.unit.description.is_empty() {
            self.unit.description = match self.unit.unit_type() {
                UnitType::Mount if !self.mount.place.is_empty() => self.mount.place.clone(),
                UnitType::Slice if self.unit.load == LoadState::Loaded => {
                    let place = self.unit.name.to_path();
                    place.map_or_else(|| self.unit.name.to_string(), |place| format!("Slice {place}"))
                }
                _ => self.unit.name.to_string(),
            };
        }
        self.unit.kind = match self.unit.unit_type() {
            UnitType::Service => Kind::Service(Box::new(self.service)),
            UnitType::Mount => Kind::Mount(Box::new(self.mount)),
            UnitType::Target => Kind::Target,
            UnitType::Slice => Kind::Slice,
            UnitType::Device => Kind::Device,
            UnitType::Socket => Kind::Socket(Box::new(self.socket)),
            UnitType::Timer => Kind::Timer(Box::new(self.timer)),
            UnitType::Path => Kind::Path(Box::new(self.path)),
            UnitType::Automount => Kind::Automount(Box::new(self.automount)),
            UnitType::Swap => Kind::Swap(Box::new(self.swap)),
            UnitType::Scope => Kind::Scope(Box::new(self.scope)),
        };
        self.unit
    }
}

/// An Exec*= line: adds to its directive's commands, an empty one forgets them. A line that cannot be run makes the
/// unit unusable (`fatal`), unless it begins with `-`.
fn commands(
    all: &mut Commands,
    context: Context<'_>,
    fatal: &mut Option<(LoadState, String)>,
    role: Role,
    value: &str,
) -> Outcome {
    if value.is_empty() {
        all.clear(role);
        return Ok(Taken::Yes);
    }
    let resolve = |text: &str| context.resolve(text).map_err(|error| error.to_string());
    let (lines, broken) = crate::exec::parse(value, &resolve);
    all.add(role, lines);
    match broken {
        None => Ok(Taken::Yes),
        Some((why, matters)) => {
            *fatal = matters.then(|| (LoadState::BadSetting, why.to_string()));
            Err(why.to_string())
        }
    }
}

/// Unit= of a timer or path.
fn trigger(draft: &mut Draft<'_>, value: &str) -> Outcome {
    let name = draft.context.resolve_name(value)?;
    match UnitName::parse(&name) {
        Ok(unit) if !unit.is_template() && unit != draft.unit.name => {
            draft.unit.dependencies.clear(Dependency::Triggers);
            draft.add(Dependency::Triggers, unit);
            Ok(Taken::Yes)
        }
        _ => Err(format!("{name} is not a unit to trigger")),
    }
}

fn first_known<const N: usize>(outcomes: [Outcome; N]) -> Outcome {
    for outcome in outcomes {
        match outcome {
            Ok(Taken::Unknown) => {}
            taken => return taken,
        }
    }
    Ok(Taken::Unknown)
}

/// Bytes of a size with K, M, G, …
pub(crate) fn size(text: &str) -> Result<u64, String> {
    value::size(text)
}
