//! The [Automount] section, systemd.automount(5).

use super::value::{absolute, mode, span};
use super::{Draft, Outcome, Taken};
use crate::{Dependency, INFINITY, UnitName, UnitType};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let automount = &mut draft.automount;
    match key {
        "Where" => {
            let path = context.resolve(value)?;
            automount.place = absolute(&path)?;
        }
        "ExtraOptions" => automount.options = context.resolve(value)?,
        "DirectoryMode" => automount.directory_mode = mode(value)?,
        "TimeoutIdleSec" => automount.idle = Some(span(value)?).filter(|usec| *usec != INFINITY).unwrap_or(0),
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

impl Draft<'_> {
    /// Defaults and implied dependencies of an automount.
    pub(super) fn automount_defaults(&mut self) -> Result<(), String> {
        let name = self.unit.name.clone();
        if self.automount.place.is_empty() {
            self.automount.place =
                name.to_path().ok_or_else(|| format!("{name} is not the name of a path"))?;
        }
        let place = self.automount.place.clone();
        let mount = name.with_type(UnitType::Mount);
        self.add(Dependency::Before, mount.clone());
        self.add(Dependency::Triggers, mount);
        if let Some((parent, _)) = place.rsplit_once('/') {
            self.requires_mounts_for(if parent.is_empty() { "/" } else { parent })?;
        }
        if place == "/" {
            return Err(format!("{name}: Cannot have an automount unit for the root directory. Refusing."));
        }
        match UnitName::from_path(&place, UnitType::Automount) {
            Ok(expected) if expected == name => Ok(()),
            _ => Err(format!("{name}: Where= setting doesn't match unit name. Refusing.")),
        }
    }
}
