//! `journalctl --verify`: looks for damage and says where it is.

use std::path::PathBuf;

use crate::file::Objects;

/// Checks files and says how each is; whether all are sound.
pub fn verify(paths: &[PathBuf], quiet: bool) -> bool {
    let mut sound = true;
    for path in paths {
        match Objects::open(path).and_then(|mut objects| objects.verify()) {
            Ok(_) if quiet => {}
            Ok(_) => eprintln!("PASS: {}", path.display()),
            Err(error) => {
                eprintln!("FAIL: {} ({error})", path.display());
                sound = false;
            }
        }
    }
    sound
}
