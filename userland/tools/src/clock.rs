//! Moments and lengths of time as the tools show them. The machine's clock is UTC.

use rustix::time::{ClockId, clock_gettime};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// The months' names, from January.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or(0)
}

/// `14:05` for the last day, else `Mar07`.
pub(crate) fn short(moment: u64) -> String {
    short_at(moment, now())
}

fn short_at(moment: u64, now: u64) -> String {
    if now.saturating_sub(moment) < DAY {
        return format!("{:02}:{:02}", moment / 3600 % 24, moment / 60 % 60);
    }
    let (_, month, day) = date(moment);
    format!("{}{day:02}", MONTHS.get(month).copied().unwrap_or("?"))
}

/// `14:05:59`
pub(crate) fn time_of_day(moment: u64) -> String {
    format!("{:02}:{:02}:{:02}", moment / 3600 % 24, moment / 60 % 60, moment % 60)
}

/// `Sat Mar  7 14:05:59 2026`
pub(crate) fn full(moment: u64) -> String {
    let (year, month, day) = date(moment);
    // 1 January 1970 was a Thursday.
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(moment / DAY % 7) as usize];
    format!("{weekday} {} {day:2} {} {year}", MONTHS.get(month).copied().unwrap_or("?"), time_of_day(moment))
}

/// Hours, minutes and seconds of a length of time, the days in front.
pub(crate) fn hours(seconds: u64) -> String {
    let rest = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    if seconds >= DAY { format!("{}-{rest}", seconds / DAY) } else { rest }
}

/// Year, month from 0 and day from 1 of the Gregorian calendar.
fn date(moment: u64) -> (u64, usize, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut days = moment / DAY;
    // Four hundred years are always as long: what is far away needs no long way.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(full(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(full(951_782_400), "Tue Feb 29 00:00:00 2000");
        assert_eq!(full(1_772_892_359), "Sat Mar  7 14:05:59 2026");
        assert_eq!(full(4_107_542_400), "Mon Mar  1 00:00:00 2100");
    }

    #[test]
    fn the_last_day_shows_its_time() {
        let now = 1_772_892_359;
        assert_eq!(short_at(now - 3600, now), "13:05");
        assert_eq!(short_at(now - 2 * DAY, now), "Mar05");
        assert_eq!(hours(90_061), "1-01:01:01");
    }
}
