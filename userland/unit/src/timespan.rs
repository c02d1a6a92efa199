//! Time spans, systemd.time(7): `5min 20s`, `1.5h`, `infinity`.

use crate::{INFINITY, Usec};

const UNITS: &[(&str, Usec)] = &[
    ("seconds", 1_000_000),
    ("second", 1_000_000),
    ("sec", 1_000_000),
    ("s", 1_000_000),
    ("minutes", 60_000_000),
    ("minute", 60_000_000),
    ("min", 60_000_000),
    ("months", 2_629_800_000_000),
    ("month", 2_629_800_000_000),
    ("M", 2_629_800_000_000),
    ("msec", 1_000),
    ("ms", 1_000),
    ("m", 60_000_000),
    ("hours", 3_600_000_000),
    ("hour", 3_600_000_000),
    ("hr", 3_600_000_000),
    ("h", 3_600_000_000),
    ("days", 86_400_000_000),
    ("day", 86_400_000_000),
    ("d", 86_400_000_000),
    ("weeks", 604_800_000_000),
    ("week", 604_800_000_000),
    ("w", 604_800_000_000),
    ("years", 31_557_600_000_000),
    ("year", 31_557_600_000_000),
    ("y", 31_557_600_000_000),
    ("usec", 1),
    ("us", 1),
    ("µs", 1),
    ("μs", 1),
];

const MINUTE: Usec = 60_000_000;

/// Microseconds of a time span; a bare number counts seconds. `None` if it is none.
pub fn parse(text: &str) -> Option<Usec> {
    let mut rest = text.trim();
    if rest == "infinity" {
        return Some(INFINITY);
    }
    let mut total: Usec = 0;
    let mut any = false;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let unit = match name {
            "" => 1_000_000,
            _ => UNITS.iter().find(|(known, _)| *known == name)?.1,
        };
        total = total.saturating_add(amount(number, unit)?);
        any = true;
        rest = after.trim_start();
    }
    any.then_some(total)
}

fn amount(number: &str, unit: Usec) -> Option<Usec> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut total = if whole.is_empty() { 0 } else { whole.parse::<Usec>().ok()?.saturating_mul(unit) };
    let mut part = unit;
    for digit in fraction.chars() {
        part /= 10;
        total = total.saturating_add(part.saturating_mul(Usec::from(digit.to_digit(10)?)));
    }
    Some(total)
}

/// A time span as systemd writes it: `1min 30s`, `100ms`; what is below a minute as a fraction, `1.500000s`.
pub fn format(usec: Usec) -> String {
    if usec == INFINITY {
        return "infinity".into();
    }
    const STEPS: &[(&str, Usec)] = &[
        ("y", 31_557_600_000_000),
        ("month", 2_629_800_000_000),
        ("w", 604_800_000_000),
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("min", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ];
    let mut rest = usec;
    let mut parts = Vec::new();
    for (name, size) in STEPS {
        if rest < *size {
            continue;
        }
        let (whole, part) = (rest / size, rest % size);
        if rest < MINUTE && part > 0 {
            let digits = size.ilog10() as usize;
            parts.push(format!("{whole}.{part:0digits$}{name}"));
            break;
        }
        parts.push(format!("{whole}{name}"));
        rest = part;
    }
    if parts.is_empty() { "0".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemd_analyze_timespan_reads() {
        for (text, expected) in [
            ("5", Some(5_000_000)),
            ("0", Some(0)),
            ("1min 30s", Some(90_000_000)),
            ("1h30min", Some(5_400_000_000)),
            ("0.5s", Some(500_000)),
            (".5", Some(500_000)),
            ("300ms20s 5day", Some(432_020_300_000)),
            ("2 min", Some(120_000_000)),
            ("55s500ms", Some(55_500_000)),
            ("infinity", Some(INFINITY)),
            ("99999999999999999999y", None),
            ("99999999999y", Some(INFINITY)),
            ("", None),
            ("xyz", None),
            ("5 apples", None),
            ("-5s", None),
            ("1.2.3s", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(format(90_000_000), "1min 30s");
        assert_eq!(format(100_000), "100ms");
        assert_eq!(format(61_500_000), "1min 1.500000s");
        assert_eq!(format(1_050), "1.050ms");
    }

    proptest::proptest! {
        #[test]
        fn reads_what_it_writes(usec in 0u64..1 << 50) {
            proptest::prop_assert_eq!(parse(&format(usec)), Some(usec));
        }

        #[test]
        fn never_panics(text in "\\PC{0,30}") {
            let _ = parse(&text);
        }
    }
}
