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
    /// What makes a swap unusable.
    pub(super) fn verify_swap(&self) -> Result<(), String> {
        match UnitName::from_path(&self.swap.what, UnitType::Swap) {
            Ok(expected) if expected == self.unit.name => Ok(()),
            _ => Err("Value of What= and unit name do not match.".into()),
        }
    }

    /// Defaults and implied dependencies of a swap.
    pub(super) fn swap_defaults(&mut self) -> Result<(), String> {
        let given = !self.swap.what.is_empty();
        if !given {
            let name = &self.unit.name;
            self.swap.what = name.to_path().ok_or_else(|| format!("{name} is not the name of a path"))?;
        }
        let what = self.swap.what.clone();
        if self.unit.description.is_empty() {
            self.unit.description = what.clone();
        }
        self.requires_mounts_for(&what)?;
        if (given || self.unit.fragment.is_none())
            && what.starts_with("/dev/")
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

#[cfg(test)]
mod tests {
    use crate::{Dependency, Host, LoadState, Sources, Text, Unit, UnitName};

    fn load(name: &str, text: &str) -> Unit {
        let fragment = Some(Text { path: format!("/etc/systemd/system/{name}"), text: text.into() });
        let sources = Ok(Sources { fragment, ..Sources::default() });
        crate::load::load(&UnitName::parse(name).unwrap(), &sources, None, &Host::default())
    }

    /// As systemd 252 shows such units.
    #[test]
    fn a_swap_without_what_is_that_of_its_name() {
        let unit = load("dev-x.swap", "[Swap]\nPriority=3\n");
        assert_eq!((unit.load, unit.description.as_str()), (LoadState::Loaded, "/dev/x"));
        assert_eq!(unit.swap().unwrap().what, "/dev/x");
        assert!(unit.ignore_on_isolate && unit.mounts_for.contains("/dev/x"));
        assert!(!unit.names(Dependency::Requires).any(|name| name.as_str() == "dev-x.device"));
        let unit = load("dev-x.swap", "[Swap]\nWhat=/dev/y\n");
        assert_eq!((unit.load, unit.description.as_str()), (LoadState::BadSetting, "/dev/y"));
        assert!(unit.names(Dependency::Requires).any(|name| name.as_str() == "dev-y.device"));
    }
}
