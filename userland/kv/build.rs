//! Compiles `proto/`: messages and services become Rust, and their descriptors serve the JSON gateway.

use std::error::Error;
use std::{env, fs, path::Path};

use prost::Message;

const FILES: &[&str] = &["rpc.proto", "lock.proto", "election.proto", "health.proto", "internal.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
