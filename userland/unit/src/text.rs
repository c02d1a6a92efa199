//! The syntax of unit files, systemd.syntax(7): sections of assignments.
//!
//! What cannot be understood is warned of and skipped; only a broken section header fails a file.

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
}

/// The file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// `[x` without its end.
    #[error("line {line}: invalid section header \"{text}\": it must end in ]")]
    SectionHeader {
        /// Where.
        line: usize,
        /// What is there.
        text: String,
    },
    /// More than a unit file can be.
    #[error("line {line}: too long, 1 MiB is the most")]
    TooLong {
        /// Where.
        line: usize,
    },
}

const LONGEST_LINE: usize = 1 << 20;

/// Reads a file's text.
pub fn parse(text: &str) -> Result<Assignments, TextError> {
    let mut reader = Reader { section: None, found: Assignments::default() };
    let mut joined: Option<String> = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut last = 0;
    for (index, raw) in text.split('\n').enumerate() {
        let line = index + 1;
        last = line;
        let raw = raw.strip_suffix('\r').unwrap_or(raw).trim_start();
        if raw.starts_with(['#', ';']) {
            continue;
        }
        let mut whole = joined.take().unwrap_or_default();
        if whole.len() + raw.len() > LONGEST_LINE {
            return Err(TextError::TooLong { line });
        }
        whole.push_str(raw);
        if ends_in_continuation(&whole) {
            whole.pop();
            whole.push(' ');
            joined = Some(whole);
        } else {
            reader.line(&whole, line)?;
        }
    }
    if let Some(whole) = joined {
        reader.line(&whole, last)?;
    }
    Ok(reader.found)
}

fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

struct Reader {
    section: Option<String>,
    found: Assignments,
}

impl Reader {
    fn line(&mut self, text: &str, line: usize) -> Result<(), TextError> {
        let text = text.trim();
        let mut warn = |why: String| self.found.warnings.push((line, why));
        if text.is_empty() {
            return Ok(());
        }
        if let Some(header) = text.strip_prefix('[') {
            let name = header.strip_suffix(']').filter(|name| !name.is_empty());
            let name =
                name.ok_or_else(|| TextError::SectionHeader { line, text: text.chars().take(80).collect() })?;
            self.section = Some(name.to_string());
        } else if let Some((key, value)) = text.split_once('=') {
            let key = key.trim_end();
            match &self.section {
                _ if key.is_empty() => warn("missing key name before '=', ignoring line".into()),
                None => warn("assignment outside of section, ignoring".into()),
                Some(section) => self.found.all.push(Assignment {
                    section: section.clone(),
                    key: key.to_string(),
                    value: value.trim_start().to_string(),
                    line,
                }),
            }
        } else {
            warn("missing '=', ignoring line".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().all.into_iter().map(|found| (found.key, found.value)).collect()
    }

    #[test]
    fn joins_continued_lines_and_skips_comments_within() {
        let text = "\u{feff}[Service]\nExecStart=/bin/a \\\n  # a comment\n; another\n  b \\\n  c\nX = y # no comment\r\n";
        let expected = vec![
            ("ExecStart".to_string(), "/bin/a  b  c".to_string()),
            ("X".to_string(), "y # no comment".to_string()),
        ];
        assert_eq!(pairs(text), expected);
        assert_eq!(pairs("[A]\nx=a\\\\\ny=b\\"), [("x".into(), "a\\\\".into()), ("y".into(), "b".into())]);
    }

    #[test]
    fn warns_and_goes_on() {
        let found = parse("a=b\n[S]\nnonsense\n=x\nk=v").unwrap();
        assert_eq!(found.all.len(), 1);
        assert_eq!(found.warnings.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3, 4]);
        assert!(matches!(parse("[S"), Err(TextError::SectionHeader { line: 1, .. })));
        assert!(parse("[]").is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
