//! `journalctl` without a verb: entries, from where to where, in which order, and those that come while we wait.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::file::{Entry, Id128};
use crate::place;
use crate::query::args::Args;
use crate::query::cli::{Failure, Where};
use crate::query::cursor::{self, Cursor};
use crate::query::follow::Follow;
use crate::query::matches::Expression;
use crate::query::merge::{Merged, Range, Source, Start};
use crate::query::output::{Format, Moment, Row, Style};
use crate::query::{boots, pick, time, units};
use crate::store::now;

/// Prints the names that an option takes, when asked for them.
pub(crate) fn print_names(args: &Args) -> io::Result<bool> {
    let mut out = io::stdout();
    if args.output.as_deref() == Some("help") {
        Format::NAMES.iter().try_for_each(|(name, _)| writeln!(out, "{name}"))?;
    } else if args.facility.iter().any(|name| name == "help") {
        writeln!(out, "Available facilities:")?;
        pick::FACILITIES.iter().try_for_each(|name| writeln!(out, "{name}"))?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

fn range_of(args: &Args, sources: &mut [Source], own: bool) -> Result<Range, Failure> {
    let mut all = Vec::new();
    let boot = args.boot.as_deref().or(((args.dmesg || args.pager_end) && !args.merge).then_some("0"));
    if let Some(descriptor) = boot.filter(|boot| *boot != "all") {
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
    if !args.unit.is_empty() || !args.user_unit.is_empty() {
        all.push(units::wanted(&args.unit, &args.user_unit, sources)?);
    }
    if !args.identifier.is_empty() {
        let terms = args.identifier.iter().map(|name| Expression::term("SYSLOG_IDENTIFIER", name));
        all.push(Expression::Any(terms.collect()));
    }
    if let Some(priority) = &args.priority {
        all.push(pick::priorities(priority)?);
    }
    if !args.facility.is_empty() {
        all.push(pick::facilities(&args.facility)?);
    }
    all.push(pick::matches(&args.matches)?);
    let now = now().realtime;
    let point = |text: &Option<String>| text.as_deref().map(|text| time::parse(text, now)).transpose();
    let (since, until) = (point(&args.since)?, point(&args.until)?);
    if since.zip(until).is_some_and(|(since, until)| since > until) {
        return Err("--since= must be before --until=.".into());
    }
    Ok(Range {
        expression: Expression::All(all),
        since,
        until,
        start: start_of(args)?,
        reverse: args.reverse,
    })
}

fn start_of(args: &Args) -> Result<Option<Start>, Failure> {
    let from_file = match &args.cursor_file {
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => text.lines().next().map(str::to_owned),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(format!("Failed to read cursor file {}: {error}", path.display()).into());
            }
        },
        None => None,
    };
    let after = args.after_cursor.as_ref().or(from_file.as_ref());
    let start = match (&args.cursor, after) {
        (Some(text), _) => Some(Start { cursor: Cursor::parse(text)?, after: false }),
        (None, Some(text)) => Some(Start { cursor: Cursor::parse(text)?, after: true }),
        (None, None) => None,
    };
    Ok(start)
}

/// Which messages are wanted beyond what the files' own tables can find.
struct Sieve {
    grep: Option<regex::bytes::Regex>,
    excluded: Vec<String>,
}

impl Sieve {
    fn of(args: &Args) -> Result<Sieve, Failure> {
        let grep = match &args.grep {
            Some(pattern) => {
                let sensitive = match args.case_sensitive.as_deref() {
                    None => pattern.chars().any(char::is_uppercase),
                    Some("true" | "yes" | "1" | "on" | "y" | "t") => true,
                    Some("false" | "no" | "0" | "off" | "n" | "f") => false,
                    Some(other) => return Err(format!("Failed to parse --case-sensitive={other}").into()),
                };
                let built = regex::bytes::RegexBuilder::new(pattern).case_insensitive(!sensitive).build();
                Some(built.map_err(|error| format!("Bad pattern \"{pattern}\": {error}"))?)
            }
            None => None,
        };
        Ok(Sieve { grep, excluded: args.exclude_identifier.clone() })
    }

    /// Whether a row is wanted; marks what was looked for in it.
    fn wants(&self, row: &mut Row<'_>) -> bool {
        if !self.excluded.is_empty()
            && let Some(identifier) = row.get("SYSLOG_IDENTIFIER")
            && self.excluded.iter().any(|name| name.as_bytes() == identifier)
        {
            return false;
        }
        let Some(grep) = &self.grep else { return true };
        row.found = row.get("MESSAGE").and_then(|message| grep.find(message)).map(|found| found.range());
        row.found.is_some()
    }
}

/// Prints entries as they pass.
struct Printer<'a> {
    style: Style,
    sieve: Sieve,
    /// Print a mark where the boot changes.
    marks: bool,
    boot: Option<Id128>,
    before: Option<Moment>,
    /// The last entry printed, without its data, and its numbering.
    last: Option<(Id128, Entry)>,
    fields: Vec<Arc<[u8]>>,
    count: usize,
    out: &'a mut dyn Write,
}

impl Printer<'_> {
    /// Prints an entry if it is wanted.
    fn print(&mut self, source: &mut Source, entry: &Entry) -> io::Result<()> {
        self.fields.clear();
        // Data that cannot be read costs its field, not the entry.
        self.fields.extend(entry.items.iter().filter_map(|item| source.objects.data(*item).ok()));
        let seqnum_id = source.objects.header().seqnum_id;
        if self.boot.replace(entry.boot_id).is_some_and(|last| last != entry.boot_id) && self.marks {
            let (on, off) = if self.style.colour { ("\x1b[0;1;39m", "\x1b[0m") } else { ("", "") };
            writeln!(self.out, "{on}-- Boot {} --{off}", place::format_id(&entry.boot_id))?;
        }
        let mut row = Row { entry, seqnum_id, fields: &self.fields, found: None, before: self.before };
        if !self.sieve.wants(&mut row) {
            return Ok(());
        }
        row.print(&self.style, self.out)?;
        self.before = Some(row.moment());
        self.count += 1;
        self.last = Some((seqnum_id, Entry { items: Vec::new(), ..*entry }));
        Ok(())
    }
}

/// The width of the terminal, or that of an old one.
fn columns() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let asked = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    said.or_else(asked).filter(|columns| *columns > 0).unwrap_or(80)
}

fn wants_colour() -> bool {
    match std::env::var("SYSTEMD_COLORS").as_deref() {
        Ok("0" | "no" | "false" | "off") => false,
        Ok(_) => true,
        Err(_) => {
            io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none()
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Shows what the command line asks for; says whether there was anything, if a pattern was looked for.
pub(crate) fn show(
    args: &Args,
    places: &Where,
    mut sources: Vec<Source>,
    paged: bool,
    out: &mut dyn Write,
) -> Result<bool, Failure> {
    let name = args.output.as_deref().unwrap_or("short");
    let format = Format::named(name)
        .ok_or_else(|| format!("Unknown output format '{name}'. (--output=help lists them)"))?;
    let quiet = args.quiet || format.is_for_programs();
    let mut range = range_of(args, &mut sources, places.own)?;
    let lines = lines_of(args)?;
    // With a pattern the last so many are looked for from the end, and printed as they are found.
    range.reverse |= args.grep.is_some() && lines.is_some() && !args.follow;
    let style = Style {
        format,
        no_hostname: args.no_hostname,
        all: args.all,
        columns: args.no_full.then(columns),
        colour: wants_colour() || paged,
        catalog: args.catalog,
        fields: args.output_fields.iter().filter(|name| !name.is_empty()).cloned().collect(),
    };
    let sieve = Sieve::of(args)?;
    let marks = !quiet && !args.merge;
    let mut printer = Printer {
        style,
        sieve,
        marks,
        boot: None,
        before: None,
        last: None,
        fields: Vec::new(),
        count: 0,
        out,
    };

    // What comes after this is news.
    let mut follow = if args.follow { Some(Follow::begin(&sources, &places.directories())?) } else { None };
    let from_start = range.since.is_some() || range.start.is_some();
    match lines {
        Some(lines) if !range.reverse && !from_start => {
            show_last(&mut sources, &range, lines, &mut printer)?;
        }
        lines => {
            let limit = lines.unwrap_or(usize::MAX);
            let mut merged = Merged::new(&mut sources, &range);
            while printer.count < limit {
                let Some(index) = merged.advance().map(|(index, _)| index) else { break };
                if let Some((source, entry)) = merged.current(index) {
                    printer.print(source, entry)?;
                }
            }
        }
    }
    if let Some(follow) = &mut follow {
        follow.go_on(sources);
        return follow_on(follow, places, &range.expression, &mut printer);
    }
    let found = printer.count > 0;
    if !found && !quiet {
        writeln!(printer.out, "-- No entries --")?;
    }
    end(args, printer)?;
    Ok(found || args.grep.is_none())
}

/// Says where we stopped.
fn end(args: &Args, printer: Printer<'_>) -> Result<(), Failure> {
    let Some((id, entry)) = &printer.last else { return Ok(()) };
    let cursor = cursor::of(id, entry);
    if args.show_cursor {
        writeln!(printer.out, "-- cursor: {cursor}")?;
    }
    if let Some(path) = &args.cursor_file {
        // Through a second file, so that a full disk does not cost the old cursor.
        let new = path.with_extension("new~");
        std::fs::write(&new, format!("{cursor}\n"))
            .and_then(|()| std::fs::rename(&new, path))
            .map_err(|error| format!("Failed to write new cursor to {}: {error}", path.display()))?;
    }
    Ok(())
}

fn lines_of(args: &Args) -> Result<Option<usize>, Failure> {
    Ok(match args.lines.as_deref() {
        _ if args.no_tail => None,
        Some("all") => None,
        Some(text) => {
            let number = text.trim_start_matches('+').parse::<usize>();
            Some(number.map_err(|_| format!("Failed to parse lines '{text}'"))?)
        }
        None if args.follow && args.since.is_none() => Some(10),
        None if args.pager_end => Some(1000),
        None => None,
    })
}

/// The newest entries: found from the end, printed in order.
fn show_last(
    sources: &mut [Source],
    range: &Range,
    lines: usize,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    let mut list = Vec::new();
    let mut merged = Merged::new(sources, &Range { reverse: true, ..range.clone() });
    while list.len() < lines {
        let Some((index, entry)) = merged.advance() else { break };
        let entry = entry.clone();
        list.push((index, entry));
    }
    list.reverse();
    for (index, entry) in &list {
        if let Some(source) = sources.get_mut(*index) {
            printer.print(source, entry)?;
        }
    }
    Ok(())
}

fn follow_on(
    follow: &mut Follow,
    places: &Where,
    expression: &Expression,
    printer: &mut Printer<'_>,
) -> Result<bool, Failure> {
    loop {
        follow.news(&places.paths(), expression, &mut |source, entry| printer.print(source, entry))?;
        printer.out.flush()?;
        follow.wait()?;
        // A busy journal changes all the time: let some of it gather.
        std::thread::sleep(Duration::from_millis(20));
    }
}
