//! From the command line to an expression: priorities, facilities, boots and plain matches.

use crate::file::Id128;
use crate::place::format_id;
use crate::query::matches::Expression;
use crate::query::merge::Source;

/// An argument that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Neither a name nor a number.
    #[error(
        "Unknown log level {0}: emerg, alert, crit, err, warning, notice, info, debug, 0 to 7, or FROM..TO"
    )]
    Priority(String),
    /// Neither a match nor `+`.
    #[error("Failed to add match '{0}': Invalid argument: write FIELD=VALUE, or + between alternatives")]
    Match(String),
    /// There is no such program.
    #[error("Couldn't canonicalize path {0}: {1}")]
    Path(String, std::io::ErrorKind),
    /// A `+` without a match on both sides.
    #[error("\"+\" can only be used between terms")]
    Plus,
    /// Neither a name nor a number.
    #[error("Bad --facility= argument \"{0}\": --facility=help lists them")]
    Facility(String),
    /// No unit fits the patterns.
    #[error("Failed to add filter for units: No data available")]
    NoUnits,
}

/// The priorities of `-p`: one and all worse, or a range.
///
/// # Errors
/// It is none.
pub fn priorities(text: &str) -> Result<Expression, Error> {
    let level = |name: &str| {
        const NAMES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
        NAMES
            .iter()
            .position(|known| *known == name)
            .or_else(|| name.parse().ok().filter(|number| *number < 8))
            .or_else(|| {
                [("panic", 0), ("error", 3), ("warn", 4)]
                    .iter()
                    .find(|(other, _)| *other == name)
                    .map(|(_, n)| *n)
            })
            .ok_or_else(|| Error::Priority(text.to_owned()))
    };
    let (from, to) = match text.split_once("..") {
        Some((from, to)) => (level(from)?, level(to)?),
        None => (0, level(text)?),
    };
    let levels = from.min(to)..=from.max(to);
    Ok(Expression::Any(levels.map(|level| Expression::term("PRIORITY", &level.to_string())).collect()))
}

/// The facilities of syslog, by their number.
pub const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "12", "13", "14", "15", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// All values of a field.
pub fn values(field: &str, sources: &mut [Source]) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    for source in sources {
        for data in source.objects.values_of(field.as_bytes()).unwrap_or_default() {
            if let Ok(payload) = source.objects.data(data)
                && let Some(value) = payload.get(field.len() + 1..)
            {
                values.push(value.to_vec());
            }
        }
    }
    values.sort();
    values.dedup();
    values
}

/// The names of all fields.
pub fn names(sources: &mut [Source]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = sources.iter_mut().flat_map(|source| source.objects.fields()).collect();
    names.sort();
    names.dedup();
    names
}

/// The facilities of `--facility`, each a name or a number, separated by commas.
///
/// # Errors
/// One is neither.
pub fn facilities(lists: &[String]) -> Result<Expression, Error> {
    let mut terms = Vec::new();
    for word in lists.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|word| !word.is_empty()) {
        let number = FACILITIES
            .iter()
            .position(|name| *name == word)
            .or_else(|| word.parse().ok().filter(|number| *number < 128))
            .ok_or_else(|| Error::Facility(word.to_owned()))?;
        terms.push(Expression::term("SYSLOG_FACILITY", &number.to_string()));
    }
    Ok(Expression::Any(terms))
}

/// The entries of a boot.
#[must_use]
pub fn boot(id: &Id128) -> Expression {
    Expression::term("_BOOT_ID", &format_id(id))
}

/// The matches at the end of the command line: of one field, one of the values; of several fields, each; `+`
/// separates alternatives; a path is the program of that name.
///
/// # Errors
/// One is neither.
pub fn matches(words: &[String]) -> Result<Expression, Error> {
    let mut alternatives = Vec::new();
    if words.contains(&"+".to_owned()) && words.split(|word| word == "+").any(<[String]>::is_empty) {
        return Err(Error::Plus);
    }
    for group in words.split(|word| word == "+") {
        let mut fields: Vec<(&str, Vec<Expression>)> = Vec::new();
        for word in group {
            let (name, value) = match word.split_once('=') {
                _ if word.starts_with('/') => {
                    let terms = fields_of_path(word)?;
                    fields.extend(terms.into_iter().map(|(field, term)| (field, vec![term])));
                    continue;
                }
                Some((name, value)) if is_field(name) => (name, value),
                _ => return Err(Error::Match(word.clone())),
            };
            let term = Expression::term(name, value);
            match fields.iter_mut().find(|(field, _)| *field == name) {
                Some((_, terms)) => terms.push(term),
                None => fields.push((name, vec![term])),
            }
        }
        if !fields.is_empty() {
            alternatives
                .push(Expression::All(fields.into_iter().map(|(_, terms)| Expression::Any(terms)).collect()));
        }
    }
    Ok(if alternatives.is_empty() { Expression::All(Vec::new()) } else { Expression::Any(alternatives) })
}

/// Capitals, digits and underscores.
fn is_field(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What a path stands for: a program; a script, which its interpreter runs, by its short name; or a device, by the
/// name that the kernel's messages give it.
fn fields_of_path(path: &str) -> Result<Vec<(&'static str, Expression)>, Error> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let whole = std::fs::canonicalize(path).map_err(|error| Error::Path(path.to_owned(), error.kind()))?;
    let path = whole.to_str().unwrap_or(path);
    if let Ok(metadata) = std::fs::metadata(path)
        && (metadata.file_type().is_block_device() || metadata.file_type().is_char_device())
    {
        let kind = if metadata.file_type().is_block_device() { 'b' } else { 'c' };
        let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        let device = Expression::term("_KERNEL_DEVICE", &format!("{kind}{major}:{minor}"));
        return Ok(vec![("_KERNEL_DEVICE", device)]);
    }
    let mut start = [0; 2];
    let is_script = std::fs::File::open(path)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start))
        .is_ok_and(|()| start == *b"#!");
    if is_script {
        // The kernel keeps fifteen bytes of a name.
        let name = path.rsplit('/').next().unwrap_or_default();
        let mut end = name.len().min(15);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        return Ok(vec![("_COMM", Expression::term("_COMM", name.get(..end).unwrap_or_default()))]);
    }
    Ok(vec![("_EXE", Expression::term("_EXE", path))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        let count = |text: &str| match priorities(text) {
            Ok(Expression::Any(list)) => list.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(count("err"), 4);
        assert_eq!(count("7"), 8);
        assert_eq!(count("warning..err"), 2);
        assert!(priorities("loud").is_err());
        assert!(priorities("8").is_err());
    }

    #[test]
    fn words() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let a = |value| Expression::term("A", value);
        let exe = Expression::term("_EXE", &format!("/proc/{}/maps", std::process::id()));
        assert_eq!(
            matches(&words("A=1 A=2 B=3 + /proc/self/maps")),
            Ok(Expression::Any(vec![
                Expression::All(vec![
                    Expression::Any(vec![a("1"), a("2")]),
                    Expression::Any(vec![Expression::term("B", "3")])
                ]),
                Expression::All(vec![Expression::Any(vec![exe])]),
            ]))
        );
        assert_eq!(matches(&[]), Ok(Expression::All(Vec::new())));
        for text in ["nonsense", "/no/such/x", "a=b", "=x", "+ A=1", "A=1 +", "A=1 + + B=2"] {
            assert!(matches(&words(text)).is_err(), "{text}");
        }
    }
}
