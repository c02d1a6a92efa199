//! Kernel settings from `sysctl.d` (sysctl.d(5)): a file of the same name in an earlier folder hides the later one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::log::{self, Level};

const FOLDERS: [&str; 4] = ["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d"];

/// Applies every setting; one that the kernel does not know is a warning.
pub fn apply(root: &Path) {
    for file in files(root) {
        let Ok(text) = fs::read(&file) else { continue };
        for setting in parse(&String::from_utf8_lossy(&text)) {
            let path = root.join("proc/sys").join(&setting.key);
            match fs::write(&path, &setting.value) {
                Err(error) if !setting.may_fail => {
                    let text = format!("{}: cannot set {}: {error}", file.display(), setting.key);
                    log::say(Level::Warning, None, &text);
                }
                _ => {}
            }
        }
    }
}

fn files(root: &Path) -> impl Iterator<Item = PathBuf> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "conf") {
                files.entry(entry.file_name()).or_insert(path);
            }
        }
    }
    files.into_values()
}

#[derive(Debug, PartialEq, Eq)]
struct Setting {
    /// Relative to /proc/sys.
    key: String,
    value: String,
    may_fail: bool,
}

fn parse(text: &str) -> Vec<Setting> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let setting = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let key = key.trim();
        let (key, may_fail) = key.strip_prefix('-').map_or((key, false), |key| (key.trim(), true));
        // The first separator decides what separates: `net/ipv4/conf/eth0.1/forwarding`.
        let key = match key.find(['.', '/']) {
            Some(at) if key.get(at..=at) == Some(".") => key
                .chars()
                .map(|c| {
                    if c == '.' {
                        '/'
                    } else if c == '/' {
                        '.'
                    } else {
                        c
                    }
                })
                .collect(),
            _ => key.to_owned(),
        };
        let safe = key.split('/').all(|part| !part.is_empty() && part != "..");
        safe.then(|| Setting { key, value: value.trim().to_owned(), may_fail })
    };
    lines.filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values() {
        let found =
            parse("# c\n; c\nnet.ipv4.ip_forward = 1\n-a/b.c/d=2 3\n../../etc/passwd=x\n/etc=y\nnothing\n");
        let setting = |key: &str, value: &str, may_fail| Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            may_fail,
        };
        let want = [setting("net/ipv4/ip_forward", "1", false), setting("a/b.c/d", "2 3", true)];
        assert_eq!(found, want);
    }

    #[test]
    fn an_earlier_folder_hides_a_later_one() {
        let root = tempfile::tempdir().unwrap();
        for (folder, value) in [("etc/sysctl.d", "1"), ("usr/lib/sysctl.d", "2")] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("a.conf"), format!("kernel.x={value}\n")).unwrap();
        }
        fs::write(root.path().join("usr/lib/sysctl.d/b.conf"), "kernel.y=3\n-kernel.z.none=1").unwrap();
        fs::create_dir_all(root.path().join("proc/sys/kernel")).unwrap();
        apply(root.path());
        let read = |name| fs::read_to_string(root.path().join("proc/sys/kernel").join(name)).unwrap();
        assert_eq!((read("x").as_str(), read("y").as_str()), ("1", "3"));
    }
}
