//! What timers tell besides their unit settings.
//!
//! Names, types and defaults as systemd 252 reports them, in its order (org.freedesktop.systemd1(5)).

use unit::settings::{TimerSettings, TimerValue};
use unit::{Details, UnitStatus, Usec};
use zvariant::Value;

use super::{Default::*, Facts, Property, array, structure};

/// The part of the interface `Timer` that no other type has.
pub const TIMER: &[Property] = &[
    ("Unit", Str("")),
    ("TimersMonotonic", Empty("a(stt)")),
    ("TimersCalendar", Empty("a(sst)")),
    ("OnClockChange", Bool(false)),
    ("OnTimezoneChange", Bool(false)),
    ("NextElapseUSecRealtime", U64(u64::MAX)),
    ("NextElapseUSecMonotonic", U64(u64::MAX)),
    ("LastTriggerUSec", U64(0)),
    ("LastTriggerUSecMonotonic", U64(0)),
    ("Result", Str("success")),
    ("AccuracyUSec", U64(60_000_000)),
    ("RandomizedDelayUSec", U64(0)),
    ("FixedRandomDelay", Bool(false)),
    ("Persistent", Bool(false)),
    ("WakeSystem", Bool(false)),
    ("RemainAfterElapse", Bool(true)),
];

/// The true values.
pub fn facts(status: &UnitStatus, settings: &TimerSettings, facts: &mut Facts) {
    let (mut monotonic, mut calendar) = (Vec::new(), Vec::new());
    let next: &[Option<Usec>] = match &status.details {
        Details::Timer { next_of, .. } => next_of,
        _ => &[],
    };
    // the last one first, as systemd has them
    for (index, value) in settings.values.iter().enumerate().rev() {
        let next = next.get(index).copied().flatten().unwrap_or(0);
        match value {
            TimerValue::After(base, span) => {
                monotonic.push(structure([base.as_str().into(), (*span).into(), next.into()]));
            }
            TimerValue::Calendar(spec) => {
                calendar.push(structure(["OnCalendar".into(), spec.to_string().into(), next.into()]));
            }
        }
    }
    facts.extend([
        ("Unit", super::triggered(status)),
        ("TimersMonotonic", array("(stt)", monotonic)),
        ("TimersCalendar", array("(sst)", calendar)),
        ("OnClockChange", settings.on_clock_change.into()),
        ("OnTimezoneChange", settings.on_timezone_change.into()),
        ("AccuracyUSec", settings.accuracy.into()),
        ("RandomizedDelayUSec", settings.randomized_delay.into()),
        ("FixedRandomDelay", settings.fixed_random_delay.into()),
        ("Persistent", settings.persistent.into()),
        ("WakeSystem", settings.wake_system.into()),
        ("RemainAfterElapse", settings.remain_after_elapse.into()),
    ]);
    if let Details::Timer { last_trigger, next_realtime, next_monotonic, .. } = &status.details {
        // a clock that an active timer does not go by
        let none = if status.active.is_up() { 0 } else { u64::MAX };
        facts.extend([
            ("NextElapseUSecRealtime", Value::from(next_realtime.unwrap_or(none))),
            ("NextElapseUSecMonotonic", next_monotonic.unwrap_or(none).into()),
            ("LastTriggerUSec", last_trigger.realtime.into()),
            ("LastTriggerUSecMonotonic", last_trigger.monotonic.into()),
        ]);
    }
}
