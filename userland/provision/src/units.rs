//! The `coreos` section: units, and the settings of CoreOS's services.
//!
//! Settings of a service become a drop-in with its environment, as CoreOS wrote it:
//! `etcd2: {name: a}` is `ETCD_NAME=a` in `etcd2.service.d/20-cloudinit.conf`.

use crate::names;
use crate::plan::{Action, File};
use crate::problem::Problem;
use crate::reader::At;

/// Key, unit and prefix of the services whose settings are environment.
const SERVICES: [(&str, &str, &str); 5] = [
    ("etcd", "etcd.service", "ETCD_"),
    ("etcd2", "etcd2.service", "ETCD_"),
    ("fleet", "fleet.service", "FLEET_"),
    ("flannel", "flanneld.service", "FLANNELD_"),
    ("locksmith", "locksmithd.service", "LOCKSMITHD_"),
];

const COMMANDS: [&str; 7] =
    ["start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "reload-or-try-restart"];

/// What the section asks for.
#[derive(Default)]
pub struct Units {
    settings: Vec<Action>,
    files: Vec<Action>,
    enable: Vec<Action>,
    commands: Vec<Action>,
    network: bool,
    daemon_reload: bool,
}

impl Units {
    /// Files first, then one reload, then what starts and stops.
    pub fn into_actions(self) -> impl Iterator<Item = Action> {
        let run = |words: &[&str]| Action::Systemctl(words.iter().map(|&word| word.to_owned()).collect());
        let reload = self.daemon_reload.then(|| run(&["daemon-reload"]));
        let network = self.network.then(|| run(&["--no-block", "try-restart", "systemd-networkd.service"]));
        self.settings
            .into_iter()
            .chain(self.files)
            .chain(reload)
            .chain(self.enable)
            .chain(network)
            .chain(self.commands)
    }
}

/// Reads one key of the section.
pub fn read(key: &str, at: &At, units: &mut Units, problems: &mut Vec<Problem>) {
    match key {
        "units" => {
            for at in at.list(problems) {
                unit(&at, units, problems);
            }
        }
        "update" => update(at, units, problems),
        "oem" => {}
        _ => match SERVICES.iter().find(|(name, ..)| *name == key) {
            Some((_, service, prefix)) => environment(at, service, prefix, units, problems),
            None => problems.push(at.problem("unknown key")),
        },
    }
}

fn unit(at: &At, units: &mut Units, problems: &mut Vec<Problem>) {
    let (mut name, mut content, mut command) = (None, None, None);
    let (mut enable, mut mask, mut runtime) = (false, None, false);
    let mut drop_ins = Vec::new();
    for (key, at) in at.map(problems) {
        match key.as_str() {
            "name" => name = at.text(problems),
            "content" => content = at.text(problems),
            "enable" => enable = at.boolean(problems).unwrap_or(false),
            "mask" => mask = at.boolean(problems),
            "runtime" => runtime = at.boolean(problems).unwrap_or(false),
            "command" => match at.text(problems) {
                Some(word) if COMMANDS.contains(&word.as_str()) => command = Some(word),
                Some(_) => problems.push(at.problem(format!("must be one of {}", COMMANDS.join(", ")))),
                None => {}
            },
            "drop_ins" => {
                let list = at.list(problems);
                drop_ins = list.iter().filter_map(|at| drop_in(at, problems)).collect();
            }
            _ => problems.push(at.problem("unknown key")),
        }
    }
    let name = name.unwrap_or_default();
    if let Err(wrong) = names::check_unit(&name) {
        problems.push(at.problem(format!("name: {wrong}; the unit is left out")));
        return;
    }
    let network = [".network", ".netdev", ".link"].iter().any(|end| name.ends_with(end));
    let directory = format!(
        "{}/systemd/{}",
        if runtime { "/run" } else { "/etc" },
        if network { "network" } else { "system" }
    );
    let changes_files = content.is_some() || !drop_ins.is_empty() || mask.is_some();
    match mask {
        Some(true) if content.is_some() => {
            problems.push(at.problem("mask and content exclude each other; the unit is masked"));
            units.files.push(Action::Mask(name.clone()));
        }
        Some(true) => units.files.push(Action::Mask(name.clone())),
        Some(false) | None => {
            if mask == Some(false) {
                units.files.push(Action::Unmask(name.clone()));
            }
            if let Some(content) = content {
                units.files.push(plain_file(format!("{directory}/{name}"), content));
            }
        }
    }
    for (file, content) in drop_ins {
        units.files.push(plain_file(format!("{directory}/{name}.d/{file}"), content));
    }
    if network {
        units.network |= changes_files;
        if enable || command.is_some() {
            problems.push(at.problem("enable and command do nothing for a file of systemd-networkd"));
        }
        return;
    }
    units.daemon_reload |= changes_files;
    if enable {
        units.enable.push(Action::Systemctl(vec!["enable".into(), name.clone()]));
    }
    if let Some(word) = command {
        units.commands.push(Action::Systemctl(vec!["--no-block".into(), word, name]));
    }
}

fn drop_in(at: &At, problems: &mut Vec<Problem>) -> Option<(String, String)> {
    let (mut name, mut content) = (String::new(), String::new());
    for (key, at) in at.map(problems) {
        match key.as_str() {
            "name" => name = at.text(problems).unwrap_or_default(),
            "content" => content = at.text(problems).unwrap_or_default(),
            _ => problems.push(at.problem("unknown key")),
        }
    }
    match names::check_drop_in(&name) {
        Ok(()) => Some((name, content)),
        Err(wrong) => {
            problems.push(at.problem(format!("name: {wrong}; the drop-in is left out")));
            None
        }
    }
}

fn plain_file(path: String, content: String) -> Action {
    Action::File(File { path, content: content.into_bytes(), owner: String::new(), mode: 0o644 })
}

/// `KEY=value` pairs of a map of settings; values that no such line can hold are left out.
fn settings(at: &At, prefix: &str, problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (key, at) in at.map(problems) {
        let Some(value) = at.text(problems) else { continue };
        let plain_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain_key || value.contains(|c: char| c.is_control()) {
            problems.push(at.problem("cannot be a setting: it must be one line, its key a plain word"));
        } else {
            pairs.push((format!("{prefix}{}", key.to_ascii_uppercase()), value));
        }
    }
    pairs
}

fn environment(at: &At, service: &str, prefix: &str, units: &mut Units, problems: &mut Vec<Problem>) {
    let pairs = settings(at, prefix, problems);
    if pairs.is_empty() {
        return;
    }
    let mut content = String::from("[Service]\n");
    for (key, value) in pairs {
        // As systemd.exec(5) quotes: and % begins a specifier.
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
        content.push_str(&format!("Environment=\"{key}={value}\"\n"));
    }
    units.settings.push(plain_file(format!("/run/systemd/system/{service}.d/20-cloudinit.conf"), content));
    units.daemon_reload = true;
}

/// `coreos.update` is the update engine's and locksmith's own file, as on CoreOS.
fn update(at: &At, units: &mut Units, problems: &mut Vec<Problem>) {
    let pairs = settings(at, "", problems);
    let known = |key: &str| matches!(key, "GROUP" | "SERVER" | "REBOOT_STRATEGY");
    for (key, _) in pairs.iter().filter(|(key, _)| !known(key)) {
        problems.push(at.problem(format!("{}: unknown key", key.to_ascii_lowercase())));
    }
    let lines: String =
        pairs.iter().filter(|(key, _)| known(key)).map(|(key, value)| format!("{key}={value}\n")).collect();
    if !lines.is_empty() {
        units.settings.push(plain_file("/etc/coreos/update.conf".into(), lines));
    }
}
