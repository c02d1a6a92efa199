//! Properties that clients set, as unit file text: for transient units and for `set-property`.
//!
//! Made so that there is one loader: whatever a client sends becomes the line that a person would have written, and
//! the loader says whether it is one. Names differ from directives in a few ways only (`…USec` for `…Sec`, a limit in
//! two halves, lists of structures), which [`value`] and the tables here know. Nothing a client sends can end its
//! line: control characters are escaped or refused. Source: org.freedesktop.systemd1(5), systemd.syntax(7).

mod value;

use zvariant::{OwnedValue, Value};

use super::property;
use super::world::Failure;
use value::{Text, text};

/// Lines of one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `Unit`, `Service`, …
    pub section: &'static str,
    /// `MemoryMax`
    pub key: String,
    /// What follows the `=`.
    pub value: String,
}

/// Properties that are set by another name than the directive's.
const RENAMED: &[(&str, &str)] = &[
    ("BlockIODeviceWeight", "BlockIODeviceWeight"),
    ("CPUQuotaPeriodUSec", "CPUQuotaPeriodSec"),
    ("CPUQuotaPerSecUSec", "CPUQuota"),
    ("EnvironmentFiles", "EnvironmentFile"),
    ("IODeviceLatencyTargetUSec", "IODeviceLatencyTargetSec"),
    ("LogRateLimitIntervalUSec", "LogRateLimitIntervalSec"),
    ("MemoryHighScale", "MemoryHigh"),
    ("MemoryLimitScale", "MemoryLimit"),
    ("MemoryLowScale", "MemoryLow"),
    ("MemoryMaxScale", "MemoryMax"),
    ("MemoryMinScale", "MemoryMin"),
    ("MemorySwapMaxScale", "MemorySwapMax"),
    ("StandardErrorFile", "StandardError"),
    ("StandardErrorFileToAppend", "StandardError"),
    ("StandardErrorFileToTruncate", "StandardError"),
    ("StandardInputFile", "StandardInput"),
    ("StandardOutputFile", "StandardOutput"),
    ("StandardOutputFileToAppend", "StandardOutput"),
    ("StandardOutputFileToTruncate", "StandardOutput"),
    ("TasksMaxScale", "TasksMax"),
];

/// What is known of a unit while it runs and cannot be set, though it is a property with a directive's looks.
const READ_ONLY: &[&str] = &[
    "Id",
    "Names",
    "Following",
    "LoadState",
    "ActiveState",
    "SubState",
    "FragmentPath",
    "DropInPaths",
    "Job",
    "InvocationID",
    "MainPID",
    "ControlPID",
    "ControlGroup",
    "ControlGroupId",
    "StatusText",
    "StatusErrno",
    "Result",
    "NRestarts",
    "UID",
    "GID",
    "Transient",
    "Perpetual",
    "NeedDaemonReload",
    "UnitFileState",
    "UnitFilePreset",
    "Refs",
    "LoadError",
    "ActivationDetails",
    "FreezerState",
    "CanStart",
    "CanStop",
    "CanReload",
    "CanIsolate",
    "CanClean",
    "CanFreeze",
    "ConditionResult",
    "AssertResult",
    "RequiredBy",
    "RequisiteOf",
    "BoundBy",
    "ConsistsOf",
    "ConflictedBy",
    "TriggeredBy",
    "Triggers",
    "SliceOf",
    "OnSuccessOf",
    "OnFailureOf",
    "UpheldBy",
    "WantedBy",
];

/// Whether a property of this name is one of a unit's that only its state sets.
fn is_read_only(name: &str) -> bool {
    READ_ONLY.contains(&name)
        || name.ends_with("Timestamp")
        || name.ends_with("TimestampMonotonic")
        || name.starts_with("ExecMain")
}

/// `Cannot set property …`
fn unknown(name: &str) -> Failure {
    let text = format!("Cannot set property {name}, or unknown property.");
    Failure::new("org.freedesktop.DBus.Error.PropertyReadOnly", text)
}

/// The section of a unit's own type.
fn own_section(unit: &str) -> &'static str {
    match unit.rsplit('.').next().unwrap_or_default() {
        "service" => "Service",
        "scope" => "Scope",
        "slice" => "Slice",
        "socket" => "Socket",
        "timer" => "Timer",
        "path" => "Path",
        "mount" => "Mount",
        "automount" => "Automount",
        "swap" => "Swap",
        _ => "Unit",
    }
}

/// The lines that a property comes to in the file of this unit.
///
/// # Errors
/// There is no such property that can be set, or its value is not of its type.
pub fn lines(unit: &str, name: &str, given: &Value<'_>) -> Result<Vec<Line>, Failure> {
    if is_read_only(name) {
        return Err(unknown(name));
    }
    let general = property::UNIT.1.iter().copied().flatten().any(|(known, _)| *known == name)
        || matches!(name, "Conditions" | "Asserts" | "StartLimitInterval");
    let section = if general { "Unit" } else { own_section(unit) };
    let wrong = || Failure::arguments(format!("The value of {name} is not of a type that it takes."));
    let Text { key, values } = text(name, given).ok_or_else(wrong)?;
    let line = |value: String| {
        if value.contains(['\n', '\0', '\r']) {
            return Err(Failure::arguments(format!("The value of {name} holds a line break.")));
        }
        let keyed = value.strip_prefix('\u{1}').and_then(|value| value.split_once('='));
        let (key, value) = match keyed {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (key.clone(), value),
        };
        let plain = |letter: char| letter.is_ascii_alphanumeric();
        if key.is_empty() || !key.chars().all(plain) {
            return Err(unknown(name));
        }
        Ok(Line { section, key, value })
    };
    values.into_iter().map(line).collect()
}

/// The text of a file with the lines of all these properties. Two halves of a limit become one line.
///
/// # Errors
/// As [`lines`].
pub fn file(unit: &str, head: &str, properties: &[(String, OwnedValue)]) -> Result<String, Failure> {
    let mut all: Vec<Line> = Vec::new();
    for (name, given) in properties {
        for line in lines(unit, name, given)? {
            merge(&mut all, line);
        }
    }
    let mut written = String::from(head);
    let mut section = "";
    // One header for each run of lines: the order of lines matters, that of sections does not.
    for name in ["Unit", own_section(unit)] {
        for line in all.iter().filter(|line| line.section == name) {
            if section != name {
                section = name;
                written.push_str(&format!("\n[{section}]\n"));
            }
            written.push_str(&format!("{}={}\n", line.key, line.value));
        }
        if name == own_section(unit) {
            break;
        }
    }
    Ok(written)
}

/// `LimitNOFILESoft` after `LimitNOFILE`: soft, then hard.
fn merge(all: &mut Vec<Line>, line: Line) {
    let hard = line.key.strip_suffix("Soft").filter(|key| key.starts_with("Limit")).map(str::to_owned);
    let Some(hard) = hard else { return all.push(line) };
    match all.iter_mut().rev().find(|other| other.key == hard) {
        Some(other) if other.value != line.value => {
            let most = other.value.rsplit(':').next().unwrap_or_default().to_owned();
            other.value = format!("{}:{most}", line.value);
        }
        Some(_) => {}
        None => all.push(Line { key: hard, ..line }),
    }
}

#[cfg(test)]
mod tests;
