//! Moments and spans as systemd writes them: `Mon 2026-11-23 18:35:09 UTC`, `1min 30s`, `2h 5min ago`.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

const UNITS: [(u64, &str); 9] = [
    (31_557_600_000_000, "y"),
    (2_629_800_000_000, "month"),
    (604_800_000_000, "w"),
    (86_400_000_000, "d"),
    (3_600_000_000, "h"),
    (60_000_000, "min"),
    (1_000_000, "s"),
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

/// A span in µs, nothing below `accuracy`.
pub fn span(usec: u64, accuracy: u64) -> String {
    if usec == u64::MAX {
        return "infinity".into();
    }
    let mut words = Vec::new();
    let mut rest = usec;
    for (length, unit) in UNITS {
        if rest < length || (length < accuracy && !words.is_empty()) {
            continue;
        }
        words.push(format!("{}{unit}", rest / length));
        rest %= length;
    }
    if words.is_empty() { "0".into() } else { words.join(" ") }
}

/// How long ago a moment is, in the one or two units that matter.
pub fn ago(usec: u64, now: u64) -> String {
    let passed = now.saturating_sub(usec);
    let accuracy = match passed {
        0..1_000_000 => 1_000,
        1_000_000..3_600_000_000 => 1_000_000,
        3_600_000_000..86_400_000_000 => 60_000_000,
        _ => 3_600_000_000,
    };
    let words = span(passed, accuracy);
    let two: Vec<&str> = words.split(' ').take(2).collect();
    format!("{} ago", two.join(" "))
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
        assert_eq!(ago(5, 1), "0 ago");
        assert_eq!(bytes(475_136), "464.0K");
        assert_eq!(bytes(12), "12B");
        assert_eq!(moment(0), "n/a");
        assert!(
            moment(1_795_458_909_719_840).contains("2026-11-23")
                || moment(1_795_458_909_719_840).contains("2026-11-24")
        );
    }
}
