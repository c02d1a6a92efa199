//! `update_engine_client`: what CoreOS's operators ask, by its flags, with one dash or two.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use http_client::Url;
use update_engine::install::{Terms, install};
use update_engine::record::{self, Record};
use update_engine::{status, trial};
use wire::Message;

use crate::bus::{INTERFACE, NAME, PATH};
use crate::configuration::{Configuration, FILES};
use crate::download::{Download, Patience};
use crate::engine::Status;
use crate::peer::{self, BusError, Peer};
use crate::work;

/// Ask and steer the update engine, and install a release
#[derive(Parser)]
#[command(name = "update_engine_client", version)]
#[command(group = clap::ArgGroup::new("verb").required(true))]
struct Arguments {
    /// Print the status; for root, also that of the slots
    #[arg(long, group = "verb")]
    status: bool,
    /// Make the engine ask its server now, and do not wait
    #[arg(long = "check_for_update", group = "verb")]
    check_for_update: bool,
    /// Make the engine ask its server now, and wait until what it offers is installed
    #[arg(long, group = "verb")]
    update: bool,
    /// Print the status each time it changes
    #[arg(long = "watch_for_updates", group = "verb")]
    watch_for_updates: bool,
    /// Take back the release that waits for a reboot
    #[arg(long = "reset_status", group = "verb")]
    reset_status: bool,
    /// Install the release in this file or at this URL; the next boot is into it
    #[arg(long, value_name = "FILE|URL", group = "verb")]
    payload: Option<String>,
    /// Boot the other slot next, if it is good; the running release is not installed again by itself
    #[arg(long, group = "verb")]
    rollback: bool,
    /// Ask this server
    #[arg(long = "omaha_url", value_name = "URL")]
    omaha_url: Option<String>,
    /// Ask as if this version ran
    #[arg(long = "app_version", value_name = "VERSION")]
    app_version: Option<String>,
    /// Install a release even if it has failed on this machine
    #[arg(long = "force_update", alias = "force-update")]
    force_update: bool,
    /// Install a release even if it is older than what runs
    #[arg(long = "allow-downgrade", alias = "allow_downgrade", conflicts_with_all = ["update", "check_for_update"])]
    allow_downgrade: bool,
    /// The system bus
    #[arg(long, value_name = "SOCKET", default_value = peer::BUS, hide = true)]
    bus: PathBuf,
}

/// The applet.
pub fn update_engine_client(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args.into_iter().map(two_dashes)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("update_engine_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The original takes its flags with one dash or two.
fn two_dashes(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
            format!("-{text}").into()
        }
        _ => argument,
    }
}

type Failed = Box<dyn std::error::Error>;

fn run(arguments: &Arguments) -> Result<(), Failed> {
    if let Some(payload) = &arguments.payload {
        return install_payload(payload, arguments);
    }
    if arguments.rollback {
        let slot = trial::roll_back(Path::new(record::FOLDER))?;
        println!("Slot {slot} is booted next; reboot to change over to it.");
        return Ok(());
    }
    if arguments.status {
        return print_status(&arguments.bus);
    }
    let mut peer = Peer::connect(&arguments.bus).map_err(without_engine)?;
    if arguments.reset_status {
        peer.call(method("ResetStatus"))?;
        return Ok(());
    }
    let rule = format!("type='signal',interface='{INTERFACE}',member='StatusUpdate'");
    peer.driver("AddMatch", |call| call.with(&rule.as_str()))?;
    if arguments.watch_for_updates {
        loop {
            print!("{}", next_status(&mut peer)?.lines());
            io::stdout().flush()?;
        }
    }
    attempt(&mut peer, arguments).map_err(without_engine)?;
    if arguments.check_for_update {
        println!("The engine asks its server; -status tells what comes of it.");
        return Ok(());
    }
    follow(&mut peer)
}

/// An engine that does not run can be made to.
fn without_engine(error: BusError) -> Failed {
    match &error {
        BusError::Refused { name, .. }
            if name.ends_with(".ServiceUnknown") || name.ends_with(".NameHasNoOwner") =>
        {
            let file = FILES[1];
            format!("update-engine.service does not run: it starts when {file} names a server (SERVER=)")
                .into()
        }
        _ => error.into(),
    }
}

fn method(member: &str) -> Message {
    Message::call(PATH, INTERFACE, member).to(NAME)
}

fn attempt(peer: &mut Peer, arguments: &Arguments) -> Result<(), BusError> {
    let plain = arguments.app_version.is_none() && arguments.omaha_url.is_none() && !arguments.force_update;
    let call = if plain {
        method("AttemptUpdate")
    } else {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        method("AttemptUpdateFrom").with(&(
            text(&arguments.app_version).as_str(),
            text(&arguments.omaha_url).as_str(),
            arguments.force_update,
        ))?
    };
    peer.call(call).map(drop)
}

/// What `GetStatus` and `StatusUpdate` tell.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    last_checked: i64,
    progress: f64,
    operation: String,
    version: String,
    size: i64,
}

impl Shown {
    fn read(message: &Message) -> Result<Shown, BusError> {
        let (last_checked, progress, operation, version, size) =
            message.body::<(i64, f64, String, String, i64)>()?;
        Ok(Shown { last_checked, progress, operation, version, size })
    }

    fn is(&self, status: Status) -> bool {
        self.operation == status.name()
    }

    fn lines(&self) -> String {
        format!(
            "LAST_CHECKED_TIME={}\nPROGRESS={:.6}\nCURRENT_OP={}\nNEW_VERSION={}\nNEW_SIZE={}\n",
            self.last_checked, self.progress, self.operation, self.version, self.size
        )
    }
}

fn print_status(bus: &Path) -> Result<(), Failed> {
    let asked = Peer::connect(bus).and_then(|mut peer| Shown::read(&peer.call(method("GetStatus"))?));
    let shown = asked.unwrap_or_else(|_| {
        // No engine runs: nothing is being done.
        let last_checked = Record::read(Path::new(record::FOLDER)).last_checked;
        Shown {
            last_checked: i64::try_from(last_checked).unwrap_or(i64::MAX),
            progress: 0.0,
            operation: Status::Idle.name().to_owned(),
            version: String::new(),
            size: 0,
        }
    });
    print!("{}{}", shown.lines(), status::booted()?);
    if rustix::process::geteuid().is_root() {
        print!("{}", status::slots()?);
    }
    Ok(())
}

fn next_status(peer: &mut Peer) -> Result<Shown, BusError> {
    loop {
        if let Some(message) = peer.next(None, &[])?
            && message.member == "StatusUpdate"
        {
            return Shown::read(&message);
        }
    }
}

/// Until the engine is at rest again.
fn follow(peer: &mut Peer) -> Result<(), Failed> {
    let mut bar = Bar::default();
    let mut began = false;
    loop {
        let shown = next_status(peer)?;
        if shown.is(Status::UpdatedNeedReboot) && began {
            bar.end();
            println!("Release {} is installed; reboot to change over to it.", shown.version);
            return Ok(());
        }
        if shown.is(Status::Idle) && began {
            bar.end();
            let trouble: String = peer.call(method("GetTrouble"))?.body()?;
            if trouble.is_empty() {
                println!("There is no update.");
                return Ok(());
            }
            return Err(trouble.into());
        }
        began = true;
        if shown.is(Status::Downloading) {
            bar.show(&shown.version, shown.progress);
        }
    }
}

fn install_payload(payload: &str, arguments: &Arguments) -> Result<(), Failed> {
    let terms =
        Terms { downgrade: arguments.allow_downgrade, even_failed: arguments.force_update, announced: None };
    let mut bar = Bar::default();
    let mut progress = |done: u64, all: u64| {
        bar.show("", if all == 0 { 1.0 } else { done as f64 / all as f64 });
    };
    let installed = if payload.starts_with("http://") || payload.starts_with("https://") {
        let configuration = Configuration::read(&FILES)?;
        let http = work::client(&configuration)?;
        let download = Download::new(http, vec![Url::parse(payload)?], None, Patience::default())?;
        install(download, &terms, &mut progress)
    } else {
        let file = File::open(payload).map_err(|error| format!("{payload}: {error}"))?;
        install(file, &terms, &mut progress)
    };
    bar.end();
    let (version, slot) = installed?;
    println!("Release {version} is in slot {slot}; reboot to change over to it.");
    Ok(())
}

/// A bar at the terminal; nothing elsewhere.
#[derive(Default)]
struct Bar {
    shown: Option<u8>,
}

impl Bar {
    fn show(&mut self, version: &str, progress: f64) {
        let percent = (progress.clamp(0.0, 1.0) * 100.0) as u8;
        if self.shown != Some(percent) && io::stderr().is_terminal() {
            self.shown = Some(percent);
            let _ = write!(io::stderr(), "\r{}", bar(version, percent));
        }
    }

    fn end(&mut self) {
        if self.shown.take().is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}

fn bar(version: &str, percent: u8) -> String {
    const WIDTH: usize = 40;
    let full = usize::from(percent) * WIDTH / 100;
    let name = if version.is_empty() { String::new() } else { format!(" {version}") };
    format!("Installing{name} [{}{}] {percent:>3} %", "#".repeat(full), " ".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = line.split_whitespace().map(|word| two_dashes(word.into()));
        Arguments::try_parse_from(words)
    }

    #[test]
    fn the_flags_are_the_originals() {
        assert!(parse("update_engine_client -status").unwrap().status);
        assert!(parse("update_engine_client --status").unwrap().status);
        assert!(parse("update_engine_client -check_for_update").unwrap().check_for_update);
        let update =
            parse("update_engine_client -update -omaha_url=https://a/ -app_version 1.2 -force_update")
                .unwrap();
        assert_eq!(update.omaha_url.as_deref(), Some("https://a/"));
        assert_eq!((update.app_version.as_deref(), update.force_update), (Some("1.2"), true));
        let payload = parse("update_engine_client -payload a --allow-downgrade").unwrap();
        assert_eq!((payload.payload.as_deref(), payload.allow_downgrade), (Some("a"), true));
        for bad in ["", " -status -update", " -nonsense", " -update --allow-downgrade"] {
            assert!(parse(&format!("update_engine_client{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_status_is_in_the_originals_lines() {
        let shown = Shown {
            last_checked: 1_400_000_000,
            progress: 0.5,
            operation: "UPDATE_STATUS_DOWNLOADING".to_owned(),
            version: "1.2".to_owned(),
            size: 99,
        };
        assert_eq!(
            shown.lines(),
            "LAST_CHECKED_TIME=1400000000\nPROGRESS=0.500000\nCURRENT_OP=UPDATE_STATUS_DOWNLOADING\nNEW_VERSION=1.2\nNEW_SIZE=99\n"
        );
        assert_eq!(bar("2", 50).matches('#').count(), 20);
        assert_eq!(bar("2", 100).chars().count(), bar("2", 0).chars().count());
    }
}
