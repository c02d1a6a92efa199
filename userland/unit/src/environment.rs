//! Environment variables: EnvironmentFile='s format and the substitution in command lines, systemd.exec(5) and
//! systemd.service(5).

use crate::exec;

/// Whether a name can be a variable's.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Sets a variable, in place of an earlier setting.
pub fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    environment.retain(|(known, _)| known != name);
    environment.push((name.to_string(), value.to_string()));
}

fn get<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    environment.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Reads an environment file. Lines that assign nothing are skipped, as are bad names.
pub fn parse_file(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(&first) = rest.peek() else { return found };
        if first == '#' || first == ';' {
            skip_comment(&mut rest);
            continue;
        }
        let mut key = String::new();
        let mut assigned = false;
        for character in rest.by_ref() {
            match character {
                '\n' => break,
                '=' => {
                    assigned = true;
                    break;
                }
                _ => key.push(character),
            }
        }
        if !assigned {
            continue;
        }
        let value = file_value(&mut rest);
        let key = key.trim();
        let key = key.strip_prefix("export ").map_or(key, str::trim_start);
        if is_name(key) {
            set(&mut found, key, &value);
        }
    }
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn skip_comment(rest: &mut Characters<'_>) {
    while let Some(character) = rest.next() {
        match character {
            '\\' => {
                rest.next();
            }
            '\n' => return,
            _ => {}
        }
    }
}

/// Everything up to the line's end; quotes may begin and end anywhere but inside an unquoted stretch.
fn file_value(rest: &mut Characters<'_>) -> String {
    let mut value = String::new();
    // the length up to which the value is quoted or not blank
    let mut solid = 0;
    let mut fresh = true;
    while let Some(character) = rest.next() {
        match character {
            '\n' => break,
            '\'' if fresh => {
                value.extend(rest.by_ref().take_while(|c| *c != '\''));
                solid = value.len();
            }
            '"' if fresh => {
                while let Some(character) = rest.next() {
                    match character {
                        '"' => break,
                        '\\' => match rest.next() {
                            Some('\n') | None => {}
                            Some(c @ ('"' | '\\' | '`' | '$')) => value.push(c),
                            Some(c) => value.extend(['\\', c]),
                        },
                        _ => value.push(character),
                    }
                }
                solid = value.len();
            }
            '\\' => {
                fresh = false;
                match rest.next() {
                    Some('\n') | None => {}
                    Some(c) => value.push(c),
                }
                solid = value.len();
            }
            _ if character.is_whitespace() && fresh => {}
            _ if character.is_whitespace() => value.push(character),
            _ => {
                fresh = false;
                value.push(character);
                solid = value.len();
            }
        }
    }
    value.truncate(solid);
    value
}

/// The arguments with their variables: `$X` as a word of its own is split (and vanishes when unset), `${X}` is
/// put in within a word, `$$` is a dollar.
pub fn substitute(argv: &[String], environment: &[(String, String)]) -> Vec<String> {
    let mut out = Vec::with_capacity(argv.len());
    for argument in argv {
        match argument.strip_prefix('$') {
            Some(name) if !name.starts_with(['{', '$']) => {
                let value = get(environment, name).unwrap_or_default();
                let split = exec::words(value);
                out.extend(split.unwrap_or_else(|_| value.split_whitespace().map(str::to_string).collect()));
            }
            _ => out.push(replace(argument, environment)),
        }
    }
    out
}

fn replace(text: &str, environment: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('{').and_then(|inner| inner.split_once('}')).filter(|(name, _)| is_name(name))
        {
            out.push_str(get(environment, name).unwrap_or_default());
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| text.to_string()).collect()
    }

    #[test]
    fn reads_environment_files() {
        let text = "# c \\\nstill comment=1\nA=b\n B = \"x y\" \nC='a b'c\nD=one two  \nE=a\\\nb\n1X=no\nnothing\nexport F=g\nG=\"a\\nb\\$\"\nH=";
        let expected = [
            ("A", "b"),
            ("B", "x y"),
            ("C", "a bc"),
            ("D", "one two"),
            ("E", "ab"),
            ("F", "g"),
            ("G", "a\\nb$"),
            ("H", ""),
        ];
        let found = parse_file(text);
        assert_eq!(found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn substitutes_variables() {
        let environment = [("X".to_string(), "a 'b c'".to_string()), ("Y".to_string(), "y".to_string())];
        let argv = strings(&["/bin/x", "$X", "${X}", "p${Y}q", "$NONE", "${NONE}", "$$Y", "a$Y", "${Y", "$"]);
        let expected = ["/bin/x", "a", "b c", "a 'b c'", "pyq", "", "$Y", "a$Y", "${Y"];
        assert_eq!(substitute(&argv, &environment), expected);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[\\PC\n]{0,80}") {
            let environment = parse_file(&text);
            let _ = substitute(&[text], &environment);
        }
    }
}
