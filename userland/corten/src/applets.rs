//! The one table of applets.

use std::ffi::OsString;
use std::process::ExitCode;

/// A program of the image: the name of its link and its entry.
pub struct Applet {
    /// The name it is called by.
    pub name: &'static str,
    /// The entry; the arguments begin with the applet's own name.
    pub main: fn(Vec<OsString>) -> ExitCode,
}

/// Every applet, sorted by name.
pub const ALL: &[Applet] = &[];

/// The applet of this name.
pub fn find(name: &str) -> Option<&'static Applet> {
    ALL.iter().find(|applet| applet.name == name)
}
