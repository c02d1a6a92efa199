//! The machine's addresses as whoever runs it tells them, and their names in a cloud-config: `$private_ipv4`,
//! `$public_ipv4`, `$private_ipv6`, `$public_ipv6`.
//!
//! They come as lines of `/etc/environment` (`COREOS_PRIVATE_IPV4=10.0.0.1`), and are kept there for units that read
//! it with `EnvironmentFile=`. A backslash before a name keeps it as it is.
//!
//! Source: coreos-cloudinit, initialize/env.go and Documentation/cloud-config.md.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::plan::{Action, File};
use crate::problem::Problem;

/// Name in a cloud-config, and variable.
const ADDRESSES: [(&str, &str); 4] = [
    ("$public_ipv4", "COREOS_PUBLIC_IPV4"),
    ("$private_ipv4", "COREOS_PRIVATE_IPV4"),
    ("$public_ipv6", "COREOS_PUBLIC_IPV6"),
    ("$private_ipv6", "COREOS_PRIVATE_IPV6"),
];

/// Where variables are kept.
const FILE: &str = "/etc/environment";

/// What is known of the machine's addresses.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    known: Vec<(&'static str, String)>,
}

impl Environment {
    /// Reads lines of variables; those of other names are left alone.
    pub fn parse(text: &str, problems: &mut Vec<Problem>) -> Environment {
        let mut environment = Environment::default();
        for line in text.lines().map(str::trim) {
            let Some((variable, value)) = line.split_once('=') else { continue };
            let Some((_, known)) = ADDRESSES.iter().find(|(_, known)| *known == variable.trim()) else {
                continue;
            };
            let value = value.trim().trim_matches(['"', '\'']);
            let sound = match known.ends_with('4') {
                true => value.parse::<Ipv4Addr>().is_ok(),
                false => value.parse::<Ipv6Addr>().is_ok(),
            };
            if sound {
                environment.known.retain(|(variable, _)| variable != known);
                environment.known.push((known, value.to_owned()));
            } else if !value.is_empty() {
                problems.push(Problem::of(known, format!("{value:?} is no address; left out")));
            }
        }
        environment
    }

    fn value(&self, variable: &str) -> Option<&str> {
        self.known.iter().find(|(known, _)| *known == variable).map(|(_, value)| value.as_str())
    }

    /// Puts the addresses in the place of their names. One that is not known becomes nothing, and a problem.
    pub fn substitute(&self, text: &str, problems: &mut Vec<Problem>) -> String {
        let mut out = String::with_capacity(text.len());
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let mut rest = line;
            while let Some(at) = rest.find('$') {
                let (before, from) = rest.split_at(at);
                let found = ADDRESSES.iter().find(|(name, _)| from.starts_with(name));
                let Some((name, variable)) = found else {
                    out.push_str(before);
                    out.push('$');
                    rest = from.get(1..).unwrap_or_default();
                    continue;
                };
                if let Some(before) = before.strip_suffix('\\') {
                    out.push_str(before);
                    out.push_str(name);
                } else {
                    out.push_str(before);
                    match self.value(variable) {
                        Some(value) => out.push_str(value),
                        // A comment may speak of it.
                        None if line.trim_start().starts_with('#') => {}
                        None => problems.push(Problem::at(
                            number + 1,
                            name,
                            format!("this machine was not told it; {FILE} may say {variable}="),
                        )),
                    }
                }
                rest = from.get(name.len()..).unwrap_or_default();
            }
            out.push_str(rest);
        }
        out
    }

    /// The file with these variables in it, over what it holds already; none where there is nothing to say.
    pub fn file(&self, old: &str) -> Option<Action> {
        if self.known.is_empty() {
            return None;
        }
        let ours =
            |line: &str| line.split_once('=').is_some_and(|(name, _)| self.value(name.trim()).is_some());
        let kept = old.lines().filter(|line| !ours(line)).map(str::to_owned);
        let new = self.known.iter().map(|(variable, value)| format!("{variable}={value}"));
        let content: String = kept.chain(new).map(|line| line + "\n").collect();
        let file =
            File { path: FILE.into(), content: content.into_bytes(), owner: String::new(), mode: 0o644 };
        Some(Action::File(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str = "COREOS_PRIVATE_IPV4=10.0.0.1\nCOREOS_PUBLIC_IPV4=\"192.0.2.1\"\nOTHER=x\nCOREOS_PUBLIC_IPV6=1.2.3.4\n";

    #[test]
    fn names_become_addresses() {
        let mut problems = Vec::new();
        let environment = Environment::parse(TOLD, &mut problems);
        assert_eq!(problems.len(), 1, "{problems:?}");
        let text = environment.substitute(
            "a: http://$private_ipv4:2380,$public_ipv4\nb: $ $HOME \\$private_ipv4",
            &mut problems,
        );
        assert_eq!(text, "a: http://10.0.0.1:2380,192.0.2.1\nb: $ $HOME $private_ipv4");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            environment.substitute("# $public_ipv6\nx: $private_ipv6!\n", &mut problems),
            "# \nx: !\n"
        );
        assert!(
            problems[1].to_string().contains("line 2: $private_ipv6: this machine was not told it"),
            "{problems:?}"
        );
    }

    #[test]
    fn the_file_keeps_what_others_wrote() {
        let environment = Environment::parse(TOLD, &mut Vec::new());
        let Some(Action::File(file)) = environment.file("LANG=C\nCOREOS_PRIVATE_IPV4=10.9.9.9\n") else {
            unreachable!("there is something to say")
        };
        let text = String::from_utf8(file.content).expect("text");
        assert_eq!(text, "LANG=C\nCOREOS_PRIVATE_IPV4=10.0.0.1\nCOREOS_PUBLIC_IPV4=192.0.2.1\n");
        assert!(Environment::default().file("LANG=C\n").is_none());
    }
}
