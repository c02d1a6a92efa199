//! DevicePolicy=, DeviceAllow=.

/// DevicePolicy=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevicePolicy {
    /// All devices, or with DeviceAllow= as `Closed`.
    #[default]
    Auto,
    /// DeviceAllow= and the pseudo devices: /dev/null, /dev/zero, …
    Closed,
    /// DeviceAllow= only.
    Strict,
}

impl DevicePolicy {
    /// By systemd's word.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "auto" => Some(DevicePolicy::Auto),
            "closed" => Some(DevicePolicy::Closed),
            "strict" => Some(DevicePolicy::Strict),
            _ => None,
        }
    }

    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            DevicePolicy::Auto => "auto",
            DevicePolicy::Closed => "closed",
            DevicePolicy::Strict => "strict",
        }
    }
}

/// A line of DeviceAllow=.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// A path below /dev, or `char-NAME`, `block-NAME` with a pattern of /proc/devices.
    pub path: String,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// Nodes of it may be made.
    pub make: bool,
}

impl Device {
    /// The letters `rwm`, as far as they are allowed.
    pub fn access(&self) -> String {
        let letters = [(self.read, 'r'), (self.write, 'w'), (self.make, 'm')];
        letters.into_iter().filter(|(on, _)| *on).map(|(_, letter)| letter).collect()
    }
}
