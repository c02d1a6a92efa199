//! `image`: the builder's command line. `image/build` is the way to call it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use image::{Builder, Error, Target};

/// Build Corten: userland, kernel, root file system, disk, live boot.
#[derive(Parser)]
#[command(name = "image", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make artifacts
    ///
    /// Everything that an artifact needs is made too. Results land in the output folder, each under its name only when
    /// it is whole, and are listed in artifacts.json there with name, bytes and SHA-256.
    Build {
        /// What to make
        #[arg(value_enum, default_value = "all")]
        artifacts: Vec<Target>,
        /// Another version than the manifest's; another version is another root hash
        #[arg(long)]
        version: Option<String>,
        /// Where the artifacts go [default: build/ of the checkout]
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Take this static binary instead of compiling the userland
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// Take this bzImage instead of building the kernel
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,
    },
    /// List the artifacts that can be made
    List,
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("image: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<(), Error> {
    match verb {
        Verb::List => {
            for (name, what) in image::artifacts::ALL {
                println!("{name:<16} {what}");
            }
            Ok(())
        }
        Verb::Build { artifacts, version, output, binary, kernel } => {
            let checkout = checkout();
            let output = output.unwrap_or_else(|| checkout.join("build"));
            let mut builder = Builder::new(&checkout, &output, version.as_deref())?;
            if let Some(path) = binary {
                builder.use_binary(path);
            }
            if let Some(path) = kernel {
                builder.use_kernel(path);
            }
            for entry in builder.make(&artifacts)? {
                println!("{:>12}  {}", entry.bytes, entry.name);
            }
            Ok(())
        }
    }
}

/// The checkout that `image/build` is in; else the one that this program was compiled in.
fn checkout() -> PathBuf {
    let compiled_in = || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned();
    std::env::var_os("CORTEN_CHECKOUT").map_or_else(compiled_in, PathBuf::from)
}
