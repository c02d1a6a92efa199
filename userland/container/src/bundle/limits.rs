//! Limits of all processes of a container together, as the kernel's cgroups keep them.

use serde_json::{Map, Value, json};

/// What they may use. Nothing said: no limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Most memory, in bytes.
    pub memory: Option<i64>,
    /// Most memory and swap together, in bytes; -1: as much swap as there is.
    pub memory_and_swap: Option<i64>,
    /// Memory that is left to them when others need some, in bytes.
    pub reservation: Option<i64>,
    /// Most processor time, in processors.
    pub cpus: Option<f64>,
    /// Their part of processor time when others want some, too; others have 1024.
    pub shares: Option<u64>,
    /// The processors they may run on, as `0-2,7`.
    pub processors: Option<String>,
    /// The memory nodes they may use, as `0-1`.
    pub nodes: Option<String>,
    /// Their part of disks' time, 10 to 1000; others have 500.
    pub disk_weight: Option<u16>,
    /// Most processes.
    pub pids: Option<i64>,
}

/// What `cpus` is counted in, in microseconds.
const PERIOD: u32 = 100_000;

impl Limits {
    /// `linux.resources` of a configuration.
    #[must_use]
    pub fn resources(&self) -> Value {
        #[expect(clippy::cast_possible_truncation, reason = "bounded by who asks to what fits")]
        let quota = self.cpus.map(|cpus| (cpus * f64::from(PERIOD)) as i64);
        let groups = [
            (
                "memory",
                json!({
                    "limit": self.memory, "swap": self.memory_and_swap, "reservation": self.reservation,
                }),
            ),
            (
                "cpu",
                json!({
                    "quota": quota, "period": quota.map(|_| PERIOD), "shares": self.shares,
                    "cpus": self.processors, "mems": self.nodes,
                }),
            ),
            ("blockIO", json!({ "weight": self.disk_weight })),
            ("pids", json!({ "limit": self.pids })),
        ];
        let mut all = Map::new();
        for (name, mut group) in groups {
            if let Some(fields) = group.as_object_mut() {
                fields.retain(|_, value| !value.is_null());
                if !fields.is_empty() {
                    all.insert(name.to_owned(), group);
                }
            }
        }
        Value::Object(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_said_is_a_limit() {
        assert_eq!(Limits::default().resources(), json!({}));
        let limits = Limits {
            memory: Some(1 << 20),
            cpus: Some(0.5),
            processors: Some("0".to_owned()),
            ..Limits::default()
        };
        let told = json!({
            "memory": { "limit": 1 << 20 }, "cpu": { "quota": 50_000, "period": 100_000, "cpus": "0" },
        });
        assert_eq!(limits.resources(), told);
    }
}
