//! A line: `Type Name ID GECOS Home Shell`, sysusers.d(5).

use std::path::Path;

use unit::exec::words;

use crate::specifier;

/// Where a number comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Number {
    /// Any that is free.
    #[default]
    Any,
    /// This one, if it is free.
    Fixed(u32),
    /// The owner of this file.
    OwnerOf(String),
}

/// The group that a user's line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MainGroup {
    /// By number.
    Number(u32),
    /// By name.
    Name(String),
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// `u`
    User {
        /// The name.
        name: String,
        /// The number.
        number: Number,
        /// Its main group, if not the one of its own name.
        group: Option<MainGroup>,
        /// The comment.
        comment: String,
        /// The home, `/` if none.
        home: Option<String>,
        /// The shell, one that lets nobody in if none.
        shell: Option<String>,
    },
    /// `g`
    Group {
        /// The name.
        name: String,
        /// The number.
        number: Number,
    },
    /// `m`
    Member {
        /// The user.
        user: String,
        /// The group it joins.
        group: String,
    },
    /// `r`: numbers to choose from.
    Range(u32, u32),
}

/// Reads a line.
pub fn parse(root: &Path, text: &str) -> Result<Entry, String> {
    let fields = words(text).map_err(|error| error.to_string())?;
    let field = |at: usize| match fields.get(at).map(String::as_str) {
        None | Some("-" | "") => Ok(None),
        Some(text) => specifier::expand(root, text).map(Some),
    };
    let kind = fields.first().map(String::as_str).unwrap_or_default();
    let most = if kind == "u" { 6 } else { 3 };
    if fields.len() > most {
        return Err(format!("a line of type {kind} has at most {most} fields"));
    }
    let number = |text: Option<String>| -> Result<Number, String> {
        Ok(match text {
            None => Number::Any,
            Some(path) if path.starts_with('/') => Number::OwnerOf(path),
            Some(text) => Number::Fixed(id(&text)?),
        })
    };
    let named = || field(1)?.ok_or("a name is missing".to_string()).and_then(name);
    match kind {
        "u" => {
            let (id_text, group) = match field(2)? {
                Some(text) if !text.starts_with('/') => match text.split_once(':') {
                    Some((own, group)) => (Some(own.to_owned()), Some(main_group(group)?)),
                    None => (Some(text), None),
                },
                other => (other, None),
            };
            let id_text = id_text.filter(|text| text != "-");
            let path = |text: Option<String>| match text {
                Some(path) if !path.starts_with('/') || path.contains(':') => {
                    Err(format!("\"{path}\" is not a path"))
                }
                path => Ok(path),
            };
            let comment = field(3)?.unwrap_or_default();
            if comment.contains([':', '\n']) {
                return Err("a comment has no colons".into());
            }
            Ok(Entry::User {
                name: named()?,
                number: number(id_text)?,
                group,
                comment,
                home: path(field(4)?)?,
                shell: path(field(5)?)?,
            })
        }
        "g" => Ok(Entry::Group { name: named()?, number: number(field(2)?)? }),
        "m" => {
            let group = field(2)?.ok_or("a group is missing")?;
            Ok(Entry::Member { user: named()?, group: name(group)? })
        }
        "r" => {
            if field(1)?.is_some() {
                return Err("a range has no name".into());
            }
            let text = field(2)?.ok_or("a range is missing")?;
            let (low, high) = text.split_once('-').unwrap_or((&text, &text));
            let (low, high) = (id(low)?, id(high)?);
            if low > high { Err("the range is empty".into()) } else { Ok(Entry::Range(low, high)) }
        }
        other => Err(format!("\"{other}\" is not u, g, m or r")),
    }
}

fn main_group(text: &str) -> Result<MainGroup, String> {
    match text.parse() {
        Ok(number) => Ok(MainGroup::Number(number)),
        Err(_) => name(text.to_owned()).map(MainGroup::Name),
    }
}

fn id(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|id| *id != u32::MAX && *id != 0xffff);
    number.ok_or_else(|| format!("\"{text}\" is not the number of a user or group"))
}

fn name(text: String) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && text.len() <= 31 && text.chars().all(fine) {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is not a name for a user or group"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type() {
        let parse = |text: &str| parse(Path::new("/"), text);
        let user = parse("u ab 5:wheel \"A B\" /var/x /bin/sh").unwrap();
        let want = Entry::User {
            name: "ab".into(),
            number: Number::Fixed(5),
            group: Some(MainGroup::Name("wheel".into())),
            comment: "A B".into(),
            home: Some("/var/x".into()),
            shell: Some("/bin/sh".into()),
        };
        assert_eq!(user, want);
        assert_eq!(
            parse("g x /etc"),
            Ok(Entry::Group { name: "x".into(), number: Number::OwnerOf("/etc".into()) })
        );
        assert_eq!(parse("m a b"), Ok(Entry::Member { user: "a".into(), group: "b".into() }));
        assert_eq!(parse("r - 500-900"), Ok(Entry::Range(500, 900)));
        for bad in [
            "",
            "x y",
            "u",
            "u 1a",
            "u a:b",
            "u a 1 c:d",
            "u a 1 c home",
            "g a x",
            "m a",
            "r - 9-5",
            "g a 1 b",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[ugmr] ?[-a-z0-9:/%\"\\\\ ]{0,30}") {
            let _ = parse(Path::new("/"), &text);
        }
    }
}
