//! What must be there before anything else runs: users, files, kernel settings.
//!
//! Three programs that run once at boot, each from lines in folders of configuration files ([`confd`]):
//! `systemd-sysusers` ([`sysusers`]) adds users and groups, `systemd-tmpfiles` ([`tmpfiles`]) makes, cleans and removes
//! files, `systemd-sysctl` ([`sysctl`]) sets the kernel's settings. Their lines are those of sysusers.d(5),
//! tmpfiles.d(5) and sysctl.d(5).
//!
//! A line that is wrong is told, with its file and number, and the others are carried out all the same.

pub mod confd;
pub mod specifier;
pub mod sysctl;
pub mod sysusers;
pub mod tmpfiles;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// A line of the configuration is wrong (sysexits.h's EX_DATAERR).
pub(crate) const DATA_ERROR: u8 = 65;
/// Something could not be made (EX_CANTCREAT).
pub(crate) const CANNOT_CREATE: u8 = 73;

/// The applet `systemd-sysusers`.
pub fn systemd_sysusers(args: Vec<OsString>) -> ExitCode {
    run(args, sysusers::main)
}

/// The applet `systemd-tmpfiles`.
pub fn systemd_tmpfiles(args: Vec<OsString>) -> ExitCode {
    run(args, tmpfiles::main)
}

/// The applet `systemd-sysctl`.
pub fn systemd_sysctl(args: Vec<OsString>) -> ExitCode {
    run(args, sysctl::main)
}

fn run<O: Parser>(args: Vec<OsString>, main: fn(O) -> u8) -> ExitCode {
    match O::try_parse_from(args) {
        Ok(options) => ExitCode::from(main(options)),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::from(error.use_stderr()))
        }
    }
}
