//! The [Timer] section, systemd.timer(5).

use super::value::{boolean, span};
use super::{Draft, Outcome, Taken};
use crate::calendar::Calendar;
use crate::settings::{TimerBase, TimerValue};
use crate::{Dependency, UnitType};

/// Where Persistent= keeps when a timer last elapsed.
pub(crate) const STAMPS: &str = "/var/lib/systemd/timers";

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    if let Some(base) = base(key) {
        if value.is_empty() {
            draft.timer.values.clear();
        } else {
            let usec = span(&draft.context.resolve(value)?)?;
            draft.timer.values.push(TimerValue::After(base, usec));
        }
        return Ok(Taken::Yes);
    }
    let timer = &mut draft.timer;
    match key {
        "OnCalendar" if value.is_empty() => timer.values.clear(),
        "OnCalendar" => {
            let calendar = Calendar::parse(&draft.context.resolve(value)?, &is_zone)?;
            timer.values.push(TimerValue::Calendar(Box::new(calendar)));
        }
        "AccuracySec" => timer.accuracy = span(value)?.max(1),
        "RandomizedDelaySec" => timer.randomized_delay = span(value)?,
        "FixedRandomDelay" => timer.fixed_random_delay = boolean(value)?,
        "OnClockChange" => timer.on_clock_change = boolean(value)?,
        "OnTimezoneChange" => timer.on_timezone_change = boolean(value)?,
        "Persistent" => timer.persistent = boolean(value)?,
        "WakeSystem" => timer.wake_system = boolean(value)?,
        "RemainAfterElapse" => timer.remain_after_elapse = boolean(value)?,
        "Unit" => return super::trigger(draft, value),
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

fn base(key: &str) -> Option<TimerBase> {
    Some(match key {
        "OnActiveSec" => TimerBase::Active,
        "OnBootSec" => TimerBase::Boot,
        "OnStartupSec" => TimerBase::Startup,
        "OnUnitActiveSec" => TimerBase::UnitActive,
        "OnUnitInactiveSec" => TimerBase::UnitInactive,
        _ => return None,
    })
}

/// Looks like a name of the time zone database: whether there is such a zone is known when the time is computed.
fn is_zone(word: &str) -> bool {
    let known = ["GMT", "CET", "MET", "EET", "WET", "EST", "MST", "HST", "Japan", "Zulu", "UCT"];
    let parts = |word: &str| word.split('/').all(|part| !part.is_empty() && part != ".." && part != ".");
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
    known.contains(&word) || (word.contains('/') && parts(word) && word.chars().all(plain))
}

impl Draft<'_> {
    /// What makes a timer unusable.
    pub(super) fn verify_timer(&self) -> Result<(), String> {
        let timer = &self.timer;
        if timer.values.is_empty() && !timer.on_clock_change && !timer.on_timezone_change {
            return Err("Timer unit lacks value setting.".into());
        }
        Ok(())
    }

    /// Defaults and implied dependencies of a timer.
    pub(super) fn timer_defaults(&mut self) -> Result<(), String> {
        let timer = &self.timer;
        let calendar = timer.values.iter().any(|value| matches!(value, TimerValue::Calendar(_)));
        let stamped = timer.persistent;
        self.triggers(UnitType::Service);
        if stamped {
            self.requires_mounts_for(STAMPS)?;
        }
        if calendar && self.unit.default_dependencies {
            self.implied(Dependency::After, "time-set.target");
            self.implied(Dependency::After, "time-sync.target");
        }
        Ok(())
    }
}
