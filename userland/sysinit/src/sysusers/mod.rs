//! `systemd-sysusers`: users and groups that services need, from lines of sysusers.d(5).
//!
//! Lines are read ([`line`]), then groups and users find their numbers ([`plan`]), then the four files of `/etc` are
//! written anew as one ([`files`]). What is there stays as it is: this program only adds.

mod files;
mod line;
mod plan;

use std::path::PathBuf;

use clap::Parser;

use crate::confd;

const FOLDER: &str = "sysusers.d";

/// Add system users and groups
#[derive(Debug, Parser)]
#[command(name = "systemd-sysusers")]
pub struct Options {
    /// Below this folder in place of /
    #[arg(long, default_value = "/")]
    root: PathBuf,
    /// Read FILE in the place of the file at this path
    #[arg(long, value_name = "PATH")]
    replace: Option<PathBuf>,
    /// The arguments are lines, not files
    #[arg(long)]
    inline: bool,
    /// Show the files that would be read
    #[arg(long)]
    cat_config: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not page the output
    #[arg(long)]
    no_pager: bool,
    /// Only these files
    files: Vec<PathBuf>,
}

/// Carries out all files; returns the exit status.
pub(crate) fn main(options: Options) -> u8 {
    let lines = match read(&options) {
        Ok(Some(lines)) => lines,
        Ok(None) => return 0,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    let mut wanted = plan::Wanted::default();
    for line in lines {
        let added = line::parse(&options.root, &line.text).and_then(|entry| wanted.add(entry));
        if let Err(why) = added {
            line.complain(why);
        }
    }
    let written = files::Database::read(&options.root).and_then(|mut database| {
        for what in plan::carry_out(&wanted, &options.root, &mut database)? {
            println!("{what}");
        }
        if options.dry_run { Ok(()) } else { database.write(&options.root) }
    });
    match written {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

/// The lines; `None`: they were only to be shown.
fn read(options: &Options) -> Result<Option<Vec<confd::Line>>, String> {
    let inline = |text: &PathBuf| confd::lines_of("(argument)".as_ref(), &text.to_string_lossy());
    if options.inline && options.replace.is_none() {
        return Ok(Some(options.files.iter().flat_map(inline).collect()));
    }
    let named = if options.inline { &[] } else { options.files.as_slice() };
    let files = confd::files(&options.root, FOLDER, named, options.replace.as_deref())?;
    if options.cat_config {
        confd::print(&files);
        return Ok(None);
    }
    let mut lines = Vec::new();
    if options.inline {
        lines.extend(options.files.iter().flat_map(inline));
    }
    for file in files {
        lines.extend(confd::lines(&file).map_err(|error| format!("{}: {error}", file.display()))?);
    }
    if options.files.is_empty() {
        lines.extend(confd::credential_lines("sysusers.extra"));
    }
    Ok(Some(lines))
}
