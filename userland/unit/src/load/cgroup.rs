//! Resource control, systemd.resource-control(5).

mod address;
mod device;
mod io;

use super::value::{amount, boolean, number, percent, processors, span};
use super::{Draft, Outcome, Taken};
use crate::settings::{Amount, NameList};
use crate::{UnitName, UnitType};

/// The controllers that can be delegated, in systemd's order.
const CONTROLLERS: [&str; 8] = ["cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids"];

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    for chapter in [io::set, device::set, address::set, rest] {
        match chapter(draft, key, value) {
            Ok(Taken::Unknown) => {}
            taken => return taken,
        }
    }
    Ok(Taken::Unknown)
}

fn rest(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let cgroup = &mut draft.cgroup;
    match key {
        "Slice" => {
            let name = draft.context.resolve(value)?;
            match UnitName::parse(&name) {
                Ok(slice) if slice.unit_type() == UnitType::Slice => cgroup.slice = Some(name),
                _ => return Err(format!("{name} is not a slice")),
            }
        }
        "Delegate" => match boolean(value) {
            Ok(yes) => {
                cgroup.delegate = yes;
                cgroup.delegate_controllers.clear();
            }
            Err(_) => {
                cgroup.delegate = true;
                if value.is_empty() {
                    cgroup.delegate_controllers.clear();
                }
                add_controllers(&mut cgroup.delegate_controllers, value)?;
            }
        },
        "DisableControllers" if value.is_empty() => cgroup.disable_controllers.clear(),
        "DisableControllers" => add_controllers(&mut cgroup.disable_controllers, value)?,
        "CPUWeight" if value == "idle" => cgroup.cpu_weight = Some(0),
        "StartupCPUWeight" if value == "idle" => cgroup.startup_cpu_weight = Some(0),
        "CPUWeight" => cgroup.cpu_weight = weight(value, 1, 10_000)?,
        "StartupCPUWeight" => cgroup.startup_cpu_weight = weight(value, 1, 10_000)?,
        "CPUShares" => cgroup.cpu_shares = weight(value, 2, 262_144)?,
        "StartupCPUShares" => cgroup.startup_cpu_shares = weight(value, 2, 262_144)?,
        "CPUQuota" if value.is_empty() => cgroup.cpu_quota_per_second = None,
        "CPUQuota" => {
            let share = percent(value).filter(|share| *share > 0).ok_or("CPUQuota= takes a percentage")?;
            cgroup.cpu_quota_per_second = Some(u64::from(share) * 100);
        }
        "CPUQuotaPeriodSec" if value.is_empty() => cgroup.cpu_quota_period = None,
        "CPUQuotaPeriodSec" => cgroup.cpu_quota_period = Some(span(value)?.clamp(1_000, 1_000_000)),
        "AllowedCPUs" => set_list(&mut cgroup.allowed_cpus, value)?,
        "StartupAllowedCPUs" => set_list(&mut cgroup.startup_allowed_cpus, value)?,
        "AllowedMemoryNodes" => set_list(&mut cgroup.allowed_memory_nodes, value)?,
        "StartupAllowedMemoryNodes" => set_list(&mut cgroup.startup_allowed_memory_nodes, value)?,
        "MemoryMin" => cgroup.memory_min = amount(value)?,
        "MemoryLow" => cgroup.memory_low = amount(value)?,
        "DefaultMemoryMin" => cgroup.default_memory_min = amount(value)?,
        "DefaultMemoryLow" => cgroup.default_memory_low = amount(value)?,
        "MemoryHigh" => cgroup.memory_high = positive(amount(value)?)?,
        "MemoryMax" => cgroup.memory_max = positive(amount(value)?)?,
        "MemoryLimit" => cgroup.memory_limit = positive(amount(value)?)?,
        "MemorySwapMax" => cgroup.memory_swap_max = amount(value)?,
        "TasksMax" => cgroup.tasks_max = positive(amount(value)?)?,
        "CPUAccounting" => cgroup.accounting.cpu = Some(boolean(value)?),
        "MemoryAccounting" => cgroup.accounting.memory = Some(boolean(value)?),
        "TasksAccounting" => cgroup.accounting.tasks = Some(boolean(value)?),
        "IOAccounting" => cgroup.accounting.io = Some(boolean(value)?),
        "BlockIOAccounting" => cgroup.accounting.block_io = Some(boolean(value)?),
        "IPAccounting" => cgroup.accounting.ip = Some(boolean(value)?),
        "RestrictNetworkInterfaces" => interfaces(&mut cgroup.network_interfaces, value),
        "BPFProgram" if value.is_empty() => cgroup.bpf_programs.clear(),
        "BPFProgram" => {
            let text = draft.context.resolve(value)?;
            let (kind, path) = text.split_once(':').ok_or("BPFProgram= takes a type, a colon and a path")?;
            cgroup.bpf_programs.push((kind.into(), path.into()));
        }
        "ManagedOOMSwap" => cgroup.managed_oom.swap = one_of(value, &["auto", "kill"])?,
        "ManagedOOMMemoryPressure" => cgroup.managed_oom.memory_pressure = one_of(value, &["auto", "kill"])?,
        "ManagedOOMPreference" => {
            cgroup.managed_oom.preference = one_of(value, &["none", "avoid", "omit"])?;
        }
        "ManagedOOMMemoryPressureLimit" if value.is_empty() => cgroup.managed_oom.memory_pressure_limit = 0,
        "ManagedOOMMemoryPressureLimit" => {
            let share = percent(value).filter(|share| *share <= 10_000).ok_or("takes a percentage")?;
            let scaled = u64::from(u32::MAX) * u64::from(share) / 10_000;
            cgroup.managed_oom.memory_pressure_limit = u32::try_from(scaled).unwrap_or(u32::MAX);
        }
        "NetClass" => return Err("support for NetClass= has been removed".into()),
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

/// A weight between two bounds; nothing is the default.
fn weight(text: &str, least: u64, most: u64) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let weight: u64 = number(text)?;
    if (least..=most).contains(&weight) {
        return Ok(Some(weight));
    }
    Err(format!("{weight} is not from {least} to {most}"))
}

fn positive(amount: Option<Amount>) -> Result<Option<Amount>, String> {
    match amount {
        Some(Amount::Absolute(0) | Amount::Share(0)) => Err("the limit may not be zero".into()),
        amount => Ok(amount),
    }
}

/// Adds to a set of processors or nodes; nothing empties it.
fn set_list(list: &mut Vec<u32>, value: &str) -> Result<(), String> {
    if value.is_empty() {
        list.clear();
        return Ok(());
    }
    list.extend(processors(value)?);
    list.sort_unstable();
    list.dedup();
    Ok(())
}

fn add_controllers(list: &mut Vec<String>, value: &str) -> Result<(), String> {
    let rank = |name: &str| CONTROLLERS.iter().position(|known| *known == name);
    let (known, bad): (Vec<&str>, Vec<&str>) =
        value.split_whitespace().partition(|word| rank(word).is_some() || word.starts_with("bpf-"));
    list.extend(known.into_iter().map(str::to_string));
    list.sort_by_key(|name| rank(name).unwrap_or(CONTROLLERS.len()));
    list.dedup();
    if bad.is_empty() { Ok(()) } else { Err(format!("not controllers: {}", bad.join(" "))) }
}

fn one_of(value: &str, known: &[&str]) -> Result<Option<String>, String> {
    match value {
        "" => Ok(None),
        _ if known.contains(&value) => Ok(Some(value.into())),
        _ => Err(format!("\"{value}\" is not one of {}", known.join(", "))),
    }
}

fn interfaces(list: &mut Option<NameList>, value: &str) {
    if value.is_empty() {
        *list = None;
        return;
    }
    let (invert, names) = value.strip_prefix('~').map_or((false, value), |names| (true, names));
    let list = list.get_or_insert_with(|| NameList { allow: !invert, ..NameList::default() });
    for name in names.split_whitespace() {
        if list.allow != invert {
            list.names.insert(name.into());
        } else {
            list.names.remove(name);
        }
    }
}
