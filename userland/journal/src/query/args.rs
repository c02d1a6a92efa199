//! `journalctl`: its options, and what of them does not go together.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use crate::place;

/// Query the journal.
///
/// Without options everything is shown, oldest first. Matches FIELD=VALUE restrict it: of one field any of the
/// values, of several fields all of them; + separates alternatives; /path/to/program is that program's messages.
/// Times are UTC: "2026-11-24 18:00", "yesterday", "-1h", "10min ago".
///
/// Examples: journalctl -u docker -b; journalctl -p err --since -1h; journalctl -f; journalctl -k -b -1
#[derive(Debug, Parser)]
#[command(name = "journalctl", version, max_term_width = 110, args_override_self = true)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Args {
    /// Show the system journal
    #[arg(long, help_heading = SOURCE)]
    pub system: bool,
    /// Show the journal of the calling user
    #[arg(long, help_heading = SOURCE)]
    pub user: bool,
    /// Show the journals of all machines that are here
    #[arg(short, long, help_heading = SOURCE)]
    pub merge: bool,
    /// Show the journal files in this directory
    #[arg(short = 'D', long, value_name = "DIR", help_heading = SOURCE)]
    pub directory: Option<PathBuf>,
    /// Show these files (* and ? may be used)
    #[arg(short = 'i', long, value_name = "PATH", help_heading = SOURCE)]
    pub file: Vec<PathBuf>,
    /// Take all paths below this directory
    #[arg(long, value_name = "DIR", help_heading = SOURCE)]
    pub root: Option<PathBuf>,
    /// Not supported: a container's log is its unit's
    #[arg(short = 'M', long, value_name = "CONTAINER", help_heading = SOURCE)]
    pub machine: Option<String>,
    /// Not supported: mount the image and use --root
    #[arg(long, value_name = "IMAGE", hide = true)]
    pub image: Option<PathBuf>,
    /// Not supported: there is one namespace
    #[arg(long, value_name = "NAMESPACE", hide = true)]
    pub namespace: Option<String>,

    /// Show messages from this time on
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true, help_heading = FILTER)]
    pub since: Option<String>,
    /// Show messages up to this time
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true, help_heading = FILTER)]
    pub until: Option<String>,
    /// Start at this cursor
    #[arg(short = 'c', long, value_name = "CURSOR", help_heading = FILTER)]
    pub cursor: Option<String>,
    /// Start after this cursor
    #[arg(long, value_name = "CURSOR", help_heading = FILTER)]
    pub after_cursor: Option<String>,
    /// Start after the cursor in this file, and write the last one into it
    #[arg(long, value_name = "FILE", help_heading = FILTER)]
    pub cursor_file: Option<PathBuf>,
    /// Show a boot: 0 this one, -1 the one before, an id, or all
    #[arg(short, long, value_name = "ID", num_args = 0..=1, require_equals = true, default_missing_value = "0",
          help_heading = FILTER)]
    pub boot: Option<String>,
    /// Show the messages of this unit, and about it (several: any of them; * and ? may be used)
    #[arg(short, long, value_name = "UNIT", help_heading = FILTER)]
    pub unit: Vec<String>,
    /// Show the messages of this unit of the calling user
    #[arg(long, value_name = "UNIT", help_heading = FILTER)]
    pub user_unit: Vec<String>,
    /// Show the messages with this identifier
    #[arg(short = 't', long, value_name = "STRING", help_heading = FILTER)]
    pub identifier: Vec<String>,
    /// Leave out the messages with this identifier
    #[arg(short = 'T', long, value_name = "STRING", help_heading = FILTER)]
    pub exclude_identifier: Vec<String>,
    /// Show messages of this priority or worse, or of a range FROM..TO
    #[arg(short, long, value_name = "RANGE", help_heading = FILTER)]
    pub priority: Option<String>,
    /// Show messages of these facilities, separated by commas; help lists them
    #[arg(long, value_name = "NAMES", help_heading = FILTER)]
    pub facility: Vec<String>,
    /// Show messages that match this regular expression
    #[arg(short, long, value_name = "PATTERN", help_heading = FILTER)]
    pub grep: Option<String>,
    /// Whether case matters in the pattern; without: only if it has capitals
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          help_heading = FILTER)]
    pub case_sensitive: Option<String>,
    /// Show kernel messages, of this boot unless -b says otherwise
    #[arg(short = 'k', long, help_heading = FILTER)]
    pub dmesg: bool,

    /// How to print: short, short-full, short-iso, short-iso-precise, short-precise, short-monotonic, short-unix,
    /// short-delta, verbose, export, json, json-pretty, json-sse, json-seq, cat, with-unit
    #[arg(short, long, value_name = "FORMAT", help_heading = OUTPUT)]
    pub output: Option<String>,
    /// Print only these fields, separated by commas, in verbose, export, json and cat
    #[arg(long, value_name = "FIELDS", value_delimiter = ',', help_heading = OUTPUT)]
    pub output_fields: Vec<String>,
    /// Show the newest messages only, 10 unless told; from --since or a cursor on: the first of them
    #[arg(short = 'n', long, value_name = "N", num_args = 0..=1, require_equals = true,
          default_missing_value = "10", help_heading = OUTPUT)]
    pub lines: Option<String>,
    /// Show the newest messages first
    #[arg(short, long, help_heading = OUTPUT)]
    pub reverse: bool,
    /// Print the cursor after the last entry
    #[arg(long, help_heading = OUTPUT)]
    pub show_cursor: bool,
    /// Times are UTC anyway
    #[arg(long, help_heading = OUTPUT)]
    pub utc: bool,
    /// Explain messages that are known
    #[arg(short = 'x', long, help_heading = OUTPUT)]
    pub catalog: bool,
    /// Leave out the machine's name
    #[arg(long, alias = "no-hostnames", help_heading = OUTPUT)]
    pub no_hostname: bool,
    /// Cut lines off at the terminal's width
    #[arg(long, overrides_with = "full", help_heading = OUTPUT)]
    pub no_full: bool,
    /// Do not cut lines off
    #[arg(short = 'l', long, hide = true)]
    pub full: bool,
    /// Print unprintable and long fields in full
    #[arg(short, long, help_heading = OUTPUT)]
    pub all: bool,
    /// Go on with new messages as they come
    #[arg(short, long, help_heading = OUTPUT)]
    pub follow: bool,
    /// Show all messages with --follow, not the last 10
    #[arg(long, help_heading = OUTPUT)]
    pub no_tail: bool,
    /// No remarks
    #[arg(short, long, help_heading = OUTPUT)]
    pub quiet: bool,
    /// Do not show the output page by page
    #[arg(long, help_heading = OUTPUT)]
    pub no_pager: bool,
    /// Jump to the end: the last 1000 messages of this boot
    #[arg(short = 'e', long, help_heading = OUTPUT)]
    pub pager_end: bool,

    /// List the names of all fields
    #[arg(short = 'N', long, help_heading = COMMAND)]
    pub fields: bool,
    /// List all values of a field
    #[arg(short = 'F', long, value_name = "FIELD", help_heading = COMMAND)]
    pub field: Option<String>,
    /// List the boots that the journal knows of
    #[arg(long, help_heading = COMMAND)]
    pub list_boots: bool,
    /// Show what the files take on disk
    #[arg(long, help_heading = COMMAND)]
    pub disk_usage: bool,
    /// Remove the oldest archives until all files take no more than this
    #[arg(long, value_name = "BYTES", help_heading = COMMAND)]
    pub vacuum_size: Option<String>,
    /// Remove the oldest archives until no more files than this are left
    #[arg(long, value_name = "N", help_heading = COMMAND)]
    pub vacuum_files: Option<String>,
    /// Remove archives older than this
    #[arg(long, value_name = "TIME", help_heading = COMMAND)]
    pub vacuum_time: Option<String>,
    /// Look for damage in the files
    #[arg(long, help_heading = COMMAND)]
    pub verify: bool,
    /// Bring everything to the disk
    #[arg(long, help_heading = COMMAND)]
    pub sync: bool,
    /// Go on in memory, so that /var can be unmounted
    #[arg(long, help_heading = COMMAND)]
    pub relinquish_var: bool,
    /// The same, unless /var is on the root file system
    #[arg(long, help_heading = COMMAND)]
    pub smart_relinquish_var: bool,
    /// Move the journal from memory to the disk
    #[arg(long, help_heading = COMMAND)]
    pub flush: bool,
    /// Begin a new file
    #[arg(long, help_heading = COMMAND)]
    pub rotate: bool,
    /// Show the headers of the files
    #[arg(long, help_heading = COMMAND)]
    pub header: bool,
    /// List the ids of messages that -x explains
    #[arg(long, help_heading = COMMAND)]
    pub list_catalog: bool,
    /// Show the explanations
    #[arg(long, help_heading = COMMAND)]
    pub dump_catalog: bool,
    /// The catalog is part of the program: nothing to do
    #[arg(long, hide = true)]
    pub update_catalog: bool,
    /// Not supported: files are not sealed
    #[arg(long, hide = true)]
    pub setup_keys: bool,
    /// Not supported: files are not sealed
    #[arg(long, value_name = "KEY", hide = true)]
    pub verify_key: Option<String>,
    /// Goes with --setup-keys
    #[arg(long, value_name = "TIME", hide = true)]
    pub interval: Option<String>,
    /// Goes with --setup-keys
    #[arg(long, hide = true)]
    pub force: bool,

    /// FIELD=VALUE, +, or the path of a program
    #[arg(value_name = "MATCH")]
    pub matches: Vec<String>,
}

const SOURCE: &str = "Source options";
const FILTER: &str = "Filtering options";
const OUTPUT: &str = "Output options";
const COMMAND: &str = "Commands";

impl Args {
    /// What is wrong with the options together.
    pub fn contradiction(&self) -> Option<&'static str> {
        let sources = [
            self.directory.is_some(),
            !self.file.is_empty(),
            self.machine.is_some(),
            self.root.is_some(),
            self.image.is_some(),
        ];
        let starts = [self.since.is_some(), self.cursor.is_some(), self.after_cursor.is_some()];
        let count = |list: &[bool]| list.iter().filter(|given| **given).count();
        if count(&sources) > 1 {
            return Some(
                "Please specify at most one of -D/--directory=, --file=, -M/--machine=, --root=, --image=.",
            );
        }
        if count(&starts) > 1 {
            return Some("Please specify only one of --since=, --cursor=, and --after-cursor=.");
        }
        if self.cursor_file.is_some() && count(&starts) > 0 {
            return Some(
                "Please specify only one of --since=, --cursor=, --cursor-file=, and --after-cursor=.",
            );
        }
        if self.follow && self.reverse {
            return Some("Please specify either --reverse= or --follow=, not both.");
        }
        if self.merge && (self.boot.is_some() || self.list_boots) {
            return Some("Using --boot or --list-boots with --merge is not supported.");
        }
        if self.machine.is_some() {
            return Some(
                "-M/--machine= is not supported: what a container says is in its unit's log: try -u UNIT.",
            );
        }
        if self.image.is_some() {
            return Some("--image= is not supported: mount the image and use --root=.");
        }
        if self.namespace.as_deref().is_some_and(|name| !name.is_empty() && name != "*") {
            return Some("--namespace= is not supported: there is one journal.");
        }
        if self.setup_keys || self.verify_key.is_some() {
            return Some(
                "Forward-secure sealing is not supported: --setup-keys and --verify-key= mean nothing here.",
            );
        }
        None
    }
}

/// `-b -1`, `-n 5` and the like: the value is optional, so it belongs to the option only if it looks like one.
pub(crate) fn join_optional(args: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        if text == "--" {
            joined.push(arg);
            joined.extend(args);
            break;
        }
        let (name, is_value): (&str, fn(&str) -> bool) = match text {
            "-b" | "--boot" => ("--boot", is_boot),
            "-n" | "--lines" => ("--lines", is_count),
            _ => {
                // `-b-1`, `-n20`, `-rn3`: clap wants an equals sign where a value is optional.
                match of_cluster(text) {
                    Some((flags, name, value)) => {
                        joined.extend((!flags.is_empty()).then(|| format!("-{flags}").into()));
                        joined.push(format!("{name}={value}").into());
                    }
                    None => joined.push(arg),
                }
                continue;
            }
        };
        match args.next_if(|next| is_value(next.to_str().unwrap_or_default())) {
            Some(value) => joined.push(format!("{name}={}", value.to_string_lossy()).into()),
            None => joined.push(name.into()),
        }
    }
    joined
}

/// Short options in one word, the last of them with its value: the others, and what that one is.
fn of_cluster(text: &str) -> Option<(&str, &'static str, &str)> {
    const FLAGS: &str = "aefklmNqrx";
    let letters = text.strip_prefix('-')?;
    let at = letters.find(|letter| !FLAGS.contains(letter))?;
    let (flags, rest) = letters.split_at_checked(at)?;
    let boot = rest.strip_prefix('b').filter(|value| is_boot(value)).map(|value| (flags, "--boot", value));
    boot.or_else(|| {
        rest.strip_prefix('n').filter(|value| is_count(value)).map(|value| (flags, "--lines", value))
    })
}

fn is_boot(text: &str) -> bool {
    let number = text.trim_start_matches(['+', '-']);
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number || text == "all" || text.get(..32).and_then(place::parse_id).is_some()
}

fn is_count(text: &str) -> bool {
    let number = text.trim_start_matches('+');
    text == "all" || !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(line: &str) -> String {
        let args = join_optional(line.split(' ').map(OsString::from).collect());
        args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn optional_values() {
        assert_eq!(joined("journalctl -b -1 -n 5"), "journalctl --boot=-1 --lines=5");
        assert_eq!(joined("journalctl -b -u x -n"), "journalctl --boot -u x --lines");
        assert_eq!(joined("journalctl -b-1 -n20 -b A=1"), "journalctl --boot=-1 --lines=20 --boot A=1");
        assert_eq!(
            joined("journalctl -rn3 -xeb-1 -fu -n3"),
            "journalctl -r --lines=3 -xe --boot=-1 -fu --lines=3"
        );
        assert_eq!(joined("journalctl -- -b 1"), "journalctl -- -b 1");
        let args = Args::try_parse_from(join_optional(
            ["journalctl", "-fb", "-u", "a"].map(OsString::from).to_vec(),
        ));
        let args = args.unwrap();
        assert!(args.follow);
        assert_eq!(args.boot.as_deref(), Some("0"));
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
