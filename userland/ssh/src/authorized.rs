//! A line of an `authorized_keys` file: a key, and what it may not do.
//!
//! Source: sshd(8), "AUTHORIZED_KEYS FILE FORMAT". An option that we do not honour makes the whole line
//! void: a key must never be able to do more than its line says.

use std::net::IpAddr;

use russh::keys::PublicKey;

/// A key that may log in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// The key itself.
    pub(crate) key: PublicKey,
    /// The hosts it may come from; none: all.
    from: Option<Vec<String>>,
    /// What its sessions may do.
    pub(crate) rights: Rights,
}

/// What the sessions of a key may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The only command it runs, whatever the client asks for.
    pub(crate) command: Option<String>,
    /// Whether it gets a terminal.
    pub(crate) pty: bool,
    /// Whether it may forward ports.
    pub(crate) forwarding: bool,
    /// Whether it may write to the user's environment (`LANG` and its kin are always taken).
    pub(crate) open: Option<Vec<String>>,
}

/// Why a line is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Error {
    /// A quotation mark is not closed.
    #[error("a quotation mark is not closed")]
    Quote,
    /// The option is not one of those we honour.
    #[error("the option {0} is not supported, so the key is not used")]
    Option(String),
    /// The key cannot be read.
    #[error("the key cannot be read: {0}")]
    Key(String),
}

impl Key {
    /// Reads one line. Empty lines and comments are `None`.
    pub(crate) fn parse(line: &str) -> Result<Option<Key>, Error> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        // A line begins with the kind of its key, or else with options.
        if let Ok(key) = PublicKey::from_openssh(line) {
            return Ok(Some(Key { key, from: None, rights: Rights::ALL }));
        }
        let (options, rest) = split_options(line)?;
        let key = PublicKey::from_openssh(rest.trim()).map_err(|error| Error::Key(error.to_string()))?;
        let mut parsed = Key { key, from: None, rights: Rights::ALL };
        for option in options {
            parsed.apply(&option)?;
        }
        Ok(Some(parsed))
    }

    /// Whether a client at `address` may use the key.
    pub(crate) fn may_come_from(&self, address: IpAddr) -> bool {
        self.from.as_ref().is_none_or(|patterns| matches_list(patterns, address))
    }

    fn apply(&mut self, option: &Raw) -> Result<(), Error> {
        let unsupported = || Error::Option(option.name.clone());
        match (option.name.to_ascii_lowercase().as_str(), &option.value) {
            ("restrict", None) => {
                self.rights.pty = false;
                self.rights.forwarding = false;
            }
            ("pty", None) => self.rights.pty = true,
            ("no-pty", None) => self.rights.pty = false,
            ("port-forwarding", None) => self.rights.forwarding = true,
            ("no-port-forwarding", None) => self.rights.forwarding = false,
            ("command", Some(command)) => self.rights.command = Some(command.clone()),
            ("from", Some(list)) => self.from = Some(list.split(',').map(str::to_owned).collect()),
            ("permitopen", Some(target)) => {
                self.rights.open.get_or_insert_default().push(target.to_ascii_lowercase());
            }
            // What these would forbid or allow is never done here.
            (
                "no-agent-forwarding"
                | "agent-forwarding"
                | "no-x11-forwarding"
                | "x11-forwarding"
                | "no-user-rc"
                | "user-rc",
                None,
            ) => {}
            _ => return Err(unsupported()),
        }
        Ok(())
    }
}

impl Rights {
    /// No limits.
    pub(crate) const ALL: Rights = Rights { command: None, pty: true, forwarding: true, open: None };

    /// Whether a connection to `host`:`port` may be made for the client.
    pub(crate) fn may_open(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        self.forwarding
            && self.open.as_ref().is_none_or(|targets| {
                targets.iter().any(|target| {
                    target.rsplit_once(':').is_some_and(|(allowed, at)| {
                        allowed.trim_matches(['[', ']']) == host && (at == "*" || at.parse() == Ok(port))
                    })
                })
            })
    }
}

/// An option as it is written.
struct Raw {
    name: String,
    value: Option<String>,
}

/// Splits `option,option="va\"lue" rest` into the options and the rest.
fn split_options(line: &str) -> Result<(Vec<Raw>, &str), Error> {
    let mut options = Vec::new();
    let mut name = String::new();
    let mut value: Option<String> = None;
    let mut quoted = false;
    let mut characters = line.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' if quoted && characters.peek().is_some_and(|(_, next)| *next == '"') => {
                characters.next();
                value.as_mut().unwrap_or(&mut name).push('"');
            }
            '"' => quoted = !quoted,
            '=' if value.is_none() && !quoted => value = Some(String::new()),
            _ if quoted => value.as_mut().unwrap_or(&mut name).push(character),
            ',' | ' ' | '\t' => {
                options.push(Raw { name: std::mem::take(&mut name), value: value.take() });
                if character != ',' {
                    return Ok((options, line.get(at..).unwrap_or_default()));
                }
            }
            _ => value.as_mut().unwrap_or(&mut name).push(character),
        }
    }
    if quoted { Err(Error::Quote) } else { Err(Error::Key("there is none after the options".to_owned())) }
}

/// Whether one of the patterns matches and none with a `!` does. Names are not looked up.
fn matches_list(patterns: &[String], address: IpAddr) -> bool {
    let mut matched = false;
    for pattern in patterns {
        let (denied, pattern) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, pattern.as_str()),
        };
        let hit = match pattern.split_once('/') {
            Some((network, bits)) => in_network(address, network, bits),
            None => glob(pattern.as_bytes(), address.to_string().as_bytes()),
        };
        match (hit, denied) {
            (true, true) => return false,
            (true, false) => matched = true,
            (false, _) => {}
        }
    }
    matched
}

/// Whether `address` is in `network/bits`.
fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let wide = |address: IpAddr| match address {
        IpAddr::V4(four) => (u128::from(four.to_bits()) << 96, 32),
        IpAddr::V6(six) => (six.to_bits(), 128),
    };
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let ((address, length), (network, other)) = (wide(address), wide(network));
    if length != other || bits > length {
        return false;
    }
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    address & mask == network & mask
}

/// Whether `text` matches a pattern of `*` and `?`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&wanted) if wanted == b'?' || Some(&wanted) == text.get(t) => {
                p += 1;
                t += 1;
            }
            _ => match star.as_mut() {
                Some((after, from)) => {
                    *from += 1;
                    p = *after;
                    t = *from;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn parse(line: &str) -> Key {
        Key::parse(line).unwrap().unwrap()
    }

    #[test]
    fn a_plain_key_may_do_everything() {
        for line in [KEY.to_owned(), format!("{KEY} a comment of words"), format!("  {KEY} core@host\r")] {
            let key = parse(&line);
            assert_eq!(key.rights, Rights::ALL);
            assert!(key.may_come_from("203.0.113.9".parse().unwrap()));
        }
        assert_eq!(Key::parse("  # comment"), Ok(None));
        assert_eq!(Key::parse(""), Ok(None));
    }

    #[test]
    fn options_limit_it() {
        let key = parse(&format!(r#"restrict,pty,command="echo \"a, b\" c" {KEY} me"#));
        assert_eq!(key.rights.command.as_deref(), Some(r#"echo "a, b" c"#));
        assert!(key.rights.pty);
        assert!(!key.rights.forwarding);
        assert!(!parse(&format!("No-PTY {KEY}")).rights.pty);
        let some = parse(&format!(r#"permitopen="127.0.0.1:80",permitopen="db:*" {KEY}"#)).rights;
        assert!(some.may_open("127.0.0.1", 80) && some.may_open("DB", 5432));
        assert!(!some.may_open("127.0.0.1", 81) && !some.may_open("10.0.0.1", 80));
    }

    #[test]
    fn the_place_it_comes_from_counts() {
        let key = parse(&format!(r#"from="10.0.?.*,!10.0.0.7,192.168.0.0/16,2001:db8::/32" {KEY}"#));
        let from = |address: &str| key.may_come_from(address.parse().unwrap());
        assert!(from("10.0.3.44") && from("192.168.255.1") && from("2001:db8::9"));
        assert!(!from("10.0.0.7") && !from("10.10.0.1") && !from("192.169.0.1") && !from("2001:db9::1"));
    }

    #[test]
    fn what_we_do_not_honour_voids_the_line() {
        for option in
            ["cert-authority", "tunnel=\"0\"", "expiry-time=\"20200101\"", "environment=\"A=b\"", "pty=\"x\""]
        {
            assert!(matches!(Key::parse(&format!("{option} {KEY}")), Err(Error::Option(_))), "{option}");
        }
        assert_eq!(Key::parse(&format!("command=\"open {KEY}")), Err(Error::Quote));
        assert!(matches!(Key::parse("no-pty"), Err(Error::Key(_))));
        assert!(matches!(Key::parse("ssh-ed25519 AAAA"), Err(Error::Key(_))));
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_failing(line in "\\PC*", address: IpAddr) {
            if let Ok(Some(key)) = Key::parse(&line) {
                key.may_come_from(address);
            }
        }

        #[test]
        fn a_star_matches_every_text(text: Vec<u8>) {
            prop_assert!(glob(b"*", &text) && glob(b"*?*", &text) != text.is_empty());
        }
    }
}
