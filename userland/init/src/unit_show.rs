//! `unit-show`: what `systemctl show` would print for the units of a root tree, with no manager running.
//!
//! The same engine loads the same files, so what PID 1 would make of them can be seen, and compared with the real
//! systemd, before anything is booted. Nothing is started and nothing is written.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use unit::{Catalog, Engine, Event, Host, Nowhere, UnitFileState, UnitName, World};

use crate::catalog::Directories;
use crate::dbus::facts;
use crate::dbus::property::{self, Told, text};
use crate::host;

/// Show units of a root tree as systemctl show would, with no manager running
#[derive(Debug, Parser)]
#[command(name = "unit-show", max_term_width = 110)]
struct Options {
    /// The root of the tree
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Only these properties
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    property: Vec<String>,
    /// Empty properties too
    #[arg(short, long)]
    all: bool,
    /// Names of units; without any: all that have a file, except templates
    #[arg(value_name = "UNIT")]
    units: Vec<String>,
}

/// The applet `unit-show`.
pub fn unit_show(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    match show(&options, &mut io::stdout().lock()) {
        Ok(code) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unit-show: cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(options: &Options, out: &mut dyn Write) -> io::Result<ExitCode> {
    let mut tree = Tree::open(&options.root);
    let names = if options.units.is_empty() { tree.names() } else { Vec::new() };
    let mut code = ExitCode::SUCCESS;
    let given = options.units.iter().filter_map(|given| match named(given) {
        Ok(name) => Some(name),
        Err(error) => {
            eprintln!("unit-show: {error}");
            code = ExitCode::FAILURE;
            None
        }
    });
    let names: Vec<UnitName> = given.chain(names).collect();
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let mut wanted = tree.properties(name).0;
        // what PID 1 would write into the journal
        tree.warnings(name).iter().for_each(|warning| eprintln!("{warning}"));
        wanted.retain(|(name, _)| options.property.is_empty() || options.property.iter().any(|p| p == name));
        for (name, value) in wanted {
            for line in text::lines(name, &value) {
                if options.all || !options.property.is_empty() || !line.is_empty() {
                    writeln!(out, "{name}={line}")?;
                }
            }
        }
    }
    out.flush()?;
    Ok(code)
}

/// A unit as typed: `.service` may be left out.
fn named(given: &str) -> Result<UnitName, unit::NameError> {
    UnitName::parse(given).or_else(|error| UnitName::parse(&format!("{given}.service")).map_err(|_| error))
}

/// A root tree, and the units of it that were asked for.
pub struct Tree {
    engine: Engine,
    catalog: Directories,
}

impl Tree {
    /// The tree below this folder.
    #[must_use]
    pub fn open(root: &Path) -> Tree {
        Tree { engine: Engine::new(host::below(root)), catalog: Directories::below(root) }
    }

    /// The same, on another host than this.
    #[must_use]
    pub fn on(host: Host, root: &Path) -> Tree {
        Tree { engine: Engine::new(host), catalog: Directories::below(root) }
    }

    /// Every unit that has a file of its own: no templates, no aliases.
    #[must_use]
    pub fn names(&self) -> Vec<UnitName> {
        let all = self.catalog.list().into_iter();
        let own = all.filter(|(name, state)| !name.is_template() && *state != UnitFileState::Alias);
        own.map(|(name, _)| name).collect()
    }

    /// Loads a unit with all that it names, and tells its properties.
    pub fn properties(&mut self, name: &UnitName) -> Told {
        self.load(name);
        let Some(status) = self.engine.status(name) else { return Told::default() };
        let mut known = facts::of_unit(&status);
        facts::of_unit_file(&self.catalog, &status.definition, &mut known);
        property::tell(&[property::of_type(name.as_str()), property::UNIT], known)
    }

    /// What was found wrong with a unit's files.
    pub fn warnings(&mut self, name: &UnitName) -> Vec<String> {
        self.load(name);
        self.engine.status(name).map_or_else(Vec::new, |status| status.definition.warnings.clone())
    }

    /// Loads a unit, and what it names.
    pub fn load(&mut self, name: &UnitName) {
        let world = World { now: 0, realtime: 0, catalog: &self.catalog, probe: &Nowhere };
        let _ = self.engine.handle(Event::Load { unit: name.clone() }, &world);
    }
}
