//! How the programs of this crate begin and end: arguments, a runtime, and what goes wrong as one line.

use std::ffi::OsString;
use std::fmt::Display;
use std::process::ExitCode;

use clap::Parser;

/// Reads arguments.
///
/// # Errors
/// The exit code, where there is nothing more to do: help was asked for, or something is wrong and has been said.
pub fn parse<T: Parser>(args: Vec<OsString>) -> Result<T, ExitCode> {
    T::try_parse_from(args).map_err(|error| {
        let _ = error.print();
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
    })
}

/// Does the work of a server; what ends it before its time is said under its name.
pub fn serve<E: Display>(name: &str, work: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let failed = match runtime {
        Ok(runtime) => runtime.block_on(work).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match failed {
        None => ExitCode::SUCCESS,
        Some(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
