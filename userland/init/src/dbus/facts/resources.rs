//! A unit's share of the machine, as properties: systemd.resource-control(5).

use unit::settings::{Amount, CgroupSettings};

use crate::dbus::property::{Facts, strings};

pub(super) fn tell(settings: &CgroupSettings, facts: &mut Facts) {
    facts.insert("Slice", settings.slice.clone().unwrap_or_default().into());
    facts.insert("Delegate", settings.delegate.into());
    facts.insert("DelegateControllers", strings(settings.delegate_controllers.iter().cloned()));
    let weights = [
        ("CPUWeight", settings.cpu_weight),
        ("CPUQuotaPerSecUSec", settings.cpu_quota_per_second),
        ("IOWeight", settings.io_weight),
    ];
    facts.extend(weights.into_iter().filter_map(|(name, value)| Some((name, value?.into()))));
    let amounts = [
        ("MemoryMin", settings.memory_min),
        ("MemoryLow", settings.memory_low),
        ("MemoryHigh", settings.memory_high),
        ("MemoryMax", settings.memory_max),
        ("MemorySwapMax", settings.memory_swap_max),
        ("TasksMax", settings.tasks_max),
    ];
    for (name, amount) in amounts {
        match amount {
            Some(Amount::Absolute(value)) => _ = facts.insert(name, value.into()),
            Some(Amount::Infinity) => _ = facts.insert(name, u64::MAX.into()),
            // A share of what the machine has: the kernel file tells the number, the default here does not.
            Some(Amount::Share(_)) | None => {}
        }
    }
}
