//! `update.conf`: where a machine asks for releases, and how it reboots into them.
//!
//! `/usr/share/coreos/update.conf` is the image's, `/etc/coreos/update.conf` the operator's; the operator's lines
//! count more. Lines are `NAME=VALUE`, as a shell would read them without expanding anything; `#` begins a comment.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The image's file and the operator's.
pub const FILES: [&str; 2] = ["/usr/share/coreos/update.conf", "/etc/coreos/update.conf"];
/// A longer file is none of ours, in bytes.
const LONGEST: u64 = 64 << 10;
/// The channel of machines that say nothing else.
const GROUP: &str = "stable";

/// What the files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    values: BTreeMap<String, String>,
}

/// A file is there and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadConfiguration {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is far too long.
    #[error("{0} is longer than 64 KiB: it is no update.conf")]
    TooLong(PathBuf),
}

impl Configuration {
    /// Reads these files, as far as they are there; what a later one says counts more.
    ///
    /// # Errors
    /// One is there and cannot be read.
    pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Configuration, BadConfiguration> {
        let mut configuration = Configuration::default();
        for path in files.iter().map(AsRef::as_ref) {
            let failed = |source| BadConfiguration::Io { path: path.to_owned(), source };
            match fs::metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
                Ok(data) if data.len() > LONGEST => return Err(BadConfiguration::TooLong(path.to_owned())),
                Ok(_) => configuration.take(&fs::read_to_string(path).map_err(failed)?),
            }
        }
        Ok(configuration)
    }

    /// Takes the lines of a text; those that are no `NAME=VALUE` are passed over.
    pub fn take(&mut self, text: &str) {
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let line = line.strip_prefix("export ").unwrap_or(line);
            if let Some((name, value)) = line.split_once('=') {
                self.values.insert(name.trim().to_owned(), unquote(value.trim()));
            }
        }
    }

    /// The value of a name; an empty one is none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The server, as an URL. `disabled`, as CoreOS's operators write it, is none.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        self.get("SERVER").filter(|server| *server != "disabled")
    }

    /// The group or channel.
    #[must_use]
    pub fn group(&self) -> &str {
        self.get("GROUP").unwrap_or(GROUP)
    }
}

/// A value without the quotes around it, and without a comment behind it.
fn unquote(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some((inner, _)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return inner.to_owned();
        }
    }
    value.split(" #").next().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_lines_count_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("image"), "GROUP=stable\nSERVER=https://a/v1/update/\nREBOOT_STRATEGY=best-effort\n")
            .unwrap();
        fs::write(
            path("operator"),
            "# a comment\nexport GROUP=\"beta\" # as told\nREBOOT_STRATEGY='off'\nLOCKSMITHD_REBOOT_WINDOW_START=Thu 23:00 # at night\nnonsense\nSERVER=\n",
        )
        .unwrap();
        let files = [path("image"), path("missing"), path("operator")];
        let configuration = Configuration::read(&files).unwrap();
        assert_eq!((configuration.group(), configuration.server()), ("beta", None));
        assert_eq!(configuration.get("REBOOT_STRATEGY"), Some("off"));
        assert_eq!(configuration.get("LOCKSMITHD_REBOOT_WINDOW_START"), Some("Thu 23:00"));
        let image = Configuration::read(&files[..1]).unwrap();
        assert_eq!((image.group(), image.server()), ("stable", Some("https://a/v1/update/")));
        let mut disabled = Configuration::default();
        disabled.take("SERVER=disabled");
        assert_eq!((disabled.group(), disabled.server()), ("stable", None));
        fs::write(path("image"), "#".repeat(70_000)).unwrap();
        assert!(matches!(Configuration::read(&files), Err(BadConfiguration::TooLong(_))));
    }
}
