//! `swapon` and `swapoff`: memory on disks and in files put to use, and let go of.
//!
//! Source: swapon(8), swapon(2), proc(5). There is no fstab: swap units describe what lasts.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use linux::swap::{self, Discard};

use crate::mount::device::resolve;
use crate::{finish, say, usage};

const TABLE: &str = "/proc/swaps";

/// Put devices and files to use as swap, or show those that are.
#[derive(Debug, Parser)]
#[command(name = "swapon", version)]
struct On {
    /// 0 to 32767; the greatest is used first
    #[arg(short, long, value_name = "NUMBER")]
    priority: Option<u16>,
    /// Tell the device what is free: once (when it is put to use), pages (as they become free), or both
    #[arg(short, long, value_name = "POLICY", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    discard: Option<String>,
    /// Options, separated by commas: pri=NUMBER, discard, discard=POLICY, nofail
    #[arg(short, long, value_name = "OPTIONS", value_delimiter = ',')]
    options: Vec<String>,
    /// What is not there is passed over
    #[arg(short = 'e', long)]
    ifexists: bool,
    /// Show what is in use
    #[arg(short, long)]
    show: bool,
    /// Accepted for compatibility: what another page size has made is not made anew
    #[arg(short, long)]
    fixpgsz: bool,
    /// Devices or files, or LABEL=, UUID=, PARTLABEL=, PARTUUID= with what a device is called
    what: Vec<String>,
}

/// Let go of devices and files that are in use as swap.
#[derive(Debug, Parser)]
#[command(name = "swapoff", version)]
struct Off {
    /// All of them
    #[arg(short, long)]
    all: bool,
    /// Devices or files
    #[arg(required_unless_present = "all")]
    what: Vec<String>,
}

/// How something is put to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    priority: Option<u16>,
    discard: Discard,
    may_fail: bool,
}

impl On {
    fn wanted(&self) -> Result<Wanted, String> {
        let policy = |policy: &str| match policy {
            "" => Ok(Discard::All),
            "once" => Ok(Discard::Once),
            "pages" => Ok(Discard::Pages),
            other => Err(format!("unsupported discard policy: {other} (there are once and pages)")),
        };
        let discard = self.discard.as_deref().map(policy).transpose()?.unwrap_or(Discard::No);
        let mut wanted = Wanted { priority: self.priority, discard, may_fail: self.ifexists };
        for option in &self.options {
            match option.split_once('=').unwrap_or((option, "")) {
                ("pri", number) => {
                    let number =
                        number.parse().map_err(|_| format!("failed to parse priority: '{number}'"))?;
                    wanted.priority = Some(number);
                }
                ("discard", given) => wanted.discard = policy(given)?,
                ("nofail", _) => wanted.may_fail = true,
                // As for mount: what units and others say among themselves.
                ("" | "defaults" | "sw" | "auto" | "noauto", _) => {}
                (name, _) if name.starts_with("x-") => {}
                (name, _) => return Err(format!("unknown option: {name}")),
            }
        }
        if wanted.priority.is_some_and(|priority| priority > 0x7fff) {
            return Err("the priority is from 0 to 32767".into());
        }
        Ok(wanted)
    }
}

/// The applet `swapon`.
#[must_use]
pub fn swapon(args: Vec<OsString>) -> ExitCode {
    match On::try_parse_from(args) {
        Ok(on) => finish("swapon", put_to_use(&on), 255),
        Err(error) => usage(&error),
    }
}

/// The applet `swapoff`.
#[must_use]
pub fn swapoff(args: Vec<OsString>) -> ExitCode {
    match Off::try_parse_from(args) {
        Ok(off) => finish("swapoff", let_go(&off), 255),
        Err(error) => usage(&error),
    }
}

fn put_to_use(on: &On) -> Result<(), String> {
    let wanted = on.wanted()?;
    if on.show || on.what.is_empty() {
        return show(&table()?);
    }
    each(&on.what, |path| match swap::on(&c_path(path)?, wanted.priority, wanted.discard) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && wanted.may_fail => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(format!("{}: swapon failed: {error}. Has mkswap made it?", path.display()))
        }
        result => result.map_err(|error| format!("{}: swapon failed: {error}", path.display())),
    })
}

fn let_go(off: &Off) -> Result<(), String> {
    let all = if off.all { table()?.into_iter().map(|swap| swap.path).collect() } else { off.what.clone() };
    each(&all, |path| {
        swap::off(&c_path(path)?).map_err(|error| format!("{}: swapoff failed: {error}", path.display()))
    })
}

/// Does it with every one; all complaints.
fn each(all: &[String], work: impl Fn(&Path) -> Result<(), String>) -> Result<(), String> {
    let one = |what: &String| resolve(what).and_then(|path: PathBuf| work(&path)).err();
    let complaints: Vec<String> = all.iter().filter_map(one).collect();
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("\n")) }
}

fn c_path(path: &Path) -> Result<CString, String> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| format!("{}: not a path", path.display()))
}

/// One that is in use; sizes in KiB.
#[derive(Debug, PartialEq, Eq)]
struct Swap {
    path: String,
    kind: String,
    size: u64,
    used: u64,
    priority: i32,
}

fn table() -> Result<Vec<Swap>, String> {
    let text = fs::read_to_string(TABLE).map_err(|error| format!("{TABLE}: {error}"))?;
    Ok(parse(&text))
}

/// `Filename Type Size Used Priority`, a header first.
fn parse(text: &str) -> Vec<Swap> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        Some(Swap {
            path: words.next()?.replace("\\040", " "),
            kind: words.next()?.to_owned(),
            size: words.next()?.parse().ok()?,
            used: words.next()?.parse().ok()?,
            priority: words.next()?.parse().ok()?,
        })
    };
    text.lines().skip(1).filter_map(line).collect()
}

fn show(all: &[Swap]) -> Result<(), String> {
    if all.is_empty() {
        return Ok(());
    }
    let width = all.iter().map(|swap| swap.path.len()).max().unwrap_or(0).max(4);
    say(format_args!("{:<width$} {:<9} {:>6} {:>6} {:>4}", "NAME", "TYPE", "SIZE", "USED", "PRIO"))?;
    for Swap { path, kind, size, used, priority } in all {
        let [size, used] = [size, used].map(|kib| crate::human(kib.saturating_mul(1024)));
        say(format_args!("{path:<width$} {kind:<9} {size:>6} {used:>6} {priority:>4}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str]) -> Result<Wanted, String> {
        On::try_parse_from([&["swapon"], words].concat()).unwrap().wanted()
    }

    #[test]
    fn options_are_those_of_swap_units() {
        let plain = Wanted { priority: None, discard: Discard::No, may_fail: false };
        assert_eq!(wanted(&["/dev/vdb"]), Ok(plain));
        assert_eq!(
            wanted(&["--fixpgsz", "-o", "defaults,nofail", "x"]),
            Ok(Wanted { may_fail: true, ..plain })
        );
        let both = Wanted { priority: Some(7), discard: Discard::Once, ..plain };
        assert_eq!(wanted(&["-o", "pri=7,discard=once", "x"]), Ok(both));
        assert_eq!(wanted(&["-p", "7", "--discard=once", "x"]), Ok(both));
        assert_eq!(wanted(&["-d", "x"]), Ok(Wanted { discard: Discard::All, ..plain }));
        for bad in ["pri=x", "pri=40000", "discard=now", "colour=red"] {
            assert!(wanted(&["-o", bad, "x"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_kernels_table_is_read() {
        let text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                    /var/swap\\040file                     file\t\t65532\t\t12\t\t-2\nnonsense\n";
        let path = "/var/swap file".to_owned();
        assert_eq!(parse(text), [Swap { path, kind: "file".into(), size: 65532, used: 12, priority: -2 }]);
    }

    #[test]
    fn what_is_no_swap_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("no-swap").display().to_string();
        let on = On::try_parse_from(["swapon", &file]).unwrap();
        assert!(put_to_use(&on).unwrap_err().contains("swapon failed"));
        let off = Off::try_parse_from(["swapoff", &file]).unwrap();
        assert!(let_go(&off).unwrap_err().contains("swapoff failed"));
        assert!(Off::try_parse_from(["swapoff"]).is_err());
    }
}
