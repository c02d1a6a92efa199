//! The state machine of a device, systemd.device(5): there or not. Nobody can start or stop it; jobs wait.

use serde::{Deserialize, Serialize};

use super::{Life, Stage, Step};
use crate::ActiveState;

/// A device's state.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Device {
    /// Its folder in /sys while it is there.
    pub(crate) sysfs: Option<String>,
}

impl Device {
    /// It is there, or gone.
    pub(crate) fn found(&mut self, stage: &mut Stage<'_>, sysfs: Option<String>) {
        let changed = self.sysfs != sysfs;
        self.sysfs = sysfs;
        match (&self.sysfs, stage.base.active) {
            (Some(_), ActiveState::Active) if !changed => {}
            (None, ActiveState::Inactive) => {}
            (Some(_), _) => stage.enter(ActiveState::Active, "plugged"),
            (None, _) => stage.enter(ActiveState::Inactive, "dead"),
        }
    }
}

impl Life for Device {
    fn start(&mut self, _: &mut Stage<'_>) -> Step {
        Step::Begun
    }

    fn stop(&mut self, _: &mut Stage<'_>, _: bool) -> Step {
        Step::Begun
    }
}
