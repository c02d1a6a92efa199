//! Moments and spans as systemd writes them: `Mon 2026-11-23 18:35:09 UTC`, `1min 30s`, `2h 5min ago`.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const FIVE_MINUTES: u64 = 5 * MINUTE;
const HOUR: u64 = 60 * MINUTE;
const SIX_HOURS: u64 = 6 * HOUR;
const DAY: u64 = 24 * HOUR;
const OVER_A_DAY: u64 = 25 * HOUR;
const TWO_DAYS: u64 = 2 * DAY;
const WEEK: u64 = 7 * DAY;
const MONTH: u64 = 2_629_800 * SECOND;
const YEAR: u64 = 31_557_600 * SECOND;

const UNITS: [(u64, &str); 9] = [
    (YEAR, "y"),
    (MONTH, "month"),
    (WEEK, "w"),
    (DAY, "d"),
    (HOUR, "h"),
    (MINUTE, "min"),
    (SECOND, "s"),
    (1_000, "ms"),
    (1, "us"),
];

/// The time of day, in µs since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// A moment in µs since 1970, in this machine's time zone; `n/a` for never.
pub fn moment(usec: u64) -> String {
    let timestamp = i64::try_from(usec).ok().filter(|usec| *usec > 0);
    match timestamp.and_then(|usec| Timestamp::from_microsecond(usec).ok()) {
        Some(timestamp) => {
            timestamp.to_zoned(TimeZone::system()).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string()
        }
        None => "n/a".into(),
    }
}

/// A span in µs, nothing below `accuracy`; less than a minute with a decimal point: `1.234s`.
pub fn span(usec: u64, accuracy: u64) -> String {
    if usec == u64::MAX {
        return "infinity".into();
    }
    let mut words = Vec::new();
    let mut rest = usec;
    for (length, unit) in UNITS {
        if rest == 0 || (rest < accuracy && !words.is_empty()) {
            break;
        }
        if rest < length {
            continue;
        }
        let (count, part) = (rest / length, rest % length);
        let digits = (length.ilog10() as usize).saturating_sub(accuracy.max(1).ilog10() as usize);
        if rest < MINUTE && part > 0 && digits > 0 {
            words.push(format!("{count}.{:0digits$}{unit}", part / accuracy.max(1)));
            break;
        }
        words.push(format!("{count}{unit}"));
        rest = part;
    }
    if words.is_empty() { "0".into() } else { words.join(" ") }
}

/// How long ago a moment is, or how long it is until then (`5min left`), in the one or two units that matter.
pub fn ago(usec: u64, now: u64) -> String {
    let (passed, side) = if usec > now { (usec - now, "left") } else { (now - usec, "ago") };
    let many = |count: u64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    let words = match passed {
        0 => return "now".into(),
        YEAR.. => format!("{} {}", many(passed / YEAR, "year"), many(passed % YEAR / MONTH, "month")),
        MONTH.. => format!("{} {}", many(passed / MONTH, "month"), many(passed % MONTH / DAY, "day")),
        WEEK.. => format!("{} {}", many(passed / WEEK, "week"), many(passed % WEEK / DAY, "day")),
        TWO_DAYS.. => format!("{} days", passed / DAY),
        OVER_A_DAY.. => format!("1 day {}h", (passed - DAY) / HOUR),
        SIX_HOURS.. => format!("{}h", passed / HOUR),
        HOUR.. => format!("{}h {}min", passed / HOUR, passed % HOUR / MINUTE),
        FIVE_MINUTES.. => format!("{}min", passed / MINUTE),
        MINUTE.. => format!("{}min {}s", passed / MINUTE, passed % MINUTE / SECOND),
        SECOND.. => format!("{}s", passed / SECOND),
        1_000.. => format!("{}ms", passed / 1_000),
        _ => format!("{passed}us"),
    };
    format!("{words} {side}")
}

/// A number of bytes: `464.0K`.
pub fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "K", "M", "G", "T"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{count}B") } else { format!("{value:.1}{unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1}P")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_as_systemd_writes_them() {
        assert_eq!(span(90_000_000, 1), "1min 30s");
        assert_eq!(span(100_000, 1), "100ms");
        assert_eq!(span(10_000_000, 1), "10s");
        assert_eq!(span(0, 1), "0");
        assert_eq!(span(u64::MAX, 1), "infinity");
        assert_eq!(ago(0, 7_500_000_000), "2h 5min ago");
        assert_eq!(ago(0, 452_300), "452ms ago");
        assert_eq!(ago(1, 1), "now");
        assert_eq!(ago(301_000_000, 1_000_000), "5min left");
        assert_eq!(ago(0, 25 * HOUR + 1), "1 day 1h ago");
        assert_eq!(ago(0, 18 * HOUR + 50 * MINUTE), "18h ago");
        assert_eq!(ago(0, 3 * DAY), "3 days ago");
        assert_eq!(ago(0, 8 * DAY), "1 week 1 day ago");
        assert_eq!(span(1_234_567, 1_000), "1.234s");
        assert_eq!(span(512_345, 1_000), "512ms");
        assert_eq!(span(61_234_567, 1_000), "1min 1.234s");
        assert_eq!(span(1_500, 1), "1.500ms");
        assert_eq!(bytes(475_136), "464.0K");
        assert_eq!(bytes(12), "12B");
        assert_eq!(moment(0), "n/a");
        assert!(
            moment(1_795_458_909_719_840).contains("2026-11-23")
                || moment(1_795_458_909_719_840).contains("2026-11-24")
        );
    }
}
