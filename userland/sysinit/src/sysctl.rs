//! `systemd-sysctl`: the kernel's settings below /proc/sys from lines `key = value`, sysctl.d(5).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Parser;
use glob::Pattern;

use crate::confd::{self, Line};

const FOLDER: &str = "sysctl.d";

/// Apply kernel settings from sysctl.d
#[derive(Debug, Parser)]
#[command(name = "systemd-sysctl")]
pub struct Options {
    /// Only settings that begin with this (net.ipv4)
    #[arg(long)]
    prefix: Vec<String>,
    /// Show the files that would be read
    #[arg(long)]
    cat_config: bool,
    /// Fail when the kernel does not know a setting
    #[arg(long)]
    strict: bool,
    /// Do not page the output
    #[arg(long)]
    no_pager: bool,
    /// Below this folder in place of /
    #[arg(long, default_value = "/", hide = true)]
    root: PathBuf,
    /// Only these files
    files: Vec<PathBuf>,
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    /// Relative to /proc/sys, with slashes; may be a pattern.
    key: String,
    /// `None`: patterns leave this key alone.
    value: Option<String>,
    may_fail: bool,
}

/// Carries out all files; returns the exit status.
pub(crate) fn main(options: Options) -> u8 {
    let files = match confd::files(&options.root, FOLDER, &options.files, None) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    if options.cat_config {
        confd::print(&files);
        return 0;
    }
    let mut failed = false;
    let mut settings: BTreeMap<String, (Line, Setting)> = BTreeMap::new();
    let mut order = Vec::new();
    let read = |file: &PathBuf| {
        confd::lines(file).unwrap_or_else(|error| {
            eprintln!("{}: {error}", file.display());
            Vec::new()
        })
    };
    let mut lines: Vec<Line> = files.iter().flat_map(read).collect();
    if options.files.is_empty() {
        lines.extend(confd::credential_lines("sysctl.extra"));
    }
    for line in lines {
        match parse(&line.text) {
            Ok(setting) if is_wanted(&setting.key, &options.prefix) => {
                // What comes later wins, at its own place.
                order.retain(|key| *key != setting.key);
                order.push(setting.key.clone());
                settings.insert(setting.key.clone(), (line, setting));
            }
            Ok(_) => {}
            Err(why) => {
                line.complain(why);
                failed = true;
            }
        }
    }
    let top = options.root.join("proc/sys");
    for (line, setting) in order.iter().filter_map(|key| settings.get(key)) {
        for (key, value) in targets(&top, setting, &settings) {
            if let Err(error) = fs::write(top.join(&key), format!("{value}\n")) {
                let missing =
                    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
                line.complain(format!("cannot set {key} to '{value}': {error}"));
                failed |= !setting.may_fail && (options.strict || !missing);
            }
        }
    }
    u8::from(failed)
}

/// The keys that a setting is for: itself, or those that match its pattern and have no line of their own.
fn targets(
    top: &Path,
    setting: &Setting,
    settings: &BTreeMap<String, (Line, Setting)>,
) -> Vec<(String, String)> {
    let Some(value) = &setting.value else { return Vec::new() };
    if !setting.key.contains(['*', '?', '[']) {
        return vec![(setting.key.clone(), value.clone())];
    }
    let pattern = format!("{}/{}", Pattern::escape(&top.display().to_string()), setting.key);
    let paths = glob::glob(&pattern).into_iter().flatten().flatten().filter(|path| path.is_file());
    let keys = paths.filter_map(|path| Some(path.strip_prefix(top).ok()?.to_str()?.to_owned()));
    keys.filter(|key| !settings.contains_key(key)).map(|key| (key, value.clone())).collect()
}

fn is_wanted(key: &str, prefixes: &[String]) -> bool {
    let normal = |prefix: &String| slashes(prefix.trim_start_matches("/proc/sys/"));
    prefixes.is_empty() || prefixes.iter().map(normal).any(|prefix| Path::new(key).starts_with(prefix))
}

fn parse(text: &str) -> Result<Setting, String> {
    let (may_fail, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
        // A key without a value behind a dash: patterns are not for it.
        None if may_fail => (text.trim(), None),
        None => return Err("this is not \"key = value\"".into()),
    };
    let key = slashes(key);
    if key.is_empty() || key.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(format!("\"{key}\" is not the name of a setting"));
    }
    Ok(Setting { key, value, may_fail })
}

/// The first separator decides what separates: `net/ipv4/conf/eth0.1/forwarding`, `net.ipv4.conf.eth0/1.forwarding`.
fn slashes(key: &str) -> String {
    match key.chars().find(|c| matches!(c, '.' | '/')) {
        Some('.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values() {
        let setting = |key: &str, value: Option<&str>, may_fail| Setting {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            may_fail,
        };
        assert_eq!(parse("net.ipv4.ip_forward = 1"), Ok(setting("net/ipv4/ip_forward", Some("1"), false)));
        assert_eq!(parse("-a/b.c/d=2 3"), Ok(setting("a/b.c/d", Some("2 3"), true)));
        assert_eq!(parse("-net.a"), Ok(setting("net/a", None, true)));
        assert!(
            parse("../../etc/passwd=x").is_err() && parse("/etc=y").is_err() && parse("nothing").is_err()
        );
    }

    #[test]
    fn the_last_line_wins_and_patterns_leave_what_is_named_alone() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for name in ["one", "two", "three"] {
            write(&format!("proc/sys/net/{name}/x"), "0");
        }
        write("usr/lib/sysctl.d/a.conf", "net.*.x = 1\nnet.one.x = 2\n-net.three.x\n");
        write("etc/sysctl.d/b.conf", "net/one/x=3\nnet.none.x=1\nbad\n");
        let options = Options::parse_from(["x", "--root", root.path().to_str().unwrap()]);
        assert_eq!(main(options), 1);
        let read =
            |name: &str| fs::read_to_string(root.path().join("proc/sys/net").join(name).join("x")).unwrap();
        assert_eq!([read("one"), read("two"), read("three")], ["3\n", "1\n", "0"]);
        let options = Options::parse_from(["x", "--root", root.path().to_str().unwrap(), "--prefix=kernel"]);
        write("proc/sys/net/one/x", "9");
        main(options);
        assert_eq!(read("one"), "9");
    }
}
