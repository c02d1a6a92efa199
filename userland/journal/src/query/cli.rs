//! `journalctl`: the command line.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::file::{Entry, Id128};
use crate::place::{self, Place};
use crate::query::follow::Follow;
use crate::query::matches::Expression;
use crate::query::merge::{Merged, Range, Source, find, open};
use crate::query::output::{Format, Row, Style};
use crate::query::{boots, manage, pick, time};
use crate::store::now;

/// Query the journal.
///
/// Without options everything is shown, oldest first. Matches FIELD=VALUE restrict it: of one field any of the
/// values, of several fields all of them; + separates alternatives. Times are UTC.
///
/// Examples: journalctl -u docker -b; journalctl -p err --since -1h; journalctl -f; journalctl -k -b -1
#[derive(Debug, Parser)]
#[command(name = "journalctl", version, disable_version_flag = true, max_term_width = 110)]
#[allow(clippy::struct_excessive_bools)]
pub(crate) struct Args {
    /// Show the messages of this unit (several: any of them; * and ? may be used)
    #[arg(short, long, value_name = "UNIT")]
    unit: Vec<String>,
    /// Show the messages with this identifier
    #[arg(short = 't', long, value_name = "STRING")]
    identifier: Vec<String>,
    /// Show a boot: 0 this one, -1 the one before, an id, or all
    #[arg(short, long, value_name = "ID", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    boot: Option<String>,
    /// Show kernel messages, of this boot unless -b says otherwise
    #[arg(short = 'k', long)]
    dmesg: bool,
    /// Show messages of this priority or worse, or of a range FROM..TO
    #[arg(short, long, value_name = "RANGE")]
    priority: Option<String>,
    /// Show messages that match this regular expression
    #[arg(short, long, value_name = "PATTERN")]
    grep: Option<String>,
    /// Show messages from this time on
    #[arg(short = 'S', long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Show messages up to this time
    #[arg(short = 'U', long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Show the newest messages only, 10 unless told
    #[arg(short = 'n', long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10")]
    lines: Option<String>,
    /// Show the newest messages first
    #[arg(short, long)]
    reverse: bool,
    /// Go on with new messages as they come
    #[arg(short, long)]
    follow: bool,
    /// Show all messages with --follow, not the last 10
    #[arg(long)]
    no_tail: bool,
    /// Jump to the end: the last 1000 messages
    #[arg(short = 'e', long)]
    pager_end: bool,
    /// How to print
    #[arg(
        short,
        long,
        value_enum,
        default_value = "short",
        value_name = "FORMAT",
        hide_possible_values = false
    )]
    output: Format,
    /// Print only these fields, separated by commas, in verbose, export, json and cat
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    output_fields: Vec<String>,
    /// Leave out the machine's name
    #[arg(long)]
    no_hostname: bool,
    /// Print unprintable and long fields in full
    #[arg(short, long)]
    all: bool,
    /// Print the cursor after the last entry
    #[arg(long)]
    show_cursor: bool,
    /// No remarks
    #[arg(short, long)]
    quiet: bool,
    /// List the boots that the journal knows of
    #[arg(long)]
    list_boots: bool,
    /// List all values of a field
    #[arg(short = 'F', long, value_name = "FIELD")]
    field: Option<String>,
    /// List the names of all fields
    #[arg(short = 'N', long)]
    fields: bool,
    /// Show what the files take on disk
    #[arg(long)]
    disk_usage: bool,
    /// Remove the oldest archives until the others take no more than this
    #[arg(long, value_name = "BYTES")]
    vacuum_size: Option<String>,
    /// Remove archives older than this
    #[arg(long, value_name = "TIME")]
    vacuum_time: Option<String>,
    /// Show the headers of the files
    #[arg(long)]
    header: bool,
    /// Bring everything to the disk
    #[arg(long)]
    sync: bool,
    /// Move the journal from memory to the disk
    #[arg(long)]
    flush: bool,
    /// Begin a new file
    #[arg(long)]
    rotate: bool,
    /// Read the journal in this directory
    #[arg(short = 'D', long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Read these files
    #[arg(short = 'i', long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Take all paths below this directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Accepted: there is no pager
    #[arg(long, hide = true)]
    no_pager: bool,
    /// Accepted: times are UTC
    #[arg(long, hide = true)]
    utc: bool,
    /// Accepted: lines are never cut off
    #[arg(short = 'l', long, hide = true)]
    full: bool,
    /// Accepted: lines are never cut off
    #[arg(long, hide = true)]
    no_full: bool,
    /// Accepted: there is no catalog
    #[arg(short = 'x', long, hide = true)]
    catalog: bool,
    /// Accepted: there is one journal
    #[arg(short, long, hide = true)]
    merge: bool,
    /// Accepted: there is one journal
    #[arg(long, hide = true)]
    system: bool,
    /// FIELD=VALUE, +, or the path of a program
    #[arg(value_name = "MATCH")]
    matches: Vec<String>,
}

type Failure = Box<dyn std::error::Error>;

/// The applet.
#[must_use]
pub fn journalctl(args: Vec<OsString>) -> ExitCode {
    let args = Args::parse_from(join_optional(args));
    match run(&args) {
        Ok(found) if found || args.grep.is_none() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            // Whoever reads us has had enough: that is no failure.
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            {
                return ExitCode::SUCCESS;
            }
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// `-b -1`, `-n 5` and the like: the value is optional, so it belongs to the option only if it looks like one.
fn join_optional(args: Vec<OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::with_capacity(args.len());
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        let value = |next: &OsString| {
            let next = next.to_str().unwrap_or_default();
            let number = next.trim_start_matches(['+', '-']);
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            is_number || next == "all" || next.get(..32).and_then(place::parse_id).is_some()
        };
        let name = match text {
            "-b" | "--boot" => "--boot",
            "-n" | "--lines" => "--lines",
            _ => {
                // `-b-1`, `-n20`: clap wants an equals sign where a value is optional.
                let attached = text.strip_prefix("-b").map(|rest| ("--boot", rest));
                let attached = attached.or_else(|| text.strip_prefix("-n").map(|rest| ("--lines", rest)));
                match attached {
                    Some((name, rest)) if value(&rest.into()) => joined.push(format!("{name}={rest}").into()),
                    _ => joined.push(arg),
                }
                continue;
            }
        };
        match args.next_if(value) {
            Some(value) => joined.push(format!("{name}={}", value.to_string_lossy()).into()),
            None => joined.push(name.into()),
        }
    }
    joined
}

/// Where the files are.
struct Where {
    place: Place,
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// It is the running system's own journal.
    own: bool,
}

impl Where {
    fn of(args: &Args) -> Where {
        let place = Place::new(args.root.as_deref().unwrap_or("/".as_ref()));
        let own = args.directory.is_none() && args.file.is_empty() && args.root.is_none();
        let id = place::format_id(&place.machine_id());
        let directories = match &args.directory {
            _ if !args.file.is_empty() => Vec::new(),
            Some(directory) => vec![directory.clone()],
            None => [place.persistent(), place.volatile()].map(|base| base.join(&id)).to_vec(),
        };
        Where { place, directories, files: args.file.clone(), own }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.files.clone();
        paths.extend(self.directories.iter().flat_map(|directory| find(directory)));
        paths
    }

    /// The directories that have files.
    fn directories(&self) -> Vec<PathBuf> {
        let mut list: Vec<PathBuf> = self
            .paths()
            .iter()
            .filter_map(|path| path.parent())
            .map(PathBuf::from)
            .chain(self.directories.clone())
            .collect();
        list.sort();
        list.dedup();
        list.retain(|directory| directory.is_dir());
        list
    }
}

fn run(args: &Args) -> Result<bool, Failure> {
    let places = Where::of(args);
    let mut managed = false;
    for (wanted, method) in [(args.flush, "FlushToVar"), (args.rotate, "Rotate"), (args.sync, "Synchronize")]
    {
        if wanted {
            let socket = places.place.path("/run/systemd/journal/io.systemd.journal");
            manage::ask(&socket, method)
                .map_err(|error| format!("Failed to ask systemd-journald ({}): {error}", socket.display()))?;
            managed = true;
        }
    }
    if args.vacuum_size.is_some() || args.vacuum_time.is_some() {
        let bad = |what: &Option<String>| format!("Failed to parse {}", what.as_deref().unwrap_or_default());
        let size = args.vacuum_size.as_deref().map(time::parse_size);
        let age = args.vacuum_time.as_deref().map(time::parse_span);
        let size = size.map(|size| size.ok_or_else(|| bad(&args.vacuum_size))).transpose()?;
        let age = age.map(|age| age.ok_or_else(|| bad(&args.vacuum_time))).transpose()?;
        let oldest = age.map(|age| now().realtime.saturating_sub(age));
        manage::vacuum(&places.directories(), size, oldest, args.quiet);
        managed = true;
    }
    if managed {
        return Ok(true);
    }
    if let Some(directory) = &args.directory
        && let Err(error) = std::fs::read_dir(directory)
    {
        return Err(format!("Failed to open {}: {error}", directory.display()).into());
    }
    let mut sources = open(&places.paths());
    let mut out = BufWriter::new(io::stdout().lock());
    if !list(args, &mut sources, &mut out)? {
        let found = show(args, &places, sources, &mut out)?;
        out.flush()?;
        return Ok(found);
    }
    out.flush()?;
    Ok(true)
}

/// Lists what is not entries; false when entries are wanted.
fn list(args: &Args, sources: &mut [Source], out: &mut dyn Write) -> Result<bool, Failure> {
    if args.header {
        for source in sources {
            manage::show_header(source, out)?;
        }
    } else if args.list_boots {
        let boots = boots::list(sources);
        writeln!(out, "IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY")?;
        for (index, boot) in boots.iter().enumerate() {
            let index = index as i64 + 1 - boots.len() as i64;
            let time = |micros| time::format(micros, "%a %Y-%m-%d %H:%M:%S UTC");
            writeln!(
                out,
                "{index:3} {} {} {}",
                place::format_id(&boot.id),
                time(boot.first),
                time(boot.last)
            )?;
        }
    } else if let Some(field) = &args.field {
        for value in pick::values(field, sources) {
            out.write_all(&value)?;
            out.write_all(b"\n")?;
        }
    } else if args.fields {
        let mut names: Vec<Vec<u8>> = sources.iter_mut().flat_map(|source| source.objects.fields()).collect();
        names.sort();
        names.dedup();
        for name in names {
            writeln!(out, "{}", String::from_utf8_lossy(&name))?;
        }
    } else if args.disk_usage {
        let total: u64 = sources.iter().map(|source| source.objects.disk_usage().unwrap_or(0)).sum();
        let total = time::format_size(total);
        writeln!(out, "Archived and active journals take up {total} in the file system.")?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn range_of(args: &Args, sources: &mut [Source], own: bool) -> Result<Range, Failure> {
    let mut all = Vec::new();
    let boot = args.boot.as_deref().or(args.dmesg.then_some("0")).filter(|boot| *boot != "all");
    if let Some(descriptor) = boot {
        let this = place::boot_id();
        let id = if own && descriptor.trim_start_matches(['+', '-']) == "0" {
            this
        } else {
            boots::choose(&boots::list(sources), descriptor)?
        };
        all.push(pick::boot(&id));
    }
    if args.dmesg {
        all.push(Expression::term("_TRANSPORT", "kernel"));
    }
    if !args.unit.is_empty() {
        all.push(pick::units(&args.unit, sources));
    }
    if !args.identifier.is_empty() {
        let terms = args.identifier.iter().map(|name| Expression::term("SYSLOG_IDENTIFIER", name));
        all.push(Expression::Any(terms.collect()));
    }
    if let Some(priority) = &args.priority {
        all.push(pick::priorities(priority)?);
    }
    all.push(pick::matches(&args.matches)?);
    let now = now().realtime;
    let point = |text: &Option<String>| text.as_deref().map(|text| time::parse(text, now)).transpose();
    Ok(Range {
        expression: Expression::All(all),
        since: point(&args.since)?,
        until: point(&args.until)?,
        reverse: args.reverse,
    })
}

/// Prints entries as they pass.
struct Printer<'a> {
    style: Style,
    grep: Option<regex::bytes::Regex>,
    boot: Option<Id128>,
    cursor: Option<String>,
    out: &'a mut dyn Write,
}

impl Printer<'_> {
    fn row(&self, source: &mut Source, entry: &Entry) -> Option<Row> {
        // Data that cannot be read costs its field, not the entry.
        let fields = entry.items.iter().filter_map(|item| source.objects.data(*item).ok()).collect();
        let row = Row { entry: entry.clone(), seqnum_id: source.objects.header().seqnum_id, fields };
        let wanted = self
            .grep
            .as_ref()
            .is_none_or(|grep| row.get("MESSAGE").is_some_and(|message| grep.is_match(message)));
        wanted.then_some(row)
    }

    fn print(&mut self, row: &Row) -> io::Result<()> {
        let marks = !matches!(
            self.style.format,
            Format::Cat | Format::Json | Format::JsonPretty | Format::Export | Format::Verbose
        );
        let boot = row.entry.boot_id;
        if marks && self.boot.is_some_and(|last| last != boot) {
            writeln!(self.out, "-- Boot {} --", place::format_id(&boot))?;
        }
        self.boot = Some(boot);
        self.cursor = Some(row.cursor());
        row.print(&self.style, self.out)
    }
}

fn show(args: &Args, places: &Where, mut sources: Vec<Source>, out: &mut dyn Write) -> Result<bool, Failure> {
    let range = range_of(args, &mut sources, places.own)?;
    let grep = args.grep.as_deref().map(|pattern| {
        regex::bytes::RegexBuilder::new(pattern)
            .case_insensitive(!pattern.chars().any(char::is_uppercase))
            .build()
    });
    let style = Style {
        format: args.output,
        no_hostname: args.no_hostname,
        all: args.all,
        colour: io::stdout().is_terminal(),
        fields: args.output_fields.clone(),
    };
    let mut printer = Printer { style, grep: grep.transpose()?, boot: None, cursor: None, out };
    let lines = match args.lines.as_deref() {
        Some("all") => None,
        Some(text) => {
            let number = text.trim_start_matches('+').parse::<usize>();
            Some(number.map_err(|_| format!("Failed to parse lines '{text}': give a number or all"))?)
        }
        None if args.follow && !args.no_tail => Some(10),
        None if args.pager_end => Some(1000),
        None => None,
    };

    // What comes after this is news.
    let follow = if args.follow { Some(Follow::begin(&sources, &places.directories())?) } else { None };
    let found = match lines {
        Some(lines) => show_last(&mut sources, &range, lines, &mut printer)?,
        None => {
            let mut merged = Merged::new(&mut sources, &range);
            let mut found = false;
            while let Some((index, entry)) = merged.advance() {
                let Some(source) = merged.source(index) else { continue };
                if let Some(row) = printer.row(source, &entry) {
                    printer.print(&row)?;
                    found = true;
                }
            }
            found
        }
    };
    if let Some(follow) = follow {
        drop(sources);
        return follow_on(follow, places, &range.expression, &mut printer);
    }
    if !found && !args.quiet && lines != Some(0) {
        let marks = !matches!(args.output, Format::Json | Format::JsonPretty | Format::Export | Format::Cat);
        if marks {
            writeln!(printer.out, "-- No entries --")?;
        }
    }
    if args.show_cursor
        && let Some(cursor) = &printer.cursor
    {
        writeln!(printer.out, "-- cursor: {cursor}")?;
    }
    Ok(found)
}

/// The newest entries: found from the end, printed in the order asked for.
fn show_last(
    sources: &mut [Source],
    range: &Range,
    lines: usize,
    printer: &mut Printer<'_>,
) -> Result<bool, Failure> {
    let mut list = Vec::new();
    let mut merged = Merged::new(sources, &Range { reverse: true, ..range.clone() });
    while list.len() < lines {
        let Some((index, entry)) = merged.advance() else { break };
        let Some(source) = merged.source(index) else { continue };
        if printer.grep.is_none() || printer.row(source, &entry).is_some() {
            list.push((index, entry));
        }
    }
    if !range.reverse {
        list.reverse();
    }
    for (index, entry) in &list {
        if let Some(source) = sources.get_mut(*index)
            && let Some(row) = printer.row(source, entry)
        {
            printer.print(&row)?;
        }
    }
    Ok(!list.is_empty())
}

fn follow_on(
    mut follow: Follow,
    places: &Where,
    expression: &Expression,
    printer: &mut Printer<'_>,
) -> Result<bool, Failure> {
    loop {
        let (mut sources, news) = follow.news(&places.paths(), expression);
        for (index, entry) in &news {
            if let Some(source) = sources.get_mut(*index)
                && let Some(row) = printer.row(source, entry)
            {
                printer.print(&row)?;
            }
        }
        printer.out.flush()?;
        drop(sources);
        follow.wait()?;
        // A busy journal changes all the time: let some of it gather.
        std::thread::sleep(Duration::from_millis(20));
    }
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
