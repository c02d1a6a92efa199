//! Times as Docker writes and reads them.

use jiff::Timestamp;

/// What stands for "never".
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// Now, to the nanosecond: `2026-01-02T03:04:05.000000006Z`.
#[must_use]
pub fn now() -> String {
    precise(Timestamp::now())
}

/// With all nine digits.
#[must_use]
pub fn precise(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// Seconds since 1970 in words; none: never.
#[must_use]
pub fn of_seconds(seconds: Option<u64>) -> String {
    let time = seconds.and_then(|seconds| Timestamp::from_second(i64::try_from(seconds).ok()?).ok());
    time.map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

/// Reads a time: seconds since 1970, with nanoseconds behind a point, or as RFC 3339.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<i64>() {
        let digits = format!("{fraction:0<9}");
        return Timestamp::new(seconds, digits.get(..9)?.parse().ok()?).ok();
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_every_form_are_read() {
        let time = parse("1136073845.000000001").unwrap();
        assert_eq!(precise(time), "2006-01-01T00:04:05.000000001Z");
        assert_eq!(parse("2006-01-01T00:04:05.000000001Z"), Some(time));
        assert_eq!(parse("1136073845.5").unwrap().subsec_nanosecond(), 500_000_000);
        assert_eq!((parse("yesterday"), parse("1.x")), (None, None));
        assert_eq!((of_seconds(None), of_seconds(Some(0))), (NEVER.into(), "1970-01-01T00:00:00Z".into()));
    }
}
