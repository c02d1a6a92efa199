//! What units have that say nothing else: the part of systemd-system.conf(5) that is about units.

use super::{Amount, OomPolicy, Output, ResourceLimit};
use crate::{INFINITY, Usec};

/// The values of Default*=.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// DefaultTimeoutStartSec=
    pub timeout_start: Usec,
    /// DefaultTimeoutStopSec=
    pub timeout_stop: Usec,
    /// DefaultTimeoutAbortSec=; `None`: the one for stopping
    pub timeout_abort: Option<Usec>,
    /// DefaultRestartSec=
    pub restart: Usec,
    /// DefaultDeviceTimeoutSec=: how long a job waits for a device
    pub device_timeout: Usec,
    /// DefaultTimerAccuracySec=
    pub timer_accuracy: Usec,
    /// DefaultStartLimitIntervalSec=
    pub start_limit_interval: Usec,
    /// DefaultStartLimitBurst=
    pub start_limit_burst: u32,
    /// DefaultTasksMax=: what one unit may have of the machine's tasks, so that a fork bomb stays its own trouble
    pub tasks_max: Amount,
    /// DefaultOOMPolicy=
    pub oom_policy: OomPolicy,
    /// DefaultOOMScoreAdjust=
    pub oom_score_adjust: Option<i32>,
    /// DefaultStandardOutput=
    pub output: Output,
    /// DefaultStandardError=
    pub error: Output,
    /// DefaultLimitX=
    pub limits: Vec<ResourceLimit>,
    /// DefaultEnvironment=
    pub environment: Vec<(String, String)>,
}

impl Default for Defaults {
    fn default() -> Self {
        const TIMEOUT: Usec = 90_000_000;
        Defaults {
            timeout_start: TIMEOUT,
            timeout_stop: TIMEOUT,
            timeout_abort: None,
            restart: 100_000,
            device_timeout: TIMEOUT,
            timer_accuracy: 60_000_000,
            start_limit_interval: 10_000_000,
            start_limit_burst: 5,
            tasks_max: Amount::Share(1500),
            oom_policy: OomPolicy::Stop,
            oom_score_adjust: None,
            output: Output::Journal,
            error: Output::Inherit,
            limits: Vec::new(),
            environment: Vec::new(),
        }
    }
}

impl Defaults {
    /// A unit's own limits, and those that it leaves open.
    pub(crate) fn complete(&self, limits: &mut Vec<ResourceLimit>) {
        let open: Vec<_> = self
            .limits
            .iter()
            .filter(|limit| limits.iter().all(|own| own.name != limit.name))
            .cloned()
            .collect();
        limits.extend(open);
    }

    /// How long jobs wait for a device.
    pub(crate) fn device_job_timeout(&self) -> Usec {
        if self.device_timeout == 0 { INFINITY } else { self.device_timeout }
    }
}
