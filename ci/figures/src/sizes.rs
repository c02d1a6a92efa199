//! Bytes of the artifacts, as the build lists them.

use qemu::{Artifacts, Error, Result};

/// Prints a row an artifact.
pub fn print(artifacts: &Artifacts) -> Result<()> {
    let path = artifacts.file("artifacts.json")?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
    let all: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
    println!("{:<24} {:>14}", "artifact", "bytes");
    let list = all.get("artifacts").unwrap_or(&all);
    for artifact in list.as_array().into_iter().flatten() {
        let (name, bytes) =
            (artifact["name"].as_str().unwrap_or("?"), artifact["bytes"].as_u64().unwrap_or(0));
        println!("{name:<24} {bytes:>14}");
    }
    println!();
    Ok(())
}
