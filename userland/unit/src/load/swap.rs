//! The [Swap] section, systemd.swap(5).

use super::value::{absolute, number, timeout};
use super::{Draft, Outcome, Taken};
use crate::{Dependency, UnitName, UnitType};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let swap = &mut draft.swap;
    match key {
        "What" => {
            let path = context.resolve(value)?;
            let path = match path.split_once('=') {
                Some((tag @ ("LABEL" | "UUID" | "PARTLABEL" | "PARTUUID"), value)) => {
                    format!("/dev/disk/by-{}/{value}", tag.to_ascii_lowercase())
                }
                _ => path,
            };
            swap.what = absolute(&path)?;
        }
        "Priority" if value.is_empty() => swap.priority = -1,
        "Priority" => swap.priority = number(value)?,
        "Options" => swap.options = context.resolve(value)?,
        "TimeoutSec" => swap.timeout = timeout(value)?,
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

impl Draft<'_> {
    /// Defaults and implied dependencies of a swap.
    pub(super) fn swap_defaults(&mut self) -> Result<(), String> {
        let name = self.unit.name.clone();
        if self.swap.what.is_empty() {
            if self.unit.fragment.is_some() {
                return Err(format!("{name}: What= setting is missing. Refusing."));
            }
            self.swap.what = name.to_path().ok_or_else(|| format!("{name} is not the name of a path"))?;
        }
        let what = self.swap.what.clone();
        match UnitName::from_path(&what, UnitType::Swap) {
            Ok(expected) if expected == name => {}
            _ => return Err(format!("{name}: Value of What= and unit name do not match, not loading.")),
        }
        self.requires_mounts_for(&what)?;
        if what.starts_with("/dev/")
            && let Ok(device) = UnitName::from_path(&what, UnitType::Device)
        {
            // a swap of a unit file needs its device; one that somebody switched on goes with it
            let kind = if self.unit.fragment.is_some() { Dependency::Requires } else { Dependency::BindsTo };
            self.add(kind, device.clone());
            self.add(Dependency::After, device);
        }
        Ok(())
    }
}
