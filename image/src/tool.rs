//! The programs of Debian that the builder runs, each with the package it is from. They run in the C locale, in UTC,
//! at the image's time, and are quiet unless they fail.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result};

const PACKAGES: &[(&str, &str)] = &[
    ("mkfs.erofs", "erofs-utils"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("mmd", "mtools"),
    ("grub-mkimage", "grub-common"),
    ("zstd", "zstd"),
    ("qemu-img", "qemu-utils"),
    ("cargo", "(none: install Rust with rustup)"),
];

/// A run of one program.
#[derive(Debug)]
pub struct Tool {
    name: String,
    command: Command,
}

impl Tool {
    /// A run of this program, at this time (seconds since 1970).
    #[must_use]
    pub fn new(name: &str, time: u64) -> Tool {
        let mut command = Command::new(name);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .stdin(Stdio::null())
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("SOURCE_DATE_EPOCH", time.to_string())
            .env("E2FSPROGS_FAKE_TIME", time.to_string())
            .env("MTOOLS_SKIP_CHECK", "1");
        Tool { name: name.to_owned(), command }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Tool {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Tool {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Tool {
        self.command.env(name, value);
        self
    }

    /// Removes a variable from its environment.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Tool {
        self.command.env_remove(name);
        self
    }

    /// Runs it in this folder.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Tool {
        self.command.current_dir(folder);
        self
    }

    /// Runs it and keeps what it says for an error message.
    ///
    /// # Errors
    /// It is missing or fails.
    pub fn run(mut self) -> Result<()> {
        let output = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).output();
        self.succeeded(output).map(|_| ())
    }

    /// Runs it, shows its progress on standard error, and returns what it prints on standard output.
    ///
    /// # Errors
    /// It is missing, fails, or prints what is not UTF-8.
    pub fn run_visibly(mut self) -> Result<String> {
        let output = self.command.stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
        let output = self.succeeded(output)?;
        String::from_utf8(output.stdout).map_err(|_| Error::Tool {
            tool: self.name,
            status: "its output is not text".to_owned(),
            output: String::new(),
        })
    }

    fn succeeded(&self, output: io::Result<Output>) -> Result<Output> {
        let output = output.map_err(|source| self.not_started(source))?;
        if output.status.success() {
            return Ok(output);
        }
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let said = said.trim();
        Err(Error::Tool {
            tool: self.name.clone(),
            status: output.status.to_string(),
            output: if said.is_empty() { String::new() } else { format!(":\n{said}") },
        })
    }

    fn not_started(&self, source: io::Error) -> Error {
        if source.kind() != io::ErrorKind::NotFound {
            return Error::Io { what: "run", path: self.name.clone().into(), source };
        }
        let package = PACKAGES
            .iter()
            .find(|(tool, _)| *tool == self.name)
            .map_or("that has it", |(_, package)| package);
        Error::MissingTool { tool: self.name.clone(), package: package.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let error = Tool::new("mkfs.erofs", 0).not_started(io::ErrorKind::NotFound.into());
        assert_eq!(
            error.to_string(),
            "mkfs.erofs is missing: install the Debian package erofs-utils (image/build does)"
        );
    }

    #[test]
    fn a_failing_tool_is_quoted() {
        let error = Tool::new("sh", 0).args(["-c", "echo no room >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit status: 3):\nno room");
    }
}
