//! `%` specifiers, systemd.unit(5).

use crate::name::{unescape, unescape_path};
use crate::{Host, UnitName};

/// What specifiers are resolved against.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The unit.
    pub unit: &'a UnitName,
    /// The system.
    pub host: &'a Host,
    /// The unit file.
    pub fragment: Option<&'a str>,
}

/// A specifier that there is none of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Failed to resolve unit specifiers in '{0}'")]
pub struct UnknownSpecifier(pub String);

impl From<UnknownSpecifier> for String {
    fn from(error: UnknownSpecifier) -> String {
        error.to_string()
    }
}

/// What may be put into the name of another unit.
const IN_NAMES: &str = "%nNpPijaAbBHlmMoqvwWgGuUTV";

impl Context<'_> {
    /// The text with every specifier replaced.
    ///
    /// # Errors
    /// A letter that is no specifier.
    pub fn resolve(&self, text: &str) -> Result<String, UnknownSpecifier> {
        self.replace(text, &|_| true)
    }

    /// The same for the name of a unit: no paths in it.
    ///
    /// # Errors
    /// A letter that is no specifier, or is none in names.
    pub fn resolve_name(&self, text: &str) -> Result<String, UnknownSpecifier> {
        self.replace(text, &|letter| IN_NAMES.contains(letter))
    }

    /// With every specifier replaced, if all of them may be.
    fn replace(&self, text: &str, allowed: &dyn Fn(char) -> bool) -> Result<String, UnknownSpecifier> {
        let mut out = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            match characters.next() {
                None => out.push('%'),
                Some(letter) => {
                    match Some(letter).filter(|letter| allowed(*letter)).and_then(|l| self.value(l)) {
                        Some(value) => out.push_str(&value),
                        None if letter.is_ascii_alphabetic() => return Err(UnknownSpecifier(text.into())),
                        None => out.extend(['%', letter]),
                    }
                }
            }
        }
        Ok(out)
    }

    fn value(&self, letter: char) -> Option<String> {
        let unit = self.unit;
        let host = self.host;
        let instance = unit.instance().unwrap_or("");
        let release =
            |key: &str| host.os_release.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let last_part = |prefix: &str| prefix.rsplit('-').next().unwrap_or(prefix).to_string();
        Some(match letter {
            '%' => "%".into(),
            'n' => unit.to_string(),
            'N' => unit.stem().into(),
            'p' => unit.prefix().into(),
            'P' => unescape(unit.prefix())?,
            'i' => instance.into(),
            'I' => unescape(instance)?,
            'j' => last_part(unit.prefix()),
            'J' => unescape(&last_part(unit.prefix()))?,
            'f' => match unit.instance() {
                Some(instance) if !instance.is_empty() => {
                    unescape_path(instance).or_else(|| unescape(instance).map(|path| format!("/{path}")))?
                }
                _ => unescape_path(unit.prefix())
                    .or_else(|| unescape(unit.prefix()).map(|path| format!("/{path}")))?,
            },
            't' => "/run".into(),
            'S' => "/var/lib".into(),
            'C' => "/var/cache".into(),
            'L' => "/var/log".into(),
            'E' => "/etc".into(),
            'T' => "/tmp".into(),
            'V' => "/var/tmp".into(),
            'd' => format!("/run/credentials/{unit}"),
            'H' | 'q' => host.hostname.clone(),
            'l' => host.hostname.split('.').next().unwrap_or_default().into(),
            'm' => host.machine_id.clone(),
            'b' => host.boot_id.clone(),
            'v' => host.kernel_version.clone(),
            'a' => host.architecture.clone(),
            'o' => release("ID").unwrap_or_default(),
            'w' => release("VERSION_ID").unwrap_or_default(),
            'B' => release("BUILD_ID").unwrap_or_default(),
            'W' => release("VARIANT_ID").unwrap_or_default(),
            'M' => release("IMAGE_ID").unwrap_or_default(),
            'A' => release("IMAGE_VERSION").unwrap_or_default(),
            'u' | 'g' => "root".into(),
            'U' | 'G' => "0".into(),
            'h' => "/root".into(),
            's' => "/bin/bash".into(),
            'y' => self.fragment.unwrap_or_default().into(),
            'Y' => self.fragment.unwrap_or_default().rsplit_once('/').map_or("", |(folder, _)| folder).into(),
            // of old: the unit's cgroup, before its slice is known, and the root
            'c' => format!("/{unit}"),
            'r' | 'R' => String::new(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_by_unit_and_host() {
        let host = Host { machine_id: "abc".into(), hostname: "node1.example".into(), ..Host::default() };
        let unit = UnitName::parse("foo-bar@dev-sda\\x2d1.service").unwrap();
        let context = Context { unit: &unit, host: &host, fragment: None };
        let cases = [
            ("%n|%N|%p|%i", "foo-bar@dev-sda\\x2d1.service|foo-bar@dev-sda\\x2d1|foo-bar|dev-sda\\x2d1"),
            ("%I %f %j", "dev/sda-1 /dev/sda-1 bar"),
            ("%m %H %l 100%% %", "abc node1.example node1 100% %"),
            ("%?", "%?"),
        ];
        for (text, expected) in cases {
            assert_eq!(context.resolve(text).as_deref(), Ok(expected));
        }
        assert!(context.resolve("%z").is_err() && context.resolve_name("%t").is_err());
        assert_eq!(context.resolve_name("%i").as_deref(), Ok("dev-sda\\x2d1"));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,60}") {
            let unit = UnitName::parse("a@b\\xff.service").unwrap();
            let _ = Context { unit: &unit, host: &Host::default(), fragment: Some("x") }.resolve(&text);
        }
    }
}
