//! Words and command lines: quoting as systemd.syntax(7), Exec*= prefixes and `;` as systemd.service(5).

use crate::CommandFlags;
use crate::settings::normal_path;

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
    #[error("Unbalanced quoting")]
    Unbalanced,
    /// Prefixes and nothing after them.
    #[error("Empty path in command line")]
    EmptyPath,
    /// `a/b`
    #[error("Neither a valid executable name nor an absolute path: {0}")]
    Relative(String),
    /// `/bin/`
    #[error("Executable path specifies a directory: {0}")]
    Directory(String),
    /// Quotes, backslashes, control characters.
    #[error("Executable name contains special characters: {0}")]
    Special(String),
    /// `@/bin/x` and no more.
    #[error("Empty executable name or zeroeth argument")]
    NoZeroth,
    /// A specifier that there is none of.
    #[error("{0}")]
    Specifier(String),
}

/// Takes one word off the front: quotes removed, C escapes replaced. `None` at the end.
pub fn next_word(text: &str) -> Result<Option<(String, &str)>, ExecError> {
    word(text, &unescape)
}

/// How a backslash and what follows it are read: adds to the word, returns how many characters it took.
type Escape = dyn Fn(&str, &mut Vec<u8>) -> usize;

fn word<'a>(text: &'a str, escape: &Escape) -> Result<Option<(String, &'a str)>, ExecError> {
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
                let used = escape(rest, &mut word);
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

/// All words of a text in which a backslash only keeps the next character from being a blank or a quote.
pub fn plain_words(text: &str) -> Result<Vec<String>, ExecError> {
    let keep = |rest: &str, out: &mut Vec<u8>| {
        out.extend(rest.chars().next().unwrap_or('\\').to_string().bytes());
        usize::from(!rest.is_empty())
    };
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((next, after)) = word(rest, &keep)? {
        found.push(next);
        rest = after;
    }
    Ok(found)
}

/// What ended the reading of a value: why, and whether the line matters (it does not begin with `-`).
pub type Broken = Option<(ExecError, bool)>;

/// The command lines of one Exec*= value: more than one if a lone `;` separates them. `resolve` replaces specifiers.
pub fn parse(text: &str, resolve: &dyn Fn(&str) -> Result<String, String>) -> (Vec<CommandLine>, Broken) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        match next_word(rest) {
            Ok(None) => return (found, None),
            // what the line would have run is not even known
            Err(why) => return (found, Some((why, false))),
            Ok(Some((first, after))) if first == ";" => rest = after,
            Ok(Some((first, after))) => {
                let (flags, takes_zeroth, path) = prefixes(&first);
                match command(path, flags, takes_zeroth, after, resolve) {
                    Ok((line, after)) => {
                        found.push(line);
                        rest = after;
                    }
                    Err(why) => return (found, Some((why, !flags.ignore_failure))),
                }
            }
        }
    }
}

/// One command line, and what comes after it.
fn command<'a>(
    path: &str,
    flags: CommandFlags,
    takes_zeroth: bool,
    mut rest: &'a str,
    resolve: &dyn Fn(&str) -> Result<String, String>,
) -> Result<(CommandLine, &'a str), ExecError> {
    let resolve = |text: &str| resolve(text).map_err(ExecError::Specifier);
    let path = program(resolve(path)?)?;
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
        argv.push(resolve(&word)?);
        rest = after;
    }
    if argv.first().is_none_or(String::is_empty) {
        return Err(ExecError::NoZeroth);
    }
    let path = if path.starts_with('/') { normal_path(&path) } else { path };
    Ok((CommandLine { path, argv, flags }, rest))
}

/// A path that can be a program's, or a name to look up.
fn program(path: String) -> Result<String, ExecError> {
    const LONGEST_NAME: usize = 255;
    if path.is_empty() {
        return Err(ExecError::EmptyPath);
    }
    if path.chars().any(|c| c.is_control() || "\"\\'".contains(c)) {
        return Err(ExecError::Special(path));
    }
    if path.ends_with('/') {
        return Err(ExecError::Directory(path));
    }
    let absolute = path.starts_with('/');
    let parts_fit = path.split('/').all(|part| part.len() <= LONGEST_NAME);
    if (!absolute && (path.contains('/') || matches!(path.as_str(), "." | ".."))) || !parts_fit {
        return Err(ExecError::Relative(path));
    }
    Ok(path)
}

fn lone<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    let after = text.strip_prefix(mark)?;
    (after.is_empty() || after.starts_with(char::is_whitespace)).then_some(after)
}

/// Takes the prefixes off: each counts once, and of `+`, `!` and `!!` only the first.
fn prefixes(word: &str) -> (CommandFlags, bool, &str) {
    let mut flags = CommandFlags::default();
    let mut takes_zeroth = false;
    let mut rest = word.chars();
    loop {
        let path = rest.as_str();
        let privileged = flags.full_privileges || flags.no_setuid || flags.ambient;
        match rest.next() {
            Some('-') if !flags.ignore_failure => flags.ignore_failure = true,
            Some('@') if !takes_zeroth => takes_zeroth = true,
            Some(':') if !flags.no_substitution => flags.no_substitution = true,
            Some('+') if !privileged => flags.full_privileges = true,
            Some('!') if !privileged => flags.no_setuid = true,
            Some('!') if flags.no_setuid => (flags.no_setuid, flags.ambient) = (false, true),
            _ => return (flags, takes_zeroth, path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> CommandLine {
        parse(text, &|text| Ok(text.replace("%i", "inst"))).0.remove(0)
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
        assert_eq!(plain_words(r"/a\ b '\n' c\"), Ok(vec!["/a b".into(), "n".into(), "c\\".into()]));
    }

    #[test]
    fn prefixes_come_in_any_order_and_exclude_each_other() {
        let line = one("-:+@/bin/x zero %i");
        assert_eq!((line.path.as_str(), line.argv), ("/bin/x", vec!["zero".to_string(), "inst".to_string()]));
        assert!(line.flags.ignore_failure && line.flags.full_privileges && line.flags.no_substitution);
        assert!(one("!!/bin/x").flags.ambient);
        assert!(one("!/bin/x").flags.no_setuid);
        for (bad, fatal) in
            [("+!/bin/x", true), ("-", false), ("a/b", true), ("-/bin/", false), ("x 'y", true)]
        {
            let broken = parse(bad, &|text| Ok(text.to_string())).1;
            assert_eq!(broken.map(|(_, fatal)| fatal), Some(fatal), "{bad}");
        }
        assert_eq!(
            parse("'x", &|text| Ok(text.to_string())),
            (Vec::new(), Some((ExecError::Unbalanced, false)))
        );
    }

    #[test]
    fn a_lone_semicolon_separates() {
        let lines = parse(r"/bin/a x ; /bin/b y\; \; z ;", &|text| Ok(text.to_string())).0;
        assert_eq!(
            lines.iter().map(|line| line.argv.join("|")).collect::<Vec<_>>(),
            ["/bin/a|x", r"/bin/b|y\;|;|z"]
        );
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[-+!@:;'\"\\\\ a-c0-9x$%{}é]{0,40}") {
            let _ = parse(&text, &|text| Ok(text.to_string()));
        }
    }
}
