//! What belongs to a unit: what it says itself, what init and other trusted programs say of it, its core dumps.
//! Source: journalctl(1), "--unit=" and "--user-unit=".

use crate::query::matches::Expression;
use crate::query::merge::Source;
use crate::query::pick::{Error, values};

/// The message of a core dump.
const COREDUMP: &str = "fc2e22bc6ee647b6b90729ab34a250b1";
/// The kinds of units.
const KINDS: [&str; 11] = [
    "service",
    "socket",
    "target",
    "device",
    "mount",
    "timer",
    "path",
    "slice",
    "scope",
    "swap",
    "automount",
];

fn system(name: &str) -> Expression {
    let term = Expression::term;
    let both = |one, other| Expression::All(vec![one, other]);
    let mut list = vec![
        term("_SYSTEMD_UNIT", name),
        Expression::All(vec![term("MESSAGE_ID", COREDUMP), term("_UID", "0"), term("COREDUMP_UNIT", name)]),
        both(term("_PID", "1"), term("UNIT", name)),
        both(term("_UID", "0"), term("OBJECT_SYSTEMD_UNIT", name)),
    ];
    if name.ends_with(".slice") {
        list.push(term("_SYSTEMD_SLICE", name));
    }
    Expression::Any(list)
}

fn user(name: &str, uid: &str) -> Expression {
    let mut fields =
        vec!["_SYSTEMD_USER_UNIT", "USER_UNIT", "COREDUMP_USER_UNIT", "OBJECT_SYSTEMD_USER_UNIT"];
    if name.ends_with(".slice") {
        fields.push("_SYSTEMD_USER_SLICE");
    }
    Expression::All(vec![
        Expression::term("_UID", uid),
        Expression::Any(fields.into_iter().map(|field| Expression::term(field, name)).collect()),
    ])
}

/// The entries of system units and of units of the calling user: names, completed as systemctl does, or patterns,
/// which are compared with what the journal has.
///
/// # Errors
/// All were patterns, and none fits.
pub fn wanted(units: &[String], users: &[String], sources: &mut [Source]) -> Result<Expression, Error> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let fields = ["_SYSTEMD_UNIT", "COREDUMP_UNIT", "UNIT", "OBJECT_SYSTEMD_UNIT", "_SYSTEMD_SLICE"];
    let user_fields = [
        "_SYSTEMD_USER_UNIT",
        "COREDUMP_USER_UNIT",
        "USER_UNIT",
        "OBJECT_SYSTEMD_USER_UNIT",
        "_SYSTEMD_USER_SLICE",
    ];
    let mut list: Vec<Expression> = names(units, &fields, sources).iter().map(|name| system(name)).collect();
    list.extend(names(users, &user_fields, sources).iter().map(|name| user(name, &uid)));
    if list.is_empty() { Err(Error::NoUnits) } else { Ok(Expression::Any(list)) }
}

fn names(wanted: &[String], fields: &[&str], sources: &mut [Source]) -> Vec<String> {
    let mut names = Vec::new();
    for name in wanted.iter().map(|name| complete(name)) {
        if !name.contains(['*', '?', '[']) {
            names.push(name);
            continue;
        }
        for field in fields {
            let found = values(field, sources).into_iter().filter_map(|value| String::from_utf8(value).ok());
            names.extend(found.filter(|value| glob(name.as_bytes(), value.as_bytes())));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// The full name of a unit: without a kind it is a service, a path is a mount or a device.
#[must_use]
pub fn complete(name: &str) -> String {
    if name.starts_with('/') {
        let kind = if name.starts_with("/dev/") { "device" } else { "mount" };
        return format!("{}.{kind}", escape(name));
    }
    match name.rsplit_once('.') {
        Some((_, kind)) if KINDS.contains(&kind) => name.to_owned(),
        _ => format!("{name}.service"),
    }
}

/// A path as part of a unit's name. Source: systemd-escape(1).
fn escape(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut escaped = String::new();
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            escaped.push('-');
        }
        for (place, byte) in part.bytes().enumerate() {
            let plain = byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.');
            if plain && !(byte == b'.' && number == 0 && place == 0) {
                escaped.push(char::from(byte));
            } else {
                escaped.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    escaped
}

/// Whether `*`, `?` and `[…]` of a pattern can stand for what a text has.
#[must_use]
pub fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on when a star has to take one more byte.
    let (mut p, mut t, mut star) = (0, 0, None);
    while let Some(byte) = text.get(t) {
        let rest = pattern.get(p..).unwrap_or_default();
        let fits = match rest.first() {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(rest, *byte),
            Some(b'\\') if rest.get(1) == Some(byte) => Some(2),
            Some(other) if other == byte => Some(1),
            _ => None,
        };
        match (fits, star) {
            (Some(size), _) => {
                p += size;
                t += 1;
            }
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// The length of a class such as `[a-z]` that has the byte; one that is not closed stands for itself.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let Some(end) = pattern.iter().skip(2).position(|byte| *byte == b']').map(|end| end + 2) else {
        return (byte == b'[').then_some(1);
    };
    let inner = pattern.get(1..end)?;
    let (negated, mut inner) = match inner.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, inner),
    };
    let mut found = false;
    while let Some((first, rest)) = inner.split_first() {
        match rest {
            [b'-', last, rest @ ..] => {
                found |= (*first..=*last).contains(&byte);
                inner = rest;
            }
            rest => {
                found |= *first == byte;
                inner = rest;
            }
        }
    }
    (found != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names() {
        assert_eq!(complete("docker"), "docker.service");
        assert_eq!(complete("a.b"), "a.b.service");
        assert_eq!(complete("dbus.socket"), "dbus.socket");
        assert_eq!(complete("/var/lib-x"), r"var-lib\x2dx.mount");
        assert_eq!(complete("/dev/vda"), "dev-vda.device");
        assert_eq!(complete("/"), "-.mount");
    }

    #[test]
    fn patterns() {
        assert!(glob(b"ssh*.service", b"sshd@1.service"));
        assert!(glob(b"*", b""));
        assert!(glob(b"a?c*", b"abc"));
        assert!(glob(b"a[b-d]*[!x]", b"acy"));
        assert!(glob(b"[]]", b"]") && glob(b"[", b"["));
        assert!(!glob(b"a[b-d]", b"ae") && !glob(b"[!x]", b"x"));
        assert!(!glob(b"a?c", b"ac"));
        assert!(!glob(b"*x", b"y"));
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(pattern: Vec<u8>, text: Vec<u8>) {
            let _ = glob(&pattern, &text);
        }
    }
}
