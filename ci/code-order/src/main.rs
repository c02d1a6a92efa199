//! Makes `image/code-order`: boots the image, watches which code of the binary runs, and lists its functions in the
//! order of their first use.
//!
//! A boot reads and verifies whole neighbourhoods of pages, and a function's neighbours are seldom needed when it is.
//! Listed functions come first in the binary (`image/link`), so that a boot reads little besides what it runs. The list
//! is made from time to time; a build never makes it, for it must not depend on a run.

mod symbols;
mod trace;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use qemu::{Artifacts, Error, Result};

use crate::symbols::Symbols;

const HEAD: &str = "\
# Functions of the binary in the order in which a boot and a login run them. image/link goes by it; made by
# `ci/cargo run -p code-order` of a build.
";

#[derive(Parser)]
#[command(about = "Lists the binary's functions in the order in which a boot runs them")]
struct Cli {
    /// Where the list goes
    #[arg(default_value = "image/code-order")]
    list: PathBuf,
    /// Write nothing: tell how many functions of the list the build still has
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match if cli.check { check(&cli) } else { make(&cli) } {
        Ok(told) => {
            println!("{}: {told}", cli.list.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("code-order: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Boots the build in `build/` and writes the list.
fn make(cli: &Cli) -> Result<String> {
    let artifacts = Artifacts::of_this_checkout();
    let symbols = Symbols::of(&artifacts.file("corten.symbols")?)?;
    let mut list = HEAD.to_owned();
    let mut count = 0;
    for name in symbols.called(trace::of_a_boot(&artifacts, symbols.entry, symbols.code())?) {
        list += &name;
        list.push('\n');
        count += 1;
    }
    fs::write(&cli.list, list).map_err(|error| Error::Usage(format!("{}: {error}", cli.list.display())))?;
    Ok(format!("{count} functions"))
}

/// How much of the list the build in `build/` still has.
fn check(cli: &Cli) -> Result<String> {
    let symbols = Symbols::of(&Artifacts::of_this_checkout().file("corten.symbols")?)?;
    let list = fs::read_to_string(&cli.list)
        .map_err(|error| Error::Usage(format!("{}: {error}", cli.list.display())))?;
    let listed: Vec<&str> = list.lines().filter(|line| !line.starts_with('#')).collect();
    let known = listed.iter().filter(|name| symbols.has(name)).count();
    Ok(format!("{known} of {} functions are in the build", listed.len()))
}
