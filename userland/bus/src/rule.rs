//! Match rules: which messages a client wants to see (D-Bus specification, "Match Rules").
//!
//! Parsing any text gives a rule or an error; matching looks at the body only for rules that ask for arguments. Pure.

use wire::{Message, MessageType};
use zvariant::{OwnedValue, Value};

/// The highest argument that a rule may name.
const LAST_ARGUMENT: u8 = 63;
/// The longest rule, in bytes.
const LONGEST: usize = 1024;

/// Not a match rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("match rule: {0}")]
pub struct Invalid(String);

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Equal,
    Path,
    Namespace,
}

/// A rule. What is `None` matches anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rule {
    kind: Option<u8>,
    sender: Option<String>,
    interface: Option<String>,
    member: Option<String>,
    path: Option<String>,
    path_namespace: Option<String>,
    destination: Option<String>,
    arguments: Vec<(u8, How, String)>,
}

impl Rule {
    /// Reads `key='value',…`.
    ///
    /// # Errors
    /// It is no rule, or an unknown key.
    pub fn parse(text: &str) -> Result<Rule, Invalid> {
        if text.len() > LONGEST {
            return Err(Invalid(format!("longer than {LONGEST} bytes")));
        }
        let mut rule = Rule::default();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (key, after) =
                rest.split_once('=').ok_or_else(|| Invalid(format!("no value in {rest:?}")))?;
            let (value, left) = value(after)?;
            rule.set(key.trim(), value)?;
            rest = left.trim_start().trim_start_matches(',').trim_start();
        }
        Ok(rule)
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), Invalid> {
        match key {
            "type" => {
                self.kind = Some(match value.as_str() {
                    "method_call" => 1,
                    "method_return" => 2,
                    "error" => 3,
                    "signal" => 4,
                    _ => return Err(Invalid(format!("unknown type {value:?}"))),
                });
            }
            "sender" => self.sender = Some(value),
            "interface" => self.interface = Some(value),
            "member" => self.member = Some(value),
            "path" => self.path = Some(value),
            "path_namespace" => self.path_namespace = Some(value),
            "destination" => self.destination = Some(value),
            // Only monitors see what is meant for others.
            "eavesdrop" => {}
            _ => {
                let wrong = || Invalid(format!("unknown key {key:?}"));
                let argument = key.strip_prefix("arg").ok_or_else(wrong)?;
                let (number, how) = match argument.strip_suffix("path") {
                    Some(number) => (number, How::Path),
                    None => match argument.strip_suffix("namespace") {
                        Some(number) => (number, How::Namespace),
                        None => (argument, How::Equal),
                    },
                };
                let number: u8 = number.parse().map_err(|_| wrong())?;
                if number > LAST_ARGUMENT {
                    return Err(wrong());
                }
                self.arguments.push((number, how, value));
            }
        }
        Ok(())
    }

    /// Whether a message fits. `is`: whether this well-known name is that unique name's.
    pub fn matches(&self, message: &Message, is: impl Fn(&str, &str) -> bool) -> bool {
        let kind = match message.kind {
            MessageType::Call => 1,
            MessageType::Return => 2,
            MessageType::Error => 3,
            MessageType::Signal => 4,
        };
        let same =
            |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|wanted| wanted == have);
        let named = |wanted: &Option<String>, have: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == have || is(wanted, have))
        };
        self.kind.is_none_or(|wanted| wanted == kind)
            && same(&self.interface, &message.interface)
            && same(&self.member, &message.member)
            && same(&self.path, &message.path)
            && self.path_namespace.as_deref().is_none_or(|space| {
                space == "/"
                    || message
                        .path
                        .strip_prefix(space)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            && named(&self.sender, &message.sender)
            && named(&self.destination, &message.destination)
            && (self.arguments.is_empty() || self.arguments_match(message))
    }

    fn arguments_match(&self, message: &Message) -> bool {
        let have = arguments(message);
        self.arguments.iter().all(|(number, how, wanted)| {
            let Some(Some(have)) = have.get(usize::from(*number)) else { return false };
            match (how, have) {
                (How::Equal, Argument::Text(text)) => text == wanted,
                (How::Path, Argument::Text(text) | Argument::Path(text)) => {
                    text == wanted
                        || (wanted.ends_with('/') && text.starts_with(wanted.as_str()))
                        || (text.ends_with('/') && wanted.starts_with(text.as_str()))
                }
                (How::Namespace, Argument::Text(text)) => text
                    .strip_prefix(wanted.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.')),
                (How::Equal | How::Namespace, Argument::Path(_)) => false,
            }
        })
    }
}

/// A value up to the next comma outside of quotes: `'a,b'` is one, a quote itself is `'\''`.
fn value(text: &str) -> Result<(String, &str), Invalid> {
    let mut value = String::new();
    let mut quoted = false;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' => quoted = !quoted,
            ',' if !quoted => return Ok((value, text.get(at..).unwrap_or_default())),
            '\\' if !quoted && letters.peek().is_some_and(|(_, next)| *next == '\'') => {
                letters.next();
                value.push('\'');
            }
            _ => value.push(letter),
        }
    }
    if quoted { Err(Invalid("a quote is not closed".into())) } else { Ok((value, "")) }
}

enum Argument {
    Text(String),
    Path(String),
}

/// The arguments of a body that rules can look at. A body that is not what its signature says has none.
fn arguments(message: &Message) -> Vec<Option<Argument>> {
    let Ok(body) = message.values() else { return Vec::new() };
    let argument = |value: &OwnedValue| match &**value {
        Value::Str(text) => Some(Argument::Text(text.to_string())),
        Value::ObjectPath(path) => Some(Argument::Path(path.to_string())),
        _ => None,
    };
    body.iter().map(argument).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(rule: &str, message: &Message) -> bool {
        Rule::parse(rule).unwrap().matches(message, |name, unique| (name, unique) == ("a.owner", ":1.5"))
    }

    #[test]
    fn rules_say_what_is_wanted() {
        let signal = Message::signal("/a/b", "x.Y", "Changed")
            .from(":1.5")
            .with(&("org.x.One", 7u32, "/aa/bb/"))
            .unwrap();
        for rule in [
            "",
            "type='signal'",
            "sender='a.owner',member='Changed'",
            "path=/a/b,interface='x.Y'",
            "path_namespace='/a'",
            "arg0='org.x.One'",
            "arg0namespace='org.x'",
            "arg2path='/aa/bb/cc'",
            "arg2path='/aa/'",
            "type='signal', sender=':1.5', eavesdrop='true'",
        ] {
            assert!(fits(rule, &signal), "{rule}");
        }
        for rule in [
            "type='method_call'",
            "sender='b.owner'",
            "path='/a'",
            "path_namespace='/a/bc'",
            "arg0='org.x'",
            "arg0namespace='org.xx'",
            "arg1='7'",
            "arg9='x'",
        ] {
            assert!(!fits(rule, &signal), "{rule}");
        }
        assert_eq!(Rule::parse("member='it'\\''s'").unwrap().member.as_deref(), Some("it's"));
        for wrong in ["x", "type='what'", "argx='y'", "arg64='y'", "color='red'", "member='a"] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_rule_or_none(text in "[a-z0-9=',\\\\ _/.]{0,60}|\\PC{0,40}") {
            if let Ok(rule) = Rule::parse(&text) {
                let _ = rule.matches(&Message::signal("/", "a.b", "C"), |_, _| false);
            }
        }
    }
}
