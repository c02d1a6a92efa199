//! Words and command lines: quoting as systemd.syntax(7), Exec*= prefixes and `;` as systemd.service(5).

use crate::CommandFlags;

/// A command line as loaded: specifiers resolved, variables not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: absolute, or a name for `PATH`.
    pub path: String,
    /// Its arguments, the zeroth included.
    pub argv: Vec<String>,
    /// The prefixes.
    pub flags: CommandFlags,
}

/// Why a line is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// A quote that does not end.
    #[error("unbalanced quoting")]
    Unbalanced,
    /// Prefixes and nothing after them.
    #[error("empty path in command line")]
    EmptyPath,
    /// `+`, `!`, `!!` exclude each other.
    #[error("only one of the prefixes +, ! and !! can be used")]
    Prefixes,
    /// `a/b`
    #[error("neither a valid executable name nor an absolute path: {0}")]
    Relative(String),
}

/// Takes one word off the front: quotes removed, C escapes replaced. `None` at the end.
pub fn next_word(text: &str) -> Result<Option<(String, &str)>, ExecError> {
    let text = text.trim_start();
    if text.is_empty() {
        return Ok(None);
    }
    let mut word = Vec::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => {
                let rest = text.get(index + 1..).unwrap_or_default();
                let used = unescape(rest, &mut word);
                for _ in 0..used {
                    characters.next();
                }
            }
            _ if quote == Some(character) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(character),
            _ if quote.is_none() && character.is_whitespace() => {
                let word = String::from_utf8_lossy(&word).into_owned();
                return Ok(Some((word, text.get(index..).unwrap_or_default())));
            }
            _ => word.extend(character.to_string().bytes()),
        }
    }
    match quote {
        Some(_) => Err(ExecError::Unbalanced),
        None => Ok(Some((String::from_utf8_lossy(&word).into_owned(), ""))),
    }
}

/// Replaces the escape that follows a backslash; returns how many characters it took. An unknown one stays.
fn unescape(rest: &str, out: &mut Vec<u8>) -> usize {
    let mut push = |c: char| out.extend(c.to_string().bytes());
    let simple = match rest.chars().next() {
        None => Some('\\'),
        Some('a') => Some('\x07'),
        Some('b') => Some('\x08'),
        Some('f') => Some('\x0c'),
        Some('n') => Some('\n'),
        Some('r') => Some('\r'),
        Some('t') => Some('\t'),
        Some('v') => Some('\x0b'),
        Some('s') => Some(' '),
        Some(c @ ('\\' | '"' | '\'')) => Some(c),
        Some(_) => None,
    };
    if let Some(character) = simple {
        push(character);
        return rest.chars().next().map_or(0, |_| 1);
    }
    let number = |skip: usize, digits: usize, radix: u32| {
        let text = rest.get(skip..skip + digits)?;
        let plain = text.chars().all(|c| c.is_digit(radix));
        plain.then(|| u32::from_str_radix(text, radix).ok()).flatten().filter(|value| *value != 0)
    };
    let (value, used, byte) = match rest.chars().next() {
        Some('x') => (number(1, 2, 16), 3, true),
        Some('u') => (number(1, 4, 16), 5, false),
        Some('U') => (number(1, 8, 16), 9, false),
        Some('0'..='3') => (number(0, 3, 8), 3, true),
        _ => (None, 0, false),
    };
    match value {
        Some(value) if byte => out.push(value as u8),
        Some(value) if char::from_u32(value).is_some() => push(char::from_u32(value).unwrap_or(' ')),
        _ => {
            push('\\');
            return 0;
        }
    }
    used
}

/// All words of a text.
pub fn words(text: &str) -> Result<Vec<String>, ExecError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((word, after)) = next_word(rest)? {
        found.push(word);
        rest = after;
    }
    Ok(found)
}

/// The command lines of one Exec*= value: more than one if a lone `;` separates them. `expand` resolves specifiers.
pub fn parse(text: &str, expand: &dyn Fn(&str) -> String) -> Result<Vec<CommandLine>, ExecError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = next_word(rest)? {
        rest = after;
        if first == ";" {
            continue;
        }
        let (flags, takes_zeroth, path) = prefixes(&first)?;
        let path = expand(path);
        if path.is_empty() {
            return Err(ExecError::EmptyPath);
        }
        if path.contains('/') && !path.starts_with('/') || path.ends_with('/') {
            return Err(ExecError::Relative(path));
        }
        let mut argv = if takes_zeroth { Vec::new() } else { vec![path.clone()] };
        loop {
            let raw = rest.trim_start();
            if let Some(after) = lone(raw, ";") {
                rest = after;
                break;
            }
            if let Some(after) = lone(raw, "\\;") {
                argv.push(";".into());
                rest = after;
                continue;
            }
            let Some((word, after)) = next_word(raw)? else {
                rest = "";
                break;
            };
            argv.push(expand(&word));
            rest = after;
        }
        if argv.is_empty() {
            argv.push(path.clone());
        }
        found.push(CommandLine { path, argv, flags });
    }
    Ok(found)
}

fn lone<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let after = text.strip_prefix(mark)?;
    (after.is_empty() || after.starts_with(char::is_whitespace)).then_some(after)
}

fn prefixes(word: &str) -> Result<(CommandFlags, bool, &str), ExecError> {
    let mut flags = CommandFlags::default();
    let mut takes_zeroth = false;
    let mut rest = word;
    loop {
        let privileged = flags.full_privileges || flags.no_setuid || flags.ambient;
        rest = match rest.chars().next() {
            Some('-') if !flags.ignore_failure => {
                flags.ignore_failure = true;
                &rest[1..]
            }
            Some('@') if !takes_zeroth => {
                takes_zeroth = true;
                &rest[1..]
            }
            Some(':') if !flags.no_substitution => {
                flags.no_substitution = true;
                &rest[1..]
            }
            Some('+' | '!') if privileged => return Err(ExecError::Prefixes),
            Some('+') => {
                flags.full_privileges = true;
                &rest[1..]
            }
            Some('!') => match rest.strip_prefix("!!") {
                Some(after) => {
                    flags.ambient = true;
                    after
                }
                None => {
                    flags.no_setuid = true;
                    &rest[1..]
                }
            },
            _ => return Ok((flags, takes_zeroth, rest)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> CommandLine {
        parse(text, &|text| text.replace("%i", "inst")).unwrap().remove(0)
    }

    #[test]
    fn quotes_and_escapes_as_systemd() {
        let cases: &[(&str, &[&str])] = &[
            ("a 'b c' \"d e\"", &["a", "b c", "d e"]),
            ("a'b c'd", &["ab cd"]),
            ("'' x", &["", "x"]),
            (r"\x41\101\s\u00e9\n", &["AA é\n"]),
            (r"\d \q", &["\\d", "\\q"]),
            (r#""a \"b\"" "#, &[r#"a "b""#]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text).unwrap(), *expected, "{text}");
        }
        assert_eq!(words("a 'b"), Err(ExecError::Unbalanced));
    }

    #[test]
    fn prefixes_come_in_any_order_and_exclude_each_other() {
        let line = one("-:+@/bin/x zero %i");
        assert_eq!((line.path.as_str(), line.argv), ("/bin/x", vec!["zero".to_string(), "inst".to_string()]));
        assert!(line.flags.ignore_failure && line.flags.full_privileges && line.flags.no_substitution);
        assert!(one("!!/bin/x").flags.ambient);
        assert!(one("!/bin/x").flags.no_setuid);
        for bad in ["+!/bin/x", "!+x", "+!!x", "-", "a/b", "/bin/"] {
            assert!(parse(bad, &|text| text.to_string()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lone_semicolon_separates() {
        let lines = parse(r"/bin/a x ; /bin/b y\; \; z ;", &|text| text.to_string()).unwrap();
        assert_eq!(
            lines.iter().map(|line| line.argv.join("|")).collect::<Vec<_>>(),
            ["/bin/a|x", r"/bin/b|y\;|;|z"]
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[-+!@:;'\"\\\\ a-c0-9x$%{}é]{0,40}") {
            let _ = parse(&text, &|text| text.to_string());
        }
    }
}
