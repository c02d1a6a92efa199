//! The [Path] section, systemd.path(5).

use super::value::{absolute, boolean, mode, number, span};
use super::{Draft, Outcome, Taken};
use crate::settings::PathKind;
use crate::{INFINITY, UnitType};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    if let Some(kind) = kind(key) {
        if value.is_empty() {
            draft.path.paths.clear();
            return Ok(Taken::Yes);
        }
        let path = draft.context.resolve(value)?;
        draft.path.paths.push((kind, absolute(&path)?));
        return Ok(Taken::Yes);
    }
    let path = &mut draft.path;
    match key {
        "Unit" => return super::trigger(draft, value),
        "MakeDirectory" => path.make_directory = boolean(value)?,
        "DirectoryMode" => path.directory_mode = mode(value)?,
        "TriggerLimitIntervalSec" => path.trigger_interval = span(value)?,
        "TriggerLimitBurst" => path.trigger_burst = number(value)?,
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

fn kind(key: &str) -> Option<PathKind> {
    Some(match key {
        "PathExists" => PathKind::Exists,
        "PathExistsGlob" => PathKind::ExistsGlob,
        "PathChanged" => PathKind::Changed,
        "PathModified" => PathKind::Modified,
        "DirectoryNotEmpty" => PathKind::DirectoryNotEmpty,
        _ => return None,
    })
}

impl Draft<'_> {
    /// What makes a path unit unusable.
    pub(super) fn verify_path(&self) -> Result<(), String> {
        if self.path.paths.is_empty() {
            return Err("Path unit lacks path setting.".into());
        }
        Ok(())
    }

    /// Defaults and implied dependencies of a path unit.
    pub(super) fn path_defaults(&mut self) -> Result<(), String> {
        if self.path.trigger_interval == INFINITY {
            self.path.trigger_interval = 2_000_000;
        }
        if self.path.trigger_burst == u32::MAX {
            self.path.trigger_burst = 200;
        }
        self.triggers(UnitType::Service);
        for (_, path) in self.path.paths.clone() {
            self.requires_mounts_for(&path)?;
        }
        Ok(())
    }
}
