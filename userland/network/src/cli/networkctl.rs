//! `networkctl`: how the links are doing.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::glob;
use crate::report::{Directory, LinkReport};
use netlink::link::Link;
use netlink::{Error, Netlink};

/// Shows the links and how far systemd-networkd got with them.
#[derive(Parser)]
#[command(name = "networkctl", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Read the service's state below this directory.
    #[arg(long, value_name = "DIR", default_value = "/", global = true)]
    root: PathBuf,
    /// Leave the heading and the closing line out.
    #[arg(long, global = true)]
    no_legend: bool,
    /// Accepted for scripts: there is no pager.
    #[arg(long, global = true)]
    no_pager: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// A line for each link.
    List {
        /// Names or patterns of links.
        links: Vec<String>,
    },
    /// A paragraph for each link.
    Status {
        /// Names or patterns of links.
        links: Vec<String>,
    },
}

/// The applet.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(e) => return super::usage(&e),
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("networkctl: no such link");
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("networkctl: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Error> {
    let mut links = Link::all(&mut Netlink::open()?)?;
    links.sort_by_key(|link| link.index);
    let reports = Directory::below(&arguments.root).read();
    let patterns = match &arguments.verb {
        Some(Verb::List { links } | Verb::Status { links }) => links.as_slice(),
        None => &[],
    };
    links.retain(|link| patterns.is_empty() || patterns.iter().any(|p| glob::matches(p, &link.name)));
    let mut out = io::stdout().lock();
    let written = match arguments.verb {
        Some(Verb::Status { .. }) => status(&mut out, &links, &reports),
        _ => list(&mut out, &links, &reports, !arguments.no_legend),
    };
    match written {
        // Whoever read the output has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(e) => Err(e.into()),
        Ok(()) => Ok(!links.is_empty() || patterns.is_empty()),
    }
}

fn states(link: &Link, reports: &[LinkReport]) -> (String, String) {
    match reports.iter().find(|report| report.index == link.index) {
        Some(report) => (report.operational.to_string(), report.setup.to_string()),
        None => ("n/a".into(), "unmanaged".into()),
    }
}

fn list(out: &mut impl Write, links: &[Link], reports: &[LinkReport], legend: bool) -> io::Result<()> {
    let width = links.iter().map(|link| link.name.len()).max().unwrap_or(0).max(4);
    if legend {
        writeln!(out, "IDX {:width$} {:<8} {:<11} SETUP", "LINK", "TYPE", "OPERATIONAL")?;
    }
    for link in links {
        let (operational, setup) = states(link, reports);
        let (index, name, kind) = (link.index, &link.name, link.type_name());
        writeln!(out, "{index:>3} {name:width$} {kind:<8} {operational:<11} {setup}")?;
    }
    if legend {
        writeln!(out, "\n{} links listed.", links.len())?;
    }
    Ok(())
}

fn status(out: &mut impl Write, links: &[Link], reports: &[LinkReport]) -> io::Result<()> {
    for (n, link) in links.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        let (operational, setup) = states(link, reports);
        writeln!(out, "● {}: {}", link.index, link.name)?;
        let mut field = |name: &str, value: &str| match value {
            "" => Ok(()),
            _ => writeln!(out, "{name:>24}: {value}"),
        };
        let report = reports.iter().find(|report| report.index == link.index);
        let file = report.and_then(|r| r.file.as_ref()).map(|f| f.display().to_string());
        field("Network File", file.as_deref().unwrap_or("n/a"))?;
        field("Type", link.type_name())?;
        field("Kind", link.kind.as_deref().unwrap_or_default())?;
        field("State", &format!("{operational} ({setup})"))?;
        let mac: Vec<String> = link.mac.iter().map(|byte| format!("{byte:02x}")).collect();
        field("Hardware Address", &mac.join(":"))?;
        field("MTU", &link.mtu.to_string())?;
        if let Some(report) = report {
            let addresses: Vec<String> = report.addresses.iter().map(|p| p.address.to_string()).collect();
            let indent = format!("\n{:26}", "");
            field("Address", &addresses.join(&indent))?;
            field("DNS", &report.dns.join(&indent))?;
            field("NTP", &report.ntp.join(&indent))?;
            field("Search Domains", &report.domains.join(&indent))?;
        }
    }
    Ok(())
}
