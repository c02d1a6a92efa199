//! `systemd-run`: a command as a unit of its own: a service, a scope, or a timer for one (systemd-run(1)).
//!
//! Properties go to the manager as [`assignment`](crate::cli::assignment) reads them; it writes the unit file. The
//! result of a service that is waited for is read from the manager's signals, for the unit may be gone by then.

mod pty;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use clap::Parser;
use wire::{Fds, Message};
use zvariant::{Fd, OwnedObjectPath, OwnedValue, Value};

use crate::cli::assignment::{self, Setting};
use crate::cli::{Client, Trouble};
use crate::dbus::property::{array, strings, structure};
use crate::dbus::{ROOT, SOCKET, path};

const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// Run a command as a service, a scope or by a timer.
#[derive(Debug, Parser)]
#[command(name = "systemd-run", max_term_width = 110)]
struct Options {
    /// A scope: the command runs right here, in a cgroup of its own
    #[arg(long)]
    scope: bool,
    /// The unit's name
    #[arg(short, long, value_name = "UNIT")]
    unit: Option<String>,
    /// A property of the unit: MemoryMax=1G, Nice=5, …
    #[arg(short, long, value_name = "NAME=VALUE")]
    property: Vec<String>,
    /// What it is, for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The slice it is in
    #[arg(long, value_name = "SLICE")]
    slice: Option<String>,
    /// It stays active when the command has ended
    #[arg(short, long)]
    remain_after_exit: bool,
    /// simple, exec, oneshot, notify, forking, …
    #[arg(long, value_name = "TYPE")]
    service_type: Option<String>,
    /// The user it runs as
    #[arg(long, value_name = "USER")]
    uid: Option<String>,
    /// The group it runs as
    #[arg(long, value_name = "GROUP")]
    gid: Option<String>,
    /// How it makes way for others, -20 to 19
    #[arg(long, value_name = "LEVEL", allow_hyphen_values = true)]
    nice: Option<i32>,
    /// Where it runs
    #[arg(long, value_name = "PATH")]
    working_directory: Option<String>,
    /// It runs in this directory
    #[arg(short = 'd', long)]
    same_dir: bool,
    /// A variable, or one of this environment by its name alone
    #[arg(short = 'E', long, value_name = "NAME[=VALUE]")]
    setenv: Vec<String>,
    /// Forget it when it has failed, too
    #[arg(short = 'G', long)]
    collect: bool,
    /// Wait until it has ended, and exit as it did
    #[arg(long)]
    wait: bool,
    /// Its streams are these streams
    #[arg(short = 'P', long)]
    pipe: bool,
    /// A terminal of its own
    #[arg(short = 't', long)]
    pty: bool,
    /// Say nothing of what is done
    #[arg(short, long)]
    quiet: bool,
    /// Do not wait until it is started
    #[arg(long)]
    no_block: bool,
    /// Run it so long after now
    #[arg(long, value_name = "SPAN")]
    on_active: Vec<String>,
    /// Run it so long after the boot
    #[arg(long, value_name = "SPAN")]
    on_boot: Vec<String>,
    /// Run it so long after the manager's start
    #[arg(long, value_name = "SPAN")]
    on_startup: Vec<String>,
    /// Run it so long after it was last started
    #[arg(long, value_name = "SPAN")]
    on_unit_active: Vec<String>,
    /// Run it so long after it last ended
    #[arg(long, value_name = "SPAN")]
    on_unit_inactive: Vec<String>,
    /// Run it at these times
    #[arg(long, value_name = "CALENDAR")]
    on_calendar: Vec<String>,
    /// A property of the timer
    #[arg(long, value_name = "NAME=VALUE")]
    timer_property: Vec<String>,
    /// The system's manager (there is no other)
    #[arg(long)]
    system: bool,
    /// A user's own manager (not here)
    #[arg(long)]
    user: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Usage(String),
    #[error("Failed to start transient unit: {0}")]
    Manager(#[from] Trouble),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<wire::Malformed> for Failed {
    fn from(malformed: wire::Malformed) -> Failed {
        Failed::Manager(malformed.into())
    }
}

/// The applet.
#[must_use]
pub fn systemd_run(args: Vec<OsString>) -> ExitCode {
    let options: Options = match super::parse(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(&options) {
        Ok(code) => code,
        Err(why) => super::fail("systemd-run", why),
    }
}

fn run(options: &Options) -> Result<ExitCode, Failed> {
    if options.user {
        return Err(Failed::Usage(
            "--user: users have no managers of their own here; --uid=USER runs the command as one".into(),
        ));
    }
    if options.pty && options.pipe {
        return Err(Failed::Usage("--pty or --pipe: the streams are a terminal or these streams".into()));
    }
    let triggers = triggers(options)?;
    let here = options.wait || options.pipe || options.pty;
    if options.scope && (!triggers.is_empty() || here) {
        return Err(Failed::Usage(
            "--scope runs the command right here: without a timer, --wait, --pipe or --pty".into(),
        ));
    }
    if !triggers.is_empty() && here {
        return Err(Failed::Usage("--wait, --pipe and --pty are not for what a timer runs later".into()));
    }
    let mut client = Client::connect(Path::new(SOCKET))?;
    match (options.scope, triggers.is_empty()) {
        (true, _) => scope(options, &mut client),
        (false, false) => timer(options, triggers, &mut client),
        (false, true) => service(options, &mut client),
    }
}

/// A setting of this value.
fn set(name: &str, value: impl Into<Value<'static>>) -> Result<Setting, Failed> {
    let value =
        OwnedValue::try_from(value.into()).map_err(|error| Failed::Usage(format!("{name}: {error}")))?;
    Ok((name.to_owned(), value))
}

fn unit_name(options: &Options, kind: &str) -> String {
    let stem = options.unit.clone().unwrap_or_else(|| {
        let random = wire::guid();
        format!("run-r{random}")
    });
    let known = stem.rsplit_once('.').filter(|(_, ending)| unit::UnitType::parse(ending).is_some());
    format!("{}.{kind}", known.map_or(stem.as_str(), |(stem, _)| stem))
}

fn parsed(assignments: &[String]) -> Result<Vec<Setting>, Failed> {
    let all: Result<Vec<Vec<Setting>>, String> =
        assignments.iter().map(|text| assignment::parse(text)).collect();
    Ok(all.map_err(Failed::Usage)?.into_iter().flatten().collect())
}

/// What services and scopes have in common.
fn common(options: &Options) -> Result<Vec<Setting>, Failed> {
    let description = options.description.clone().unwrap_or_else(|| options.command.join(" "));
    let mut settings = vec![set("Description", description)?];
    if let Some(slice) = &options.slice {
        let slice = if slice.ends_with(".slice") { slice.clone() } else { format!("{slice}.slice") };
        settings.push(set("Slice", slice)?);
    }
    if options.collect {
        settings.push(set("CollectMode", "inactive-or-failed")?);
    }
    settings.extend(parsed(&options.property)?);
    Ok(settings)
}

/// What a service is made of.
fn service_settings(options: &Options) -> Result<Vec<Setting>, Failed> {
    let mut settings = common(options)?;
    let program = find(options.command.first().map_or("", String::as_str))?;
    settings.push(set("ExecStart", assignment::commands([(program, options.command.clone(), false)]))?);
    let texts = [("Type", &options.service_type), ("User", &options.uid), ("Group", &options.gid)];
    for (name, text) in texts {
        if let Some(text) = text {
            settings.push(set(name, text.clone())?);
        }
    }
    if options.remain_after_exit {
        settings.push(set("RemainAfterExit", true)?);
    }
    if let Some(nice) = options.nice {
        settings.push(set("Nice", nice)?);
    }
    let here = options.same_dir.then(std::env::current_dir).transpose()?;
    let folder =
        options.working_directory.clone().or_else(|| here.map(|here| here.to_string_lossy().into_owned()));
    if let Some(folder) = folder {
        settings.push(set("WorkingDirectory", folder)?);
    }
    let mut variables = Vec::new();
    for text in &options.setenv {
        match (text.contains('='), std::env::var(text)) {
            (true, _) => variables.push(text.clone()),
            (false, Ok(value)) => variables.push(format!("{text}={value}")),
            (false, Err(_)) => {
                return Err(Failed::Usage(format!("--setenv={text}: there is no such variable")));
            }
        }
    }
    if let (true, Ok(kind)) = (options.pty, std::env::var("TERM")) {
        variables.push(format!("TERM={kind}"));
    }
    if !variables.is_empty() {
        settings.push(set("Environment", strings(variables))?);
    }
    Ok(settings)
}

/// A program by its path, or where `$PATH` has it.
fn find(name: &str) -> Result<String, Failed> {
    if name.contains('/') {
        let path = std::path::absolute(name)?;
        return Ok(path.to_string_lossy().into_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    let missing = || Failed::Usage(format!("Failed to find executable {name}: No such file or directory"));
    found.map(|path| path.to_string_lossy().into_owned()).ok_or_else(missing)
}

/// When a timer starts the service.
fn triggers(options: &Options) -> Result<Vec<Setting>, Failed> {
    let spans = [
        ("OnActiveUSec", &options.on_active),
        ("OnBootUSec", &options.on_boot),
        ("OnStartupUSec", &options.on_startup),
        ("OnUnitActiveUSec", &options.on_unit_active),
        ("OnUnitInactiveUSec", &options.on_unit_inactive),
    ];
    let mut monotonic = Vec::new();
    for (base, texts) in spans {
        for text in texts {
            let wrong = || Failed::Usage(format!("Failed to parse timer value: {text}"));
            let usec = assignment::span(text).ok_or_else(wrong)?;
            monotonic.push(structure([base.into(), usec.into()]));
        }
    }
    let mut settings = Vec::new();
    if !monotonic.is_empty() {
        settings.push(set("TimersMonotonic", array("(st)", monotonic))?);
    }
    if !options.on_calendar.is_empty() {
        let times =
            options.on_calendar.iter().map(|text| structure(["OnCalendar".into(), text.clone().into()]));
        settings.push(set("TimersCalendar", array("(ss)", times))?);
    }
    Ok(settings)
}

type Auxiliary = Vec<(String, Vec<Setting>)>;

/// Has the manager make and start the unit; its job.
fn start(
    client: &mut Client,
    name: &str,
    settings: &[Setting],
    auxiliary: &Auxiliary,
    fds: Fds,
) -> Result<OwnedObjectPath, Failed> {
    let mut call =
        Message::call(ROOT, MANAGER, "StartTransientUnit").with(&(name, "fail", settings, auxiliary))?;
    call.fds = fds;
    Ok(client.call(call)?)
}

/// Waits for a job; false: it failed.
fn finished(client: &mut Client, job: &OwnedObjectPath) -> Result<bool, Failed> {
    loop {
        let signal = client.signal()?;
        if signal.member == "JobRemoved" {
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) = signal.body()?;
            if path == *job {
                return Ok(matches!(result.as_str(), "done" | "skipped"));
            }
        }
    }
}

fn say(options: &Options, text: &str) {
    if !options.quiet {
        eprintln!("{text}");
    }
}

fn scope(options: &Options, client: &mut Client) -> Result<ExitCode, Failed> {
    let name = unit_name(options, "scope");
    let mut settings = common(options)?;
    settings.push(set("PIDs", array("u", [std::process::id().into()]))?);
    let job = start(client, &name, &settings, &Vec::new(), Fds::default())?;
    if !finished(client, &job)? {
        return Err(Failed::Usage(format!("{name} could not be started.")));
    }
    say(options, &format!("Running scope as unit: {name}"));
    let Some((program, arguments)) = options.command.split_first() else { return Ok(ExitCode::FAILURE) };
    let mut command = Command::new(program);
    command.args(arguments);
    for text in &options.setenv {
        if let Some((name, value)) = text.split_once('=') {
            command.env(name, value);
        }
    }
    if let Some(uid) = options.uid.as_deref().and_then(|uid| uid.parse().ok()) {
        command.uid(uid);
    }
    if let Some(gid) = options.gid.as_deref().and_then(|gid| gid.parse().ok()) {
        command.gid(gid);
    }
    // Comes back only if it fails.
    Err(command.exec().into())
}

fn timer(options: &Options, triggers: Vec<Setting>, client: &mut Client) -> Result<ExitCode, Failed> {
    let (name, service) = (unit_name(options, "timer"), unit_name(options, "service"));
    let mut settings =
        common(&Options { property: Vec::new(), ..Options::parse_from(["systemd-run", "x"]) })?;
    settings.retain(|(name, _)| name != "Description");
    settings
        .push(set("Description", options.description.clone().unwrap_or_else(|| options.command.join(" ")))?);
    settings.push(set("RemainAfterElapse", false)?);
    settings.extend(triggers);
    settings.extend(parsed(&options.timer_property)?);
    let auxiliary = vec![(service.clone(), service_settings(options)?)];
    let job = start(client, &name, &settings, &auxiliary, Fds::default())?;
    if !options.no_block && !finished(client, &job)? {
        return Err(Failed::Usage(format!("{name} could not be started.")));
    }
    say(options, &format!("Running timer as unit: {name}\nWill run service as unit: {service}"));
    Ok(ExitCode::SUCCESS)
}

fn service(options: &Options, client: &mut Client) -> Result<ExitCode, Failed> {
    let name = unit_name(options, "service");
    let mut settings = service_settings(options)?;
    let mut streams: Vec<OwnedFd> = Vec::new();
    if options.pipe {
        streams = vec![
            std::io::stdin().as_fd().try_clone_to_owned()?,
            std::io::stdout().as_fd().try_clone_to_owned()?,
            std::io::stderr().as_fd().try_clone_to_owned()?,
        ];
        let names =
            ["StandardInputFileDescriptor", "StandardOutputFileDescriptor", "StandardErrorFileDescriptor"];
        for (stream, name) in streams.iter().zip(names) {
            let value = OwnedValue::try_from(Value::Fd(Fd::from(stream.try_clone()?)));
            settings.push((name.to_owned(), value.map_err(|error| Failed::Usage(error.to_string()))?));
        }
    }
    let terminal = options.pty.then(pty::Terminal::open).transpose()?;
    if let Some(terminal) = &terminal {
        settings.push(set("TTYPath", terminal.path.clone())?);
        for stream in ["StandardInput", "StandardOutput", "StandardError"] {
            settings.push(set(stream, "tty")?);
        }
    }
    let job = start(client, &name, &settings, &Vec::new(), Fds::new(streams))?;
    let forwarding = terminal.map(pty::Terminal::forward).transpose()?;
    let mut seen = Seen::default();
    let waits = options.wait || options.pipe || options.pty;
    if !options.no_block || waits {
        say(options, &format!("Running as unit: {name}"));
        let object = path::of_unit(&name);
        loop {
            let signal = client.signal()?;
            match signal.member.as_str() {
                "JobRemoved" => {
                    let (_, path, _, result): (u32, OwnedObjectPath, String, String) = signal.body()?;
                    let well = matches!(result.as_str(), "done" | "skipped");
                    if path == job && !well && !waits {
                        return Err(Failed::Usage(format!("Job for {name} failed: {result}")));
                    }
                    if path == job && !waits {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
                "PropertiesChanged" if signal.path == object => seen.take(&signal)?,
                _ => {}
            }
            if waits && seen.is_over() {
                break;
            }
        }
        if let Some(forwarding) = forwarding {
            forwarding.finish();
        }
        if options.wait && !options.quiet {
            say(options, &format!("Finished with result: {}", seen.result));
        }
        return Ok(ExitCode::from(seen.code()));
    }
    say(options, &format!("Running as unit: {name}"));
    Ok(ExitCode::SUCCESS)
}

/// What the signals have said of the service so far.
#[derive(Debug, Default)]
struct Seen {
    active: String,
    result: String,
    started: bool,
    code: i32,
    status: i32,
}

impl Seen {
    fn take(&mut self, signal: &Message) -> Result<(), Failed> {
        let (_, changed, _): (String, HashMap<String, OwnedValue>, Vec<String>) = signal.body()?;
        for (name, value) in &changed {
            match (name.as_str(), &**value) {
                ("ActiveState", Value::Str(state)) => self.active = state.to_string(),
                ("Result", Value::Str(result)) => self.result = result.to_string(),
                ("ExecMainCode", Value::I32(code)) => self.code = *code,
                ("ExecMainStatus", Value::I32(status)) => self.status = *status,
                _ => {}
            }
        }
        self.started |= !matches!(self.active.as_str(), "" | "inactive");
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.started && matches!(self.active.as_str(), "inactive" | "failed")
    }

    /// As the main process ended; 255 if it was killed.
    fn code(&self) -> u8 {
        match (self.result.as_str(), self.code) {
            (_, 1) => u8::try_from(self.status).unwrap_or(1),
            ("success", _) => 0,
            _ => 255,
        }
    }
}
