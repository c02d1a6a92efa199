//! `systemd-tmpfiles`: files and folders that are made, cleaned and removed by lines of tmpfiles.d(5).
//!
//! Lines are read into items ([`line`]), sorted so that a folder comes before what is in it, and carried out: first
//! what is removed ([`remove`]) and cleaned ([`clean`]), then what is made ([`make`]). Paths are walked below a root
//! that no link leads out of ([`root`]).

mod age;
mod clean;
mod line;
mod make;
mod remove;
mod rights;
mod root;

use std::path::{Path, PathBuf};

use accounts::Accounts;
use clap::Parser;

use self::line::{Item, Kind};
use self::root::Root;
use crate::{CANNOT_CREATE, DATA_ERROR, confd};

const FOLDER: &str = "tmpfiles.d";
/// What the kernel keeps, or what goes with a boot.
const API: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// Create, delete and clean up files and folders
#[derive(Debug, Parser)]
#[command(name = "systemd-tmpfiles", arg_required_else_help = true)]
pub struct Options {
    /// Make files and folders, and set their modes and owners
    #[arg(long)]
    create: bool,
    /// Remove what is older than its line allows
    #[arg(long)]
    clean: bool,
    /// Remove what lines of type r, R and D name
    #[arg(long)]
    remove: bool,
    /// Lines marked with ! too, which are safe at boot only
    #[arg(long)]
    boot: bool,
    /// Only paths that begin with this
    #[arg(long, value_name = "PATH")]
    prefix: Vec<PathBuf>,
    /// Not paths that begin with this
    #[arg(long, value_name = "PATH")]
    exclude_prefix: Vec<PathBuf>,
    /// Not paths below /dev, /proc, /run and /sys
    #[arg(short = 'E')]
    exclude_api: bool,
    /// Below this folder in place of /
    #[arg(long, default_value = "/")]
    root: PathBuf,
    /// Read FILE in the place of the file at this path
    #[arg(long, value_name = "PATH")]
    replace: Option<PathBuf>,
    /// Show the files that would be read
    #[arg(long)]
    cat_config: bool,
    /// Do not page the output
    #[arg(long)]
    no_pager: bool,
    /// Only these files
    files: Vec<PathBuf>,
}

/// What an action did: how many of its steps failed is told where it happened.
pub(crate) type Failures = usize;

/// Carries out all files; returns the exit status.
pub(crate) fn main(options: Options) -> u8 {
    if !(options.create || options.clean || options.remove || options.cat_config) {
        eprintln!("systemd-tmpfiles: give at least one of --create, --clean, --remove");
        return 1;
    }
    let files = match confd::files(&options.root, FOLDER, &options.files, options.replace.as_deref()) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    if options.cat_config {
        confd::print(&files);
        return 0;
    }
    let root = match Root::open(&options.root) {
        Ok(root) => root,
        Err(error) => {
            eprintln!("{}: {error}", options.root.display());
            return 1;
        }
    };
    let (items, bad) = read(&options, &files);
    let mut failures = 0;
    for item in items.iter().filter(|_| options.remove) {
        failures += remove::one(&root, item);
    }
    for item in items.iter().filter(|_| options.clean) {
        failures += clean::one(&root, item, &items);
    }
    for item in items.iter().filter(|_| options.create) {
        failures += make::one(&root, item);
    }
    match (bad, failures) {
        (true, _) => DATA_ERROR,
        (false, 0) => 0,
        (false, _) => CANNOT_CREATE,
    }
}

/// The items of all files that are wanted, in the order of their doing, and whether a line is wrong.
fn read(options: &Options, files: &[PathBuf]) -> (Vec<Item>, bool) {
    let accounts = Accounts::read(&options.root.join("etc")).unwrap_or_default();
    let mut lines = Vec::new();
    for file in files {
        match confd::lines(file) {
            Ok(found) => lines.extend(found),
            Err(error) => eprintln!("{}: {error}", file.display()),
        }
    }
    if options.files.is_empty() {
        lines.extend(confd::credential_lines("tmpfiles.extra"));
    }
    let (mut items, mut bad): (Vec<Item>, bool) = (Vec::new(), false);
    for line in lines {
        match line::parse(&options.root, &accounts, &line.text) {
            Ok(Some(item)) if (options.boot || !item.boot) && is_wanted(options, &item.path) => {
                let same = |known: &&Item| known.path == item.path && known.is_glob() == item.is_glob();
                if matches!(item.kind, Kind::AccessList | Kind::AccessListBelow) {
                    line.complain("access lists are not set; the mode holds");
                }
                if item.kind.owns() && items.iter().filter(same).any(|known| known.kind.owns()) {
                    line.complain(format!("Duplicate line for path \"{}\", ignoring.", item.path.display()));
                } else {
                    items.push(item);
                }
            }
            Ok(_) => {}
            Err(why) => {
                line.complain(why);
                bad = true;
            }
        }
    }
    // What is named comes before what is a pattern; folders before what is in them; at one path the line that makes it
    // first, then the others by their letters.
    items.sort_by(|one, other| {
        let rank = |item: &Item| (item.is_glob(), item.path.clone(), item.kind.rank());
        rank(one).cmp(&rank(other))
    });
    inherit_ages(&mut items);
    (items, bad)
}

/// A line that only excepts has no age of its own: it is its folder's.
fn inherit_ages(items: &mut [Item]) {
    let aged: Vec<(PathBuf, age::Age)> =
        items.iter().filter_map(|item| Some((item.path.clone(), item.age.clone()?))).collect();
    for item in items.iter_mut().filter(|item| item.kind == Kind::ExceptPath && item.age.is_none()) {
        let above = aged.iter().filter(|(path, _)| item.path.starts_with(path) && item.path != *path);
        item.age = above.max_by_key(|(path, _)| path.components().count()).map(|(_, age)| age.clone());
    }
}

fn is_wanted(options: &Options, path: &Path) -> bool {
    let within = |prefixes: &[PathBuf]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    let api = options.exclude_api && API.iter().any(|api| path.starts_with(api));
    (options.prefix.is_empty() || within(&options.prefix)) && !within(&options.exclude_prefix) && !api
}
