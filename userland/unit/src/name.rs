//! Unit names, systemd.unit(5): `prefix@instance.type`, and the escaping of paths in them.

use std::fmt;
use std::sync::Arc;

/// The kinds of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum UnitType {
    Service,
    Mount,
    Swap,
    Socket,
    Target,
    Device,
    Automount,
    Timer,
    Path,
    Slice,
    Scope,
}

impl UnitType {
    /// Every kind.
    pub const ALL: &'static [UnitType] = &[
        UnitType::Service,
        UnitType::Mount,
        UnitType::Swap,
        UnitType::Socket,
        UnitType::Target,
        UnitType::Device,
        UnitType::Automount,
        UnitType::Timer,
        UnitType::Path,
        UnitType::Slice,
        UnitType::Scope,
    ];

    /// The suffix, without the dot.
    pub fn as_str(self) -> &'static str {
        match self {
            UnitType::Service => "service",
            UnitType::Mount => "mount",
            UnitType::Swap => "swap",
            UnitType::Socket => "socket",
            UnitType::Target => "target",
            UnitType::Device => "device",
            UnitType::Automount => "automount",
            UnitType::Timer => "timer",
            UnitType::Path => "path",
            UnitType::Slice => "slice",
            UnitType::Scope => "scope",
        }
    }

    /// The kind of this suffix.
    pub fn parse(text: &str) -> Option<UnitType> {
        UnitType::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// Not a unit name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a unit name: write prefix.type or prefix@instance.type, of letters, digits and :-_.\\"
)]
pub struct NameError(pub String);

/// A valid unit name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UnitName(Arc<str>);

impl TryFrom<String> for UnitName {
    type Error = NameError;

    fn try_from(text: String) -> Result<UnitName, NameError> {
        UnitName::parse(&text)
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> String {
        name.as_str().to_owned()
    }
}

const LONGEST: usize = 255;

impl UnitName {
    /// Checks a name: at most 255 bytes, a known type, no odd characters.
    pub fn parse(text: &str) -> Result<UnitName, NameError> {
        let error = || NameError(text.chars().take(300).collect());
        let (stem, suffix) = text.rsplit_once('.').ok_or_else(error)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let fits = text.len() <= LONGEST
            && UnitType::parse(suffix).is_some()
            && !stem.is_empty()
            && !stem.starts_with('@')
            && stem.chars().all(allowed);
        if fits { Ok(UnitName(text.into())) } else { Err(error()) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its kind.
    pub fn unit_type(&self) -> UnitType {
        self.0.rsplit_once('.').and_then(|(_, suffix)| UnitType::parse(suffix)).unwrap_or(UnitType::Service)
    }

    /// Without the type: `prefix@instance`.
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(stem, _)| stem)
    }

    /// What is before `@`.
    pub fn prefix(&self) -> &str {
        self.stem().split_once('@').map_or(self.stem(), |(prefix, _)| prefix)
    }

    /// What is after `@`; of a template the empty string; `None` without `@`.
    pub fn instance(&self) -> Option<&str> {
        self.stem().split_once('@').map(|(_, instance)| instance)
    }

    /// `prefix@.type`
    pub fn is_template(&self) -> bool {
        self.instance() == Some("")
    }

    /// The template of an instance.
    pub fn template(&self) -> Option<UnitName> {
        let instance = self.instance()?;
        if instance.is_empty() {
            return None;
        }
        Some(UnitName(format!("{}@.{}", self.prefix(), self.unit_type().as_str()).into()))
    }

    /// This template's instance (or this instance's sibling).
    pub fn with_instance(&self, instance: &str) -> Result<UnitName, NameError> {
        UnitName::parse(&format!("{}@{instance}.{}", self.prefix(), self.unit_type().as_str()))
    }

    /// The name of the same stem and another type.
    pub fn with_type(&self, kind: UnitType) -> UnitName {
        UnitName(format!("{}.{}", self.stem(), kind.as_str()).into())
    }

    /// The unit of a path: `/var/lib` → `var-lib.mount`.
    pub fn from_path(path: &str, kind: UnitType) -> Result<UnitName, NameError> {
        UnitName::parse(&format!("{}.{}", escape_path(path), kind.as_str()))
    }

    /// The path that a mount's (device's, automount's, swap's) name stands for.
    pub fn to_path(&self) -> Option<String> {
        unescape_path(self.stem())
    }

    /// It is there as long as the manager is, with or without a file.
    pub fn is_perpetual(&self) -> bool {
        matches!(self.as_str(), "-.slice" | "system.slice" | "-.mount" | "init.scope")
    }

    /// What the folders are called (before `.d`, `.wants`…) that are about this unit, the most particular first:
    /// `a-b@i.service`, `a-b@.service`, `a-.service`, `a-@i.service`, `a-@.service`. Below all of them is the type's
    /// own, `service`.
    pub fn drop_in_stems(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.add_stems(self.prefix(), self.instance(), &mut found);
        found
    }

    fn add_stems(&self, prefix: &str, instance: Option<&str>, found: &mut Vec<String>) {
        let kind = self.unit_type().as_str();
        let stem = match instance {
            Some(instance) => format!("{prefix}@{instance}.{kind}"),
            None => format!("{prefix}.{kind}"),
        };
        if found.contains(&stem) {
            return;
        }
        found.push(stem);
        let named = instance.filter(|instance| !instance.is_empty());
        if named.is_some() {
            self.add_stems(prefix, Some(""), found);
        }
        // `a-b-c`, `a-b-`, `a-`; what is said of all templates of such names is said of all units
        let shorter = prefix.strip_suffix('-').unwrap_or(prefix).rfind('-').and_then(|at| prefix.get(..=at));
        if let Some(shorter) = shorter {
            self.add_stems(shorter, named, found);
        }
    }

    /// A template that a unit names: filled in with that unit's instance, or its prefix. Any other name as it is.
    ///
    /// # Errors
    /// The name would be too long.
    pub fn filled_in_for(&self, by: &UnitName) -> Result<UnitName, NameError> {
        if !self.is_template() {
            return Ok(self.clone());
        }
        self.with_instance(by.instance().filter(|instance| !instance.is_empty()).unwrap_or(by.prefix()))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for UnitName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<UnitName, NameError> {
        UnitName::parse(text)
    }
}

/// Escapes any string for use in a unit name: `/` becomes `-`, odd bytes `\xNN`.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if index == 0 => out.push_str("\\x2e"),
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b':' | b'_' | b'.' => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// Takes `escape` back; `None` if the escapes are malformed or the result is not UTF-8.
pub fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'-' => out.push(b'/'),
            b'\\' => {
                if bytes.next()? != b'x' {
                    return None;
                }
                let digit = |byte: u8| (byte as char).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                out.push((high * 16 + low) as u8);
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

/// Escapes a path: slashes at the ends and doubled ones are dropped, `/` itself is `-`.
pub fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() { "-".into() } else { escape(&parts.join("/")) }
}

/// Takes `escape_path` back.
pub fn unescape_path(text: &str) -> Option<String> {
    if text == "-" {
        return Some("/".into());
    }
    let path = unescape(text)?;
    let plain = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    plain.then(|| format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_apart() {
        let name = UnitName::parse("getty@tty1.service").unwrap();
        assert_eq!(
            (name.prefix(), name.instance(), name.unit_type()),
            ("getty", Some("tty1"), UnitType::Service)
        );
        assert_eq!(name.template().unwrap().as_str(), "getty@.service");
        assert!(name.template().unwrap().is_template());
        for bad in ["", "x", ".service", "x.conf", "@i.service", "a b.service", "a/b.service", "ü.service"] {
            assert!(UnitName::parse(bad).is_err(), "{bad}");
        }
        assert!(UnitName::parse(&format!("{}.service", "x".repeat(300))).is_err());
    }

    #[test]
    fn escapes_as_systemd_escape() {
        // from `systemd-escape`, `systemd-escape -p`
        assert_eq!(escape("/Hallo-wie geht's.x"), "-Hallo\\x2dwie\\x20geht\\x27s.x");
        assert_eq!(escape_path("//dev//my-disk/"), "dev-my\\x2ddisk");
        assert_eq!(escape_path("/"), "-");
        assert_eq!(escape(".x"), "\\x2ex");
        assert_eq!(unescape_path("dev-my\\x2ddisk").as_deref(), Some("/dev/my-disk"));
        assert_eq!(unescape_path("-").as_deref(), Some("/"));
        for bad in ["a\\x2", "a\\y20", "a--b", "\\xff"] {
            assert_eq!(unescape_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn drop_ins_go_from_particular_to_general() {
        let name = UnitName::parse("foo-bar@x.service").unwrap();
        let expected =
            ["foo-bar@x.service", "foo-bar@.service", "foo-.service", "foo-@x.service", "foo-@.service"];
        assert_eq!(name.drop_in_stems(), expected);
    }

    proptest::proptest! {
        #[test]
        fn unescape_takes_escape_back(text in "\\PC{0,40}") {
            proptest::prop_assert_eq!(unescape(&escape(&text)), Some(text));
        }

        #[test]
        fn parse_never_panics(text in "\\PC{0,300}") {
            let _ = UnitName::parse(&text);
            let _ = unescape_path(&text);
        }
    }
}
