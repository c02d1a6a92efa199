//! The [Timer] section, systemd.timer(5).

use crate::Usec;
use crate::calendar::Calendar;

/// What a time is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerBase {
    /// OnActiveSec=: the timer itself became active
    Active,
    /// OnBootSec=: the machine was booted
    Boot,
    /// OnStartupSec=: PID 1 began
    Startup,
    /// OnUnitActiveSec=: the unit was last activated
    UnitActive,
    /// OnUnitInactiveSec=: the unit was last deactivated
    UnitInactive,
}

impl TimerBase {
    /// The name in D-Bus' TimersMonotonic.
    pub fn as_str(self) -> &'static str {
        match self {
            TimerBase::Active => "OnActiveUSec",
            TimerBase::Boot => "OnBootUSec",
            TimerBase::Startup => "OnStartupUSec",
            TimerBase::UnitActive => "OnUnitActiveUSec",
            TimerBase::UnitInactive => "OnUnitInactiveUSec",
        }
    }
}

/// One time at which the timer elapses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerValue {
    /// So long after.
    After(TimerBase, Usec),
    /// OnCalendar=
    Calendar(Box<Calendar>),
}

/// A timer's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerSettings {
    /// On…Sec= and OnCalendar=, in order
    pub values: Vec<TimerValue>,
    /// AccuracySec=
    pub accuracy: Usec,
    /// RandomizedDelaySec=
    pub randomized_delay: Usec,
    /// FixedRandomDelay=
    pub fixed_random_delay: bool,
    /// OnClockChange=
    pub on_clock_change: bool,
    /// OnTimezoneChange=
    pub on_timezone_change: bool,
    /// Persistent=
    pub persistent: bool,
    /// WakeSystem=: told, of no effect on a machine that does not sleep
    pub wake_system: bool,
    /// RemainAfterElapse=
    pub remain_after_elapse: bool,
}

impl Default for TimerSettings {
    fn default() -> Self {
        TimerSettings {
            values: Vec::new(),
            accuracy: 60_000_000,
            randomized_delay: 0,
            fixed_random_delay: false,
            on_clock_change: false,
            on_timezone_change: false,
            persistent: false,
            wake_system: false,
            remain_after_elapse: true,
        }
    }
}
