//! The one static binary, compiled by cargo so that no path of this machine is in it.
//!
//! Cargo would take `--remap-path-prefix` in RUSTFLAGS into its hashes and so make different symbols in different
//! folders; therefore the flags are added by a wrapper around rustc (`image/rustc`), out of cargo's sight. A wrapper
//! around the linker (`image/link`) lays functions out in the order in which a boot runs them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{At, Error, Result};
use crate::tool::Tool;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// A static binary, and a small one: nothing unwinds where a panic aborts, and functions of the same code are one. It
/// has one address: each process would pay for another with a megabyte of pointers to rewrite. LLVM's outliner would
/// take 1.5 MB more away, and two fifths of the speed of the store. The names of functions are the same in each build,
/// so that `image/code-order` can list them.
const FLAGS: [&str; 5] = [
    "-Ctarget-feature=+crt-static",
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
    "-Csymbol-mangling-version=v0",
    "-Clink-arg=-Wl,--icf=all",
];

/// Compiles `corten` and returns the path of the binary, which still has its symbols.
///
/// # Errors
/// Cargo is missing or the code does not compile; cargo has told why on standard error.
pub fn compile(checkout: &Path, time: u64) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout.join("target"), PathBuf::from);
    // A folder of its own: cargo does not see the wrapper, and would take what was compiled without it.
    let target = checkout.join(target).join("image");
    let home = |variable: &str, folder: &str| {
        std::env::var_os(variable).map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(folder)))
    };
    // The last match wins: the longest prefixes come last.
    let mut moved = Vec::new();
    if let Some(cargo) = home("CARGO_HOME", ".cargo") {
        moved.push((cargo, "/cargo"));
    }
    if let Some(rustup) = home("RUSTUP_HOME", ".rustup") {
        moved.push((rustup, "/rustup"));
    }
    moved.push((target.clone(), "/target"));
    // Of C, only what is fetched and what is generated is compiled, nothing of the checkout. Cargo compiles a
    // crate anew when its CFLAGS or RUSTC_WRAPPER change: neither names the checkout, so that checkouts which
    // share a target folder share what is compiled there.
    let c: Vec<String> =
        moved.iter().map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display())).collect();
    let (compiler, linker) = (target.join("rustc"), target.join("link"));
    put_wrapper(&checkout.join("image/rustc"), &compiler)?;
    put_wrapper(&checkout.join("image/link"), &linker)?;
    moved.insert(moved.len() - 1, (checkout.to_owned(), "/corten"));
    let rust: Vec<String> =
        moved.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();

    Tool::new("cargo", time)
        .within(checkout)
        .args(["build", "--release", "--locked", "--package", "corten", "--target", TRIPLE])
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .env("RUSTC_WRAPPER", &compiler)
        .env("CORTEN_LINKER", &linker)
        .env("CORTEN_CODE_ORDER", checkout.join("image/code-order"))
        .env("CORTEN_RUSTC_FLAGS", rust.join("\n"))
        .env("CFLAGS", format!("-O2 {}", c.join(" ")))
        .env("CARGO_INCREMENTAL", "0")
        .without_env("RUSTFLAGS")
        .without_env("CARGO_BUILD_TARGET")
        .run_visibly()?;
    Ok(target.join(TRIPLE).join("release/corten"))
}

/// Puts the binary that users get at `to`: without symbols.
///
/// # Errors
/// binutils are missing, or there is no room.
pub fn strip(binary: &Path, to: &Path) -> Result<()> {
    Tool::new("strip", 0).args(["--strip-all", "-o"]).arg(to).arg(binary).run_visibly()?;
    Ok(())
}

/// Copies a wrapper whole or not at all, for another build may be running the one that is there.
fn put_wrapper(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).at("create", folder)?;
    let aside =
        tempfile::Builder::new().prefix("rustc-").tempfile_in(folder).at("create a file in", folder)?;
    let aside = aside.into_temp_path();
    fs::copy(from, &aside).at("copy", from)?;
    aside.persist(to).map_err(|error| error.error).at("replace", to)?;
    Ok(())
}

/// The names that the binary answers to.
///
/// # Errors
/// It does not run, or prints what is no name.
pub fn applets(binary: &Path) -> Result<BTreeSet<String>> {
    let list = Tool::new(&binary.to_string_lossy(), 0).arg("--list").run_visibly()?;
    let names: BTreeSet<String> = list.lines().map(str::to_owned).collect();
    let strange =
        |name: &&String| name.is_empty() || name.contains(['/', '\0']) || matches!(name.as_str(), "." | "..");
    if let Some(name) = names.iter().find(strange) {
        let message = format!("`--list` prints {name:?}, which cannot be the name of an applet");
        return Err(Error::Input { path: binary.to_owned(), message });
    }
    Ok(names)
}
