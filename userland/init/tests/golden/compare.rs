//! What must be alike and what may differ, each with its reason.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Shown;

/// What the unit did on the recorded machine. Of a unit that did nothing there, these are compared too.
const RUN_STATE: &[&str] = &[
    "ActiveState",
    "AssertResult",
    "CPUUsageNSec",
    "ConditionResult",
    "ControlGroup",
    "ControlGroupId",
    "ExecMainCode",
    "ExecMainPID",
    "ExecMainStatus",
    "ExecMount",
    "InvocationID",
    "MainPID",
    "MemoryCurrent",
    "NAccepted",
    "NConnections",
    "NFileDescriptorStore",
    "NextElapseUSecMonotonic",
    "NextElapseUSecRealtime",
    "Options",
    "StatusText",
    "SubState",
    "TasksCurrent",
    "TimersCalendar",
    "TimersMonotonic",
    "What",
    "WatchdogUSec",
];

/// Defaults that the manager derives from the size of the recorded machine: compared only where a unit has another
/// value than most.
const OF_THE_MACHINE: &[&str] =
    &["LimitNPROC", "LimitNPROCSoft", "LimitSIGPENDING", "LimitSIGPENDINGSoft", "TasksMax"];

/// Sets: systemd prints them in the order of a hash table.
const SETS: &[&str] = &[
    "After",
    "Before",
    "BindsTo",
    "BoundBy",
    "ConflictedBy",
    "Conflicts",
    "ConsistsOf",
    "IPAddressAllow",
    "IPAddressDeny",
    "JoinsNamespaceOf",
    "Names",
    "OnFailure",
    "OnFailureOf",
    "OnSuccess",
    "OnSuccessOf",
    "PartOf",
    "PropagatesReloadTo",
    "PropagatesStopTo",
    "ReloadPropagatedFrom",
    "RequiredBy",
    "Requires",
    "RequiresMountsFor",
    "Requisite",
    "RequisiteOf",
    "SliceOf",
    "StopPropagatedFrom",
    "TriggeredBy",
    "Triggers",
    "UpheldBy",
    "Upholds",
    "WantedBy",
    "Wants",
];

/// Those of the sets that only the unit's own files, and the defaults of its kind, fill. In the others, units of the
/// recorded machine that are not in the tree have their word.
const SAID_BY_THE_UNIT: &[&str] = &[
    "BindsTo",
    "Conflicts",
    "OnFailure",
    "OnSuccess",
    "PartOf",
    "Requires",
    "RequiresMountsFor",
    "Requisite",
    "Upholds",
    "Wants",
];

/// Other names of units, by links that packages which are not in the corpus bring.
const NAMED_ELSEWHERE: &[(&str, &str)] = &[("mysqld.service", "mariadb.service")];

/// The recorded units, and what is known of where they were recorded.
pub struct Golden {
    /// Name and properties.
    pub units: Vec<(String, Shown)>,
    /// The units that have a file in the tree.
    pub files: BTreeSet<String>,
    /// Whether the tree has the links and presets of the operator that the recorded machine had.
    pub complete: bool,
    usual: BTreeMap<&'static str, String>,
}

impl Golden {
    /// Learns the machine's own defaults from what most units have.
    pub fn new(units: Vec<(String, Shown)>, files: BTreeSet<String>, complete: bool) -> Golden {
        let mut usual = BTreeMap::new();
        for name in OF_THE_MACHINE {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for value in units.iter().filter_map(|(_, shown)| shown.get(*name)).flatten() {
                *counts.entry(value).or_default() += 1;
            }
            if let Some((value, _)) = counts.into_iter().max_by_key(|(_, count)| *count) {
                usual.insert(*name, value.to_owned());
            }
        }
        Golden { units, files, complete, usual }
    }

    /// Adds what differs, a line each; tells how many properties were compared. `ours`: of the unit loaded on its
    /// own; `whole`: of the unit among all units of the tree.
    pub fn compare(
        &self,
        unit: &str,
        theirs: &Shown,
        ours: &Shown,
        whole: &Shown,
        found: &mut Vec<String>,
    ) -> usize {
        let none = Vec::new();
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        let happened = |name: &str| theirs.get(name).is_some_and(|at| at != &["0"]);
        let ran = happened("StateChangeTimestampMonotonic") || happened("ConditionTimestampMonotonic");
        let mut compared = 0;
        for name in names {
            let (their, our) = (theirs.get(name).unwrap_or(&none), ours.get(name).unwrap_or(&none));
            let of_the_run = ran && (RUN_STATE.contains(&name.as_str()) || name.contains("Timestamp"));
            // of a unit that cannot be used: the limits of the manager itself
            let of_the_manager =
                !theirs["LoadState"].contains(&"loaded".into()) && name.starts_with("LimitNOFILE");
            if of_the_run
                || of_the_manager
                || self.is_of_the_machine(unit, name, their)
                || is_share(name, our)
            {
                continue;
            }
            compared += 1;
            let alike = match SETS.contains(&name.as_str()) {
                true => self.same_set(name, &set(their), &set(our), &set(whole.get(name).unwrap_or(&none))),
                false if ran && name.starts_with("Exec") => commands(their) == commands(our),
                false => their == our,
            };
            if !alike {
                let (their, our) = (their.join(" | "), our.join(" | "));
                found.push(format!("{name} {unit}\n  systemd: {their}\n  corten:  {our}"));
            }
        }
        compared
    }

    fn is_of_the_machine(&self, unit: &str, name: &str, their: &[String]) -> bool {
        // its kernel had no autofs
        let no_autofs = unit.ends_with(".automount") && matches!(name, "CanStart" | "CanStop");
        let links_and_presets = match name {
            "UnitFileState" => their.iter().all(|state| state.starts_with("enabled")),
            "UnitFilePreset" => their == ["disabled"],
            _ => false,
        };
        let usual = self.usual.get(name).is_some_and(|usual| their == std::slice::from_ref(usual));
        usual || (!self.complete && (links_and_presets || no_autofs))
    }

    fn same_set(
        &self,
        name: &str,
        their: &BTreeSet<&str>,
        our: &BTreeSet<&str>,
        whole: &BTreeSet<&str>,
    ) -> bool {
        let explained = |extra: &&str| {
            let plain = extra.trim_matches('"').replace("\\\\", "\\");
            let by_others = !SAID_BY_THE_UNIT.contains(&name) && !self.files.contains(&plain);
            whole.contains(*extra) || by_others
        };
        let other_name =
            |name: &str| NAMED_ELSEWHERE.iter().any(|(alias, real)| *alias == name && their.contains(real));
        our.difference(their).all(|name| !self.complete && other_name(name))
            && their.difference(our).all(explained)
    }
}

fn set(lines: &[String]) -> BTreeSet<&str> {
    lines.iter().flat_map(|line| line.split(' ')).collect()
}

/// A limit that is a share of the machine's memory: a whole percentage of this one's.
fn is_share(name: &str, our: &[String]) -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let total = total.and_then(|total| total.trim().parse::<u64>().ok()).map_or(0, |total| total * 1024);
    let [value] = our else { return false };
    let Ok(bytes) = value.parse::<u64>() else { return false };
    let percent = (1..=100).map(|percent| total * percent / 100);
    name.starts_with("Memory") && percent.into_iter().any(|share| share.abs_diff(bytes) < 4096)
}

/// Command lines without how their last run went.
fn commands(lines: &[String]) -> Vec<&str> {
    lines.iter().map(|line| line.split(" ; start_time=").next().unwrap_or_default()).collect()
}
