//! `journalctl`: which files, and what to do with them.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::place::{self, Place};
use crate::query::args::{Args, join_optional};
use crate::query::merge::{Source, find, find_all, open};
use crate::query::pager::Pager;
use crate::query::{boots, catalog, header, manage, pick, show, time, verify};
use crate::store::now;

/// Anything that ends the command, in words for its user.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// The applet.
#[must_use]
pub fn journalctl(args: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(join_optional(args)) {
        Ok(args) => args,
        Err(error) => {
            // Whoever cannot read this has seen enough.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
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

/// Where the files are.
pub(crate) struct Where {
    place: Place,
    directories: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// It is the running system's own journal.
    pub own: bool,
    /// Those of users, or those of the system, are left out.
    only: Only,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    All,
    System,
    User(u32),
}

impl Where {
    fn of(args: &Args) -> Result<Where, Failure> {
        let place = Place::new(args.root.as_deref().unwrap_or("/".as_ref()));
        let own = args.directory.is_none() && args.file.is_empty() && args.root.is_none();
        let bases = [place.persistent(), place.volatile()];
        let directories = match &args.directory {
            _ if !args.file.is_empty() => Vec::new(),
            Some(directory) => {
                std::fs::read_dir(directory)
                    .map_err(|error| format!("Failed to open {}: {}", directory.display(), words(&error)))?;
                vec![directory.clone()]
            }
            None if args.merge => bases.to_vec(),
            None => {
                let id = place::format_id(&place.machine_id());
                bases.map(|base| base.join(&id)).to_vec()
            }
        };
        let mut files = Vec::new();
        for file in &args.file {
            files.extend(find_all(file).map_err(|error| format!("Failed to open files: {error}"))?);
        }
        let only = match (args.system, args.user) {
            (true, false) => Only::System,
            (false, true) => Only::User(rustix::process::getuid().as_raw()),
            _ => Only::All,
        };
        Ok(Where { place, directories, files, own, only })
    }

    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.files.clone();
        paths.extend(self.directories.iter().flat_map(|directory| find(directory)));
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match self.only {
                Only::All => true,
                Only::System => !name.starts_with("user-"),
                Only::User(uid) => {
                    let own = format!("user-{uid}");
                    name.strip_prefix(&own).is_some_and(|rest| rest.starts_with(['.', '@']))
                }
            }
        });
        paths
    }

    /// The directories that have files.
    pub fn directories(&self) -> Vec<PathBuf> {
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

    /// Why there may be nothing to see: files that are here and not ours to read.
    fn remark(&self, sources: &[Source]) -> Option<&'static str> {
        let closed = |path: &Path| {
            std::fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        if !self.own || !self.paths().iter().any(|path| closed(path)) {
            return None;
        }
        Some(if sources.is_empty() {
            "No journal files were opened due to insufficient permissions."
        } else {
            "Hint: You are currently not seeing messages from other users and the system.\n      Users in groups 'adm', 'systemd-journal' can see all messages.\n      Pass -q to turn off this notice."
        })
    }
}

/// What the system says of an error, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Whether all went well, or, with a pattern, something was found.
fn run(args: &Args) -> Result<bool, Failure> {
    if let Some(contradiction) = args.contradiction() {
        return Err(contradiction.into());
    }
    if show::print_names(args)? {
        return Ok(true);
    }
    let places = Where::of(args)?;
    if ask_daemon(args, &places)? | vacuum(args, &places)? {
        return Ok(true);
    }
    if args.verify {
        return Ok(verify::verify(&places.paths(), args.quiet));
    }
    let mut sources = open(&places.paths());
    if !args.quiet
        && let Some(remark) = places.remark(&sources)
    {
        eprintln!("{remark}");
    }
    // One line would only be in the way of whoever reads it.
    let wants_pager = !args.no_pager && !args.follow && !args.disk_usage;
    let mut pager = if wants_pager { Pager::start(args.pager_end) } else { None };
    let found = {
        let out: Box<dyn Write> = match pager.as_mut().and_then(Pager::input) {
            Some(input) => Box::new(input),
            None => Box::new(io::stdout()),
        };
        let mut out = BufWriter::with_capacity(64 << 10, out);
        let listed = list(args, &mut sources, &mut out);
        let found = match listed {
            Ok(false) => show::show(args, &places, sources, pager.is_some(), &mut out),
            other => other,
        };
        found.and_then(|found| out.flush().map(|()| found).map_err(Into::into))
    };
    if let Some(pager) = pager {
        pager.wait();
    }
    found
}

/// Asks the daemon for what only it can do; says whether anything was to be asked.
fn ask_daemon(args: &Args, places: &Where) -> Result<bool, Failure> {
    let socket = places.place.path("/run/systemd/journal/io.systemd.journal");
    let mut asked = false;
    for (wanted, method) in [
        (args.flush, "FlushToVar"),
        (args.relinquish_var || args.smart_relinquish_var, "RelinquishVar"),
        (args.rotate, "Rotate"),
        (args.sync, "Synchronize"),
    ] {
        if wanted {
            manage::ask(&socket, method)
                .map_err(|error| format!("Failed to connect to {}: {}", socket.display(), words(&error)))?;
            asked = true;
        }
    }
    Ok(asked)
}

fn vacuum(args: &Args, places: &Where) -> Result<bool, Failure> {
    let parse = |text: &Option<String>, what: &str, parse: fn(&str) -> Option<u64>| {
        text.as_deref()
            .map(|text| parse(text).ok_or_else(|| format!("Failed to parse vacuum {what}: {text}")))
            .transpose()
    };
    let bounds = manage::Bounds {
        size: parse(&args.vacuum_size, "size", time::parse_size)?,
        files: parse(&args.vacuum_files, "files", |text| text.parse().ok())?,
        oldest: parse(&args.vacuum_time, "time", time::parse_span)?
            .map(|age| now().realtime.saturating_sub(age)),
    };
    if bounds == manage::Bounds::default() {
        return Ok(false);
    }
    manage::vacuum(&places.directories(), &bounds, args.quiet);
    Ok(true)
}

/// Lists what is not entries; false when entries are wanted.
fn list(args: &Args, sources: &mut [Source], out: &mut dyn Write) -> Result<bool, Failure> {
    if args.list_catalog || args.dump_catalog {
        let id = |text: &String| place::parse_id(text).ok_or(format!("Failed to parse id128 '{text}'"));
        let ids = args.matches.iter().map(id).collect::<Result<Vec<_>, _>>()?;
        catalog::list(out, &ids, args.dump_catalog)?;
    } else if args.update_catalog {
        return Ok(true);
    } else if args.header {
        for (number, source) in sources.iter_mut().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            header::print(source, out)?;
        }
    } else if args.list_boots {
        list_boots(args, sources, out)?;
    } else if let Some(field) = &args.field {
        for value in pick::values(field, sources) {
            out.write_all(&value)?;
            out.write_all(b"\n")?;
        }
    } else if args.fields {
        for name in pick::names(sources) {
            out.write_all(&name)?;
            out.write_all(b"\n")?;
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

fn list_boots(args: &Args, sources: &mut [Source], out: &mut dyn Write) -> io::Result<()> {
    let boots = boots::list(sources);
    let numbered = |index: usize| index as i64 + 1 - boots.len() as i64;
    if let Some(format @ ("json" | "json-pretty")) = args.output.as_deref() {
        let (line, tab, space) = if format == "json" { ("", "", "") } else { ("\n", "\t", " ") };
        let object = |(index, boot): (usize, &boots::Boot)| {
            let index = numbered(index).to_string();
            let id = format!("\"{}\"", place::format_id(&boot.id));
            let (first, last) = (boot.first.to_string(), boot.last.to_string());
            let fields = [("index", index), ("boot_id", id), ("first_entry", first), ("last_entry", last)];
            let fields = fields.map(|(name, value)| format!("{tab}{tab}\"{name}\"{space}:{space}{value}"));
            format!("{tab}{{{line}{}{line}{tab}}}", fields.join(&format!(",{line}")))
        };
        let mut objects: Vec<String> = boots.iter().enumerate().map(object).collect();
        if args.reverse {
            objects.reverse();
        }
        return writeln!(out, "[{line}{}{line}]", objects.join(&format!(",{line}")));
    }
    if !args.quiet {
        writeln!(out, "IDX BOOT ID                          FIRST ENTRY                 LAST ENTRY")?;
    }
    let time = |micros| time::format(micros, "%a %Y-%m-%d %H:%M:%S UTC");
    let mut lines: Vec<String> = Vec::with_capacity(boots.len());
    let width = if args.quiet { (1 - boots.len() as i64).to_string().len() } else { 3 };
    for (index, boot) in boots.iter().enumerate() {
        let index = numbered(index);
        let (id, first, last) = (place::format_id(&boot.id), time(boot.first), time(boot.last));
        lines.push(format!("{index:width$} {id} {first} {last}"));
    }
    if args.reverse {
        lines.reverse();
    }
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))
}
