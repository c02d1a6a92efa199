//! cloud-config as CoreOS's coreos-cloudinit read it, into a [`Plan`].
//!
//! The keys are those of coreos-cloudinit's documentation. Each problem is one line, and does not keep
//! the rest from being applied: a machine with one wrong key must still let its operator in.

use crate::plan::{Action, File, User};
use crate::problem::{Problem, bound};
use crate::reader::At;
use crate::units;
use crate::{encoding, names, yaml};

/// Largest user data that is read, in bytes.
pub const LARGEST: usize = 1 << 20;

/// What is to be done, and what was wrong.
#[derive(Debug, Default)]
pub struct Plan {
    /// In the order in which they are carried out.
    pub actions: Vec<Action>,
    /// One line for each.
    pub problems: Vec<Problem>,
}

/// Reads user data. Never fails: what cannot be read is a problem of the plan.
pub fn plan(data: &[u8]) -> Plan {
    let mut plan = Plan::default();
    if let Err(problem) = fill(&mut plan, data) {
        plan.problems.insert(0, problem);
    }
    bound(&mut plan.problems);
    plan
}

fn fill(plan: &mut Plan, data: &[u8]) -> Result<(), Problem> {
    if data.len() > LARGEST {
        return Err(Problem::of("", format!("larger than {LARGEST} bytes; nothing of it is applied")));
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return Err(Problem::of("", "not text in UTF-8; nothing of it is applied"));
    };
    let text = text.trim_start_matches('\u{feff}');
    match text.lines().next().map(str::trim_end) {
        None => return Ok(()),
        Some("#cloud-config") => {}
        Some(first) if first.starts_with("#!") => {
            return Err(Problem::at(1, "", "a script; this system runs none from its user data"));
        }
        Some(first) if first.starts_with('{') => {
            return Err(Problem::at(1, "", "JSON; only #cloud-config is read"));
        }
        Some(_) => plan.problems.push(Problem::at(1, "", "the first line should be #cloud-config")),
    }
    let Some(node) = yaml::read(text, &mut plan.problems) else { return Ok(()) };
    read_top(plan, &At { node, place: String::new() });
    Ok(())
}

/// The parts in the order in which CoreOS applied them.
#[derive(Default)]
struct Parts {
    hostname: Option<Action>,
    users: Vec<Action>,
    keys: Vec<String>,
    files: Vec<Action>,
    hosts: Option<Action>,
    units: units::Units,
}

fn read_top(plan: &mut Plan, top: &At) {
    let problems = &mut plan.problems;
    let mut parts = Parts::default();
    for (key, at) in top.map(problems) {
        match key.as_str() {
            "hostname" => parts.hostname = hostname(&at, problems).map(Action::Hostname),
            "ssh_authorized_keys" => parts.keys = public_keys(&at, problems),
            "users" => parts.users = at.list(problems).iter().flat_map(|at| user(at, problems)).collect(),
            "write_files" => {
                parts.files = at.list(problems).iter().filter_map(|at| file(at, problems)).collect();
            }
            "manage_etc_hosts" => match at.text(problems).as_deref() {
                Some("localhost") => parts.hosts = Some(Action::Hosts),
                Some(_) => problems.push(at.problem("must be localhost")),
                None => {}
            },
            "coreos" => {
                for (key, at) in at.map(problems) {
                    units::read(&key, &at, &mut parts.units, problems);
                }
            }
            _ => problems.push(at.problem("unknown key")),
        }
    }
    let keys = (!parts.keys.is_empty()).then(|| Action::Keys { user: "core".into(), keys: parts.keys });
    plan.actions = parts
        .hostname
        .into_iter()
        .chain(parts.users)
        .chain(keys)
        .chain(parts.files)
        .chain(parts.hosts)
        .chain(parts.units.into_actions())
        .collect();
}

fn hostname(at: &At, problems: &mut Vec<Problem>) -> Option<String> {
    let name = at.text(problems)?;
    match names::check_hostname(&name) {
        Ok(()) => Some(name),
        Err(wrong) => {
            problems.push(at.problem(wrong));
            None
        }
    }
}

fn public_keys(at: &At, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut keys = Vec::new();
    for (at, text) in at.texts(problems) {
        let key = text.trim();
        match names::check_public_key(key) {
            Ok(()) => keys.push(key.to_owned()),
            Err(wrong) => problems.push(at.problem(wrong)),
        }
    }
    keys
}

fn user(at: &At, problems: &mut Vec<Problem>) -> Vec<Action> {
    let mut user = User::default();
    let mut keys = Vec::new();
    for (key, at) in at.map(problems) {
        // A colon or a line break would reach into the next field of passwd(5).
        let field = |problems: &mut Vec<Problem>| {
            let text = at.text(problems)?;
            let broken = text.contains([':', '\n', '\0']);
            if broken {
                problems.push(at.problem("must hold no colon and no line break"));
            }
            (!broken).then_some(text)
        };
        match key.as_str() {
            "name" => user.name = field(problems).unwrap_or_default(),
            "passwd" => user.password_hash = field(problems),
            "gecos" => user.gecos = field(problems).unwrap_or_default(),
            "homedir" => user.home = field(problems),
            "shell" => user.shell = field(problems),
            "primary_group" => user.primary_group = field(problems),
            "groups" => {
                let names = at.texts(problems);
                user.groups = names.into_iter().map(|(_, name)| name).collect();
                if let Some(bad) = user.groups.iter().find(|name| names::check_login(name).is_err()) {
                    problems.push(at.problem(format!("{bad:?} cannot be a group's name")));
                    user.groups.retain(|name| names::check_login(name).is_ok());
                }
            }
            "no_create_home" => user.no_create_home = at.boolean(problems).unwrap_or(false),
            "no_user_group" => user.no_user_group = at.boolean(problems).unwrap_or(false),
            "system" => user.system = at.boolean(problems).unwrap_or(false),
            "ssh_authorized_keys" => keys = public_keys(&at, problems),
            "no_log_init" => {}
            "coreos_ssh_import_github" | "coreos_ssh_import_github_users" | "coreos_ssh_import_url" => {
                problems.push(at.problem("keys are not fetched; give them in ssh_authorized_keys"));
            }
            _ => problems.push(at.problem("unknown key")),
        }
    }
    if let Err(wrong) = names::check_login(&user.name) {
        problems.push(at.problem(format!("name: {wrong}; the user is left out")));
        return Vec::new();
    }
    if user.home.as_ref().is_some_and(|home| !names::is_plain_path(home)) {
        problems.push(at.problem("homedir must be an absolute path; the default is taken"));
        user.home = None;
    }
    let keys = (!keys.is_empty()).then(|| Action::Keys { user: user.name.clone(), keys });
    std::iter::once(Action::User(user)).chain(keys).collect()
}

fn file(at: &At, problems: &mut Vec<Problem>) -> Option<Action> {
    let mut file = File { path: String::new(), content: Vec::new(), owner: String::new(), mode: 0o644 };
    let (mut content, mut encoding) = (String::new(), String::new());
    for (key, at) in at.map(problems) {
        let text = at.text(problems).unwrap_or_default();
        match key.as_str() {
            "path" => file.path = text,
            "content" => content = text,
            "encoding" => encoding = text,
            "owner" => file.owner = text,
            "permissions" => match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
                Ok(mode) if mode <= 0o7777 => file.mode = mode,
                _ => problems.push(at.problem("must be an octal mode like '0644'; 0644 is taken")),
            },
            _ => problems.push(at.problem("unknown key")),
        }
    }
    if !names::is_plain_path(&file.path) {
        problems.push(at.problem("path must be an absolute path without '..'; the file is left out"));
        return None;
    }
    match encoding::decode(&content, &encoding) {
        Ok(content) => file.content = content,
        Err(e) => {
            problems.push(at.problem(format!("{}: {e}; the file is left out", file.path)));
            return None;
        }
    }
    Some(Action::File(file))
}
