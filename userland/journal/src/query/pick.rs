//! From the command line to an expression: units, priorities, boots, identifiers and plain matches.

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
    #[error("Failed to add match '{0}': write FIELD=VALUE, or + between alternatives")]
    Match(String),
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

/// What a unit said, and what init said of it.
fn unit(name: &str) -> Expression {
    let mut list = vec![
        Expression::term("_SYSTEMD_UNIT", name),
        Expression::All(vec![Expression::term("_PID", "1"), Expression::term("UNIT", name)]),
        Expression::All(vec![Expression::term("_UID", "0"), Expression::term("OBJECT_SYSTEMD_UNIT", name)]),
    ];
    if name.ends_with(".slice") {
        list.push(Expression::term("_SYSTEMD_SLICE", name));
    }
    Expression::Any(list)
}

/// The units of `-u`: names, completed to `.service`, or patterns, which are compared with what the journal has.
pub fn units(names: &[String], sources: &mut [Source]) -> Expression {
    let mut list = Vec::new();
    for name in names {
        let known =
            ["service", "socket", "target", "mount", "timer", "path", "slice", "scope", "swap", "automount"];
        let complete = name.rsplit_once('.').is_some_and(|(_, kind)| known.contains(&kind));
        let name = if complete { name.clone() } else { format!("{name}.service") };
        if !name.contains(['*', '?']) {
            list.push(unit(&name));
            continue;
        }
        let mut found = Vec::new();
        for field in ["_SYSTEMD_UNIT", "UNIT"] {
            found.extend(values(field, sources));
        }
        found.sort();
        found.dedup();
        for value in found {
            if let Ok(value) = String::from_utf8(value)
                && glob(name.as_bytes(), value.as_bytes())
            {
                list.push(unit(&value));
            }
        }
    }
    Expression::Any(list)
}

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

/// Whether `*` and `?` of a pattern can stand for what a text has.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when a star has to take one more byte.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || Some(byte) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
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
    for group in words.split(|word| word == "+") {
        let mut fields: Vec<(&str, Vec<Expression>)> = Vec::new();
        for word in group {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if !name.is_empty() => (name, value),
                _ if word.starts_with('/') => ("_EXE", word.as_str()),
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
    fn patterns() {
        assert!(glob(b"ssh*.service", b"sshd@1.service"));
        assert!(glob(b"*", b""));
        assert!(glob(b"a?c*", b"abc"));
        assert!(!glob(b"a?c", b"ac"));
        assert!(!glob(b"*x", b"y"));
    }

    #[test]
    fn words() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let a = |value| Expression::term("A", value);
        assert_eq!(
            matches(&words("A=1 A=2 B=3 + /bin/x")),
            Ok(Expression::Any(vec![
                Expression::All(vec![
                    Expression::Any(vec![a("1"), a("2")]),
                    Expression::Any(vec![Expression::term("B", "3")])
                ]),
                Expression::All(vec![Expression::Any(vec![Expression::term("_EXE", "/bin/x")])]),
            ]))
        );
        assert_eq!(matches(&[]), Ok(Expression::All(Vec::new())));
        assert!(matches(&words("nonsense")).is_err());
    }
}
