//! `image`: the builder's command line. `image/build` is the way to call it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use image::manifest::Manifest;
use image::{Builder, Error, Target};
use update_engine::payload::Terms;

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
    /// Make the payload of a release that is built: the one file from which machines update to it
    ///
    /// It is signed by the private keys given. A machine takes it if it has one of their public keys.
    Payload {
        /// Where the release is [default: build/ of the checkout]
        #[arg(long, value_name = "DIR")]
        of: Option<PathBuf>,
        /// Only the difference from the release in this folder, which the machine has to have in a slot
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// A private key (`openssl genpkey -algorithm ed25519`); during a change of keys, the old and the new one
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
        /// The oldest version that can update to it at once
        #[arg(long, value_name = "VERSION")]
        minimum: Option<String>,
        /// Seconds since 1970 after which no machine takes it any more
        #[arg(long, value_name = "SECONDS")]
        expires: Option<u64>,
        /// The file
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
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
        Verb::Payload { of, from, key, minimum, expires, output } => {
            let checkout = checkout();
            let manifest = Manifest::read(&checkout.join("image/image.toml"))?;
            let of = of.unwrap_or_else(|| checkout.join("build"));
            let terms = Terms { minimum, expires };
            let bytes = image::payload::payload(&manifest, &of, from.as_deref(), &terms, &key, &output)?;
            println!("{bytes:>12}  {}", output.display());
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
