//! What a person at the prompt needs to look after a machine: the shell and the file tools.
//!
//! Three sources, in this order of preference:
//! - [`uutils`]: the coreutils, findutils, grep and sed of the uutils project, as they are;
//! - [`shell`] and [`editor`]: brush and kibi, as they are;
//! - the rest are small programs of our own on `/proc` and `/sys`, one a module.
//!
//! Invariant: no program here needs more than its arguments, the file system and the terminal. None
//! of them talks to a service.

pub mod editor;
pub mod shell;
pub mod uutils;

use std::ffi::OsString;
use std::path::Path;

/// Whether this process was called by an applet's own name, not as `corten APPLET`.
///
/// The libraries we embed read the process's arguments themselves, and need to know which it was.
fn called_by_name(args: &[OsString]) -> bool {
    let ours = args.first().map(|arg| Path::new(arg).file_name().map(OsString::from));
    let process = std::env::args_os().next().map(|arg| Path::new(&arg).file_name().map(OsString::from));
    ours == process
}
