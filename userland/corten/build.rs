//! Lets the libc crate's versioned names be found in a static C library.
//!
//! The crate asks for `cfsetispeed@GLIBC_2.2.5` and its like, which only the shared library has; in the static one
//! each function has one version and its plain name.

/// The functions of termios.h that the libc crate names with their version.
const VERSIONED: [&str; 5] = ["cfgetispeed", "cfgetospeed", "cfsetispeed", "cfsetospeed", "cfsetspeed"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let features = std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    if features.split(',').any(|feature| feature == "crt-static") {
        for name in VERSIONED {
            println!("cargo::rustc-link-arg-bins=-Wl,--defsym=\"{name}@GLIBC_2.2.5\"={name}");
        }
    }
}
