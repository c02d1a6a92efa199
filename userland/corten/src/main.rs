//! The shipped binary: one table of applets, picked by the name it was called by.

mod applets;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
corten is every program of the system in one binary.

usage: corten APPLET [ARGUMENT...]   run an applet
       corten --list                 print the names of all applets
       APPLET [ARGUMENT...]          the same, through a link of that name";

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let called_as = name_of(args.first());
    if let Some(applet) = applets::find(&called_as) {
        return (applet.main)(args);
    }
    if !args.is_empty() {
        args.remove(0);
    }
    match args.first().and_then(|arg| arg.to_str()) {
        Some("--list") => {
            for applet in applets::ALL {
                println!("{}", applet.name);
            }
            ExitCode::SUCCESS
        }
        None | Some("--help" | "-h") => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Some(name) => match applets::find(name) {
            Some(applet) => (applet.main)(args),
            None => {
                eprintln!("corten: no applet is called {name:?}; `corten --list` prints their names");
                ExitCode::from(127)
            }
        },
    }
}

/// The applet's name in `argv[0]`: the file name, without the dash of a login shell.
fn name_of(argv0: Option<&OsString>) -> String {
    let name = argv0.and_then(|path| Path::new(path).file_name()).unwrap_or_default().to_string_lossy();
    name.strip_prefix('-').unwrap_or(&name).to_owned()
}
