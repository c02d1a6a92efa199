//! `systemctl`, and `reboot`, `poweroff`, `halt`, `shutdown`: the manager's client.
//!
//! The story: [`options`] reads the command line; the verb is looked up in one table; each verb is a function over
//! a [`Session`] (a [`client`] and where to write), one kind of verb a file. Words, columns and exit codes are those
//! of systemctl(1), so that scripts and fingers need not learn anew. Everybody reads; what changes things needs
//! root, and the refusal says so.

pub(crate) mod assignment;
mod cat;
mod client;
mod colour;
mod dependencies;
mod edit;
mod files;
mod job;
mod list;
mod names;
mod options;
mod power;
pub(crate) mod properties;
mod runtime;
mod show;
mod state;
mod status;
mod system;
mod table;
pub(crate) mod time;
mod triggers;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

pub use client::{Client, Trouble};
pub(crate) use names::{Line, mangle};
use options::Options;
pub(crate) use status::Tree;

use crate::dbus::SOCKET;

/// A verb at work.
pub struct Session<'a> {
    client: Client,
    options: Options,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

/// What a verb comes to: an exit code.
type Outcome = Result<u8, Trouble>;

/// A verb.
struct Verb {
    name: &'static str,
    /// What follows it, for the help.
    takes: &'static str,
    about: &'static str,
    run: fn(&mut Session<'_>, &[String]) -> Outcome,
}

const fn verb(
    name: &'static str,
    takes: &'static str,
    about: &'static str,
    run: fn(&mut Session<'_>, &[String]) -> Outcome,
) -> Verb {
    Verb { name, takes, about, run }
}

/// Every verb, in the order of the help.
const VERBS: &[Verb] = &[
    verb("list-units", "[PATTERN…]", "List units in memory", list::units),
    verb("list-sockets", "[PATTERN…]", "List sockets in memory, by address", triggers::sockets),
    verb("list-timers", "[PATTERN…]", "List timers in memory, by next time", triggers::timers),
    verb("list-automounts", "[PATTERN…]", "List automounts in memory, by path", triggers::automounts),
    verb("list-paths", "[PATTERN…]", "List path units in memory, by path", triggers::paths),
    verb("list-unit-files", "[PATTERN…]", "List installed unit files and their state", list::unit_files),
    verb(
        "list-dependencies",
        "[UNIT…]",
        "Show what a unit needs, as a tree",
        dependencies::list_dependencies,
    ),
    verb("list-jobs", "", "List jobs under way", list::jobs),
    verb("status", "[UNIT|PID…]", "Show the state of a unit and its last log lines", status::status),
    verb("show", "[UNIT…]", "Show properties, for programs to read", show::show),
    verb("cat", "UNIT…", "Show the files a unit is made of", cat::cat),
    verb("is-active", "UNIT…", "Check whether units are active", state::is_active),
    verb("is-failed", "UNIT…", "Check whether units have failed", state::is_failed),
    verb("is-enabled", "UNIT…", "Check whether unit files are enabled", state::is_enabled),
    verb("is-system-running", "", "Check whether the system is up", state::is_system_running),
    verb("start", "UNIT…", "Start units", job::start),
    verb("stop", "UNIT…", "Stop units", job::stop),
    verb("restart", "UNIT…", "Stop, then start units", job::restart),
    verb("try-restart", "UNIT…", "Restart units if they are active", job::try_restart),
    verb("reload", "UNIT…", "Have units read their configuration again", job::reload),
    verb("reload-or-restart", "UNIT…", "Reload units that can, restart the others", job::reload_or_restart),
    verb("try-reload-or-restart", "UNIT…", "The same, but only of active units", job::reload_or_try_restart),
    verb("force-reload", "UNIT…", "The same as reload-or-restart", job::reload_or_restart),
    verb("condrestart", "UNIT…", "The same as try-restart", job::try_restart),
    verb("isolate", "UNIT", "Start a unit and stop all others", job::isolate),
    verb("kill", "UNIT…", "Send a signal to a unit's processes", job::kill),
    verb("freeze", "UNIT…", "Stop the processes of units where they are", runtime::freeze),
    verb("thaw", "UNIT…", "Let frozen units go on", runtime::thaw),
    verb("clean", "UNIT…", "Remove directories of units that are down", runtime::clean),
    verb("set-property", "UNIT NAME=VALUE…", "Set resource limits of a unit", runtime::set_property),
    verb("reset-failed", "[UNIT…]", "Forget that units failed", job::reset_failed),
    verb("cancel", "[JOB…]", "Cancel jobs", job::cancel),
    verb("enable", "UNIT…", "Start units at boot", files::enable),
    verb("disable", "UNIT…", "Do not start units at boot", files::disable),
    verb("reenable", "UNIT…", "Disable, then enable units", files::reenable),
    verb("preset", "UNIT…", "Enable or disable units as the image says", files::preset),
    verb("preset-all", "", "The same for all units", files::preset_all),
    verb("mask", "UNIT…", "Make it impossible to start units", files::mask),
    verb("unmask", "UNIT…", "Undo mask", files::unmask),
    verb("revert", "UNIT…", "Return to the image's version of units", files::revert),
    verb("link", "PATH…", "Make unit files elsewhere known", files::link),
    verb("add-wants", "TARGET UNIT…", "Have a target want units", files::add_wants),
    verb("add-requires", "TARGET UNIT…", "Have a target require units", files::add_requires),
    verb("edit", "UNIT…", "Edit a drop-in (--full: the file) of units", edit::edit),
    verb("daemon-reload", "", "Read all unit files again", system::daemon_reload),
    verb("daemon-reexec", "", "Execute the manager anew", system::daemon_reexec),
    verb("get-default", "", "Show the target that is booted into", system::get_default),
    verb("set-default", "TARGET", "Set it", system::set_default),
    verb("show-environment", "", "Show the variables that services inherit", system::show_environment),
    verb("set-environment", "NAME=VALUE…", "Set some", system::set_environment),
    verb("unset-environment", "NAME…", "Remove some", system::unset_environment),
    verb("import-environment", "[NAME…]", "Set them as they are here", system::import_environment),
    verb("log-level", "[LEVEL]", "Show, or set, what the manager logs", system::log_level),
    verb("log-target", "", "Show where the manager logs to", system::log_target),
    verb("service-watchdogs", "", "Show whether watchdogs of services are minded", system::service_watchdogs),
    verb("poweroff", "", "Stop everything and power off", power::poweroff),
    verb("reboot", "", "Stop everything and reboot", power::reboot),
    verb("halt", "", "Stop everything and halt", power::halt),
    verb("kexec", "", "Refused: there is no kernel to go to", runtime::refused),
    verb("suspend", "", "Refused: this system does not sleep", runtime::refused),
    verb("hibernate", "", "Refused as well", runtime::refused),
    verb("hybrid-sleep", "", "Refused as well", runtime::refused),
    verb("suspend-then-hibernate", "", "Refused as well", runtime::refused),
    verb("switch-root", "", "Refused: updates are booted into", runtime::refused),
    verb("exit", "", "Refused: use poweroff", runtime::refused),
    verb("bind", "UNIT PATH…", "Refused: use BindPaths=", runtime::refused),
    verb("mount-image", "UNIT PATH…", "Refused as well", runtime::refused),
    verb("emergency", "", "Go to emergency.target", job::emergency),
    verb("default", "", "Go to default.target", job::default),
    verb("rescue", "", "Go to rescue.target", job::rescue),
];

/// The applet `systemctl`.
pub fn systemctl(args: Vec<OsString>) -> ExitCode {
    run(args, None)
}

/// The applet `reboot`.
pub fn reboot(args: Vec<OsString>) -> ExitCode {
    run(args, Some("reboot"))
}

/// The applet `poweroff`.
pub fn poweroff(args: Vec<OsString>) -> ExitCode {
    run(args, Some("poweroff"))
}

/// The applet `halt`.
pub fn halt(args: Vec<OsString>) -> ExitCode {
    run(args, Some("halt"))
}

/// The applet `shutdown`: `-h`, `-P` (as without) power off, `-r` reboots, `-H` halts; the time must be now.
pub fn shutdown(args: Vec<OsString>) -> ExitCode {
    let arguments = match options::Shutdown::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(complaint) => return complain(&complaint),
    };
    if !matches!(arguments.time.as_deref(), None | Some("now" | "+0")) {
        eprintln!("shutdown: only \"now\" is understood as the time");
        return ExitCode::FAILURE;
    }
    let verb = match (arguments.reboot, arguments.halt) {
        (true, _) => "reboot",
        (_, true) => "halt",
        _ => "poweroff",
    };
    run(vec!["shutdown".into()], Some(verb))
}

fn complain(complaint: &clap::Error) -> ExitCode {
    let _ = complaint.print();
    if complaint.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run(args: Vec<OsString>, verb: Option<&'static str>) -> ExitCode {
    let mut options = match Options::parse_from_arguments(args, verb) {
        Ok(options) => options,
        Err(complaint) => return complain(&complaint),
    };
    if let Some(verb) = verb {
        options.command = Some(verb.into());
    }
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    options.colour = colour::wanted();
    let code = execute(options, Path::new(SOCKET), &mut out, &mut err);
    let _ = out.flush();
    ExitCode::from(code)
}

/// Runs a command line against a socket.
fn execute(options: Options, socket: &Path, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let name = options.command.clone().unwrap_or_else(|| "list-units".into());
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        let _ = writeln!(err, "Unknown command verb {name}. Try: systemctl --help");
        return 1;
    };
    if !verb.takes.is_empty() && !verb.takes.starts_with('[') && options.units.is_empty() {
        let _ = writeln!(err, "Too few arguments: systemctl {} {}", verb.name, verb.takes);
        return 1;
    }
    let units = options.units.clone();
    let outcome = Client::connect(socket).and_then(|client| {
        let mut session = Session { client, options, out, err };
        (verb.run)(&mut session, &units)
    });
    match outcome {
        Ok(code) => code,
        Err(trouble) if trouble.name() == "org.freedesktop.DBus.Error.AccessDenied" => {
            let _ = writeln!(
                err,
                "Access denied: {name} needs root. Use: sudo systemctl {name} {}",
                units.join(" ")
            );
            1
        }
        // A reader that has seen enough (`| head`) is no error.
        Err(Trouble::Lost(lost)) if lost.kind() == std::io::ErrorKind::BrokenPipe => 1,
        Err(trouble) => {
            let _ = writeln!(err, "{trouble}");
            1
        }
    }
}

impl Session<'_> {
    /// A line on the output.
    fn say(&mut self, text: &str) -> Result<(), Trouble> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// A complaint, unless quiet.
    fn complain(&mut self, text: &str) {
        if !self.options.quiet {
            let _ = writeln!(self.err, "{text}");
        }
    }
}

#[cfg(test)]
mod tests;
