//! IOWeight=, IOReadBandwidthMax= and their kin, and the old BlockIO names.

use super::Phase;

/// A limit on a device: by a path that is the device or is on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IoLimit {
    /// Absolute.
    pub path: String,
    /// IOReadBandwidthMax=, bytes a second.
    pub read_bandwidth: Option<u64>,
    /// IOWriteBandwidthMax=, bytes a second.
    pub write_bandwidth: Option<u64>,
    /// IOReadIOPSMax=
    pub read_iops: Option<u64>,
    /// IOWriteIOPSMax=
    pub write_iops: Option<u64>,
}

/// What a unit may do to disks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IoSettings {
    /// IOWeight=, 1 to 10000.
    pub weight: Option<u64>,
    /// StartupIOWeight=
    pub startup_weight: Option<u64>,
    /// IODeviceWeight=: path and weight.
    pub device_weights: Vec<(String, u64)>,
    /// Limits by device.
    pub limits: Vec<IoLimit>,
    /// IODeviceLatencyTargetSec=: path and µs.
    pub latency_targets: Vec<(String, u64)>,
    /// BlockIOWeight=, 10 to 1000.
    pub block_weight: Option<u64>,
    /// StartupBlockIOWeight=
    pub startup_block_weight: Option<u64>,
    /// BlockIODeviceWeight=: path and weight.
    pub block_device_weights: Vec<(String, u64)>,
    /// BlockIOReadBandwidth=, BlockIOWriteBandwidth=
    pub block_limits: Vec<IoLimit>,
}

impl IoSettings {
    /// The weight for `io.weight`: IOWeight=, or BlockIOWeight= on its scale.
    pub fn effective_weight(&self, phase: Phase) -> Option<u64> {
        let startup = self.startup_weight.or(self.startup_block_weight.map(scaled));
        phase.weight(self.weight.or(self.block_weight.map(scaled)), startup)
    }

    /// The weights by device, the old names' too.
    pub fn effective_device_weights(&self) -> Vec<(String, u64)> {
        let old = self.block_device_weights.iter().map(|(path, weight)| (path.clone(), scaled(*weight)));
        self.device_weights.iter().cloned().chain(old).collect()
    }
}

/// From the scale of BlockIOWeight= to that of IOWeight=.
fn scaled(weight: u64) -> u64 {
    const NEUTRAL: u64 = 500;
    (weight * 100 / NEUTRAL).clamp(1, 10_000)
}
