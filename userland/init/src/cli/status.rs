//! `status`: a unit at a glance (state, processes, last log lines), or the whole system.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use zvariant::Value;

use super::properties::Properties;
use super::{Outcome, Session, Trouble, colour, time};

/// LSB: program is not running.
const NOT_RUNNING: u8 = 3;
/// LSB: status is unknown.
const UNKNOWN: u8 = 4;
/// Width of the names in front of the colons.
const MARGIN: &str = "             ";

pub(super) fn status(session: &mut Session<'_>, units: &[String]) -> Outcome {
    if units.is_empty() {
        return system(session);
    }
    let mut code = 0;
    let mut names = Vec::new();
    for typed in units {
        match typed.parse::<u32>() {
            Ok(pid) => names.push(unit_of(session, pid)?),
            Err(_) => names.extend(session.expand(std::slice::from_ref(typed))?),
        }
    }
    let mut shown = false;
    for name in &names {
        code = code.max(one(session, name, &mut shown)?);
    }
    Ok(code)
}

fn unit_of(session: &mut Session<'_>, pid: u32) -> Result<String, Trouble> {
    let path: zvariant::OwnedObjectPath = session.client.manager("GetUnitByPID", &pid)?;
    match crate::dbus::path::Object::parse(path.as_str()) {
        Some(crate::dbus::path::Object::Unit(name)) => Ok(name),
        _ => Ok(String::new()),
    }
}

/// `shown`: another one was shown before.
fn one(session: &mut Session<'_>, name: &str, shown: &mut bool) -> Outcome {
    let properties = Properties::of_unit(&mut session.client, name)?;
    if properties.text("LoadState") == "not-found" && properties.text("ActiveState") == "inactive" {
        session.complain(&format!("Unit {name} could not be found."));
        return Ok(UNKNOWN);
    }
    if std::mem::replace(shown, true) {
        session.say("")?;
    }
    session.warn_if_stale(name)?;
    let mut text = head(&properties, time::now(), session.options.colour);
    let id = properties.text("Id").to_owned();
    let group = properties.text("ControlGroup").to_owned();
    if !group.is_empty() {
        let processes = session.client.manager("GetUnitProcesses", &id)?;
        let tree = Tree::new(&group, processes);
        let _ = writeln!(text, "     CGroup: {group}");
        tree.write(&mut text, MARGIN);
    }
    write!(session.out, "{text}")?;
    log(session, &id)?;
    Ok(match properties.text("ActiveState") {
        "active" | "reloading" => 0,
        _ => NOT_RUNNING,
    })
}

/// Everything above the processes.
fn head(properties: &Properties, now: u64, colour: bool) -> String {
    let of = |name: &str| properties.text(name);
    let (id, active, sub) = (of("Id"), of("ActiveState"), of("SubState"));
    let mark = match (active, of("LoadState")) {
        ("failed", _) => "×",
        ("reloading", _) => "↻",
        ("active" | "activating" | "deactivating", _) => "●",
        _ => "○",
    };
    // Writing to a String does not fail.
    let mut text = String::new();
    let description = of("Description");
    let title = if description.is_empty() || description == id {
        id.to_owned()
    } else {
        format!("{id} - {description}")
    };
    let _ = writeln!(text, "{} {title}", colour::of_state(mark, active, colour));
    let preset = match of("UnitFilePreset") {
        _ if matches!(of("UnitFileState"), "alias" | "static" | "generated" | "transient") => String::new(),
        "" => String::new(),
        preset => format!("preset: {preset}"),
    };
    let place = [of("FragmentPath"), of("UnitFileState"), &preset];
    let place: Vec<&str> = place.into_iter().filter(|word| !word.is_empty()).collect();
    let place = if place.is_empty() { String::new() } else { format!(" ({})", place.join("; ")) };
    let _ = match load_error(properties) {
        Some(error) => writeln!(text, "     Loaded: {} (Reason: {error})", of("LoadState")),
        None => writeln!(text, "     Loaded: {}{place}", of("LoadState")),
    };
    let drop_ins = properties.list("DropInPaths");
    if let Some(first) = drop_ins.first() {
        let folder = first.rsplit_once('/').map_or("", |(folder, _)| folder);
        let names: Vec<&str> = drop_ins.iter().filter_map(|path| path.rsplit('/').next()).collect();
        let _ = writeln!(text, "    Drop-In: {folder}\n{MARGIN}└─{}", names.join(", "));
    }
    let result = of("Result");
    let state = if sub.is_empty() || sub == active { active.to_owned() } else { format!("{active} ({sub})") };
    let state = match result {
        "" | "success" => state,
        result if active == "failed" => format!("failed (Result: {result})"),
        result => format!("{state} (Result: {result})"),
    };
    let since = match active {
        "active" | "reloading" => "ActiveEnterTimestamp",
        "inactive" | "failed" => "InactiveEnterTimestamp",
        "activating" => "InactiveExitTimestamp",
        _ => "ActiveExitTimestamp",
    };
    let since = properties.number(since);
    let since = if since > 0 {
        format!(" since {}; {}", time::moment(since), time::ago(since, now))
    } else {
        String::new()
    };
    let _ = writeln!(text, "     Active: {}{since}", colour::of_state(&state, active, colour));
    let (entered, left) =
        (properties.number("ActiveEnterTimestamp"), properties.number("ActiveExitTimestamp"));
    if matches!(active, "inactive" | "failed") && entered > 0 && left >= entered {
        let _ = writeln!(text, "   Duration: {}", time::span(left - entered, 1_000));
    }
    for (at, page) in properties.list("Documentation").iter().enumerate() {
        let _ = writeln!(text, "{}{page}", if at == 0 { "       Docs: " } else { MARGIN });
    }
    for (name, label) in [("Where", "Where"), ("What", "What")] {
        if !of(name).is_empty() {
            let _ = writeln!(text, "{label:>11}: {}", of(name));
        }
    }
    processes(properties, &mut text);
    if !of("StatusText").is_empty() {
        let _ = writeln!(text, "     Status: \"{}\"", of("StatusText"));
    }
    let known = |name: &str| {
        Some(properties.number(name)).filter(|number| properties.get(name).is_some() && *number != u64::MAX)
    };
    let running = !of("ControlGroup").is_empty();
    if let Some(tasks) = known("TasksCurrent").filter(|_| running) {
        let limit = known("TasksMax").map_or(String::new(), |limit| format!(" (limit: {limit})"));
        let _ = writeln!(text, "      Tasks: {tasks}{limit}");
    }
    if let Some(memory) = known("MemoryCurrent").filter(|_| running) {
        let _ = writeln!(text, "     Memory: {}", time::bytes(memory));
    }
    if let Some(cpu) = known("CPUUsageNSec") {
        let _ = writeln!(text, "        CPU: {}", time::span(cpu / 1_000, 1_000));
    }
    text
}

fn load_error(properties: &Properties) -> Option<String> {
    let Some(Value::Structure(fields)) = properties.get("LoadError") else { return None };
    match fields.fields() {
        [_, Value::Str(text)] if !text.is_empty() => Some(text.to_string()),
        _ => None,
    }
}

/// Control processes that have ended, and the main process.
fn processes(properties: &Properties, text: &mut String) {
    let main = properties.number("MainPID");
    for name in [
        "ExecCondition",
        "ExecStartPre",
        "ExecStart",
        "ExecStartPost",
        "ExecReload",
        "ExecStop",
        "ExecStopPost",
    ] {
        let Some(Value::Array(commands)) = properties.get(name) else { continue };
        for command in commands.iter() {
            let Value::Structure(fields) = command else { continue };
            let [_, Value::Array(argv), _, _, _, _, _, Value::U32(pid), Value::I32(code), Value::I32(status)] =
                fields.fields()
            else {
                continue;
            };
            if *pid == 0 || *code == 0 || u64::from(*pid) == main {
                continue;
            }
            let argv: Vec<String> =
                argv.iter().filter_map(|word| String::try_from(word.clone()).ok()).collect();
            let _ =
                writeln!(text, "    Process: {pid} {name}={} ({})", argv.join(" "), ending(*code, *status));
        }
    }
    let last = properties.number("ExecMainPID");
    if main > 0 {
        let _ = writeln!(text, "   Main PID: {main} ({})", name_of(main));
    } else if last > 0 && properties.number("ExecMainCode") > 0 {
        let number = |name| i32::try_from(properties.number(name)).unwrap_or(0);
        let _ = writeln!(
            text,
            "   Main PID: {last} ({})",
            ending(number("ExecMainCode"), number("ExecMainStatus"))
        );
    }
    let control = properties.number("ControlPID");
    if control > 0 {
        let _ = writeln!(text, " Cntrl PID: {control} ({})", name_of(control));
    }
}

fn name_of(pid: u64) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "n/a".into(), |name| name.trim().to_owned())
}

fn ending(code: i32, status: i32) -> String {
    const SIGNALS: [&str; 16] = [
        "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM",
    ];
    let word = match (code, status) {
        (1, 0) => "/SUCCESS",
        (1, 1) => "/FAILURE",
        (1, 200) => "/CHDIR",
        (1, 203) => "/EXEC",
        (1, 217) => "/USER",
        _ => "",
    };
    match code {
        1 => format!("code=exited, status={status}{word}"),
        code => {
            let what = if code == 2 { "killed" } else { "dumped" };
            let signal = usize::try_from(status).ok().and_then(|number| SIGNALS.get(number));
            format!(
                "code={what}, signal={}",
                signal.map_or_else(|| status.to_string(), |name| (*name).to_owned())
            )
        }
    }
}

/// The last lines of a unit's log, by the command that knows how.
fn log(session: &mut Session<'_>, id: &str) -> Result<(), Trouble> {
    if session.options.lines == 0 {
        return Ok(());
    }
    let lines = session.options.lines.to_string();
    let format = session.options.output.clone();
    let mut command = Command::new("journalctl");
    command
        .args(["-u", id, "-n", &lines, "--no-pager", "-q", "-o", &format])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if let Ok(output) = command.output()
        && !output.stdout.is_empty()
    {
        write!(session.out, "\n{}", String::from_utf8_lossy(&output.stdout))?;
    }
    Ok(())
}

fn system(session: &mut Session<'_>) -> Outcome {
    let properties = Properties::of_manager(&mut session.client)?;
    let processes = session.client.manager("GetUnitProcesses", &"-.slice")?;
    let tree = Tree::new("", processes);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let state = properties.text("SystemState");
    let mark = if state == "running" { "●" } else { "×" };
    let since = properties.number("UserspaceTimestamp");
    let mut text = format!(
        "{mark} {host}\n    State: {state}\n    Units: {} loaded (incl. loaded aliases)\n     Jobs: {} queued\n   Failed: {} units\n    Since: {}; {}\n   CGroup: /\n",
        properties.number("NNames"),
        properties.number("NJobs"),
        properties.number("NFailedUnits"),
        time::moment(since),
        time::ago(since, time::now()),
    );
    tree.write(&mut text, "           ");
    write!(session.out, "{text}")?;
    Ok(0)
}

/// Processes by cgroup: the ones right there, then the cgroups below.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    processes: BTreeMap<u32, String>,
    below: BTreeMap<String, Tree>,
}

impl Tree {
    /// Of processes below the cgroup `root`.
    pub(crate) fn new(root: &str, processes: Vec<(String, u32, String)>) -> Tree {
        let mut tree = Tree::default();
        for (cgroup, pid, command) in processes {
            let rest = cgroup.strip_prefix(root).unwrap_or(&cgroup);
            let mut place = &mut tree;
            for name in rest.split('/').filter(|name| !name.is_empty()) {
                place = place.below.entry(name.to_owned()).or_default();
            }
            place.processes.insert(pid, command);
        }
        tree
    }

    /// As lines, each behind an indent.
    pub(crate) fn text(&self, indent: &str) -> String {
        let mut text = String::new();
        self.write(&mut text, indent);
        text
    }

    fn write(&self, text: &mut String, indent: &str) {
        let count = self.processes.len() + self.below.len();
        let knot = |at: usize| if at + 1 == count { ("└─", "  ") } else { ("├─", "│ ") };
        let width = self.processes.keys().map(|pid| pid.to_string().len()).max().unwrap_or(0);
        for (at, (pid, command)) in self.processes.iter().enumerate() {
            let _ = writeln!(text, "{indent}{}{pid:>width$} {command}", knot(at).0);
        }
        for (at, (name, tree)) in self.below.iter().enumerate() {
            let (branch, line) = knot(self.processes.len() + at);
            let _ = writeln!(text, "{indent}{branch}{name}");
            tree.write(text, &format!("{indent}{line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_hang_below_their_cgroups() {
        let process = |cgroup: &str, pid, command: &str| (cgroup.to_owned(), pid, command.to_owned());
        let tree = Tree::new(
            "/system.slice",
            vec![
                process("/system.slice/a.service", 7, "/bin/a"),
                process("/system.slice/a.service", 12, "b"),
                process("/system.slice", 1, "c"),
            ],
        );
        let mut text = String::new();
        tree.write(&mut text, "");
        assert_eq!(text, "├─1 c\n└─a.service\n  ├─ 7 /bin/a\n  └─12 b\n");
    }

    #[test]
    fn endings_as_systemctl_writes_them() {
        assert_eq!(ending(1, 0), "code=exited, status=0/SUCCESS");
        assert_eq!(ending(2, 9), "code=killed, signal=KILL");
        assert_eq!(ending(3, 40), "code=dumped, signal=40");
    }
}
