//! The files of the checkout, for the style checks in `tests/`.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold what is made, not what is written.
const MADE: &[&str] = &[".git", "build", "target"];

/// The top of the checkout.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below `top` with one of these extensions, sorted; paths are relative to `top`.
pub fn files(top: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::new()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(top.join(&folder)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let path = folder.join(&name);
            let wanted = |path: &Path| {
                path.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted))
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !MADE.iter().any(|made| name == *made) => left.push(path),
                Ok(kind) if kind.is_file() && wanted(&path) => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The text of a file of the checkout; what is not UTF-8 is empty.
pub fn text(top: &Path, path: &Path) -> String {
    fs::read_to_string(top.join(path)).unwrap_or_default()
}

/// Code without comments and without what stands in double quotes: enough to look for a keyword.
pub fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        for (index, part) in line.split('"').enumerate() {
            if index % 2 == 0 {
                code.push_str(part);
            }
        }
        code.push('\n');
    }
    code
}
