//! `systemd-escape`: from any text to a part of a unit's name, and back (systemd-escape(1)).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use unit::UnitName;
use unit::name::{escape, escape_path, unescape, unescape_path};

/// Escape strings for use in unit names.
#[derive(Debug, Parser)]
#[command(name = "systemd-escape")]
struct Options {
    /// Append this type: service, mount, …
    #[arg(long)]
    suffix: Option<String>,
    /// Make instances of this template
    #[arg(long)]
    template: Option<String>,
    /// With --unescape: of a unit's name only the instance
    #[arg(long)]
    instance: bool,
    /// The other way round
    #[arg(short, long)]
    unescape: bool,
    /// As systemctl reads what people type
    #[arg(short, long)]
    mangle: bool,
    /// The strings are paths
    #[arg(short, long)]
    path: bool,
    /// What to escape
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// The applet.
#[must_use]
pub fn systemd_escape(args: Vec<OsString>) -> ExitCode {
    let options: Options = match super::parse(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let all: Result<Vec<String>, String> = options.names.iter().map(|name| one(&options, name)).collect();
    match all {
        Ok(all) => {
            println!("{}", all.join(" "));
            ExitCode::SUCCESS
        }
        Err(why) => super::fail("systemd-escape", why),
    }
}

fn one(options: &Options, name: &str) -> Result<String, String> {
    let parsed = |name: &str| UnitName::parse(name).map_err(|error| error.to_string());
    if options.unescape {
        let part = match (&options.template, options.instance) {
            (None, false) => name.to_owned(),
            (template, _) => {
                let unit = parsed(name)?;
                let of = unit.template().map(|template| template.to_string());
                if template.is_some() && of != *template {
                    return Err(format!(
                        "{name} is no instance of {}",
                        template.as_deref().unwrap_or_default()
                    ));
                }
                unit.instance().ok_or_else(|| format!("{name} has no instance"))?.to_owned()
            }
        };
        let plain = if options.path { unescape_path(&part) } else { unescape(&part) };
        return plain.ok_or_else(|| format!("{name} cannot be unescaped"));
    }
    if options.mangle {
        return Ok(crate::cli::mangle(name));
    }
    let escaped = if options.path { escape_path(name) } else { escape(name) };
    match (&options.template, &options.suffix) {
        (Some(template), _) => {
            Ok(parsed(template)?.with_instance(&escaped).map_err(|error| error.to_string())?.to_string())
        }
        (None, Some(suffix)) => Ok(format!("{escaped}.{suffix}")),
        (None, None) => Ok(escaped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Debian's program says, and what ours says.
    #[test]
    fn as_debians_systemd_escape() {
        for args in [
            &["a b/c"][..],
            &["-p", "/mnt/a-b//c/"],
            &["-p", "/"],
            &["--suffix=mount", "-p", "/var/lib"],
            &["--template=x@.service", "é/1"],
            &["-u", "a\\x20b-c"],
            &["-u", "-p", "mnt-a\\x2db"],
            &["-u", "--instance", "x@a-b.service"],
            &["-u", "--template=x@.service", "x@a-b.service"],
            &["-m", "ssh"],
            &["-m", "/dev/sda"],
            &["a", "b c"],
        ] {
            let theirs = std::process::Command::new("systemd-escape").args(args).output().unwrap();
            let options = Options::try_parse_from(std::iter::once(&"systemd-escape").chain(args)).unwrap();
            let ours: Vec<String> = options.names.iter().map(|name| one(&options, name).unwrap()).collect();
            assert_eq!(ours.join(" "), String::from_utf8_lossy(&theirs.stdout).trim_end(), "{args:?}");
        }
    }
}
