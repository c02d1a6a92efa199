//! Where errors are told: standard error, and the file that an engine reads them from.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use super::timestamp;

/// Where and how.
#[derive(Debug)]
pub struct Log {
    /// The engine's file.
    pub file: Option<PathBuf>,
    /// Whether lines are JSON.
    pub json: bool,
}

impl Log {
    /// Tells an error.
    pub fn error(&self, text: &str) {
        eprintln!("runc: error: {text}");
        let Some(path) = &self.file else { return };
        let time = timestamp::now();
        let line = if self.json {
            json!({ "level": "error", "msg": text, "time": time }).to_string()
        } else {
            format!("time={time:?} level=error msg={text:?}")
        };
        // An engine that gave no file that can be written has standard error.
        if let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path) {
            let _ = writeln!(file, "{line}");
        }
    }
}
