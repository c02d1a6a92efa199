//! The command line, as systemctl(1) has it.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser};

/// Control services and look after the machine.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "systemctl", disable_help_subcommand = true, max_term_width = 110)]
pub struct Options {
    /// What to do; see below. Without it: list-units
    pub command: Option<String>,
    /// Names of units; `.service` may be left out, shell patterns match units in memory
    #[arg(value_name = "UNIT")]
    pub units: Vec<String>,
    /// Only units of these types (service, mount, target, …)
    #[arg(short = 't', long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Only units in these states (load, active or sub state; of unit files: their state)
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Only failed units
    #[arg(long)]
    pub failed: bool,
    /// Inactive units and empty properties too
    #[arg(short, long)]
    pub all: bool,
    /// Only these properties
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    pub property: Vec<String>,
    /// Only this property's value: -p NAME --value
    #[arg(short = 'P', value_name = "NAME", value_delimiter = ',')]
    pub property_value: Vec<String>,
    /// Print values without names
    #[arg(long)]
    pub value: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// No headings and no closing lines
    #[arg(long)]
    pub no_legend: bool,
    /// A list, no dots and no tree
    #[arg(long)]
    pub plain: bool,
    /// Do not wait until it is done
    #[arg(long)]
    pub no_block: bool,
    /// Enable and start, or disable and stop
    #[arg(long)]
    pub now: bool,
    /// Until the next reboot only
    #[arg(long)]
    pub runtime: bool,
    /// Replace links that are in the way; with power verbs: do not stop units
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub force: u8,
    /// How to get along with queued jobs: replace, fail, isolate, …
    #[arg(long, value_name = "MODE")]
    pub job_mode: Option<String>,
    /// The signal that kill sends
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM")]
    pub signal: String,
    /// Whom kill means: all, main or control
    #[arg(long, alias = "kill-who", value_name = "WHOM", default_value = "all")]
    pub kill_whom: String,
    /// How many log lines status shows
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub lines: u32,
    /// Format of those lines
    #[arg(short, long, value_name = "FORMAT", default_value = "short")]
    pub output: String,
    /// Show whole lines (they always are); with edit: the whole file
    #[arg(short = 'l', long)]
    pub full: bool,
    /// With edit: the name of the drop-in
    #[arg(long, value_name = "NAME", default_value = "override.conf")]
    pub drop_in: String,
    /// With clean: what to remove (runtime, state, cache, logs, configuration, all)
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub what: Vec<String>,
    /// With preset and preset-all: full, enable-only, disable-only
    #[arg(long, value_name = "MODE", default_value = "full")]
    pub preset_mode: String,
    /// No pager (there never is one)
    #[arg(long)]
    pub no_pager: bool,
    /// What needs this unit, in list-dependencies
    #[arg(long)]
    pub reverse: bool,
    /// The system's manager (there is no other)
    #[arg(long)]
    pub system: bool,
    /// The output is a terminal that shows colours.
    #[arg(skip)]
    pub colour: bool,
}

impl Options {
    /// Reads a command line. For `reboot` and its like, `verb` is fixed.
    pub fn parse_from_arguments(
        args: Vec<OsString>,
        verb: Option<&'static str>,
    ) -> Result<Options, clap::Error> {
        let verbs =
            super::VERBS.iter().map(|verb| format!("  {:<23}{:<12} {}", verb.name, verb.takes, verb.about));
        let command =
            Options::command().after_help(format!("Commands:\n{}", verbs.collect::<Vec<_>>().join("\n")));
        let command = match verb {
            Some(verb) => command.name(verb),
            None => command,
        };
        Options::from_arg_matches(&command.try_get_matches_from(args)?)
    }
}

/// Stop everything and power off.
#[derive(Debug, Parser)]
#[command(name = "shutdown", disable_help_flag = true)]
pub struct Shutdown {
    /// Show this help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
    /// Power off (what happens anyway)
    #[arg(short = 'h', short_alias = 'P', long = "poweroff")]
    pub poweroff: bool,
    /// Reboot
    #[arg(short, long)]
    pub reboot: bool,
    /// Halt
    #[arg(short = 'H', long)]
    pub halt: bool,
    /// When: now
    pub time: Option<String>,
    /// A message to nobody: there is no one to read it
    pub wall: Vec<String>,
}
