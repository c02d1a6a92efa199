//! Resource control, systemd.resource-control(5).

use super::value::{amount, boolean, number, percent};
use super::{Draft, Outcome, Taken};
use crate::{UnitName, UnitType};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let cgroup = &mut draft.cgroup;
    let optional = |text: &str| if text.is_empty() { None } else { Some(text.to_string()) };
    match key {
        "Slice" => {
            let name = draft.context.expand(value);
            match UnitName::parse(&name) {
                Ok(slice) if slice.unit_type() == UnitType::Slice => cgroup.slice = Some(name),
                _ => return Err(format!("{name} is not a slice")),
            }
        }
        "Delegate" => match boolean(value) {
            Ok(yes) => {
                cgroup.delegate = yes && !value.is_empty();
                cgroup.delegate_controllers.clear();
            }
            Err(_) => {
                cgroup.delegate = true;
                cgroup.delegate_controllers.extend(value.split_whitespace().map(str::to_string));
            }
        },
        "CPUWeight" => cgroup.cpu_weight = weight(value, 10_000, 1, 1)?,
        "CPUShares" => cgroup.cpu_weight = weight(value, 262_144, 100, 1024)?,
        "IOWeight" => cgroup.io_weight = weight(value, 10_000, 1, 1)?,
        "BlockIOWeight" => cgroup.io_weight = weight(value, 1000, 100, 500)?,
        "CPUQuota" if value.is_empty() => cgroup.cpu_quota_per_second = None,
        "CPUQuota" => {
            let share = percent(value).filter(|share| *share > 0).ok_or("CPUQuota= takes a percentage")?;
            cgroup.cpu_quota_per_second = Some(u64::from(share) * 100);
        }
        "AllowedCPUs" => cgroup.allowed_cpus = optional(value),
        "AllowedMemoryNodes" => cgroup.allowed_memory_nodes = optional(value),
        "MemoryMin" => cgroup.memory_min = amount(value)?,
        "MemoryLow" => cgroup.memory_low = amount(value)?,
        "MemoryHigh" => cgroup.memory_high = amount(value)?,
        "MemoryMax" | "MemoryLimit" => cgroup.memory_max = amount(value)?,
        "MemorySwapMax" => cgroup.memory_swap_max = amount(value)?,
        "TasksMax" => cgroup.tasks_max = amount(value)?,
        // always on with cgroup v2
        "CPUAccounting" | "MemoryAccounting" | "TasksAccounting" | "IOAccounting" | "BlockIOAccounting"
        | "IPAccounting" => {
            boolean(value)?;
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

/// A weight, scaled from the old range where `neutral` was the default.
fn weight(text: &str, most: u64, scale: u64, neutral: u64) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let weight: u64 = number(text)?;
    if weight == 0 || weight > most {
        return Err(format!("{weight} is not between 1 and {most}"));
    }
    Ok(Some((weight * scale / neutral).clamp(1, 10_000)))
}
