//! Object paths of units and jobs: `/org/freedesktop/systemd1/unit/ssh_2eservice`.
//!
//! The objects are virtual: any valid name has a path, whether or not such a unit is in memory. Bytes other than
//! ASCII letters and digits (and a leading digit) are written `_xx`, an empty name as `_`.

use super::ROOT;

/// Where logind has its manager.
pub const LOGIN: &str = "/org/freedesktop/login1";
/// Where a daemon has the settings of its log.
pub const LOG_CONTROL: &str = "/org/freedesktop/LogControl1";

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// `/org/freedesktop/systemd1`
    Manager,
    /// A unit by its name; `self` is the caller's own.
    Unit(String),
    /// A job by its number.
    Job(u32),
    /// logind's manager, for the power verbs.
    Login,
    /// What is logged.
    LogControl,
    /// A path above the objects: only to be introspected.
    Node,
}

impl Object {
    /// What this path names; `None`: nothing of ours.
    pub fn parse(path: &str) -> Option<Object> {
        match path {
            LOGIN => return Some(Object::Login),
            LOG_CONTROL => return Some(Object::LogControl),
            _ => {}
        }
        let Some(rest) = path.strip_prefix(ROOT) else {
            let above = path == "/" || ROOT.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
            return above.then_some(Object::Node);
        };
        match rest {
            "" => Some(Object::Manager),
            "/unit" | "/job" => Some(Object::Node),
            _ => match rest.strip_prefix("/unit/") {
                Some(label) => unescape(label).map(Object::Unit),
                None => rest.strip_prefix("/job/").and_then(|number| number.parse().ok()).map(Object::Job),
            },
        }
    }
}

/// The path of a unit.
pub fn of_unit(name: &str) -> String {
    let mut path = format!("{ROOT}/unit/");
    if name.is_empty() {
        path.push('_');
    }
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && at > 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The path of a job; `/` for none (zero).
pub fn of_job(id: u32) -> String {
    if id == 0 { "/".into() } else { format!("{ROOT}/job/{id}") }
}

fn unescape(label: &str) -> Option<String> {
    if label == "_" {
        return Some(String::new());
    }
    let mut name = Vec::with_capacity(label.len());
    let mut bytes = label.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'_' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte if byte.is_ascii_alphanumeric() => byte,
            _ => return None,
        });
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_as_systemd_writes_them() {
        assert_eq!(of_unit("hello1.service"), "/org/freedesktop/systemd1/unit/hello1_2eservice");
        assert_eq!(of_unit("-.slice"), "/org/freedesktop/systemd1/unit/_2d_2eslice");
        assert_eq!(of_job(0), "/");
        assert_eq!(Object::parse("/org/freedesktop/systemd1/job/7"), Some(Object::Job(7)));
        assert_eq!(Object::parse("/org/freedesktop"), Some(Object::Node));
        assert_eq!(Object::parse("/"), Some(Object::Node));
        assert_eq!(Object::parse("/org/free"), None);
        assert_eq!(Object::parse("/org/freedesktop/systemd1/unit/a_2"), None);
        assert_eq!(Object::parse("/org/freedesktop/systemd1/job/x"), None);
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in "\\PC{0,40}") {
            prop_assert_eq!(Object::parse(&of_unit(&name)), Some(Object::Unit(name)));
        }

        #[test]
        fn any_path_is_read_or_not(path in "\\PC{0,60}") {
            let _ = Object::parse(&path);
            let _ = Object::parse(&format!("{ROOT}/unit/{path}"));
        }
    }
}
