//! What every file of the house has to keep to, beyond what rustfmt and clippy see.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tidy::{code, files, text, top};

/// Who may depend on whom. A crate that is not here may not be added without a thought.
const ARROWS: &[(&str, &[&str])] = &[
    ("http-client", &[]),
    ("linux", &[]),
    ("netlink", &[]),
    ("nftables", &[]),
    ("accounts", &[]),
    ("unit", &[]),
    ("locksmith", &["http-client"]),
    ("omaha", &[]),
    ("update-engine", &["linux"]),
    ("update", &["accounts", "http-client", "linux", "omaha", "update-engine", "wire"]),
    ("update-server", &["omaha"]),
    ("wire", &[]),
    ("bus", &["accounts", "linux", "wire"]),
    ("container", &["accounts", "http-client", "linux", "netlink", "nftables"]),
    ("init", &["accounts", "linux", "unit", "wire"]),
    ("journal", SERVICE),
    ("kv", SERVICE),
    ("network", &["accounts", "linux", "netlink"]),
    ("provision", SERVICE),
    ("ssh", SERVICE),
    ("sudo", SERVICE),
    ("sysinit", &["accounts", "unit"]),
    ("tools", SERVICE),
    ("corten", SERVICES),
    ("image", &["update-engine"]),
    ("qemu", &[]),
    ("code-order", &["qemu"]),
    ("figures", &["qemu"]),
    ("tidy", &[]),
];

/// What a service may stand on: no other service.
const SERVICE: &[&str] = &["accounts", "linux"];

/// What the shipped binary is made of.
const SERVICES: &[&str] = &[
    "bus",
    "container",
    "init",
    "journal",
    "kv",
    "locksmith",
    "network",
    "provision",
    "ssh",
    "sudo",
    "sysinit",
    "tools",
    "update",
    "update-engine",
    "update-server",
];

/// The only crate with unsafe code.
const UNSAFE: &str = "userland/linux";

/// A file longer than this holds more than one idea.
const LINES: usize = 900;

fn complain(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_module_says_what_it_is_for() {
    let top = top();
    let wrong: Vec<String> = files(&top, &["rs"])
        .iter()
        .filter(|path| {
            let head = text(&top, path);
            let first = head.lines().next().unwrap_or_default();
            !first.starts_with("//! ") || first.len() < 12
        })
        .map(|path| path.display().to_string())
        .collect();
    complain("a file begins with `//!` and what it is for", &wrong);
}

#[test]
fn arrows_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, manifest, path) in manifests() {
        let Some(may) = allowed.get(name.as_str()) else {
            wrong.push(format!("{}: crate {name} is not in the table of arrows", path.display()));
            continue;
        };
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for dependency in dependencies.into_iter().flat_map(toml::Table::keys) {
            if allowed.contains_key(dependency.as_str()) && !may.contains(&dependency.as_str()) {
                wrong.push(format!("{}: {name} may not depend on {dependency}", path.display()));
            }
        }
    }
    complain("dependencies point one way", &wrong);
}

#[test]
fn versions_and_lints_come_from_the_workspace() {
    let mut wrong = Vec::new();
    for (name, manifest, path) in manifests() {
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let dependencies = manifest.get(table).and_then(toml::Value::as_table);
            for (dependency, value) in dependencies.into_iter().flatten() {
                if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                    wrong.push(format!("{}: {dependency} is not from the workspace's table", path.display()));
                }
            }
        }
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).is_some();
        if !inherits && path.parent() != Some(Path::new(UNSAFE)) {
            wrong.push(format!("{}: {name} does not take the workspace's lints", path.display()));
        }
    }
    complain("one table of versions, one table of lints", &wrong);
}

#[test]
fn unsafe_stays_in_its_room() {
    let top = top();
    let wrong: Vec<String> = files(&top, &["rs"])
        .iter()
        .filter(|path| !path.starts_with(UNSAFE))
        .filter(|path| {
            code(&text(&top, path)).split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe")
        })
        .map(|path| path.display().to_string())
        .collect();
    complain("unsafe code lives in userland/linux only", &wrong);
}

#[test]
fn names_are_nouns() {
    let bad: BTreeSet<&str> = ["util", "utils", "common", "helper", "helpers", "misc"].into();
    let wrong: Vec<String> = files(&top(), &["rs", "toml"])
        .iter()
        .filter(|path| {
            path.iter().any(|part| {
                let stem = Path::new(part).file_stem().unwrap_or_default().to_string_lossy();
                bad.contains(stem.as_ref())
            })
        })
        .map(|path| path.display().to_string())
        .collect();
    complain("a module is named for its noun", &wrong);
}

#[test]
fn one_idea_a_file() {
    let top = top();
    let wrong: Vec<String> = files(&top, &["rs"])
        .iter()
        .filter(|path| text(&top, path).lines().count() > LINES)
        .map(|path| format!("{}: more than {LINES} lines", path.display()))
        .collect();
    complain("one idea a file", &wrong);
}

#[test]
fn text_is_clean() {
    let top = top();
    let mut wrong = Vec::new();
    for path in files(&top, &["rs", "toml", "md", "config", "service", "target", "network", "cfg"]) {
        let text = text(&top, &path);
        for (number, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t']) || line.contains('\r') {
                wrong.push(format!("{}:{}: white space at the end", path.display(), number + 1));
            }
        }
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            wrong.push(format!("{}: ends with one newline", path.display()));
        }
    }
    complain("no stray white space", &wrong);
}

#[test]
fn documents_point_at_what_is_there() {
    let top = top();
    let mut wrong = Vec::new();
    for path in files(&top, &["md"]) {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        for link in text(&top, &path).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !top.join(&folder).join(target).exists() {
                wrong.push(format!("{}: {target} is not there", path.display()));
            }
        }
    }
    complain("a link leads somewhere", &wrong);
}

/// Name, content and place of each crate's manifest.
fn manifests() -> Vec<(String, toml::Table, PathBuf)> {
    let top = top();
    let mut all = Vec::new();
    for path in files(&top, &["toml"]) {
        if path.file_name().is_some_and(|name| name == "Cargo.toml") && path.components().count() > 1 {
            let manifest: toml::Table = text(&top, &path).parse().expect("cargo has read it");
            let name = manifest["package"]["name"].as_str().expect("a name").to_owned();
            all.push((name, manifest, path));
        }
    }
    assert!(!all.is_empty(), "no manifests found");
    all
}
