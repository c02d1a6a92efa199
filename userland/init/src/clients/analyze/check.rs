//! `verify`, `calendar`, `timespan`: what needs no manager.

use std::path::Path;

use jiff::tz::TimeZone;
use unit::calendar::Calendar;
use unit::{LoadState, Role, Sources, Text, UnitName};

use crate::cli::time;

/// Loads files as the manager would, and says what is wrong with them; false: something is.
pub(super) fn verify(files: &[String]) -> bool {
    let host = crate::host::read();
    let mut good = true;
    for file in files {
        for complaint in complaints(file, &host) {
            eprintln!("{complaint}");
            good = false;
        }
    }
    good
}

fn complaints(file: &str, host: &unit::Host) -> Vec<String> {
    let path = Path::new(file);
    let stem = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = match UnitName::parse(stem) {
        Ok(name) if name.is_template() => match name.with_instance("i") {
            Ok(instance) => instance,
            Err(error) => return vec![format!("{file}: {error}")],
        },
        Ok(name) => name,
        Err(error) => return vec![format!("{file}: {error}")],
    };
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return vec![format!("Failed to prepare filename {file}: {error}")],
    };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let fragment = Some(Text { path: absolute.display().to_string(), text });
    let unit = unit::load::load(&name, &Ok(Sources { fragment, ..Sources::default() }), None, host);
    let mut complaints = unit.warnings.clone();
    if unit.load != LoadState::Loaded {
        complaints.push(format!("{name}: {}", unit.load_error.clone().unwrap_or_default()));
    }
    let roles = [
        Role::Condition,
        Role::StartPre,
        Role::Start,
        Role::StartPost,
        Role::Reload,
        Role::Stop,
        Role::StopPost,
    ];
    for command in
        unit.service().into_iter().flat_map(|service| roles.map(|role| service.commands(role))).flatten()
    {
        if command.path.starts_with('/') && !Path::new(&command.path).is_file() {
            let path = &command.path;
            complaints.push(format!("{name}: Command {path} is not executable: No such file or directory"));
        }
    }
    complaints
}

pub(super) fn calendar(times: &[String], iterations: u32) -> bool {
    let zone = TimeZone::system();
    let mut good = true;
    for (at, text) in times.iter().enumerate() {
        if at > 0 {
            println!();
        }
        match Calendar::parse(text, &|name| TimeZone::get(name).is_ok()) {
            Ok(calendar) => print!("{}", elapses(text, &calendar, &zone, iterations, time::now())),
            Err(why) => {
                eprintln!("Failed to parse calendar specification '{text}': {why}");
                good = false;
            }
        }
    }
    good
}

fn elapses(text: &str, calendar: &Calendar, zone: &TimeZone, iterations: u32, now: u64) -> String {
    let own = calendar.zone().and_then(|name| TimeZone::get(name).ok());
    let zone = own.as_ref().unwrap_or(zone);
    let normal = calendar.to_string();
    let mut told = String::new();
    if normal != text {
        told.push_str(&format!("  Original form: {text}\n"));
    }
    told.push_str(&format!("Normalized form: {normal}\n"));
    let mut after = now;
    for turn in 1..=iterations {
        let Some(next) = calendar.next(after, zone) else {
            if turn == 1 {
                told.push_str("    Next elapse: never\n");
            }
            break;
        };
        let label = if turn == 1 { "Next elapse".to_owned() } else { format!("Iter. #{turn}") };
        told.push_str(&format!("{label:>15}: {}\n", time::moment(next)));
        told.push_str(&format!("       From now: {}\n", time::ago(next, now)));
        after = next;
    }
    told
}

pub(super) fn timespan(spans: &[String]) -> bool {
    let mut good = true;
    for (at, text) in spans.iter().enumerate() {
        if at > 0 {
            println!();
        }
        match unit::timespan::parse(text) {
            Some(usec) => println!("Original: {text}\n      μs: {usec}\n   Human: {}", time::span(usec, 1)),
            None => {
                eprintln!("Failed to parse time span '{text}'.");
                good = false;
            }
        }
    }
    good
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn theirs(args: &[&str]) -> (bool, String) {
        let out = Command::new("systemd-analyze").env("TZ", "UTC").args(args).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned())
    }

    #[test]
    fn times_as_debians_systemd_analyze() {
        for text in ["Mon..Fri *-*-* 10:00", "daily", "*-*-1/5 0/2:30", "2030-02-29", "Sat *-*~1", "hourly"] {
            let (good, said) = theirs(&["calendar", "--iterations=3", text]);
            let calendar = Calendar::parse(text, &|_| false);
            assert_eq!(calendar.is_ok(), good, "{text}");
            let Ok(calendar) = calendar else { continue };
            let ours = elapses(text, &calendar, &TimeZone::UTC, 3, time::now());
            // How long it is until then changes while the test runs.
            let steady = |text: &str| -> Vec<String> {
                text.lines().filter(|line| !line.contains("From now")).map(str::to_owned).collect()
            };
            assert_eq!(steady(&ours), steady(&said), "{text}");
        }
        for text in ["1h 30min 5s", "5.5s", "2 weeks", "1500us", "infinity", "90"] {
            let (_, said) = theirs(&["timespan", text]);
            let human = time::span(unit::timespan::parse(text).unwrap(), 1);
            assert!(said.contains(&format!("Human: {human}\n")), "{human}: {said}");
        }
    }

    #[test]
    fn files_are_checked_by_the_loader() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.service");
        std::fs::write(&file, "[Service]\nFoo=1\nExecStart=/no/such\nType=weird\n").unwrap();
        let wrong = complaints(&file.display().to_string(), &unit::Host::default());
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert!(wrong[0].contains("x.service:2: ") && wrong[0].contains("Foo"), "{wrong:?}");
        assert!(wrong[2].contains("/no/such is not executable"), "{wrong:?}");
        std::fs::write(&file, "[Service]\nExecStart=/bin/sh\n").unwrap();
        assert_eq!(complaints(&file.display().to_string(), &unit::Host::default()), Vec::<String>::new());
        assert!(!verify(&[folder.path().join("none.service").display().to_string()]));
    }
}
