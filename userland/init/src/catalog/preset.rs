//! Preset files (systemd.preset(5)): which units `systemctl preset` enables. The first line that matches decides.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use unit::UnitName;

use super::find::entries;

const FOLDERS: [&str; 5] = [
    "etc/systemd/system-preset",
    "run/systemd/system-preset",
    "usr/local/lib/systemd/system-preset",
    "usr/lib/systemd/system-preset",
    "lib/systemd/system-preset",
];

/// Whether the presets below this root enable the unit; without a word they do.
pub fn is_enabled(root: &Path, name: &UnitName) -> bool {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        for (file, path) in entries(&root.join(folder)) {
            if path.extension().is_some_and(|extension| extension == "preset") {
                files.entry(file).or_insert(path);
            }
        }
    }
    let texts = files.values().map(|path| fs::read(path).unwrap_or_default());
    let mut texts = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    texts.find_map(|text| decide(&text, name)).unwrap_or(true)
}

fn decide(text: &str, name: &UnitName) -> Option<bool> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let enabled = match words.next()? {
            "enable" => true,
            "disable" => false,
            _ => return None,
        };
        let pattern = words.next()?;
        if crate::dbus::glob::matches(pattern, name.as_str()) {
            return Some(enabled);
        }
        // `enable x@.service a b`: these instances only
        let template = name.template().filter(|template| enabled && template.as_str() == pattern);
        template.filter(|_| words.any(|word| Some(word) == name.instance())).map(|_| true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_decides() {
        let name = |name| UnitName::parse(name).unwrap();
        let text = "# x\nenable ssh*.service\ndisable *\n";
        assert_eq!(decide(text, &name("sshd.service")), Some(true));
        assert_eq!(decide(text, &name("x.service")), Some(false));
        assert_eq!(decide("bogus *\nenable\n", &name("x.service")), None);
        let instances = "enable x@.service a b\ndisable *\n";
        assert_eq!(decide(instances, &name("x@b.service")), Some(true));
        assert_eq!(decide(instances, &name("x@c.service")), Some(false));
        assert_eq!(decide(instances, &name("x@.service")), Some(true));
    }
}
