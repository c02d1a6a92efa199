//! The grammar of calendar events, systemd.time(7).

use super::{Calendar, Chain, Component, SECOND, Zone};

/// The shorthands: what they stand for.
const SHORTHANDS: &[(&str, &str)] = &[
    ("minutely", "*-*-* *:*:00"),
    ("hourly", "*-*-* *:00:00"),
    ("daily", "*-*-* 00:00:00"),
    ("monthly", "*-*-01 00:00:00"),
    ("weekly", "Mon *-*-* 00:00:00"),
    ("yearly", "*-01-01 00:00:00"),
    ("annually", "*-01-01 00:00:00"),
    ("anually", "*-01-01 00:00:00"),
    ("quarterly", "*-01,04,07,10-01 00:00:00"),
    ("biannually", "*-01,07-01 00:00:00"),
    ("bi-annually", "*-01,07-01 00:00:00"),
    ("semiannually", "*-01,07-01 00:00:00"),
    ("semi-annually", "*-01,07-01 00:00:00"),
];

const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// More alternatives than this are not read.
const MOST: usize = 240;

impl Calendar {
    /// Reads a calendar event. `is_zone` says whether a word names a time zone.
    ///
    /// # Errors
    /// That it is none.
    pub fn parse(text: &str, is_zone: &dyn Fn(&str) -> bool) -> Result<Calendar, String> {
        let wrong = || format!("\"{text}\" is not a calendar event");
        let mut rest = text.trim();
        let mut zone = Zone::Local;
        if let Some((before, last)) = rest.rsplit_once(' ') {
            if last.eq_ignore_ascii_case("utc") {
                (rest, zone) = (before.trim_end(), Zone::Utc);
            } else if last.starts_with(|c: char| c.is_ascii_alphabetic()) && is_zone(last) {
                (rest, zone) = (before.trim_end(), Zone::Named(last.to_string()));
            }
        }
        let shorthand = SHORTHANDS.iter().find(|(name, _)| rest.eq_ignore_ascii_case(name));
        let rest = shorthand.map_or(rest, |(_, meaning)| *meaning);
        if rest.is_empty() {
            return Err(wrong());
        }
        Reader { rest }.read(zone).ok_or_else(wrong)
    }
}

/// What is not read yet.
struct Reader<'a> {
    rest: &'a str,
}

/// A value in range, and how it is brought there.
fn normal(chain: Chain, range: std::ops::RangeInclusive<i64>) -> Option<Chain> {
    let Some(mut components) = chain else { return Some(None) };
    for component in &mut components {
        if !range.contains(&component.start) || component.stop.is_some_and(|stop| !range.contains(&stop)) {
            return None;
        }
        if let Some(stop) = component.stop {
            if component.start > stop {
                return None;
            }
            if component.start + component.repeat > stop {
                component.repeat = 0;
            }
            component.stop = if component.repeat > 0 {
                Some(stop - (stop - component.start) % component.repeat)
            } else {
                None
            };
            if component.stop == Some(component.start) {
                component.stop = None;
            }
        } else if component.repeat > 0 && component.start + component.repeat > *range.end() {
            component.repeat = 0;
        }
    }
    components.sort();
    components.dedup();
    Some(Some(components))
}

impl<'a> Reader<'a> {
    fn read(mut self, zone: Zone) -> Option<Calendar> {
        let constant = |value| Some(vec![Component { start: value, stop: None, repeat: 0 }]);
        if let Some(number) = self.rest.strip_prefix('@') {
            let moment = jiff::Timestamp::from_second(number.parse().ok()?).ok()?;
            let local = jiff::tz::Offset::UTC.to_datetime(moment);
            return Some(Calendar {
                weekdays: None,
                end_of_month: false,
                year: constant(i64::from(local.year())),
                month: constant(i64::from(local.month())),
                day: constant(i64::from(local.day())),
                hour: constant(i64::from(local.hour())),
                minute: constant(i64::from(local.minute())),
                second: constant(i64::from(local.second()) * SECOND),
                zone: Zone::Utc,
            });
        }
        let weekdays = self.weekdays()?;
        let (end_of_month, year, month, day) = self.date()?;
        let (hour, minute, second) = self.time()?;
        let century = |value: i64| match value {
            0..70 => value + 2000,
            70..100 => value + 1900,
            _ => value,
        };
        let year = year.map(|components: Vec<Component>| {
            let full = |c: Component| Component { start: century(c.start), stop: c.stop.map(century), ..c };
            components.into_iter().map(full).collect()
        });
        Some(Calendar {
            weekdays: weekdays.filter(|days| *days != 0x7f),
            end_of_month,
            year: normal(year, 1970..=2199)?,
            month: normal(month, 1..=12)?,
            day: normal(day, 1..=31)?,
            hour: normal(hour, 0..=23)?,
            minute: normal(minute, 0..=59)?,
            second: normal(second, 0..=60 * SECOND - 1)?,
            zone,
        })
    }

    fn take(&mut self, mark: &str) -> bool {
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn is_at_end(&self, ends: &str) -> bool {
        self.rest.chars().next().is_none_or(|next| ends.contains(next))
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    /// The number of the day whose name comes next, short or long.
    fn weekday(&mut self) -> Option<usize> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let day = NAMES.iter().position(|name| {
            word.eq_ignore_ascii_case(name)
                || name.get(..3).is_some_and(|short| word.eq_ignore_ascii_case(short))
        })?;
        self.rest = rest;
        Some(day)
    }

    /// `None` within: no days are named.
    fn weekdays(&mut self) -> Option<Option<u8>> {
        let Some(mut day) = self.weekday() else { return Some(None) };
        let mut bits = 0;
        loop {
            bits |= 1 << day;
            if self.take("..") || self.rest.starts_with('-') && self.take("-") {
                let last = self.weekday()?;
                if last < day {
                    return None;
                }
                bits |= (day..=last).fold(0, |bits, day| bits | 1 << day);
            }
            let more = self.take(",");
            if self.is_at_end(" ") {
                self.skip_spaces();
                return Some(Some(bits));
            }
            day = if more { self.weekday()? } else { return None };
        }
    }

    /// Month and day, or year, month and day; neither is "every day".
    fn date(&mut self) -> Option<(bool, Chain, Chain, Chain)> {
        let begin = self.rest;
        if begin.is_empty() {
            return Some((false, None, None, None));
        }
        let first = self.chain(false)?;
        if self.is_at_end(":") {
            // that was the time already
            self.rest = begin;
            return Some((false, None, None, None));
        }
        let mut from_end = self.mark()?;
        let second = self.chain(false)?;
        if self.is_at_end(" ") {
            self.skip_spaces();
            return Some((from_end, None, first, second));
        }
        if from_end {
            return None;
        }
        from_end = self.mark()?;
        let third = self.chain(false)?;
        if !self.is_at_end(" ") {
            return None;
        }
        self.skip_spaces();
        Some((from_end, first, second, third))
    }

    /// `-`, or `~` for days from the end.
    fn mark(&mut self) -> Option<bool> {
        if self.take("~") { Some(true) } else { self.take("-").then_some(false) }
    }

    fn time(&mut self) -> Option<(Chain, Chain, Chain)> {
        let zero = || Some(vec![Component { start: 0, stop: None, repeat: 0 }]);
        if self.rest.is_empty() {
            return Some((zero(), zero(), zero()));
        }
        let hour = self.chain(false)?;
        if !self.take(":") {
            return None;
        }
        let minute = self.chain(false)?;
        if self.rest.is_empty() {
            return Some((hour, minute, zero()));
        }
        if !self.take(":") {
            return None;
        }
        let second = self.chain(true)?;
        self.rest.is_empty().then_some((hour, minute, second))
    }

    /// `*`, or alternatives with commas between them.
    fn chain(&mut self, seconds: bool) -> Option<Chain> {
        if self.take("*") {
            return Some(seconds.then(|| vec![Component { start: 0, stop: None, repeat: SECOND }]));
        }
        let mut components = Vec::new();
        loop {
            let start = self.number(seconds)?;
            let mut component = Component { start, stop: None, repeat: 0 };
            if self.take("..") {
                component.stop = Some(self.number(seconds)?);
                component.repeat = if seconds { SECOND } else { 1 };
            }
            if self.take("/") {
                component.repeat = self.number(seconds)?;
                if component.repeat == 0 {
                    return None;
                }
            }
            if !self.is_at_end(" ,-~:") || components.len() >= MOST {
                return None;
            }
            components.push(component);
            if !self.take(",") {
                return Some(Some(components));
            }
        }
    }

    /// Digits; of seconds with a fraction, in µs.
    fn number(&mut self, seconds: bool) -> Option<i64> {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (whole, rest) = self.rest.split_at(digits(self.rest));
        self.rest = rest;
        let whole: i64 = whole.parse::<i32>().ok()?.into();
        if !seconds {
            return Some(whole);
        }
        let mut value = whole * SECOND;
        if !self.rest.starts_with("..") && self.take(".") {
            let (fraction, rest) = self.rest.split_at(digits(self.rest));
            if fraction.is_empty() || fraction.len() > 6 {
                return None;
            }
            self.rest = rest;
            value += format!("{fraction:0<6}").parse::<i64>().ok()?;
        }
        Some(value)
    }
}
