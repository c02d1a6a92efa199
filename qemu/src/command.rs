//! Running Debian's programs, with errors that name the program or its package.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Output};

use crate::{Error, Result};

/// Debian's packages of the programs that the harness runs.
const PACKAGES: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("ssh", "openssh-client"),
    ("scp", "openssh-client"),
    ("sftp", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sfdisk", "fdisk"),
    ("mcopy", "mtools"),
    ("mdel", "mtools"),
    ("mtype", "mtools"),
    ("docker-registry", "docker-registry"),
];

/// Runs a program to its end and takes what it printed; any exit status but 0 is an error.
pub(crate) fn run<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(args);
    let output = command.output().map_err(|error| cannot_start(program, &error))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stderr.as_slice(), output.stdout.as_slice()].concat();
    Err(Error::Failed {
        program: format!("{command:?}"),
        status: output.status.to_string(),
        output: tail(&String::from_utf8_lossy(&said), 10),
    })
}

/// Why a program did not start: most often, because it is not installed.
pub(crate) fn cannot_start(program: &str, error: &io::Error) -> Error {
    match (error.kind(), PACKAGES.iter().find(|(name, _)| *name == program)) {
        (io::ErrorKind::NotFound, Some((_, package))) => {
            Error::Missing { program: program.to_owned(), package }
        }
        _ => Error::Failed { program: program.to_owned(), status: error.to_string(), output: String::new() },
    }
}

/// The last `lines` lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
