//! The same unit files and the same commands, by Debian's `systemctl --root` and by us: the links and the states must
//! be the same afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use unit::{Catalog, UnitName};

use super::{Change, ChangeError, Directories, Verb};

const FILES: &[(&str, &str)] = &[
    ("a.service", "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"),
    (
        "b.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nRequiredBy=x.target\nAlias=bee.service\nAlso=a.service\n",
    ),
    (
        "t@.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nDefaultInstance=one\n",
    ),
    ("s.service", "[Service]\nExecStart=/bin/true\n"),
    ("also.service", "[Service]\nExecStart=/bin/true\n[Install]\nAlso=a.service\n"),
    ("multi-user.target", "[Unit]\n"),
    ("x.target", "[Unit]\n"),
];

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
    for (name, text) in FILES {
        fs::write(units.join(name), text).unwrap();
    }
    symlink("a.service", units.join("alias.service")).unwrap();
    root
}

/// Every link below /etc/systemd/system, with the name that it leads to.
fn links(folder: &Path, prefix: &str, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        match fs::read_link(entry.path()) {
            Ok(target) => {
                all.insert(name, target.file_name().unwrap().to_string_lossy().into_owned());
            }
            Err(_) => links(&entry.path(), &name, all),
        }
    }
}

fn links_of(root: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    links(&root.join("etc/systemd/system"), "", &mut all);
    all
}

fn systemctl(root: &Path, args: &[&str]) -> (bool, String) {
    let out = Command::new("systemctl").arg(format!("--root={}", root.display())).args(args).output();
    let out = out.expect("Debian's systemctl is installed");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

fn name(text: &str) -> UnitName {
    UnitName::parse(text).unwrap()
}

#[test]
fn links_and_states_as_systemctl_makes_them() {
    let (theirs, ours) = (root(), root());
    let all = Directories::below(ours.path());
    let steps = [
        (Verb::Enable, "enable", "a.service"),
        (Verb::Enable, "enable", "b.service"),
        (Verb::Enable, "enable", "t@two.service"),
        (Verb::Enable, "enable", "t@.service"),
        (Verb::Disable, "disable", "t@two.service"),
        (Verb::Mask, "mask", "s.service"),
        (Verb::Disable, "disable", "b.service"),
        (Verb::Enable, "enable", "also.service"),
        (Verb::Unmask, "unmask", "s.service"),
        (Verb::Disable, "disable", "t@.service"),
        (Verb::Reenable, "reenable", "a.service"),
        (Verb::Preset, "preset", "b.service"),
    ];
    for (verb, word, unit) in steps {
        assert!(systemctl(theirs.path(), &[word, unit]).0, "{word} {unit}");
        all.change(&Change { verb, names: vec![unit.to_owned()], runtime: false, force: false }).unwrap();
        assert_eq!(links_of(ours.path()), links_of(theirs.path()), "after {word} {unit}");
        for (unit, _) in FILES {
            let (_, state) = systemctl(theirs.path(), &["is-enabled", unit]);
            assert_eq!(all.state(&name(unit)).unwrap().as_str(), state, "{unit} after {word}");
        }
    }
    assert_eq!(all.state(&name("alias.service")).unwrap().as_str(), "alias");
    assert_eq!(all.state(&name("none.service")), None);
}

#[test]
fn what_the_folders_hold() {
    let root = root();
    let all = Directories::below(root.path());
    let etc = root.path().join("etc/systemd/system");
    let image = root.path().join("usr/lib/systemd/system");
    for folder in [&etc, &image] {
        fs::create_dir_all(folder.join("a.service.d")).unwrap();
        fs::create_dir_all(folder.join("multi-user.target.wants")).unwrap();
    }
    fs::write(image.join("a.service.d/10.conf"), "low").unwrap();
    fs::write(image.join("a.service.d/20.conf"), "kept").unwrap();
    fs::write(etc.join("a.service.d/10.conf"), "high").unwrap();
    fs::write(etc.join("a.service.d/README"), "no").unwrap();
    symlink("../a.service", image.join("multi-user.target.wants/a.service")).unwrap();
    symlink("../t@.service", etc.join("multi-user.target.wants/t@x.service")).unwrap();
    symlink("/dev/null", etc.join("multi-user.target.wants/s.service")).unwrap();
    symlink("../s.service", image.join("multi-user.target.wants/s.service")).unwrap();
    symlink("/dev/null", etc.join("s.service")).unwrap();
    symlink("loop.service", etc.join("loop.service")).unwrap();

    let a = all.find(&name("a.service")).unwrap();
    assert!(a.fragment.unwrap().path.ends_with("usr/lib/systemd/system/a.service"));
    let texts: Vec<&str> = a.drop_ins.iter().map(|text| text.text.as_str()).collect();
    assert_eq!(texts, ["high", "kept"]);
    assert_eq!(a.aliases, [name("alias.service")]);
    assert_eq!(all.find(&name("alias.service")).unwrap().alias_of, Some(name("a.service")));
    let target = all.find(&name("multi-user.target")).unwrap();
    assert_eq!(target.wants, [name("a.service"), name("t@x.service")]);
    assert!(all.find(&name("t@x.service")).unwrap().fragment.unwrap().path.ends_with("t@.service"));
    assert!(all.find(&name("s.service")).unwrap().masked);
    assert!(all.find(&name("loop.service")).is_err());
    assert!(all.find(&name("none.service")).unwrap().fragment.is_none());
    assert!(all.list().len() >= FILES.len());
}

#[test]
fn what_is_in_the_way_stays() {
    let root = root();
    let all = Directories::below(root.path());
    let path = root.path().join("etc/systemd/system/a.service");
    fs::write(&path, "[Service]\nExecStart=/bin/false\n").unwrap();
    let mask = |names: &[&str], force| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        all.change(&Change { verb: Verb::Mask, names, runtime: false, force })
    };
    assert!(matches!(mask(&["a.service"], true), Err(ChangeError::InTheWay { target: None, .. })));
    assert!(matches!(mask(&["../x.service"], false), Err(ChangeError::Name(_))));
    assert!(path.is_file());
    let enable = |name: &str| {
        all.change(&Change { verb: Verb::Enable, names: vec![name.to_owned()], runtime: false, force: false })
    };
    assert!(matches!(enable("none.service"), Err(ChangeError::Missing(_))));
    mask(&["s.service"], false).unwrap();
    assert!(matches!(enable("s.service"), Err(ChangeError::Masked(_))));
}
