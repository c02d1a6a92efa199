//! What the linker is told of the binary.

use std::fs;
use std::path::Path;

/// The functions of termios.h that the libc crate names with their version.
const VERSIONED: [&str; 5] = ["cfgetispeed", "cfgetospeed", "cfsetispeed", "cfsetospeed", "cfsetspeed"];

/// Beside the linker's own layout, not instead of it.
const NO_UNWIND: &str =
    "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table*) } } INSERT AFTER .text;\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What the image's linker (image/link) goes by, and cargo does not see.
    println!("cargo::rerun-if-changed=../../image/link");
    println!("cargo::rerun-if-changed=../../image/code-order");
    let is = |variable: &str, word: &str| {
        std::env::var(variable).is_ok_and(|words| words.split(',').any(|have| have == word))
    };
    // The libc crate asks for `cfsetispeed@GLIBC_2.2.5` and its like, which only the shared library has; in the
    // static one each function has one version and its plain name.
    if is("CARGO_CFG_TARGET_FEATURE", "crt-static") {
        for name in VERSIONED {
            println!("cargo::rustc-link-arg-bins=-Wl,--defsym=\"{name}@GLIBC_2.2.5\"={name}");
        }
    }
    // A panic aborts, and nothing else reads the tables for unwinding. They are a tenth of the binary, and the
    // compiler's flags leave them where a function calls what it cannot look into.
    if is("PROFILE", "release") {
        // Named where it is built, not in this checkout: others may share what is built, when this one is gone.
        let script = Path::new(&std::env::var_os("OUT_DIR").unwrap_or_default()).join("no-unwind.ld");
        fs::write(&script, NO_UNWIND).expect("the folder for what is built can be written to");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", script.display());
    }
}
