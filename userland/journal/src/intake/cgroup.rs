//! Where a process is in the tree of cgroups, and so whose it is: unit, slice, session, and below a user's own
//! manager that user's unit and slice. Source: systemd's cgroup layout, systemd.slice(5).

/// What a path in the tree says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// The path.
    pub path: String,
    /// The unit of the system.
    pub unit: Option<String>,
    /// The innermost slice that it is in.
    pub slice: Option<String>,
    /// The unit of a user's manager.
    pub user_unit: Option<String>,
    /// The slice of that.
    pub user_slice: Option<String>,
    /// The login session.
    pub session: Option<String>,
    /// The user that the slice belongs to.
    pub owner_uid: Option<String>,
}

/// What kinds of units have processes.
const KINDS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

impl Membership {
    /// Reads /proc/PID/cgroup: the line of the unified hierarchy, `0::/…`.
    #[must_use]
    pub fn of(text: &str) -> Option<Membership> {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        if path == "/" {
            return None;
        }
        let mut membership = Membership { path: path.to_owned(), ..Membership::default() };
        let mut parts = path.split('/').filter(|part| !part.is_empty()).map(unescape).peekable();
        membership.slice = slices(&mut parts);
        membership.unit = parts.next().filter(|part| is_unit(part)).map(str::to_owned);
        membership.owner_uid = membership
            .slice
            .as_deref()
            .and_then(|slice| slice.strip_prefix("user-")?.strip_suffix(".slice"))
            .filter(|uid| uid.bytes().all(|byte| byte.is_ascii_digit()))
            .map(str::to_owned);
        let unit = membership.unit.as_deref().unwrap_or_default();
        membership.session =
            unit.strip_prefix("session-").and_then(|rest| rest.strip_suffix(".scope")).map(str::to_owned);
        if unit.starts_with("user@") {
            // A manager that did not make slices has its units at once.
            membership.user_slice = slices(&mut parts);
            membership.user_unit = parts.next().filter(|part| is_unit(part)).map(str::to_owned);
        }
        Some(membership)
    }
}

/// The last of the slices that come first.
fn slices<'a>(parts: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Option<String> {
    let mut slice = None;
    while let Some(part) = parts.next_if(|part| part.ends_with(".slice")) {
        slice = Some(part.to_owned());
    }
    slice
}

/// A name that would be taken for a file of the kernel's has an underscore in front.
fn unescape(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

fn is_unit(part: &str) -> bool {
    KINDS.iter().any(|kind| part.len() > kind.len() && part.ends_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Membership {
        Membership::of(&format!("1:name=systemd:/x\n0::{path}\n")).unwrap()
    }

    #[test]
    fn units_and_slices() {
        let hello = of("/system.slice/a.slice/hello1.service/sub.scope");
        assert_eq!(hello.unit.as_deref(), Some("hello1.service"));
        assert_eq!(hello.slice.as_deref(), Some("a.slice"));
        assert_eq!(of("/init.scope").unit.as_deref(), Some("init.scope"));
        assert_eq!(of("/docker/0123").unit, None);
        assert_eq!(Membership::of("0::/"), None);
        let session = of("/user.slice/user-1000.slice/session-3.scope");
        assert_eq!(session.session.as_deref(), Some("3"));
        assert_eq!(session.owner_uid.as_deref(), Some("1000"));
        let user = of("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service");
        assert_eq!(user.unit.as_deref(), Some("user@1000.service"));
        assert_eq!(user.user_unit.as_deref(), Some("x.service"));
        assert_eq!(user.user_slice.as_deref(), Some("app.slice"));
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(text: String) {
            let _ = Membership::of(&text);
        }
    }
}
