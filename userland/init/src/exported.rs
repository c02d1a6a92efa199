//! What the journal has to know of a unit before its first message: links in /run/systemd/units, named `WHAT:UNIT`,
//! that lead to the value. The fields of LogExtraFields= are a file, each with its size in front as 64 bits.
//!
//! Source: systemd 252's own use of that folder, which is how journald learns of them.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use unit::UnitName;
use unit::settings::Logging;

const FOLDER: &str = "/run/systemd/units";
const INVOCATION: &str = "invocation";
const FIELDS: &str = "log-extra-fields";
const LINKS: [&str; 4] = [INVOCATION, "log-level-max", "log-rate-limit-interval", "log-rate-limit-burst"];

/// Tells of a unit that begins; what is told already is left alone.
///
/// # Errors
/// The folder cannot be written to.
pub fn tell(unit: &UnitName, invocation: &str, logging: &Logging) -> io::Result<()> {
    let folder = Path::new(FOLDER);
    if fs::read_link(place(folder, INVOCATION, unit)).is_ok_and(|told| told.as_os_str() == invocation) {
        return Ok(());
    }
    tell_below(folder, unit, invocation, logging)
}

/// Takes back what was told of a unit that has ended.
pub fn take_back(unit: &UnitName) {
    for what in LINKS.into_iter().chain([FIELDS]) {
        let _ = fs::remove_file(place(Path::new(FOLDER), what, unit));
    }
}

fn tell_below(folder: &Path, unit: &UnitName, invocation: &str, logging: &Logging) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let rate = logging.rate_limit_interval.zip(logging.rate_limit_burst);
    let values = [
        Some(invocation.to_owned()).filter(|id| !id.is_empty()),
        logging.level_max.map(|level| level.to_string()),
        rate.map(|(interval, _)| interval.to_string()),
        rate.map(|(_, burst)| burst.to_string()),
    ];
    for (what, value) in LINKS.into_iter().zip(values) {
        let path = place(folder, what, unit);
        match value {
            Some(value) => replace(&path, |new| symlink(&value, new))?,
            None => _ = fs::remove_file(path),
        }
    }
    let path = place(folder, FIELDS, unit);
    if logging.extra_fields.is_empty() {
        let _ = fs::remove_file(path);
        return Ok(());
    }
    let mut bytes = Vec::new();
    for field in &logging.extra_fields {
        bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    replace(&path, |new| fs::write(new, &bytes))
}

fn place(folder: &Path, what: &str, unit: &UnitName) -> PathBuf {
    folder.join(format!("{what}:{unit}"))
}

/// Puts something in the place of what is there, at once.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_file_name(".new");
    let _ = fs::remove_file(&new);
    make(&new)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_told_of_anew_with_each_run() {
        let folder = tempfile::tempdir().unwrap();
        let unit = UnitName::parse("a@b.service").unwrap();
        let link = |what: &str| fs::read_link(place(folder.path(), what, &unit)).ok();
        let logging = Logging {
            level_max: Some(4),
            rate_limit_interval: Some(5_000_000),
            rate_limit_burst: Some(7),
            extra_fields: vec!["A=1".into(), "_B=2".into()],
            ..Logging::default()
        };
        tell_below(folder.path(), &unit, "01", &logging).unwrap();
        assert_eq!(link("invocation"), Some("01".into()));
        assert_eq!(link("log-level-max"), Some("4".into()));
        assert_eq!(link("log-rate-limit-interval"), Some("5000000".into()));
        assert_eq!(link("log-rate-limit-burst"), Some("7".into()));
        let fields = fs::read(place(folder.path(), FIELDS, &unit)).unwrap();
        assert_eq!(fields, b"\x03\0\0\0\0\0\0\0A=1\x04\0\0\0\0\0\0\0_B=2");

        tell_below(folder.path(), &unit, "02", &Logging::default()).unwrap();
        assert_eq!(link("invocation"), Some("02".into()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
