//! The syntax of unit files, systemd.syntax(7): sections of assignments.
//!
//! What cannot be understood is warned of and skipped; only a broken section header fails a file. A continued line
//! keeps the blanks that the next one begins with.

/// `key = value` in a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The section's name.
    pub section: String,
    /// The key.
    pub key: String,
    /// The value, trimmed, continuation lines joined.
    pub value: String,
    /// The line where it ends, from 1.
    pub line: usize,
}

/// A file's content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignments {
    /// In order.
    pub all: Vec<Assignment>,
    /// What was skipped: line and why.
    pub warnings: Vec<(usize, String)>,
    /// What ended the reading before the end.
    pub broken: Option<TextError>,
}

/// The file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// `[x` without its end.
    #[error("{line}: Invalid section header '{text}'")]
    SectionHeader {
        /// Where.
        line: usize,
        /// What is there.
        text: String,
    },
    /// More than a unit file can be.
    #[error("{line}: Continuation line too long, 1 MiB is the most")]
    TooLong {
        /// Where.
        line: usize,
    },
    /// Bytes that are no text: what was read has replacement characters in their place.
    #[error("{line}: String is not UTF-8 clean")]
    NotUtf8 {
        /// Where.
        line: usize,
    },
}

impl TextError {
    /// What systemd says of a file that has this, in the words of errno(3).
    pub fn errno(&self) -> &'static str {
        match self {
            TextError::SectionHeader { .. } => "Bad message",
            TextError::TooLong { .. } => "No buffer space available",
            TextError::NotUtf8 { .. } => "Invalid argument",
        }
    }
}

const LONGEST_LINE: usize = 1 << 20;
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];
const ENDS: [char; 3] = ['\n', '\r', '\0'];

/// Reads a file's text, up to what breaks it. Lines end in any of LF, CR, NUL and pairs of them.
pub fn parse(text: &str) -> Assignments {
    let mut reader = Reader { section: None, found: Assignments::default() };
    reader.found.broken = reader.read(text).err();
    reader.found
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text).filter(|text| !text.is_empty());
    std::iter::from_fn(move || {
        let whole = rest?;
        let Some(at) = whole.find(ENDS) else { return rest.take() };
        let (line, ends) = whole.split_at(at);
        let first = ends.chars().next();
        let second = ends.chars().nth(1).filter(|c| ENDS.contains(c) && Some(*c) != first);
        let after = ends.get(1 + usize::from(second.is_some())..);
        rest = after.filter(|after| !after.is_empty());
        Some(line)
    })
}

fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Neither quotes, backslashes nor control characters.
fn is_safe(character: char) -> bool {
    !character.is_control() && !"\"\\'".contains(character)
}

struct Reader {
    section: Option<String>,
    found: Assignments,
}

impl Reader {
    fn read(&mut self, text: &str) -> Result<(), TextError> {
        let mut joined: Option<String> = None;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut last = 0;
        for (index, raw) in lines(text).enumerate() {
            last = index + 1;
            // a comment may stand between the lines of a value
            if raw.trim_start_matches(BLANKS).starts_with(['#', ';']) {
                continue;
            }
            let mut whole = joined.take().unwrap_or_default();
            if whole.len() + raw.len() > LONGEST_LINE {
                return Err(TextError::TooLong { line: last });
            }
            whole.push_str(raw);
            if ends_in_continuation(&whole) {
                whole.pop();
                whole.push(' ');
                joined = Some(whole);
            } else {
                self.line(&whole, last)?;
            }
        }
        joined.map_or(Ok(()), |whole| self.line(&whole, last))
    }

    fn line(&mut self, text: &str, line: usize) -> Result<(), TextError> {
        let text = text.trim_matches(BLANKS);
        let mut warn = |why: String| self.found.warnings.push((line, why));
        if text.is_empty() {
            return Ok(());
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(TextError::NotUtf8 { line });
        }
        if let Some(header) = text.strip_prefix('[') {
            let name = header.strip_suffix(']').filter(|name| name.chars().all(is_safe));
            let name =
                name.ok_or_else(|| TextError::SectionHeader { line, text: text.chars().take(80).collect() })?;
            self.section = Some(name.to_string());
        } else if let Some((key, value)) = text.split_once('=') {
            let key = key.trim_end_matches(BLANKS);
            match &self.section {
                _ if key.is_empty() => warn("Missing key name before '=', ignoring line.".into()),
                None => warn("Assignment outside of section. Ignoring.".into()),
                Some(section) => self.found.all.push(Assignment {
                    section: section.clone(),
                    key: key.to_string(),
                    value: value.trim_start_matches(BLANKS).to_string(),
                    line,
                }),
            }
        } else {
            warn(match self.section {
                Some(_) => "Missing '=', ignoring line.".into(),
                None => "Assignment outside of section. Ignoring.".into(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).all.into_iter().map(|found| (found.key, found.value)).collect()
    }

    #[test]
    fn joins_continued_lines_and_skips_comments_within() {
        let text = "\u{feff}[Service]\nExecStart=/bin/a \\\n  # a comment\n; another\n  b \\\n  c\nX = y # no comment\r\n";
        let expected = vec![
            ("ExecStart".to_string(), "/bin/a    b    c".to_string()),
            ("X".to_string(), "y # no comment".to_string()),
        ];
        assert_eq!(pairs(text), expected);
        assert_eq!(pairs("[A]\nx=a\\\\\ny=b\\"), [("x".into(), "a\\\\".into()), ("y".into(), "b".into())]);
    }

    #[test]
    fn warns_and_goes_on() {
        let found = parse("a=b\n[S]\nnonsense\n=x\nk=v");
        assert_eq!(found.all.len(), 1);
        assert_eq!(found.warnings.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4]);
        let broken = parse("[S]\nk=v\n[S\nl=w");
        assert!(
            matches!(broken.broken, Some(TextError::SectionHeader { line: 3, .. })) && broken.all.len() == 1
        );
        assert!(parse("[a\"b]").broken.is_some());
        assert!(matches!(parse("[A]\nx=\u{fffd}").broken, Some(TextError::NotUtf8 { line: 2 })));
        assert_eq!(pairs("[A]\r\nx=1\ry=2\0\n\nz=3").len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
