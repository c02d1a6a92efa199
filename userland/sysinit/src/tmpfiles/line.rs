//! A line: `Type Path Mode User Group Age Argument`, tmpfiles.d(5).

use std::path::{Path, PathBuf};

use accounts::Accounts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use unit::c_escape::unescape;
use unit::exec::next_word;

use super::age::Age;
use crate::specifier;

/// What is to be done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `f`, and `f+` truncates.
    File,
    /// `w`, and `w+` appends.
    Write,
    /// `d`, `v`, `q`, `Q`
    Folder,
    /// `D`
    EmptiedFolder,
    /// `e`
    AdjustedFolder,
    /// `p`
    Fifo,
    /// `L`
    Link,
    /// `c`
    CharacterDevice,
    /// `b`
    BlockDevice,
    /// `C`
    Copy,
    /// `x`
    Except,
    /// `X`
    ExceptPath,
    /// `r`
    Remove,
    /// `R`
    RemoveAll,
    /// `z`
    Rights,
    /// `Z`
    RightsBelow,
    /// `t`
    ExtendedAttributes,
    /// `T`
    ExtendedAttributesBelow,
    /// `h`
    FileAttributes,
    /// `H`
    FileAttributesBelow,
    /// `a`
    AccessList,
    /// `A`
    AccessListBelow,
}

impl Kind {
    fn of(letter: char) -> Option<Kind> {
        Some(match letter {
            'f' | 'F' => Kind::File,
            'w' => Kind::Write,
            'd' | 'v' | 'q' | 'Q' => Kind::Folder,
            'D' => Kind::EmptiedFolder,
            'e' | 'm' => Kind::AdjustedFolder,
            'p' => Kind::Fifo,
            'L' => Kind::Link,
            'c' => Kind::CharacterDevice,
            'b' => Kind::BlockDevice,
            'C' => Kind::Copy,
            'x' => Kind::Except,
            'X' => Kind::ExceptPath,
            'r' => Kind::Remove,
            'R' => Kind::RemoveAll,
            'z' => Kind::Rights,
            'Z' => Kind::RightsBelow,
            't' => Kind::ExtendedAttributes,
            'T' => Kind::ExtendedAttributesBelow,
            'h' => Kind::FileAttributes,
            'H' => Kind::FileAttributesBelow,
            'a' => Kind::AccessList,
            'A' => Kind::AccessListBelow,
            _ => return None,
        })
    }

    /// Whether the path is the line's own: no second line may say what is there.
    pub fn owns(self) -> bool {
        self.rank() == 0
    }

    /// In which order lines about one path are carried out.
    pub fn rank(self) -> u8 {
        use Kind::*;
        match self {
            AccessListBelow => 1,
            FileAttributesBelow => 2,
            ExtendedAttributesBelow => 3,
            RightsBelow => 4,
            AccessList => 5,
            FileAttributes => 6,
            ExtendedAttributes => 7,
            Rights => 8,
            _ => 0,
        }
    }

    /// Whether the path is a pattern.
    fn takes_pattern(self) -> bool {
        use Kind::*;
        matches!(self, Write | AdjustedFolder | Except | ExceptPath | Remove | RemoveAll) || !self.owns()
    }

    /// Whether it is about all that is below the path too.
    pub fn is_deep(self) -> bool {
        use Kind::*;
        matches!(self, RightsBelow | ExtendedAttributesBelow | FileAttributesBelow | AccessListBelow)
    }
}

/// A value that may hold for new files only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given<T> {
    /// The value.
    pub value: T,
    /// `:`: what is there already keeps its own.
    pub only_new: bool,
}

/// The Mode field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// The permission bits.
    pub bits: u32,
    /// `~`: as far as the bits that are there allow.
    pub masked: bool,
}

/// A parsed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What is to be done.
    pub kind: Kind,
    /// `+`
    pub plus: bool,
    /// `!`: at boot only.
    pub boot: bool,
    /// `-`: a failure is no failure.
    pub may_fail: bool,
    /// `=`: what is there and of another kind goes.
    pub replaces: bool,
    /// Absolute.
    pub path: PathBuf,
    /// The permission bits.
    pub mode: Option<Given<Mode>>,
    /// The owner's number.
    pub user: Option<Given<u32>>,
    /// The group's number.
    pub group: Option<Given<u32>>,
    /// How old its content may be.
    pub age: Option<Age>,
    /// The last field.
    pub argument: Option<Vec<u8>>,
}

impl Item {
    /// Whether the path stands for all that match it.
    pub fn is_glob(&self) -> bool {
        self.kind.takes_pattern() && self.path.to_string_lossy().contains(['*', '?', '[', '{'])
    }

    /// The argument as a text.
    pub fn text(&self) -> Option<String> {
        self.argument.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The permission bits for what is made new.
    pub fn new_mode(&self, default: u32) -> u32 {
        self.mode.map_or(default, |mode| mode.value.bits)
    }
}

/// Reads a line. `None`: it asks for nothing here (a credential that is not there).
pub fn parse(root: &Path, accounts: &Accounts, text: &str) -> Result<Option<Item>, String> {
    let mut rest = text;
    let mut field = || -> Result<Option<String>, String> {
        match next_word(rest).map_err(|error| error.to_string())? {
            None => Ok(None),
            Some((word, after)) => {
                rest = after;
                Ok(Some(word))
            }
        }
    };
    let action = field()?.unwrap_or_default();
    let path = field()?.ok_or("a path is missing")?;
    let mut optional = || field().map(|word| word.filter(|word| word != "-" && !word.is_empty()));
    let (mode, user, group, age) = (optional()?, optional()?, optional()?, optional()?);
    let argument = Some(rest.trim()).filter(|text| !text.is_empty() && *text != "-");

    let letter = action.chars().next().ok_or("a type is missing")?;
    let kind = Kind::of(letter).ok_or_else(|| format!("Unknown command type '{letter}'."))?;
    let mut item = Item {
        kind,
        plus: letter == 'F',
        boot: false,
        may_fail: false,
        replaces: false,
        path: absolute(&specifier::expand(root, &path)?)?,
        mode: mode.map(|text| parse_mode(&text)).transpose()?,
        user: user.map(|text| number(&text, "user", |name| Some(accounts.user(name)?.uid))).transpose()?,
        group: group
            .map(|text| number(&text, "group", |name| Some(accounts.group(name)?.gid)))
            .transpose()?,
        age: None,
        argument: None,
    };
    let (mut encoded, mut credential) = (false, false);
    for modifier in action.chars().skip(1) {
        match modifier {
            '+' => item.plus = true,
            '!' => item.boot = true,
            '-' => item.may_fail = true,
            '=' => item.replaces = true,
            '~' => encoded = true,
            '^' => credential = true,
            other => return Err(format!("Unknown modifiers in command '{action}': {other}")),
        }
    }
    if let Some(text) = age {
        if !matches!(
            kind,
            Kind::Folder
                | Kind::EmptiedFolder
                | Kind::AdjustedFolder
                | Kind::Copy
                | Kind::Except
                | Kind::ExceptPath
        ) {
            return Err(format!("a line of type {letter} has no age"));
        }
        item.age = Some(Age::parse(&text).ok_or_else(|| format!("Invalid age '{text}'."))?);
    }
    item.argument = match argument {
        Some(text) => {
            let expanded = specifier::expand(root, text)?;
            let bytes = match kind {
                Kind::File | Kind::Write | Kind::Copy | Kind::Link if !encoded => unescape(&expanded),
                _ => expanded.into_bytes(),
            };
            match content(bytes, encoded, credential)? {
                Some(bytes) => Some(bytes),
                None => return Ok(None),
            }
        }
        None => None,
    };
    check(&mut item)?;
    Ok(Some(item))
}

/// The argument itself, decoded, or the credential that it names.
fn content(bytes: Vec<u8>, encoded: bool, credential: bool) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = bytes;
    if credential {
        let name = String::from_utf8_lossy(&bytes).into_owned();
        if name.contains('/') || name.starts_with('.') {
            return Err(format!("\"{name}\" is not the name of a credential"));
        }
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
        match folder.and_then(|folder| std::fs::read(Path::new(&folder).join(name)).ok()) {
            Some(value) => bytes = value,
            None => return Ok(None),
        }
    }
    if encoded {
        bytes.retain(|byte| !byte.is_ascii_whitespace());
        bytes = STANDARD.decode(&bytes).map_err(|error| format!("the argument is not base64: {error}"))?;
    }
    Ok(Some(bytes))
}

fn check(item: &mut Item) -> Result<(), String> {
    let from_factory = || format!("/usr/share/factory{}", item.path.display()).into_bytes();
    match item.kind {
        Kind::Link | Kind::Copy if item.argument.is_none() => item.argument = Some(from_factory()),
        Kind::Write if item.argument.is_none() => return Err("Write file requires argument.".into()),
        Kind::CharacterDevice | Kind::BlockDevice => {
            let text = item.text().unwrap_or_default();
            let fine = text
                .split_once(':')
                .is_some_and(|(major, minor)| major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok());
            if !fine {
                return Err("a device takes MAJOR:MINOR".into());
            }
        }
        Kind::ExtendedAttributes
        | Kind::ExtendedAttributesBelow
        | Kind::FileAttributes
        | Kind::FileAttributesBelow
        | Kind::AccessList
        | Kind::AccessListBelow
            if item.argument.is_none() =>
        {
            return Err("attributes are missing".into());
        }
        _ => {}
    }
    Ok(())
}

fn absolute(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') || path.contains('\0') || path.split('/').any(|part| part == "..") {
        return Err(format!("Path '{path}' not absolute."));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Ok(PathBuf::from(format!("/{}", parts.join("/"))))
}

fn parse_mode(text: &str) -> Result<Given<Mode>, String> {
    let digits = text.trim_start_matches([':', '~']);
    let marks = text.get(..text.len() - digits.len()).unwrap_or_default();
    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777);
    let bits = bits.ok_or_else(|| format!("Invalid mode '{text}'."))?;
    Ok(Given { value: Mode { bits, masked: marks.contains('~') }, only_new: marks.contains(':') })
}

fn number(text: &str, what: &str, find: impl Fn(&str) -> Option<u32>) -> Result<Given<u32>, String> {
    let (only_new, name) = text.strip_prefix(':').map_or((false, text), |rest| (true, rest));
    let root = (name == "root").then_some(0);
    let value = name.parse().ok().or(root).or_else(|| find(name));
    let value = value.ok_or_else(|| format!("Failed to resolve {what} '{name}': no such {what}."))?;
    Ok(Given { value, only_new })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Item>, String> {
        let accounts = Accounts::parse("core:x:500:501::/:/bin/sh\n", "wheel:x:10:\n");
        super::parse(Path::new("/"), &accounts, text)
    }

    #[test]
    fn fields_and_modifiers() {
        let item = parse("f+!-= \"/a b//c/\" :~2755 :core wheel - a\\x41\\n \"q\" ").unwrap().unwrap();
        assert_eq!(item.path, Path::new("/a b/c"));
        assert!(item.plus && item.boot && item.may_fail && item.replaces);
        assert_eq!(item.mode, Some(Given { value: Mode { bits: 0o2755, masked: true }, only_new: true }));
        assert_eq!(item.user, Some(Given { value: 500, only_new: true }));
        assert_eq!(item.group, Some(Given { value: 10, only_new: false }));
        assert_eq!(item.argument.as_deref(), Some(b"aA\n \"q\"".as_slice()));
        let encoded = parse("w~ /x - - - - aGVs bG8=").unwrap().unwrap();
        assert_eq!(encoded.argument.as_deref(), Some(b"hello".as_slice()));
        assert_eq!(parse("L /etc/x").unwrap().unwrap().text().as_deref(), Some("/usr/share/factory/etc/x"));
        assert!(parse("d /x 1777 root root 10d").unwrap().unwrap().age.is_some());
        assert_eq!(parse("f^ /x - - - - none"), Ok(None));
    }

    #[test]
    fn what_is_wrong() {
        for bad in [
            "",
            "d",
            "y /x",
            "d x",
            "d /a/../b",
            "d /x 8",
            "d /x - nobody-knows",
            "d /x - - - soon",
            "w /x",
            "c /x",
            "c /x - - - - 1",
            "d? /x",
            "f~ /x - - - - *",
            "f /x - - - 10d",
            "t /x",
            "d /%z",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-zA-Z][-+!=~^]{0,3} [/a-z*%\"\\\\ ]{0,20} [0-9~:-]{0,5}[ a-z:\\\\-]{0,30}") {
            let _ = parse(&text);
        }
    }
}
