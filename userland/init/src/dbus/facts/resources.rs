//! A unit's share of the machine, as properties: systemd.resource-control(5).

use std::net::IpAddr;

use unit::Unit;
use unit::settings::{AddressPrefix, Amount, CgroupSettings, IoLimit, SocketBind};
use zvariant::Value;

use super::exec::bits;
use super::sandbox::names;
use crate::dbus::property::{Facts, array, strings, structure};
use crate::resources::{DELEGATED, bytes, tasks};

const INET: i32 = 2;
const INET6: i32 = 10;

pub(super) fn tell(unit: &Unit, facts: &mut Facts) {
    let settings: &CgroupSettings = &unit.cgroup;
    let controllers: Vec<String> = match (settings.delegate, settings.delegate_controllers.as_slice()) {
        (false, _) => Vec::new(),
        (true, []) => DELEGATED.map(str::to_owned).to_vec(),
        (true, named) => named.to_vec(),
    };
    let oom = &settings.managed_oom;
    let word = |word: &Option<String>, default: &str| word.clone().unwrap_or_else(|| default.to_owned());
    facts.extend([
        ("Slice", Value::from(settings.slice.clone().unwrap_or_default())),
        ("Delegate", settings.delegate.into()),
        ("DelegateControllers", strings(controllers)),
        ("DisableControllers", strings(settings.disable_controllers.iter().cloned())),
        ("AllowedCPUs", bits(&settings.allowed_cpus)),
        ("StartupAllowedCPUs", bits(&settings.startup_allowed_cpus)),
        ("AllowedMemoryNodes", bits(&settings.allowed_memory_nodes)),
        ("StartupAllowedMemoryNodes", bits(&settings.startup_allowed_memory_nodes)),
        ("DevicePolicy", settings.device_policy.as_str().into()),
        ("IPAddressAllow", addresses(&settings.ip_allow)),
        ("IPAddressDeny", addresses(&settings.ip_deny)),
        ("IPIngressFilterPath", strings(settings.ip_ingress_filters.iter().cloned())),
        ("IPEgressFilterPath", strings(settings.ip_egress_filters.iter().cloned())),
        ("SocketBindAllow", socket_binds(&settings.socket_bind_allow)),
        ("SocketBindDeny", socket_binds(&settings.socket_bind_deny)),
        ("RestrictNetworkInterfaces", names(settings.network_interfaces.as_ref())),
        ("BPFProgram", pairs(&settings.bpf_programs)),
        ("ManagedOOMSwap", word(&oom.swap, "auto").into()),
        ("ManagedOOMMemoryPressure", word(&oom.memory_pressure, "auto").into()),
        ("ManagedOOMMemoryPressureLimit", oom.memory_pressure_limit.into()),
        ("ManagedOOMPreference", word(&oom.preference, "none").into()),
    ]);
    // systemd tells what was added last first.
    let devices = settings.device_allow.iter().rev();
    let devices = devices.map(|device| structure([device.path.clone().into(), device.access().into()]));
    facts.insert("DeviceAllow", array("(ss)", devices));
    let counted = &settings.accounting;
    let accounting = [
        ("CPUAccounting", counted.cpu),
        ("MemoryAccounting", counted.memory),
        ("TasksAccounting", counted.tasks),
        ("IOAccounting", counted.io),
        ("BlockIOAccounting", counted.block_io),
        ("IPAccounting", counted.ip),
    ];
    facts.extend(accounting.into_iter().filter_map(|(name, on)| Some((name, on?.into()))));
    let numbers = [
        ("CPUWeight", settings.cpu_weight),
        ("StartupCPUWeight", settings.startup_cpu_weight),
        ("CPUShares", settings.cpu_shares),
        ("StartupCPUShares", settings.startup_cpu_shares),
        ("CPUQuotaPerSecUSec", settings.cpu_quota_per_second),
        ("CPUQuotaPeriodUSec", settings.cpu_quota_period),
        ("IOWeight", settings.io.weight),
        ("StartupIOWeight", settings.io.startup_weight),
        ("BlockIOWeight", settings.io.block_weight),
        ("StartupBlockIOWeight", settings.io.startup_block_weight),
    ];
    facts.extend(numbers.into_iter().filter_map(|(name, value)| Some((name, value?.into()))));
    disks(settings, facts);
    let amounts = [
        ("MemoryMin", settings.memory_min),
        ("MemoryLow", settings.memory_low),
        ("DefaultMemoryMin", settings.default_memory_min),
        ("DefaultMemoryLow", settings.default_memory_low),
        ("MemoryHigh", settings.memory_high),
        ("MemoryMax", settings.memory_max),
        ("MemoryLimit", settings.memory_limit),
        ("MemorySwapMax", settings.memory_swap_max),
    ];
    facts.extend(amounts.into_iter().filter_map(|(name, amount)| Some((name, bytes(amount?).into()))));
    let most = settings.tasks_max.unwrap_or(Amount::Infinity);
    facts.insert("TasksMax", tasks(most).into());
}

fn disks(settings: &CgroupSettings, facts: &mut Facts) {
    let io = &settings.io;
    facts.insert("IODeviceWeight", amounts(io.device_weights.iter().cloned()));
    facts.insert("BlockIODeviceWeight", amounts(io.block_device_weights.iter().cloned()));
    facts.insert("IODeviceLatencyTargetUSec", amounts(io.latency_targets.iter().cloned()));
    let of = |limits: &[IoLimit], field: fn(&IoLimit) -> Option<u64>| {
        amounts(limits.iter().filter_map(move |limit| Some((limit.path.clone(), field(limit)?))))
    };
    facts.extend([
        ("IOReadBandwidthMax", of(&io.limits, |limit| limit.read_bandwidth)),
        ("IOWriteBandwidthMax", of(&io.limits, |limit| limit.write_bandwidth)),
        ("IOReadIOPSMax", of(&io.limits, |limit| limit.read_iops)),
        ("IOWriteIOPSMax", of(&io.limits, |limit| limit.write_iops)),
        ("BlockIOReadBandwidth", of(&io.block_limits, |limit| limit.read_bandwidth)),
        ("BlockIOWriteBandwidth", of(&io.block_limits, |limit| limit.write_bandwidth)),
    ]);
}

fn amounts(all: impl Iterator<Item = (String, u64)>) -> Value<'static> {
    array("(st)", all.map(|(path, amount)| structure([path.into(), amount.into()])))
}

fn pairs(all: &[(String, String)]) -> Value<'static> {
    array("(ss)", all.iter().map(|(one, other)| structure([one.clone().into(), other.clone().into()])))
}

fn addresses(all: &[AddressPrefix]) -> Value<'static> {
    let one = |prefix: &AddressPrefix| {
        let (family, bytes) = match prefix.address {
            IpAddr::V4(address) => (INET, address.octets().to_vec()),
            IpAddr::V6(address) => (INET6, address.octets().to_vec()),
        };
        structure([family.into(), Value::Array(bytes.into()), u32::from(prefix.length).into()])
    };
    array("(iayu)", all.iter().map(one))
}

fn socket_binds(all: &[SocketBind]) -> Value<'static> {
    let one = |bind: &SocketBind| {
        structure([bind.family.into(), bind.protocol.into(), bind.ports.into(), bind.first.into()])
    };
    array("(iiqq)", all.iter().map(one))
}
