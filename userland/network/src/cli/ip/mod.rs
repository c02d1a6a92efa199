//! `ip`: links, addresses, routes and neighbours, in iproute2's words and output. See ip(8).
//!
//! The grammar is iproute2's own: an object, a verb, then pairs of words; any word may be shortened.
//! One file an object.

mod addr;
mod link;
mod neigh;
mod route;
mod words;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use netlink_packet_route::AddressFamily;

use netlink::link::Link;
use netlink::{self, Netlink};
use words::Words;

const HELP: &str = "\
Usage: ip [ OPTIONS ] OBJECT { COMMAND | help }
Show and change links, addresses, routes and neighbours.

OBJECT:
  address     addresses of links        ip addr show dev eth0; ip addr add 192.0.2.5/24 dev eth0
  link        network interfaces        ip link show; ip link set eth0 up mtu 1400
  route       where packets go          ip route; ip route add default via 192.0.2.1
  neighbour   link-layer addresses      ip neigh show

OPTIONS:
  -4, -6        only this family
  -br, -brief   one short line each
  -o, -oneline  one line each
  -V, -Version  print the version
";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The words make no command.
    #[error("{0}")]
    Usage(String),
    /// A link that is named is not there.
    #[error("{0}")]
    Device(String),
    /// The kernel refused.
    #[error("{}", answers(.0))]
    Netlink(#[from] netlink::Error),
    /// The output cannot be written.
    #[error("{0}")]
    Output(#[from] io::Error),
}

/// As iproute2 tells of refusals.
fn answers(error: &netlink::Error) -> String {
    match error.errno() {
        Some(errno) => {
            let text = io::Error::from_raw_os_error(errno).to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_owned();
            format!("RTNETLINK answers: {text}")
        }
        None => error.to_string(),
    }
}

impl Failure {
    /// The exit code that iproute2 has for it.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 255,
            Failure::Device(_) | Failure::Output(_) => 1,
            Failure::Netlink(_) => 2,
        }
    }
}

/// What every command needs.
struct Context<'a> {
    netlink: Netlink,
    out: &'a mut dyn Write,
    family: AddressFamily,
    brief: bool,
    oneline: bool,
}

impl Context<'_> {
    /// The names of all links by index.
    fn names(&mut self) -> Result<BTreeMap<u32, String>, Failure> {
        Ok(Link::all(&mut self.netlink)?.into_iter().map(|link| (link.index, link.name)).collect())
    }

    /// The index of the link of this name.
    fn index(&mut self, name: &str) -> Result<u32, Failure> {
        let links = Link::all(&mut self.netlink)?;
        links
            .iter()
            .find(|link| link.name == name)
            .map(|link| link.index)
            .ok_or_else(|| Failure::Device(format!("Cannot find device \"{name}\"")))
    }

    /// The link to show: as `index`, in the words of a listing.
    fn shown_index(&mut self, name: &str) -> Result<u32, Failure> {
        self.index(name).map_err(|e| match e {
            Failure::Device(_) => Failure::Device(format!("Device \"{name}\" does not exist.")),
            other => other,
        })
    }
}

/// The applet.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args: Vec<String> = args.into_iter().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = run(&args, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(e.code())
        }
    }
}

/// Runs one command; the arguments do not begin with the applet's name.
pub fn run(args: &[String], out: &mut dyn Write) -> Result<(), Failure> {
    let (mut family, mut brief, mut oneline) = (AddressFamily::Unspec, false, false);
    let mut rest = args;
    while let Some((option, after)) = rest.split_first().filter(|(first, _)| first.starts_with('-')) {
        rest = after;
        match option.trim_start_matches('-') {
            "4" => family = AddressFamily::Inet,
            "6" => family = AddressFamily::Inet6,
            "o" | "oneline" => oneline = true,
            "br" | "brief" => brief = true,
            "s" | "stats" | "statistics" | "d" | "details" | "N" | "c" | "color" | "color=never" => {}
            "V" | "Version" | "version" => {
                writeln!(out, "ip utility, corten-{}", env!("CARGO_PKG_VERSION"))?;
                return Ok(());
            }
            "h" | "help" => {
                write!(out, "{HELP}")?;
                return Ok(());
            }
            _ => {
                return Err(Failure::Usage(format!("Option \"{option}\" is unknown, try \"ip -help\".")));
            }
        }
    }
    let mut words = Words::new(rest);
    let Some(object) = words.next() else {
        write!(out, "{HELP}")?;
        return Ok(());
    };
    let run = match words::complete(object, &["address", "link", "route", "neighbour", "neighbor", "help"]) {
        Some("address") => addr::run,
        Some("link") => link::run,
        Some("route") => route::run,
        Some("neighbour" | "neighbor") => neigh::run,
        Some("help") => {
            write!(out, "{HELP}")?;
            return Ok(());
        }
        _ => return Err(Failure::Usage(format!("Object \"{object}\" is unknown, try \"ip help\"."))),
    };
    run(&mut Context { netlink: Netlink::open()?, out, family, brief, oneline }, &mut words)
}
