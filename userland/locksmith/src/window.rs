//! When a machine may reboot: a time of the day, or of the week, and a length. Pure.
//!
//! `LOCKSMITHD_REBOOT_WINDOW_START="[Thu ]HH:MM"`, `LOCKSMITHD_REBOOT_WINDOW_LENGTH="1h30m"`, as locksmith reads them.

/// Minutes of a day and of a week.
const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;
const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// What is written is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWindow {
    /// Its start.
    #[error("LOCKSMITHD_REBOOT_WINDOW_START={0:?}: write HH:MM, or a day and HH:MM as in \"Thu 23:00\"")]
    Start(String),
    /// Its length.
    #[error(
        "LOCKSMITHD_REBOOT_WINDOW_LENGTH={0:?}: write hours and minutes, as in \"1h30m\", less than the day or week"
    )]
    Length(String),
}

/// A window that comes every day, or every week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// In minutes: after midnight, or after Monday's.
    start: u32,
    /// In minutes.
    length: u32,
    /// In minutes: a day or a week.
    every: u32,
}

impl Window {
    /// Reads one.
    ///
    /// # Errors
    /// As [`BadWindow`] says.
    pub fn parse(start: &str, length: &str) -> Result<Window, BadWindow> {
        let bad = || BadWindow::Start(start.to_owned());
        let (day, time) = match start.trim().rsplit_once(' ') {
            Some((day, time)) => {
                let name = day.trim().to_ascii_lowercase();
                let fits = |known: &&str| name.len() >= 3 && known.starts_with(&name);
                (Some(DAYS.iter().position(fits).ok_or_else(bad)?), time)
            }
            None => (None, start.trim()),
        };
        let (hours, minutes) = time.split_once(':').ok_or_else(bad)?;
        let number =
            |text: &str, most: u32| text.parse::<u32>().ok().filter(|number| *number < most).ok_or_else(bad);
        let minute = number(hours, 24)? * 60 + number(minutes, 60)?;
        let every = if day.is_some() { WEEK } else { DAY };
        let start = u32::try_from(day.unwrap_or(0)).unwrap_or(0) * DAY + minute;
        let bad = || BadWindow::Length(length.to_owned());
        let length = duration(length.trim()).filter(|length| (1..=every).contains(length)).ok_or_else(bad)?;
        Ok(Window { start, length, every })
    }

    /// Whether it is open in this minute of the week, from Monday's midnight on, in local time.
    #[must_use]
    pub fn is_open(&self, minute: u32) -> bool {
        (minute % self.every + self.every - self.start) % self.every < self.length
    }
}

/// Minutes of `1h30m`; seconds count as a part of the minute they are in.
fn duration(text: &str) -> Option<u32> {
    let (mut minutes, mut number, mut seconds) = (0_u32, String::new(), 0_u32);
    for character in text.chars() {
        if character.is_ascii_digit() {
            number.push(character);
            continue;
        }
        let count: u32 = number.parse().ok()?;
        number.clear();
        match character {
            'h' => minutes = minutes.checked_add(count.checked_mul(60)?)?,
            'm' => minutes = minutes.checked_add(count)?,
            's' => seconds = seconds.checked_add(count)?,
            _ => return None,
        }
    }
    number.is_empty().then_some(minutes.checked_add(seconds.div_ceil(60))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(start: &str, length: &str, day: u32, hour: u32, minute: u32) -> bool {
        Window::parse(start, length).unwrap().is_open(day * DAY + hour * 60 + minute)
    }

    #[test]
    fn opens_every_day_or_on_one() {
        assert!(open("14:00", "1h", 2, 14, 0) && open("14:00", "1h", 6, 14, 59));
        assert!(!open("14:00", "1h", 2, 15, 0) && !open("14:00", "1h", 2, 13, 59));
        assert!(
            open("23:30", "1h", 0, 0, 29) && open("23:30", "1h", 6, 23, 30) && !open("23:30", "1h", 0, 0, 30)
        );
        assert!(open("Thu 23:00", "1h30m", 3, 23, 10) && open("Thu 23:00", "1h30m", 4, 0, 29));
        assert!(!open("Thu 23:00", "1h30m", 2, 23, 10) && !open("Thu 23:00", "1h30m", 4, 0, 30));
        assert!(open("Sun 23:00", "2h", 0, 0, 59), "over the end of the week");
    }

    #[test]
    fn nonsense_is_refused() {
        for start in ["", "25:00", "12:60", "noon", "Foo 12:00", "12", "-1:00"] {
            assert!(matches!(Window::parse(start, "1h"), Err(BadWindow::Start(_))), "{start}");
        }
        for length in ["", "0h", "25h", "1", "h", "1d", "99999999999h"] {
            assert!(matches!(Window::parse("12:00", length), Err(BadWindow::Length(_))), "{length}");
        }
        assert!(Window::parse("Mon 12:00", "25h").is_ok());
    }
}
