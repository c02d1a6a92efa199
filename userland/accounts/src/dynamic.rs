//! The users of DynamicUser=, which are in no file of `/etc`: while one is there, the service manager keeps its name and
//! its number as links to each other, `direct:NAME` → `NUMBER` and `direct:NUMBER` → `NAME`.
//!
//! Source: systemd.exec(5), DynamicUser=; the folder is systemd's own. User and group have the same name and number.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Group, User};

/// Where the links are.
pub const FOLDER: &str = "/run/systemd/dynamic-uid";
/// The numbers that such users can have, systemd's.
pub const NUMBERS: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// The name of the user with this number.
pub fn name_of(folder: &Path, uid: u32) -> Option<String> {
    let name = fs::read_link(folder.join(format!("direct:{uid}"))).ok()?;
    NUMBERS.contains(&uid).then(|| name.into_os_string().into_string().ok())?
}

/// The number of the user of this name.
pub fn number_of(folder: &Path, name: &str) -> Option<u32> {
    // a number is no name, and a path none at all
    if name.contains('/') || name.parse::<u32>().is_ok() {
        return None;
    }
    let number = fs::read_link(folder.join(format!("direct:{name}"))).ok()?;
    number.to_str()?.parse().ok().filter(|uid| NUMBERS.contains(uid))
}

/// Every such user that is there now.
pub(crate) fn all(folder: &Path) -> Vec<(User, Group)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let number =
        |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("direct:")?.parse::<u32>().ok();
    let known = |uid: u32| Some((name_of(folder, uid)?, uid));
    entries.filter_map(number).filter_map(known).map(|(name, uid)| accounts(name, uid)).collect()
}

fn accounts(name: String, uid: u32) -> (User, Group) {
    let user = User {
        name: name.clone(),
        uid,
        gid: uid,
        home: PathBuf::from("/"),
        shell: PathBuf::from("/usr/sbin/nologin"),
    };
    (user, Group { name, gid: uid, members: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Accounts;

    #[test]
    fn users_that_are_in_no_file_are_found_while_they_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(format!("direct:{name}"));
        for (from, to) in
            [("web", "61200"), ("61200", "web"), ("0", "evil"), ("bad", "0"), ("61300", "x/y/z")]
        {
            symlink(to, at(from)).unwrap();
        }
        let accounts = Accounts::parse("root:x:0:0:root:/root:/bin/bash\nold:x:61300:1::/:\n", "root:x:0:\n");
        let accounts = accounts.with_dynamic(folder.path());
        let web = accounts.user("web").unwrap();
        assert_eq!((web.uid, web.gid, web.shell.to_str()), (61_200, 61_200, Some("/usr/sbin/nologin")));
        assert_eq!(accounts.user_by_id(61_200), Some(web));
        assert_eq!(accounts.group_by_id(61_200).unwrap().name, "web");
        assert_eq!(accounts.user_by_id(0).unwrap().name, "root", "a file's word counts first");
        assert_eq!(accounts.user_by_id(61_300).unwrap().name, "old");
        assert_eq!(number_of(folder.path(), "web"), Some(61_200));
        for not in ["bad", "61200", "../x", "nobody"] {
            assert_eq!(number_of(folder.path(), not), None, "{not}");
        }
        std::fs::remove_file(at("61200")).unwrap();
        assert_eq!(name_of(folder.path(), 61_200), None);
    }
}
