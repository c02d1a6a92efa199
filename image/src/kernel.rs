//! The kernel: `kernel-config/build` makes it, once for each configuration.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::tool::Tool;

/// Builds the kernel, or finds it in the cache, and returns the path of the bzImage.
///
/// # Errors
/// The script fails; it has told why on standard error.
pub fn build(checkout: &Path) -> Result<PathBuf> {
    let script = checkout.join("kernel-config/build");
    let folder = Tool::new(&script.to_string_lossy(), 0)
        .without_env("SOURCE_DATE_EPOCH")
        .env("CORTEN_BESIDE_OTHERS", "1")
        .run_visibly()?;
    let image = Path::new(folder.trim()).join("bzImage");
    if image.is_file() {
        return Ok(image);
    }
    Err(Error::Input { path: script, message: format!("it printed {folder:?}, where no bzImage is") })
}
