//! Points in time and spans, as people write them and as journalctl prints them. All times are UTC. Source:
//! systemd.time(7).

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Not a time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Failed to parse timestamp: {0} (try \"2026-11-24 18:00\", \"yesterday\", \"-1h\" or \"10min ago\")")]
pub struct BadTime(String);

const SECOND: u64 = 1_000_000;

/// Microseconds since 1970 of a point in time; `now` is the current one.
///
/// # Errors
/// It is not a time.
pub fn parse(text: &str, now: u64) -> Result<u64, BadTime> {
    let bad = || BadTime(text.to_owned());
    let text = text.trim();
    if let Some(span) = text.strip_prefix('-').or_else(|| text.strip_suffix(" ago")) {
        return parse_span(span).map(|span| now.saturating_sub(span)).ok_or_else(bad);
    }
    if let Some(span) = text.strip_prefix('+') {
        return parse_span(span).map(|span| now.saturating_add(span)).ok_or_else(bad);
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return parse_span(&format!("{seconds}s")).ok_or_else(bad);
    }
    let today = zoned(now).map(|zoned| zoned.date()).ok_or_else(bad)?;
    let midnight = |date: Result<Date, jiff::Error>| date.map(|date| date.to_datetime(Time::midnight()));
    let text = text.trim_end_matches("UTC").trim_end_matches('Z').trim();
    let date = match text {
        "now" => return Ok(now),
        "today" => midnight(Ok(today)),
        "yesterday" => midnight(today.checked_sub(1.day())),
        "tomorrow" => midnight(today.checked_add(1.day())),
        _ => parse_date(text, today),
    };
    let zoned = date.and_then(|date| date.to_zoned(TimeZone::UTC)).map_err(|_| bad())?;
    u64::try_from(zoned.timestamp().as_microsecond()).map_err(|_| bad())
}

/// `2026-11-24 18:00:01.5`, or a part of it.
fn parse_date(text: &str, today: Date) -> Result<DateTime, jiff::Error> {
    // A weekday in front is what journalctl itself prints.
    let text = match text.split_once(' ') {
        Some((day, rest)) if !day.is_empty() && day.bytes().all(|byte| byte.is_ascii_alphabetic()) => rest,
        _ => text,
    };
    let time = |text: &str| {
        let text = if text.matches(':').count() == 1 { format!("{text}:00") } else { text.to_owned() };
        text.parse::<Time>()
    };
    match text.split_once([' ', 'T']) {
        Some((date, clock)) => Ok(date.parse::<Date>()?.to_datetime(time(clock)?)),
        None if text.contains(':') => Ok(today.to_datetime(time(text)?)),
        None => Ok(text.parse::<Date>()?.to_datetime(Time::midnight())),
    }
}

/// Microseconds of a span such as `2h 30min` or `90`, which are seconds.
#[must_use]
pub fn parse_span(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(end)?;
        let number: f64 = number.parse().ok()?;
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let scale = match unit {
            "us" | "usec" => 1,
            "ms" | "msec" => 1000,
            "" | "s" | "sec" | "second" | "seconds" => SECOND,
            "m" | "min" | "minute" | "minutes" => 60 * SECOND,
            "h" | "hr" | "hour" | "hours" => 3600 * SECOND,
            "d" | "day" | "days" => 86_400 * SECOND,
            "w" | "week" | "weeks" => 7 * 86_400 * SECOND,
            "M" | "month" | "months" => 2_629_800 * SECOND,
            "y" | "year" | "years" => 31_557_600 * SECOND,
            _ => return None,
        };
        total = total.checked_add((number * scale as f64) as u64)?;
        rest = after.trim_start();
    }
    Some(total)
}

/// Bytes of a size such as `500M`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * scale as f64) as u64)
}

/// A size as journalctl prints it.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    for (shift, unit) in [(60, 'E'), (50, 'P'), (40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
        if bytes >> shift > 0 {
            let tenths = (bytes >> (shift - 10)) % 1024 * 10 / 1024;
            return format!("{}.{tenths}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// A span as journalctl prints it: `1min 2.5s`.
#[must_use]
pub fn format_span(micros: u64) -> String {
    const UNITS: [(u64, &str); 9] = [
        (31_557_600 * SECOND, "y"),
        (2_629_800 * SECOND, "month"),
        (7 * 86_400 * SECOND, "w"),
        (86_400 * SECOND, "d"),
        (3600 * SECOND, "h"),
        (60 * SECOND, "min"),
        (SECOND, "s"),
        (1000, "ms"),
        (1, "us"),
    ];
    let mut rest = micros;
    let mut parts = Vec::new();
    for (scale, unit) in UNITS {
        if rest < scale {
            continue;
        }
        let count = rest / scale;
        let below = rest % scale;
        if rest < 60 * SECOND && below > 0 {
            // From seconds down what is left is a fraction.
            let digits = if scale == SECOND { 6 } else { 3 };
            let fraction = format!("{below:0digits$}");
            parts.push(format!("{count}.{}{unit}", fraction.trim_end_matches('0')));
            rest = 0;
        } else {
            parts.push(if unit == "month" && count > 1 {
                format!("{count}months")
            } else {
                format!("{count}{unit}")
            });
            rest = below;
        }
    }
    if parts.is_empty() { "0".to_owned() } else { parts.join(" ") }
}

fn zoned(micros: u64) -> Option<jiff::Zoned> {
    let timestamp = Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()?;
    Some(timestamp.to_zoned(TimeZone::UTC))
}

/// A time by the directives of strftime(3).
#[must_use]
pub fn format(micros: u64, directives: &str) -> String {
    zoned(micros)
        .map_or_else(|| "a time out of range".to_owned(), |zoned| zoned.strftime(directives).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2025-01-01 12:00:00 UTC
    const NOW: u64 = 1_735_732_800 * SECOND;

    #[test]
    fn points() {
        let hours = |text: &str| (parse(text, NOW).unwrap() as i64 - NOW as i64) / 3_600_000_000;
        assert_eq!(hours("2025-01-01 13:00:00"), 1);
        assert_eq!(hours("2025-01-01 13:00"), 1);
        assert_eq!(hours("2025-01-01T13:00:00Z"), 1);
        assert_eq!(hours("Wed 2025-01-01 13:00:00 UTC"), 1);
        assert_eq!(hours("2025-01-02"), 12);
        assert_eq!(hours("14:00"), 2);
        assert_eq!(hours("today"), -12);
        assert_eq!(hours("yesterday"), -36);
        assert_eq!(hours("tomorrow"), 12);
        assert_eq!(hours("now"), 0);
        assert_eq!(hours("-1h"), -1);
        assert_eq!(hours("1h 60min ago"), -2);
        assert_eq!(hours("+1d"), 24);
        assert_eq!(parse("@1735732800.5", NOW), Ok(NOW + SECOND / 2));
        for text in ["", "noon", "2025-13-01", "-", "25:00", "1 parsec ago", "1969-01-01"] {
            assert!(parse(text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("1.5M"), Some(3 << 19));
        assert_eq!(parse_size("M"), None);
        assert_eq!(parse_size("1X"), None);
        assert_eq!(format_size(3 << 19), "1.5M");
        assert_eq!(format_size(12), "12B");
    }

    #[test]
    fn formats() {
        assert_eq!(format(NOW, "%b %d %H:%M:%S"), "Jan 01 12:00:00");
        assert_eq!(format(u64::MAX, "%Y"), "a time out of range");
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(text: String, now: u64) {
            let _ = parse(&text, now);
            let _ = parse_size(&text);
            let _ = format(now, "%a %Y");
        }
    }
}
