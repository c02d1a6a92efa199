//! From what a person types to unit names: `ssh` → `ssh.service`, `/mnt` → `mnt.mount`, `ssh*` → those in memory.

use unit::{UnitName, UnitType};

use super::{Session, Trouble};
use crate::dbus::glob;

/// A unit as `ListUnits` tells it: name, description, load, active, sub, following, path, job, its type, its path.
pub type Line = (
    String,
    String,
    String,
    String,
    String,
    String,
    zvariant::OwnedObjectPath,
    u32,
    String,
    zvariant::OwnedObjectPath,
);

/// The full name of a unit.
pub fn mangle(typed: &str) -> String {
    if UnitName::parse(typed).is_ok() {
        return typed.into();
    }
    if typed.starts_with('/') {
        let kind = if typed.starts_with("/dev/") { UnitType::Device } else { UnitType::Mount };
        if let Ok(name) = UnitName::from_path(typed, kind) {
            return name.to_string();
        }
    }
    format!("{typed}.service")
}

/// How systemctl sorts: by type, then by name, whatever the case.
pub fn by_type(name: &str) -> (String, String) {
    (name.rsplit('.').next().unwrap_or_default().to_lowercase(), name.to_lowercase())
}

impl Session<'_> {
    /// The units in these states and with these names that are in memory.
    pub(super) fn units(&mut self, states: &[String], patterns: &[String]) -> Result<Vec<Line>, Trouble> {
        let mut lines: Vec<Line> = self.client.manager("ListUnitsByPatterns", &(states, patterns))?;
        lines.sort_by_cached_key(|line| by_type(&line.0));
        Ok(lines)
    }

    /// The names that were typed, patterns replaced by what they match.
    pub(super) fn expand(&mut self, typed: &[String]) -> Result<Vec<String>, Trouble> {
        let mut names = Vec::new();
        for typed in typed {
            if glob::is_pattern(typed) {
                let pattern =
                    if typed.contains('.') || typed.ends_with('*') { typed.clone() } else { mangle(typed) };
                names.extend(self.units(&[], &[pattern])?.into_iter().map(|line| line.0));
            } else {
                names.push(mangle(typed));
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        assert_eq!(mangle("ssh"), "ssh.service");
        assert_eq!(mangle("ssh.socket"), "ssh.socket");
        assert_eq!(mangle("/mnt/data"), "mnt-data.mount");
        assert_eq!(mangle("/dev/sda"), "dev-sda.device");
        assert_eq!(mangle("a@b"), "a@b.service");
    }
}
