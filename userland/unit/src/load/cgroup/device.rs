//! DevicePolicy=, DeviceAllow=.

use super::{Draft, Outcome, Taken};
use crate::settings::{Device, DevicePolicy};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let cgroup = &mut draft.cgroup;
    match key {
        "DevicePolicy" => {
            let policy = DevicePolicy::parse(value);
            cgroup.device_policy =
                policy.ok_or_else(|| format!("\"{value}\" is not auto, closed or strict"))?;
        }
        "DeviceAllow" if value.is_empty() => cgroup.device_allow.clear(),
        "DeviceAllow" => {
            let mut words = value.split_whitespace();
            let path = context.resolve(words.next().unwrap_or_default())?;
            let access = words.next().unwrap_or("rwm");
            let named = ["char-", "block-"]
                .iter()
                .any(|kind| path.strip_prefix(kind).is_some_and(|name| !name.is_empty()));
            let there = path.starts_with("/dev/") || path.starts_with("/run/systemd/inaccessible/");
            if !named && (!there || path.split('/').any(|part| part == "..")) {
                return Err(format!("\"{path}\" is not a device below /dev, nor char-NAME or block-NAME"));
            }
            if access.contains(|letter| !matches!(letter, 'r' | 'w' | 'm')) || words.next().is_some() {
                return Err(format!("\"{access}\" is not made of r, w and m"));
            }
            let has = |letter| access.contains(letter);
            cgroup.device_allow.push(Device { path, read: has('r'), write: has('w'), make: has('m') });
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}
