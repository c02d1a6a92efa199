//! Calendar events, systemd.time(7): `Mon..Fri *-*-* 08..17/2:30:00 Europe/Berlin`.
//!
//! [`Calendar::parse`] reads one, its `Display` writes it in systemd's normal form, [`Calendar::next`] says when it
//! comes next. A moment that a change of the clocks leaves out is left out; one that comes twice comes twice.

mod parse;

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::Usec;

/// No event comes after this year.
const LAST_YEAR: i64 = 2199;
const SECOND: i64 = 1_000_000;

/// A value, a range of values, or every so-manieth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Component {
    start: i64,
    stop: Option<i64>,
    /// Zero: no repetition.
    repeat: i64,
}

/// Alternatives; `None`: every value.
type Chain = Option<Vec<Component>>;

/// When something is to happen, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// A bit for each day, Monday first; `None`: any.
    weekdays: Option<u8>,
    /// Days count from the month's end.
    end_of_month: bool,
    year: Chain,
    month: Chain,
    day: Chain,
    hour: Chain,
    minute: Chain,
    /// In µs.
    second: Chain,
    zone: Zone,
}

/// Whose clock it goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Zone {
    Local,
    Utc,
    Named(String),
}

impl Component {
    /// The first value from `from` on.
    fn next(self, from: i64) -> Option<i64> {
        if from <= self.start {
            return Some(self.start);
        }
        if self.repeat <= 0 {
            return None;
        }
        let steps = (from - self.start + self.repeat - 1) / self.repeat;
        let value = self.start.checked_add(steps.checked_mul(self.repeat)?)?;
        self.stop.is_none_or(|stop| value <= stop).then_some(value)
    }
}

/// The first value of any alternative from `from` on, up to `last`.
fn next(chain: &Chain, from: i64, last: i64) -> Option<i64> {
    let found = match chain {
        None => Some(from),
        Some(components) => components.iter().filter_map(|component| component.next(from)).min(),
    };
    found.filter(|value| *value <= last)
}

impl Calendar {
    /// The name of its time zone; `None`: the system's own.
    pub fn zone(&self) -> Option<&str> {
        match &self.zone {
            Zone::Local => None,
            Zone::Utc => Some("UTC"),
            Zone::Named(name) => Some(name),
        }
    }

    /// The first time after `after` (µs since 1970) by the clock of this zone; `None`: never again.
    pub fn next(&self, after: Usec, zone: &TimeZone) -> Option<Usec> {
        let mut from = Timestamp::from_microsecond(i64::try_from(after.checked_add(1)?).ok()?).ok()?;
        // between two changes of the clocks, local time only goes forward
        for _ in 0..2 * (LAST_YEAR - 1970) as usize {
            let change = zone.following(from).next().map(|change| change.timestamp());
            let offset = zone.to_offset(from);
            let last = change.map(|at| offset.to_datetime(at));
            match self.next_local(offset.to_datetime(from), last) {
                Some(found) => {
                    let found = offset.to_timestamp(found).ok()?;
                    if change.is_none_or(|change| found < change) {
                        return u64::try_from(found.as_microsecond()).ok();
                    }
                }
                None if last.is_none() => return None,
                None => {}
            }
            from = change?;
            if i64::from(offset.to_datetime(from).year()) > LAST_YEAR {
                return None;
            }
        }
        None
    }

    /// The first match from a local time on, before another one.
    fn next_local(&self, from: DateTime, before: Option<DateTime>) -> Option<DateTime> {
        let mut date = from.date();
        let mut since = midnight_offset(from.time());
        loop {
            if before.is_some_and(|before| date > before.date()) || i64::from(date.year()) > LAST_YEAR {
                return None;
            }
            match self.next_date(date) {
                Some(found) if found == date => {}
                Some(found) => {
                    date = found;
                    since = 0;
                    continue;
                }
                None => return None,
            }
            if let Some(time) = self.next_time(since) {
                return Some(DateTime::from_parts(date, time));
            }
            date = date.tomorrow().ok()?;
            since = 0;
        }
    }

    /// The first day that fits, from this one on.
    fn next_date(&self, from: Date) -> Option<Date> {
        let (mut year, mut month, mut day) =
            (i64::from(from.year()), i64::from(from.month()), i64::from(from.day()));
        loop {
            let fitting = next(&self.year, year, LAST_YEAR)?;
            if fitting != year {
                (year, month, day) = (fitting, 1, 1);
            }
            let Some(fitting) = next(&self.month, month, 12) else {
                (year, month, day) = (year + 1, 1, 1);
                continue;
            };
            if fitting != month {
                (month, day) = (fitting, 1);
            }
            let first = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok()?;
            let days = i64::from(first.days_in_month());
            match self.next_day(first, day, days) {
                Some(day) => return first.with().day(i8::try_from(day).ok()?).build().ok(),
                None => (month, day) = (month + 1, 1),
            }
        }
    }

    fn next_day(&self, first: Date, from: i64, days: i64) -> Option<i64> {
        (from..=days).find(|day| {
            let fits = match (&self.day, self.end_of_month) {
                (None, _) => true,
                (Some(_), false) => next(&self.day, *day, days) == Some(*day),
                (Some(components), true) => {
                    from_the_end(components, days).any(|c| c.next(*day) == Some(*day))
                }
            };
            let weekday = (i64::from(first.weekday().to_monday_zero_offset()) + day - 1) % 7;
            fits && self.weekdays.is_none_or(|days| days >> weekday & 1 == 1)
        })
    }

    /// The first time of day that fits, from so many µs after midnight on.
    fn next_time(&self, since: i64) -> Option<Time> {
        let (mut hour, mut minute, mut second) =
            (since / (3600 * SECOND), since / (60 * SECOND) % 60, since % (60 * SECOND));
        loop {
            let fitting = next(&self.hour, hour, 23)?;
            if fitting != hour {
                (hour, minute, second) = (fitting, 0, 0);
            }
            let Some(fitting) = next(&self.minute, minute, 59) else {
                (hour, minute, second) = (hour + 1, 0, 0);
                continue;
            };
            if fitting != minute {
                (minute, second) = (fitting, 0);
            }
            match next(&self.second, second, 60 * SECOND - 1) {
                Some(second) => {
                    let since = (hour * 3600 + minute * 60) * SECOND + second;
                    return Time::midnight().checked_add(SignedDuration::from_micros(since)).ok();
                }
                None => (minute, second) = (minute + 1, 0),
            }
        }
    }
}

fn midnight_offset(time: Time) -> i64 {
    let seconds = i64::from(time.hour()) * 3600 + i64::from(time.minute()) * 60 + i64::from(time.second());
    seconds * SECOND + i64::from(time.subsec_nanosecond()) / 1000
}

/// `~01` is the last day of a month of `days` days; ranges and repetitions count towards its end.
fn from_the_end(components: &[Component], days: i64) -> impl Iterator<Item = Component> {
    components.iter().map(move |component| {
        let (start, stop) = (days + 1 - component.start, component.stop.map(|stop| days + 1 - stop));
        match stop {
            Some(stop) => Component { start: start.min(stop), stop: Some(start.max(stop)), ..*component },
            None if component.repeat > 0 => Component { start, stop: Some(days), ..*component },
            None => Component { start, ..*component },
        }
    })
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(days) = self.weekdays {
            write!(f, "{} ", weekdays(days))?;
        }
        let part = |chain: &Chain, width| format_chain(chain, width, 1);
        let mark = if self.end_of_month { '~' } else { '-' };
        write!(f, "{}-{}{mark}{} ", part(&self.year, 4), part(&self.month, 2), part(&self.day, 2))?;
        write!(
            f,
            "{}:{}:{}",
            part(&self.hour, 2),
            part(&self.minute, 2),
            format_chain(&self.second, 2, SECOND)
        )?;
        match self.zone() {
            Some(zone) => write!(f, " {zone}"),
            None => Ok(()),
        }
    }
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// `Mon..Wed,Sat,Sun`: three days or more in a row are a range.
fn weekdays(bits: u8) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for day in (0..7).filter(|day| bits >> day & 1 == 1) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == day => *last = day,
            _ => runs.push((day, day)),
        }
    }
    let name = |day: usize| DAYS.get(day).copied().unwrap_or_default();
    let run = |(first, last): &(usize, usize)| match last - first {
        0 => name(*first).to_string(),
        1 => format!("{},{}", name(*first), name(*last)),
        _ => format!("{}..{}", name(*first), name(*last)),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

fn format_chain(chain: &Chain, width: usize, unit: i64) -> String {
    let Some(components) = chain else { return "*".into() };
    if unit == SECOND && *components == [Component { start: 0, stop: None, repeat: SECOND }] {
        return "*".into();
    }
    let number = |value: i64, width: usize| {
        let whole = format!("{:0width$}", value / unit);
        if value % unit == 0 { whole } else { format!("{whole}.{:06}", value % unit) }
    };
    let one = |component: &Component| {
        let mut text = number(component.start, width);
        if let Some(stop) = component.stop {
            text.push_str(&format!("..{}", number(stop, width)));
        }
        if component.repeat > 0 && !(component.stop.is_some() && component.repeat == unit) {
            text.push_str(&format!("/{}", number(component.repeat, 0)));
        }
        text
    };
    components.iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
