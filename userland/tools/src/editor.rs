//! `kibi`, `vi`: a small screen editor with the keys at the bottom of the screen.

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "\
usage: vi [FILE]

A small editor. Its keys: Ctrl-S save, Ctrl-Q quit, Ctrl-F find, Ctrl-G go to line,
Ctrl-D duplicate line, Ctrl-X cut, Ctrl-C copy, Ctrl-V paste, Ctrl-E run a command.";

/// The editor, on the file named by the first argument or on an empty page.
pub fn vi(args: Vec<OsString>) -> ExitCode {
    let mut files = Vec::new();
    for arg in args.iter().skip(1) {
        match arg.to_str() {
            Some("--help" | "-h") => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            Some("--") => {}
            Some(option) if option.starts_with('-') => {
                eprintln!("vi: unknown option {option}; try vi --help");
                return ExitCode::from(2);
            }
            Some(file) => files.push(file.to_owned()),
            None => {
                eprintln!("vi: the name {} is not UTF-8", arg.to_string_lossy());
                return ExitCode::from(2);
            }
        }
    }
    if files.len() > 1 {
        eprintln!("vi: one file at a time");
        return ExitCode::from(2);
    }
    match edit(files.first().map(String::as_str)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vi: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn edit(file: Option<&str>) -> Result<(), kibi::Error> {
    kibi::run(file, &mut kibi::stdin()?)
}
