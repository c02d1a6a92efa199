//! Who may own which name: root any, others what the configuration of their package allows (dbus-daemon(1)).
//!
//! Of the configuration files only `<policy>` with `own` and `own_prefix` counts, and only to allow: whoever receives
//! a message checks its sender, so the bus need not. The names in [`ROOTS`] stay root's
//! whatever a file says. What cannot be read is skipped with a complaint: a bad file allows nothing.

use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Where packages, then the administrator, put their files.
pub const FOLDERS: [&str; 2] = ["/usr/share/dbus-1/system.d", "/etc/dbus-1/system.d"];
/// The names whose owners clients obey.
const ROOTS: [&str; 3] = ["org.freedesktop.systemd1", "org.freedesktop.login1", "org.freedesktop.DBus"];
/// A longer file is none of ours.
const LONGEST: u64 = 1 << 20;

/// To whom a policy applies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whom {
    Everybody,
    User(u32),
    Group(u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Allow {
    whom: Whom,
    name: String,
    prefix: bool,
}

/// The rules in force.
#[derive(Debug, Default)]
pub struct Policy {
    allowed: Vec<Allow>,
}

impl Policy {
    /// Reads every `*.conf` of these folders. `user`, `group`: the number of a name.
    pub fn read(
        folders: &[impl AsRef<Path>],
        user: impl Fn(&str) -> Option<u32>,
        group: impl Fn(&str) -> Option<u32>,
    ) -> Policy {
        let mut policy = Policy::default();
        for folder in folders {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
            paths.retain(|path| path.extension().is_some_and(|ending| ending == "conf"));
            paths.sort();
            for path in paths {
                let short =
                    std::fs::metadata(&path).is_ok_and(|data| data.is_file() && data.len() <= LONGEST);
                let text = short.then(|| std::fs::read_to_string(&path).ok()).flatten().unwrap_or_default();
                if let Err(error) = policy.take(&text, &user, &group) {
                    eprintln!("dbus-daemon: {}: {error}; the rest of the file is skipped", path.display());
                }
            }
        }
        policy
    }

    fn take(
        &mut self,
        text: &str,
        user: &impl Fn(&str) -> Option<u32>,
        group: &impl Fn(&str) -> Option<u32>,
    ) -> Result<(), quick_xml::Error> {
        let mut reader = Reader::from_str(text);
        let mut whom = None;
        loop {
            match reader.read_event()? {
                Event::Eof => return Ok(()),
                Event::Start(tag) if tag.name().as_ref() == "policy" => {
                    whom = attribute(&tag, "user")
                        .and_then(|name| user(&name))
                        .map(Whom::User)
                        .or_else(|| attribute(&tag, "group").and_then(|name| group(&name)).map(Whom::Group))
                        .or_else(|| attribute(&tag, "context").map(|_| Whom::Everybody));
                }
                Event::End(tag) if tag.name().as_ref() == "policy" => whom = None,
                Event::Start(tag) | Event::Empty(tag) if tag.name().as_ref() == "allow" => {
                    let exact = attribute(&tag, "own").map(|name| (name, false));
                    let named = exact.or_else(|| attribute(&tag, "own_prefix").map(|name| (name, true)));
                    if let (Some(whom), Some((name, prefix))) = (&whom, named) {
                        self.allowed.push(Allow { whom: whom.clone(), name, prefix });
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a client of this uid and gid may own that name.
    pub fn may_own(&self, uid: u32, gid: u32, name: &str) -> bool {
        let below = |name: &str, above: &str| {
            name.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if uid == 0 {
            return true;
        }
        if ROOTS.iter().any(|root| below(name, root)) {
            return false;
        }
        self.allowed.iter().any(|allow| {
            let meant = match allow.whom {
                Whom::Everybody => true,
                Whom::User(user) => user == uid,
                Whom::Group(group) => group == gid,
            };
            meant && (allow.name == name || (allow.prefix && below(name, &allow.name)))
        })
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    Some(attribute.value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"<?xml version="1.0"?>
        <!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN" "x.dtd">
        <busconfig>
          <policy user="avahi"><allow own="org.freedesktop.Avahi"/><allow own="org.freedesktop.systemd1"/></policy>
          <policy group="net"><allow own_prefix="org.net"/></policy>
          <policy user="nobody-here"><allow own="org.lost"/></policy>
          <policy context="default"><allow send_destination="org.freedesktop.Avahi"/><deny own="*"/></policy>
        </busconfig>"#;

    #[test]
    fn names_are_owned_by_whom_the_files_say() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("avahi.conf"), TEXT).unwrap();
        std::fs::write(folder.path().join("bad.conf"), "<policy user='avahi'><allow own='bad.name'></pol>")
            .unwrap();
        let user = |name: &str| (name == "avahi").then_some(105);
        let group = |name: &str| (name == "net").then_some(7);
        let policy = Policy::read(&[folder.path()], user, group);
        assert!(policy.may_own(105, 105, "org.freedesktop.Avahi"));
        assert!(!policy.may_own(106, 106, "org.freedesktop.Avahi"));
        assert!(policy.may_own(200, 7, "org.net.a") && policy.may_own(200, 7, "org.net"));
        assert!(!policy.may_own(200, 7, "org.network"));
        assert!(!policy.may_own(105, 105, "org.lost"));
        for root in ROOTS {
            assert!(!policy.may_own(105, 105, root) && policy.may_own(0, 0, root), "{root}");
        }
    }
}
