//! The times of a boot, as the manager tells them.

use super::Failed;
use crate::cli::Client;
use crate::cli::properties::Properties;
use crate::cli::time::span;

/// Times are told in ms.
const MILLISECOND: u64 = 1_000;

/// When the parts of the boot began and ended: µs since the kernel began.
#[derive(Debug, Clone)]
pub(super) struct Boot {
    pub(super) userspace: u64,
    pub(super) finish: u64,
    /// The target that was booted into, and when it was reached.
    pub(super) target: Option<(String, u64)>,
}

/// A unit's part in it: when it began to start, was there, began to stop, was gone; zero: never.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) name: String,
    pub(super) activating: u64,
    pub(super) activated: u64,
    pub(super) deactivating: u64,
    pub(super) deactivated: u64,
}

impl Unit {
    pub(super) fn of(name: &str, properties: &Properties) -> Unit {
        let at = |name: &str| properties.number(name);
        Unit {
            name: name.to_owned(),
            activating: at("InactiveExitTimestampMonotonic"),
            activated: at("ActiveEnterTimestampMonotonic"),
            deactivating: at("ActiveExitTimestampMonotonic"),
            deactivated: at("InactiveEnterTimestampMonotonic"),
        }
    }

    /// How long it took to start; of what ended before it was ever active, how long it ran.
    pub(super) fn took(&self) -> u64 {
        if self.activated >= self.activating && self.activated > 0 {
            self.activated - self.activating
        } else {
            self.deactivated.saturating_sub(self.activating)
        }
    }
}

impl Boot {
    pub(super) fn read(client: &mut Client) -> Result<Boot, Failed> {
        let manager = Properties::of_manager(client)?;
        let finish = manager.number("FinishTimestampMonotonic");
        if finish == 0 {
            let text = "Bootup is not yet finished (org.freedesktop.systemd1.Manager.FinishTimestampMonotonic=0).\n\
                        Please try again later.\nHint: Use 'systemctl list-jobs' to see active jobs";
            return Err(Failed::Plain(text.into()));
        }
        let target: String = client.manager("GetDefaultTarget", &())?;
        let reached = Properties::of_unit(client, &target)?.number("ActiveEnterTimestampMonotonic");
        let target = (reached > 0).then_some((target, reached));
        Ok(Boot { userspace: manager.number("UserspaceTimestampMonotonic"), finish, target })
    }

    /// The two lines of `systemd-analyze time`.
    pub(super) fn summary(&self) -> Result<String, Failed> {
        let mut text = format!(
            "Startup finished in {} (kernel) + {} (userspace) = {} \n",
            span(self.userspace, MILLISECOND),
            span(self.finish.saturating_sub(self.userspace), MILLISECOND),
            span(self.finish, MILLISECOND),
        );
        if let Some((target, reached)) = &self.target {
            let reached = span(reached.saturating_sub(self.userspace), MILLISECOND);
            text.push_str(&format!("{target} reached after {reached} in userspace.\n"));
        }
        Ok(text)
    }
}

/// Every unit that has been started since the boot, by when it began to.
pub(super) fn units(client: &mut Client) -> Result<Vec<Unit>, Failed> {
    let none: [&str; 0] = [];
    let lines: Vec<crate::cli::Line> =
        client.manager("ListUnitsByPatterns", &(none.as_slice(), none.as_slice()))?;
    let mut units = Vec::new();
    for line in lines {
        let unit = Unit::of(&line.0, &Properties::of_unit(client, &line.0)?);
        if unit.activating > 0 {
            units.push(unit);
        }
    }
    units.sort_by_key(|unit| unit.activating);
    Ok(units)
}

/// Those that took time, the slowest first.
pub(super) fn blame(units: &[Unit]) -> String {
    let mut units: Vec<&Unit> = units.iter().filter(|unit| unit.took() > 0).collect();
    units.sort_by_key(|unit| std::cmp::Reverse(unit.took()));
    let times: Vec<String> = units.iter().map(|unit| span(unit.took(), MILLISECOND)).collect();
    let width = times.iter().map(String::len).max().unwrap_or(0);
    let lines = units.iter().zip(&times).map(|(unit, time)| format!("{time:>width$} {}\n", unit.name));
    lines.collect()
}
