//! Runs every transcript of tests/scenarios: unit files and events in, actions out.
//!
//! A transcript is unit files, each under `--- NAME`, then `--- events`: lines of events, each followed by what must
//! come of it, indented. `UNIT_SCENARIOS=write` writes what comes of it instead: read the difference before you
//! commit it. The events are the arms of `act` below.

// a test may panic
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use unit::{
    Connection, ConnectionId, Details, Device, Event, ExitStatus, JobMode, MountEntry, Pid, SwapEntry,
    UnitName, Usec, Verb,
};
use world::{Files, Machine, last_token, message, render, time};

#[test]
fn transcripts() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let played = play(&text);
        if played == text {
            continue;
        }
        if std::env::var_os("UNIT_SCENARIOS").is_some_and(|value| value == "write") {
            std::fs::write(&path, played).unwrap();
        } else {
            wrong.push(format!("{}:\n{}", path.display(), difference(&text, &played)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(text: &str, played: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (text.lines().collect(), played.lines().collect());
    let at = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let show = |lines: &[&str]| {
        lines.iter().skip(at.saturating_sub(3)).take(9).map(|l| format!("    {l}\n")).collect::<String>()
    };
    format!("line {}, expected:\n{}found:\n{}", at + 1, show(&expected), show(&found))
}

/// The transcript with what really comes of its events.
fn play(text: &str) -> String {
    let mut out = String::new();
    let mut files = Files::default();
    let mut lines = text.lines();
    let mut current: Option<String> = None;
    for line in lines.by_ref() {
        out.push_str(line);
        out.push('\n');
        match line.strip_prefix("--- ") {
            Some("events") => break,
            Some(name) => {
                files.0.insert(name.to_string(), String::new());
                current = Some(name.to_string());
            }
            None => {
                if let Some(text) = current.as_ref().and_then(|name| files.0.get_mut(name)) {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    let mut machine = Machine::new(files);
    for line in lines {
        if line.starts_with("    ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let extra = act(&mut machine, &words);
        for action in std::mem::take(&mut machine.seen) {
            if let Some(line) = render(&action) {
                out.push_str(&format!("    {line}\n"));
            }
        }
        if let Some(line) = extra {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

fn name(text: &str) -> UnitName {
    UnitName::parse(text).unwrap()
}

fn pid_of(machine: &Machine, unit: &str, which: &str) -> Option<Pid> {
    let status = machine.engine.status(&name(unit))?;
    match which {
        "main" => status.main_pid,
        "control" => status.control_pid,
        number => number.parse().ok().map(Pid),
    }
}

fn act(machine: &mut Machine, words: &[&str]) -> Option<String> {
    let verb = |word: &str| {
        Some(match word {
            "start" | "isolate" => Verb::Start,
            "stop" => Verb::Stop,
            "restart" => Verb::Restart,
            "try-restart" => Verb::TryRestart,
            "reload" => Verb::Reload,
            "reload-or-restart" => Verb::ReloadOrRestart,
            _ => return None,
        })
    };
    match words {
        [word, unit, rest @ ..] if verb(word).is_some() => {
            let mode = match (rest, *word) {
                (_, "isolate") => JobMode::Isolate,
                (["fail"], _) => JobMode::Fail,
                (["irreversibly"], _) => JobMode::ReplaceIrreversibly,
                _ => JobMode::Replace,
            };
            machine.request(verb(word).unwrap(), &name(unit), mode);
        }
        // exit UNIT main|control|PID CODE|SIGNAL
        ["exit", unit, which, how] => {
            let Some(pid) = pid_of(machine, unit, which) else { return Some("no such process".into()) };
            let status = match how.strip_prefix("SIG") {
                Some(signal) => ExitStatus::Signal { signal: signal.parse().unwrap(), core: false },
                None => ExitStatus::Code(how.parse().unwrap()),
            };
            machine.exit(pid, status);
        }
        ["executed", unit] => {
            let status = machine.engine.status(&name(unit)).unwrap();
            assert!(status.main_pid.is_some());
            let token = unit::SpawnToken(TOKENS.with(|tokens| tokens.get()));
            machine.handle(Event::Executed { unit: name(unit), token });
        }
        ["notify", unit, assignments @ ..] => {
            let Some(pid) = pid_of(machine, unit, "main") else { return Some("no such process".into()) };
            let mut message = message(assignments);
            // a descriptor comes along
            message.descriptors = u32::from(message.store);
            machine.handle(Event::Notified { pid, unit: Some(name(unit)), message });
        }
        // a process in the unit's cgroup that we did not start
        ["fork", unit] => {
            let cgroup = machine.engine.status(&name(unit)).unwrap().cgroup.unwrap();
            let Pid(pid) = machine.fork(cgroup);
            return Some(format!("pid {pid}"));
        }
        ["pid-file", path, pid] => {
            machine.system.pid_files.borrow_mut().insert(path.to_string(), Pid(pid.parse().unwrap()));
        }
        ["path", path] => {
            machine.system.paths.borrow_mut().insert(path.to_string());
        }
        ["environment-file", path, lines @ ..] => {
            machine.system.files.borrow_mut().insert(path.to_string(), lines.join("\n"));
        }
        ["after", time] => {
            let time: Usec = unit::timespan::parse(time).unwrap();
            machine.pass(time);
        }
        ["mounted", what, place, fs_type] => {
            machine.mounts.push(MountEntry {
                what: what.to_string(),
                place: place.to_string(),
                fs_type: fs_type.to_string(),
                options: "rw".into(),
            });
            machine.handle(Event::MountsChanged { mounted: machine.mounts.clone() });
        }
        ["unmounted", place] => {
            machine.mounts.retain(|entry| entry.place != *place);
            machine.handle(Event::MountsChanged { mounted: machine.mounts.clone() });
        }
        // somebody sends to a socket of Accept=no
        ["ready", unit] => machine.handle(Event::SocketReady { unit: name(unit) }),
        // connect UNIT NUMBER SOURCE INSTANCE
        ["connect", unit, id, source, instance] => {
            let id = ConnectionId(id.parse().unwrap());
            let connection = Connection { id, source: source.to_string(), instance: instance.to_string() };
            machine.handle(Event::Connected { unit: name(unit), connection });
        }
        ["break-sockets", why @ ..] => {
            machine.broken_sockets = Some(why.join(" ")).filter(|why| !why.is_empty())
        }
        // the wall clock is set to a time
        ["wall", at] => {
            let at = at.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            machine.wall = u64::try_from(at).unwrap() - machine.now;
            machine.handle(Event::ClockChanged);
        }
        ["timezone-changed"] => machine.handle(Event::TimezoneChanged),
        ["stamp", path, at] => {
            let at = at.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            machine.system.stamps.borrow_mut().insert(path.to_string(), u64::try_from(at).unwrap());
        }
        ["no-path", path] => {
            machine.system.paths.borrow_mut().remove(*path);
        }
        // something happens to a watched path: to itself, or on the way to it
        ["touched", unit, how] => {
            machine.handle(Event::PathTouched { unit: name(unit), changed: *how == "changed" });
        }
        ["plug", sysfs, paths @ ..] => {
            let paths = paths.iter().map(|path| path.to_string()).collect();
            let device = Device { sysfs: sysfs.to_string(), paths, description: "A device".into() };
            machine.handle(Event::DevicesPlugged(vec![device]));
        }
        ["unplug", sysfs] => machine.handle(Event::DeviceGone { sysfs: sysfs.to_string() }),
        ["swaps", all @ ..] => {
            machine.swaps =
                all.iter().map(|what| SwapEntry { what: what.to_string(), priority: -2 }).collect();
            machine.handle(Event::SwapsChanged { active: machine.swaps.clone() });
        }
        ["enter", unit, pid] => {
            machine.handle(Event::AutomountWanted { unit: name(unit), pid: Pid(pid.parse().unwrap()) });
        }
        ["unused", unit] => machine.handle(Event::AutomountExpired { unit: name(unit) }),
        // the kernel has killed one of its processes
        ["oom", unit] => machine.handle(Event::OomKilled { unit: name(unit) }),
        // bus NAME owned|free
        ["bus", bus_name, how] => {
            machine.handle(Event::BusName { name: bus_name.to_string(), owned: *how == "owned" });
        }
        // the job of a unit
        ["cancel", unit] => {
            let job = machine.engine.status(&name(unit)).and_then(|status| status.job);
            machine.handle(Event::Cancel { job: job.unwrap().id });
        }
        // the processes are known to be the unit's, but nothing else is
        ["found", unit, pid] => {
            let cgroup = format!("/system.slice/{unit}");
            let main = Pid(pid.parse().unwrap());
            machine.system.processes.borrow_mut().insert(main, cgroup);
            let invocation = "0123456789abcdef0123456789abcdef".into();
            machine.handle(Event::Found { unit: name(unit), main: Some(main), invocation });
        }
        ["abandon", unit] => machine.handle(Event::Abandon { unit: name(unit) }),
        ["next", unit] => {
            let details = machine.engine.status(&name(unit)).map(|status| status.details);
            let Some(Details::Timer { next_realtime, next_monotonic, .. }) = details else {
                return Some("no timer".into());
            };
            let realtime = next_realtime.map_or("-".into(), time);
            let monotonic = next_monotonic.map_or("-".into(), unit::timespan::format);
            return Some(format!("next {realtime} {monotonic}"));
        }
        ["break-spawns", count] => machine.broken_spawns = count.parse().unwrap(),
        ["reset-failed", unit] => machine.handle(Event::ResetFailed { unit: Some(name(unit)) }),
        ["file", path, lines @ ..] => {
            machine.files.0.insert(path.to_string(), lines.join("\n"));
        }
        ["daemon-reload"] => machine.handle(Event::Reload),
        ["show", unit] => {
            let status = machine.engine.status(&name(unit));
            return Some(match status {
                None => "not in memory".into(),
                Some(status) => format!(
                    "{} {} ({}), result {}, restarts {}{}",
                    status.load.as_str(),
                    status.active.as_str(),
                    status.sub,
                    status.result,
                    status.n_restarts,
                    status.status_text.map(|text| format!(", \"{text}\"")).unwrap_or_default(),
                ),
            });
        }
        _ => panic!("not an event: {words:?}"),
    }
    if let Some((_, token)) = last_token(&machine.seen) {
        TOKENS.with(|tokens| tokens.set(token.0));
    }
    None
}

thread_local! {
    /// The last process asked for.
    static TOKENS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
