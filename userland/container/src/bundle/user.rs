//! Who a container's program runs as: `USER[:GROUP]`, looked up in the image's own files.
//!
//! The image's `/etc/passwd` and `/etc/group` are a stranger's text: read with a limit, by the kernel's
//! resolution within the container's root, and never believed beyond the numbers found. A name made of
//! digits is a number unless a line has just that name (so does Docker). Sources: passwd(5), group(5).

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

const FILE_LIMIT: u64 = 4 << 20;
const GROUPS_LIMIT: usize = 1024;

/// The numbers that the kernel wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// First group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// A user that the image does not know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUser {
    /// No such user.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    User(String),
    /// No such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    Group(String),
}

/// Who `user` is by the files beneath this root directory.
///
/// # Errors
/// When a name is not found.
pub fn look_up(root: impl AsFd, user: &str) -> Result<Identity, BadUser> {
    let passwd = read(root.as_fd(), "etc/passwd");
    let group = read(root.as_fd(), "etc/group");
    resolve(user, &passwd, &group)
}

/// The text of a regular file beneath the root; empty if there is none.
fn read(root: impl AsFd, path: &str) -> String {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // Not to hang on a FIFO, nor to wake a device.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened: Result<OwnedFd, Errno> = openat2(root, path, flags, Mode::empty(), resolve);
    let Ok(file) = opened else { return String::new() };
    let regular =
        fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let mut text = Vec::new();
    if !regular || std::fs::File::from(file).take(FILE_LIMIT).read_to_end(&mut text).is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, BadUser> {
    let (user, group_name) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let entries = || passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let field = |line: &[&str], at: usize| line.get(at).map(|field| (*field).to_owned());
    let number = |line: &[&str], at: usize| line.get(at).and_then(|field| id(field));
    let named = entries().find(|line| line.first() == Some(&user) && number(line, 2).is_some());
    let line = named.or_else(|| entries().find(|line| id(user).is_some() && number(line, 2) == id(user)));
    let uid = line.as_deref().and_then(|line| number(line, 2)).or(id(user));
    let uid = uid.ok_or_else(|| BadUser::User(user.to_owned()))?;
    let home = line.as_deref().and_then(|line| field(line, 5)).filter(|home| home.starts_with('/'));
    let home = home.unwrap_or_else(|| "/".to_owned());
    let Some(wanted) = group_name else {
        let gid = line.as_deref().and_then(|line| number(line, 3)).unwrap_or(0);
        let name = line.as_deref().and_then(|line| field(line, 0));
        let groups = name.map(|name| memberships(group, &name)).unwrap_or_default();
        return Ok(Identity { uid, gid, groups, home });
    };
    let mut lines = group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = lines.find(|line| line.first() == Some(&wanted)).and_then(|line| number(&line, 2));
    let gid = found.or(id(wanted)).ok_or_else(|| BadUser::Group(wanted.to_owned()))?;
    Ok(Identity { uid, gid, groups: Vec::new(), home })
}

fn memberships(group: &str, user: &str) -> Vec<u32> {
    let member_of = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let gid = id(fields.next()?)?;
        fields.next()?.split(',').any(|member| member == user).then_some(gid)
    };
    group.lines().filter_map(member_of).take(GROUPS_LIMIT).collect()
}

/// A number that is an id. The largest means "unchanged" to the kernel and is nobody's.
fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbad line\nweb:x:33:34:w:/srv/web:/bin/false\n1000:x:7:7::/seven:\n";
    const GROUP: &str = "root:x:0:\nlogs:x:4:web,other\nweb:x:34:\ndisk:x:6:web\n";

    fn who(user: &str) -> Identity {
        resolve(user, PASSWD, GROUP).unwrap()
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(who(""), Identity { uid: 0, gid: 0, groups: vec![], home: "/root".to_owned() });
        assert_eq!(
            who("web"),
            Identity { uid: 33, gid: 34, groups: vec![4, 6], home: "/srv/web".to_owned() }
        );
        assert_eq!(who("33").groups, [4, 6]);
        assert_eq!(
            who("web:logs"),
            Identity { uid: 33, gid: 4, groups: vec![], home: "/srv/web".to_owned() }
        );
        assert_eq!(who("5000"), Identity { uid: 5000, gid: 0, groups: vec![], home: "/".to_owned() });
        assert_eq!(who("5000:6000").gid, 6000);
        assert_eq!(who("1000").uid, 7, "a name made of digits is a name first");
    }

    #[test]
    fn strangers_are_refused() {
        assert_eq!(resolve("nobody", PASSWD, GROUP), Err(BadUser::User("nobody".to_owned())));
        assert_eq!(resolve("web:nobody", PASSWD, GROUP), Err(BadUser::Group("nobody".to_owned())));
        for bad in ["-1", "4294967295", "4294967296", "+0", " 0", "0x0"] {
            assert!(resolve(bad, PASSWD, GROUP).is_err(), "{bad}");
        }
        assert!(resolve("evil", "evil:x:4294967295:0::/:", "").is_err());
    }

    #[test]
    fn a_passwd_that_is_no_file_of_the_image_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("etc/group")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        assert!(look_up(&root, "daemon").is_err(), "the machine's own passwd was read");
        assert_eq!(look_up(&root, "7").unwrap().uid, 7);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(user in ".{0,12}", passwd in ".{0,80}", group in ".{0,80}") {
            if let Ok(identity) = resolve(&user, &passwd, &group) {
                prop_assert!(identity.uid != u32::MAX && identity.gid != u32::MAX);
            }
        }
    }
}
