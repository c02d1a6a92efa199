//! The Age field: how long something may lie unused.

/// The times that count, a bit each.
const ACCESS: u8 = 1;
const BIRTH: u8 = 2;
const CHANGE: u8 = 4;
const MODIFICATION: u8 = 8;

/// A parsed age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Age {
    /// µs; zero: whatever its age.
    pub usec: u64,
    /// `~`: what is directly in the folder stays, however old.
    pub keep_first_level: bool,
    by_file: u8,
    by_folder: u8,
}

/// The times of a file, in µs since 1970; 0: not known.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Last read.
    pub access: u64,
    /// Made.
    pub birth: u64,
    /// Last change of its attributes.
    pub change: u64,
    /// Last written.
    pub modification: u64,
}

impl Age {
    /// Reads `[~][letters:]span`: small letters are files' times, capitals are folders'.
    pub fn parse(text: &str) -> Option<Age> {
        let (keep_first_level, text) = text.strip_prefix('~').map_or((false, text), |rest| (true, rest));
        let (mut by_file, mut by_folder) =
            (ACCESS | BIRTH | CHANGE | MODIFICATION, ACCESS | BIRTH | MODIFICATION);
        let span = match text.split_once(':') {
            None => text,
            Some((letters, span)) => {
                (by_file, by_folder) = (0, 0);
                for letter in letters.chars() {
                    let bit = match letter.to_ascii_lowercase() {
                        'a' => ACCESS,
                        'b' => BIRTH,
                        'c' => CHANGE,
                        'm' => MODIFICATION,
                        _ => return None,
                    };
                    *(if letter.is_ascii_uppercase() { &mut by_folder } else { &mut by_file }) |= bit;
                }
                span
            }
        };
        Some(Age { usec: unit::timespan::parse(span)?, keep_first_level, by_file, by_folder })
    }

    /// Whether something with these times is old at `now`.
    pub fn is_over(&self, times: Times, folder: bool, now: u64) -> bool {
        let cutoff = now.saturating_sub(self.usec);
        let counts = if folder { self.by_folder } else { self.by_file };
        let all = [
            (ACCESS, times.access),
            (BIRTH, times.birth),
            (CHANGE, times.change),
            (MODIFICATION, times.modification),
        ];
        all.iter().all(|(bit, time)| counts & bit == 0 || *time == 0 || *time < cutoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_must_be_old() {
        let age = Age::parse("10s").unwrap();
        let times = Times { access: 1, birth: 0, change: 1, modification: 1 };
        let now = 20_000_000;
        assert!(age.is_over(times, false, now));
        assert!(!age.is_over(Times { change: now, ..times }, false, now));
        assert!(age.is_over(Times { change: now, ..times }, true, now), "a folder's change is its content's");
        assert!(!age.is_over(Times { birth: now, ..times }, true, now));
        let by_m = Age::parse("~mA:10s").unwrap();
        assert!(by_m.keep_first_level && by_m.is_over(Times { access: now, ..times }, false, now));
        assert!(!by_m.is_over(Times { access: now, ..times }, true, now));
        assert!(Age::parse("x:1d").is_none() && Age::parse("soon").is_none());
    }
}
