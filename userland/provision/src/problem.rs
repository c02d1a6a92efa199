//! A problem of a cloud-config: one clear line for the person who wrote it.

use std::fmt;

/// Most problems that are kept; a file with more needs no longer list.
const MOST: usize = 100;

/// Where and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    line: Option<usize>,
    place: String,
    what: String,
}

impl Problem {
    /// A problem on this line, counted from 1, at this place (`users[0].name`; may be empty).
    pub fn at(line: usize, place: &str, what: impl Into<String>) -> Problem {
        Problem { line: Some(line), place: place.to_owned(), what: what.into() }
    }

    /// A problem of the whole, or of carrying it out.
    pub fn of(place: &str, what: impl Into<String>) -> Problem {
        Problem { line: None, place: place.to_owned(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cloud-config: ")?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.place.is_empty() {
            write!(f, "{}: ", shown(&self.place))?;
        }
        f.write_str(&shown(&self.what))
    }
}

/// One line that cannot drive a terminal, of bounded length.
fn shown(text: &str) -> String {
    const LONGEST: usize = 300;
    let mut shown: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Cuts a list that is too long, and says so.
pub fn bound(problems: &mut Vec<Problem>) {
    if problems.len() > MOST {
        let more = problems.len() - MOST;
        problems.truncate(MOST);
        problems.push(Problem::of("", format!("and {more} more problems")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line() {
        let problem = Problem::at(3, "users[0]", "what\n\x1b[2J is this");
        assert_eq!(problem.to_string(), "cloud-config: line 3: users[0]: what\u{fffd}\u{fffd}[2J is this");
        let mut many = vec![problem; 500];
        bound(&mut many);
        assert_eq!(many.len(), MOST + 1);
    }
}
