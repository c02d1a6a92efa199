//! `lsblk`: the block devices as a tree.
//!
//! Source: sysfs's `class/block`; a device's own folder holds its partitions, `holders` leads to what is
//! built on it. Lengths there are in units of 512 bytes.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::mount;

/// Devices stacked deeper than this are taken for a loop.
const DEEPEST: usize = 8;

/// Show disks, their partitions, what is built on them and where it is mounted.
#[derive(Debug, Parser)]
#[command(name = "lsblk", version)]
struct Options {
    /// Sizes in bytes
    #[arg(short, long)]
    bytes: bool,
    /// Without header
    #[arg(short, long)]
    noheadings: bool,
}

/// A line: the name with its branches, then the other cells.
struct Row {
    name: String,
    numbers: String,
    bytes: u64,
    read_only: bool,
    kind: &'static str,
    label: String,
    places: String,
}

/// `lsblk`
pub fn lsblk(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => return crate::usage(&error),
    };
    crate::finish("lsblk", show(&options), 1)
}

fn show(options: &Options) -> Result<(), String> {
    let class = Path::new("/sys/class/block");
    let mounts = mount::by_device()?;
    let mut disks: Vec<String> = names(class)?
        .into_iter()
        .filter(|name| !class.join(name).join("partition").exists())
        .filter(|name| is_empty(&class.join(name).join("slaves")) && number(&class.join(name), "size") > 0)
        .collect();
    disks.sort();
    let mut rows = Vec::new();
    for disk in &disks {
        grow(class, disk, "", "", &mounts, 0, &mut rows);
    }
    let widest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(4).max(4);
    if !options.noheadings {
        crate::say(format_args!(
            "{:<widest$} {:>7} {:>8} RO TYPE LABEL       MOUNTPOINTS",
            "NAME", "MAJ:MIN", "SIZE"
        ))?;
    }
    for row in &rows {
        let size = if options.bytes { row.bytes.to_string() } else { crate::human(row.bytes) };
        let line = format!(
            "{:<widest$} {:>7} {size:>8} {:>2} {:<4} {:<11} {}",
            row.name,
            row.numbers,
            u8::from(row.read_only),
            row.kind,
            row.label,
            row.places
        );
        crate::say(format_args!("{}", line.trim_end()))?;
    }
    Ok(())
}

/// Adds a device and all that is on it.
fn grow(
    class: &Path,
    name: &str,
    branch: &str,
    below: &str,
    mounts: &[(String, String)],
    depth: usize,
    rows: &mut Vec<Row>,
) {
    let device = class.join(name);
    let numbers = text(&device, "dev");
    let places: Vec<&str> =
        mounts.iter().filter(|(device, _)| *device == numbers).map(|(_, place)| place.as_str()).collect();
    let kind = match name {
        _ if device.join("partition").exists() => "part",
        _ if name.starts_with("dm-") => "dm",
        _ if name.starts_with("loop") => "loop",
        _ if name.starts_with("sr") => "rom",
        _ => "disk",
    };
    let uevent = text(&device, "uevent");
    let label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).unwrap_or_default().to_owned();
    let (bytes, read_only) = (number(&device, "size") * 512, number(&device, "ro") == 1);
    rows.push(Row {
        name: format!("{branch}{name}"),
        bytes,
        read_only,
        kind,
        label,
        places: places.join(" "),
        numbers,
    });
    if depth == DEEPEST {
        return;
    }
    let mut children: Vec<String> = names(&device)
        .unwrap_or_default()
        .into_iter()
        .filter(|child| device.join(child).join("partition").exists())
        .chain(names(&device.join("holders")).unwrap_or_default())
        .collect();
    children.sort_by_key(|child| (child.len(), child.clone()));
    for (at, child) in children.iter().enumerate() {
        let (mark, under) = if at + 1 == children.len() { ("└─", "  ") } else { ("├─", "│ ") };
        grow(class, child, &format!("{below}{mark}"), &format!("{below}{under}"), mounts, depth + 1, rows);
    }
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let files = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(files.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect())
}

fn is_empty(folder: &Path) -> bool {
    names(folder).is_ok_and(|names| names.is_empty())
}

fn text(device: &Path, file: &str) -> String {
    fs::read_to_string(device.join(file)).unwrap_or_default().trim().to_owned()
}

fn number(device: &Path, file: &str) -> u64 {
    text(device, file).parse().unwrap_or(0)
}
