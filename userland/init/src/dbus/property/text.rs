//! A property as text, as `systemctl show` writes it: a line for each value, none for what it leaves out.
//!
//! D-Bus tells types, not meanings: what a number counts is known by the property's name, as systemctl does it.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use unit::timespan;
use zvariant::{Array, Value};

use crate::cli::time;

/// Numbers whose greatest value means "not set".
const UNSET: &[&str] = &[
    "CPUWeight",
    "StartupCPUWeight",
    "IOWeight",
    "StartupIOWeight",
    "CPUShares",
    "StartupCPUShares",
    "BlockIOWeight",
    "StartupBlockIOWeight",
    "MemoryCurrent",
    "TasksCurrent",
    "CPUUsageNSec",
];
/// Numbers whose greatest value means "no limit", besides `Limit*`.
const LIMITS: &[&str] = &[
    "DefaultMemoryLow",
    "DefaultMemoryMin",
    "MemoryMin",
    "MemoryLow",
    "MemoryHigh",
    "MemoryMax",
    "MemorySwapMax",
    "MemoryLimit",
    "MemoryAvailable",
    "TasksMax",
    "DefaultTasksMax",
];
/// Numbers whose greatest value means that nothing was measured.
const MEASURES: &[&str] = &["IPIngressBytes", "IPIngressPackets", "IPEgressBytes", "IPEgressPackets"];
/// Bit sets of processors and of memory nodes.
const CPU_SETS: &[&str] = &[
    "CPUAffinity",
    "NUMAMask",
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "EffectiveCPUs",
    "EffectiveMemoryNodes",
];
/// Kinds of namespaces, by their flag of clone(2).
const NAMESPACES: &[(u64, &str)] = &[
    (0x0200_0000, "cgroup"),
    (0x0800_0000, "ipc"),
    (0x4000_0000, "net"),
    (0x0002_0000, "mnt"),
    (0x2000_0000, "pid"),
    (0x1000_0000, "user"),
    (0x0400_0000, "uts"),
];
/// set_mempolicy(2)'s modes, in the order of their numbers.
const NUMA_POLICIES: &[&str] = &["default", "preferred", "bind", "interleave", "local"];

/// A property's value as text, a line for each value it holds. An empty line stands for what is not set: it is shown
/// only to those who ask for everything.
pub fn lines(name: &str, value: &Value<'_>) -> Vec<String> {
    match value {
        Value::Array(array) => of_array(name, array),
        Value::Structure(fields) => vec![of_structure(name, fields.fields())],
        // systemctl cannot print them
        Value::U16(_) => Vec::new(),
        _ => vec![of_scalar(name, value)],
    }
}

fn of_scalar(name: &str, value: &Value<'_>) -> String {
    match value {
        Value::Str(text) => text.replace('\n', "\\n"),
        Value::ObjectPath(path) => path.to_string(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::U64(number) => of_u64(name, *number),
        Value::U32(number) if name.contains("UMask") || name.contains("Mode") => format!("{number:04o}"),
        Value::U32(u32::MAX) if matches!(name, "UID" | "GID") => "[not set]".into(),
        Value::U32(number) => number.to_string(),
        Value::I32(code) if name.ends_with("ActionExitStatus") => {
            if (0..=255).contains(code) {
                code.to_string()
            } else {
                String::new()
            }
        }
        Value::I32(policy) if name == "NUMAPolicy" => {
            let known = usize::try_from(*policy).ok().and_then(|policy| NUMA_POLICIES.get(policy));
            known.unwrap_or(&"n/a").to_string()
        }
        Value::I32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::U8(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        _ => String::new(),
    }
}

fn of_u64(name: &str, number: u64) -> String {
    let moment = name.ends_with("Timestamp")
        || matches!(name, "NextElapseUSecRealtime" | "LastTriggerUSec" | "TimeUSec" | "RTCTimeUSec");
    match number {
        0 | u64::MAX if moment => String::new(),
        _ if moment => time::moment(number),
        _ if name.contains("USec") => timespan::format(number),
        _ if name == "CoredumpFilter" => format!("0x{number:x}"),
        _ if name == "RestrictNamespaces" => namespaces(number),
        _ if name == "MountFlags" => propagation(number).into(),
        _ if matches!(name, "CapabilityBoundingSet" | "AmbientCapabilities") => capabilities(number),
        0 if matches!(name, "CPUWeight" | "StartupCPUWeight") => "idle".into(),
        u64::MAX if UNSET.contains(&name) => "[not set]".into(),
        u64::MAX
            if LIMITS.contains(&name) || name.starts_with("Limit") || name.starts_with("DefaultLimit") =>
        {
            "infinity".into()
        }
        u64::MAX if MEASURES.contains(&name) => "[no data]".into(),
        _ => number.to_string(),
    }
}

fn namespaces(flags: u64) -> String {
    let all = NAMESPACES.iter().fold(0, |all, (flag, _)| all | flag);
    match flags & all {
        0 => "yes".into(),
        kept if kept == all => "no".into(),
        kept => words(NAMESPACES.iter().filter(|(flag, _)| kept & flag != 0).map(|(_, name)| *name)),
    }
}

fn propagation(flags: u64) -> &'static str {
    match flags {
        0x10_0000 => "shared",
        0x8_0000 => "slave",
        0x4_0000 => "private",
        _ => "",
    }
}

fn capabilities(set: u64) -> String {
    let known = unit::CAPABILITIES.iter().enumerate();
    words(known.filter(|(bit, _)| set & (1 << bit) != 0).map(|(_, name)| format!("cap_{name}")))
}

fn of_structure(name: &str, fields: &[Value<'_>]) -> String {
    match fields {
        [Value::U32(id), ..] if name == "Job" => {
            if *id > 0 {
                id.to_string()
            } else {
                String::new()
            }
        }
        [Value::Str(kind), Value::Str(text)] if name == "LoadError" => {
            if kind.is_empty() && text.is_empty() {
                String::new()
            } else {
                format!("{kind} \"{text}\"")
            }
        }
        // A list of what may be, or (`~`) of what may not be.
        [Value::Bool(allow), Value::Array(list)] => {
            let list = words(texts(list));
            if *allow || list.is_empty() { list } else { format!("~{list}") }
        }
        [Value::Bool(ignore), Value::Str(text)] => {
            if *ignore && !text.is_empty() {
                format!("-{text}")
            } else {
                text.to_string()
            }
        }
        [Value::Array(codes), Value::Array(signals)] => {
            let codes = numbers(codes).into_iter().map(|code| code.to_string());
            let signals = numbers(signals).into_iter().map(signal_name);
            words(codes.chain(signals))
        }
        _ => String::new(),
    }
}

fn of_array(name: &str, array: &Array<'_>) -> Vec<String> {
    match array.element_signature().to_string().as_str() {
        "s" => vec![words(texts(array).map(|text| quote(&text)))],
        "y" => vec![of_bytes(name, &bytes(array))],
        "ay" => array.iter().map(|item| String::from_utf8_lossy(&bytes_of(item)).into_owned()).collect(),
        _ => {
            let structures = array.iter().filter_map(|item| match item {
                Value::Structure(fields) => Some(fields.fields()),
                _ => None,
            });
            let lines: Vec<String> = structures.filter_map(|fields| of_element(name, fields)).collect();
            if one_line(name) { vec![lines.join(" ")] } else { lines }
        }
    }
}

/// Lists of structures that systemctl writes in one line.
fn one_line(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "BindPaths",
        "BindReadOnlyPaths",
        "ExtensionImages",
        "IPAddressAllow",
        "IPAddressDeny",
        "MountImages",
        "TemporaryFileSystem",
    ];
    NAMES.contains(&name) || name.ends_with("DirectorySymlink")
}

/// An element of a list of structures; `None` where systemctl cannot print it.
fn of_element(name: &str, fields: &[Value<'_>]) -> Option<String> {
    Some(match fields {
        [Value::Str(path), _, _, Value::U64(_), ..] if name.starts_with("Exec") => {
            command(path, fields, name.ends_with("Ex"))?
        }
        [Value::Str(path), Value::Bool(ignore)] if name == "EnvironmentFiles" => {
            format!("{path} (ignore_errors={})", if *ignore { "yes" } else { "no" })
        }
        [Value::Str(kind), Value::Str(path)] if matches!(name, "Paths" | "Listen") => {
            format!("{path} ({kind})")
        }
        [Value::Str(base), Value::U64(value), Value::U64(next)] if name == "TimersMonotonic" => {
            format!("{{ {base}={} ; next_elapse={} }}", timespan::format(*value), timespan::format(*next))
        }
        [Value::Str(base), Value::Str(spec), Value::U64(next)] if name == "TimersCalendar" => {
            let next = match next {
                0 | &u64::MAX => "(null)".into(),
                next => time::moment(*next),
            };
            format!("{{ {base}={spec} ; next_elapse={next} }}")
        }
        [Value::Str(path), Value::U64(usec)] if name == "IODeviceLatencyTargetUSec" => {
            format!("{path} {}", timespan::format(*usec))
        }
        [Value::Str(path), Value::U64(value)] => format!("{path} {value}"),
        [Value::Str(one), Value::Str(other)] => match name {
            "DeviceAllow" => format!("{one} {other}"),
            "TemporaryFileSystem" if other.is_empty() => one.to_string(),
            "BPFProgram" | "RootImageOptions" | "TemporaryFileSystem" => format!("{one}:{other}"),
            _ => return None,
        },
        [Value::Str(place), Value::Str(link), Value::U64(_)] if name.ends_with("DirectorySymlink") => {
            format!("{place}:{link}")
        }
        [Value::I32(family), Value::Array(address), Value::U32(bits)] => {
            format!("{}/{bits}", address_of(*family, &bytes(address))?)
        }
        [Value::I32(family), Value::I32(protocol), Value::U16(count), Value::U16(first)] => {
            ports(*family, *protocol, *count, *first)
        }
        [Value::Str(from), Value::Str(to), Value::Bool(ignore), Value::U64(flags)] => {
            format!("{}{from}:{to}{}", optional(*ignore), if flags & 0x4000 != 0 { ":rbind" } else { "" })
        }
        [Value::Str(image), Value::Bool(ignore), Value::Array(options)] => {
            format!("{}{image}{}", optional(*ignore), mount_options(options))
        }
        [Value::Str(image), Value::Str(place), Value::Bool(ignore), Value::Array(options)] => {
            format!("{}{image}:{place}{}", optional(*ignore), mount_options(options))
        }
        _ => return None,
    })
}

/// A command line with its last run.
fn command(path: &str, fields: &[Value<'_>], extended: bool) -> Option<String> {
    let [
        _,
        Value::Array(argv),
        flags,
        Value::U64(start),
        _,
        Value::U64(stop),
        _,
        Value::U32(pid),
        Value::I32(code),
        Value::I32(status),
    ] = fields
    else {
        return None;
    };
    let flags = match flags {
        Value::Array(flags) if extended => format!("flags={}", words(texts(flags))),
        flags => format!("ignore_errors={}", of_scalar("", flags)),
    };
    let (code, status) = match code {
        0 => ("(null)", format!("{status}/0")),
        1 => ("exited", status.to_string()),
        2 => ("killed", format!("{status}/{}", signal_name(*status))),
        _ => ("dumped", format!("{status}/{}", signal_name(*status))),
    };
    Some(format!(
        "{{ path={path} ; argv[]={} ; {flags} ; start_time=[{}] ; stop_time=[{}] ; pid={pid} ; code={code} ; status={status} }}",
        words(texts(argv)),
        time::moment(*start),
        time::moment(*stop),
    ))
}

fn of_bytes(name: &str, bytes: &[u8]) -> String {
    if CPU_SETS.contains(&name) {
        return ranges(bytes);
    }
    if matches!(name, "StandardInputData" | "RootHashSignature") {
        return BASE64.encode(bytes);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The numbers of the bits that are set: `0-3 6`.
fn ranges(bytes: &[u8]) -> String {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for bit in
        (0..bytes.len() * 8).filter(|bit| bytes.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1))
    {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == bit => *last = bit,
            _ => found.push((bit, bit)),
        }
    }
    words(found.iter().map(
        |(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        },
    ))
}

fn optional(ignore: bool) -> &'static str {
    if ignore { "-" } else { "" }
}

/// `:partition:options` for each.
fn mount_options(options: &Array<'_>) -> String {
    let fields = options.iter().filter_map(|item| match item {
        Value::Structure(fields) => Some(fields.fields()),
        _ => None,
    });
    fields
        .filter_map(|fields| match fields {
            [Value::Str(partition), Value::Str(options)] => Some(format!(":{partition}:{options}")),
            _ => None,
        })
        .collect()
}

/// What SocketBindAllow= lets through: `any`, `ipv4:tcp1000-2000`.
fn ports(family: i32, protocol: i32, count: u16, first: u16) -> String {
    let family = match family {
        2 => "ipv4:",
        10 => "ipv6:",
        _ => "",
    };
    let protocol = match protocol {
        6 => "tcp",
        17 => "udp",
        _ => "",
    };
    let ports = match count {
        0 => "any".to_owned(),
        1 => first.to_string(),
        _ => format!("{first}-{}", u32::from(first) + u32::from(count) - 1),
    };
    if count == 0 && !(family.is_empty() && protocol.is_empty()) {
        return format!("{family}{protocol}").trim_end_matches(':').to_owned();
    }
    format!("{family}{protocol}{ports}")
}

fn address_of(family: i32, bytes: &[u8]) -> Option<String> {
    match family {
        2 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        10 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}

fn words<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let mut line = String::new();
    for (at, word) in words.into_iter().enumerate() {
        if at > 0 {
            line.push(' ');
        }
        line.push_str(word.as_ref());
    }
    line
}

fn texts<'a>(array: &'a Array<'_>) -> impl Iterator<Item = String> + 'a {
    array.iter().filter_map(|item| String::try_from(item.try_clone().ok()?).ok())
}

fn numbers(array: &Array<'_>) -> Vec<i32> {
    array.iter().filter_map(|item| i32::try_from(item).ok()).collect()
}

fn bytes(array: &Array<'_>) -> Vec<u8> {
    array.iter().filter_map(|item| u8::try_from(item).ok()).collect()
}

fn bytes_of(value: &Value<'_>) -> Vec<u8> {
    match value {
        Value::Array(array) => bytes(array),
        _ => Vec::new(),
    }
}

fn signal_name(number: i32) -> String {
    match unit::signal_name(number) {
        Some(name) => name.to_owned(),
        None if (34..=64).contains(&number) => format!("RTMIN+{}", number - 34),
        None => number.to_string(),
    }
}

/// Quotes a word of a list as a shell would want it, where it needs that.
fn quote(word: &str) -> String {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"\"\\`$*?['()<>|&;!".contains(c);
    if word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' | '`' | '$' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dbus::property::{array, strings, structure};

    fn line(name: &str, value: impl Into<Value<'static>>) -> String {
        lines(name, &value.into()).join("|")
    }

    #[test]
    fn values_as_systemctl_writes_them() {
        assert_eq!(line("TimeoutStartUSec", 90_000_000u64), "1min 30s");
        assert_eq!(line("RestartUSec", 1_500_000u64), "1.500000s");
        assert_eq!(line("RuntimeMaxUSec", u64::MAX), "infinity");
        assert_eq!(line("MemoryCurrent", u64::MAX), "[not set]");
        assert_eq!(line("MemoryMax", u64::MAX), "infinity");
        assert_eq!(line("CPUWeight", u64::MAX), "[not set]");
        assert_eq!(line("IPIngressBytes", u64::MAX), "[no data]");
        assert_eq!(line("IOReadBytes", u64::MAX), "18446744073709551615");
        assert_eq!(line("UMask", 18u32), "0022");
        assert_eq!(line("CanStop", true), "yes");
        assert_eq!(line("Names", vec!["a", "b"]), "a b");
        assert_eq!(line("Documentation", vec!["man:a(8)", "x:$y"]), "\"man:a(8)\" \"x:\\$y\"");
        assert_eq!(line("InvocationID", vec![0xfau8, 0x01]), "fa01");
        assert_eq!(line("AllowedCPUs", vec![0b0100_1111u8, 1]), "0-3 6 8");
        assert_eq!(line("ActiveEnterTimestamp", 0u64), "");
        assert_eq!(line("RestrictNamespaces", 0u64), "yes");
        assert_eq!(line("RestrictNamespaces", u64::MAX), "no");
        assert_eq!(line("RestrictNamespaces", 0x0802_0000u64), "ipc mnt");
        assert_eq!(line("AmbientCapabilities", 0b100_0001u64), "cap_chown cap_setgid");
        assert_eq!(line("NUMAPolicy", -1), "n/a");
        assert_eq!(line("SuccessActionExitStatus", -1), "");
        assert_eq!(line("TTYRows", u16::MAX), "");
    }

    #[test]
    fn structures_as_systemctl_writes_them() {
        let filter = |allow: bool, names: &[&str]| {
            line("SystemCallFilter", structure([allow.into(), strings(names.iter().copied())]))
        };
        assert_eq!(filter(true, &["read", "write"]), "read write");
        assert_eq!(filter(false, &["read"]), "~read");
        assert_eq!(filter(false, &[]), "");
        let status = structure([array("i", [Value::I32(2)]), array("i", [Value::I32(15)])]);
        assert_eq!(line("SuccessExitStatus", status), "2 TERM");
        let files =
            array("(sb)", [structure(["/a".into(), true.into()]), structure(["/b".into(), false.into()])]);
        assert_eq!(line("EnvironmentFiles", files), "/a (ignore_errors=yes)|/b (ignore_errors=no)");
        let address = structure([2.into(), Value::Array(vec![10u8, 0, 0, 0].into()), 8u32.into()]);
        assert_eq!(line("IPAddressAllow", array("(iayu)", [address])), "10.0.0.0/8");
        let pair = || array("(ss)", [structure(["a".into(), "b".into()])]);
        assert_eq!((line("DeviceAllow", pair()), line("BPFProgram", pair())), ("a b".into(), "a:b".into()));
        assert_eq!(line("LoadCredential", pair()), "", "systemctl cannot print them");
        let bind = |flags: u64| structure(["/a".into(), "/b".into(), true.into(), flags.into()]);
        assert_eq!(line("BindPaths", array("(ssbt)", [bind(0x4000), bind(0)])), "-/a:/b:rbind -/a:/b");
        let port = structure([2.into(), 6.into(), 1001u16.into(), 1000u16.into()]);
        assert_eq!(line("SocketBindAllow", array("(iiqq)", [port])), "ipv4:tcp1000-2000");
        let options = array("(ss)", [structure(["root".into(), "ro".into()])]);
        let image = structure(["/i".into(), "/p".into(), false.into(), options]);
        assert_eq!(line("MountImages", array("(ssba(ss))", [image])), "/i:/p:root:ro");
        assert_eq!((line("CPUWeight", 0u64), line("AllowedCPUs", vec![4u8])), ("idle".into(), "2".into()));
        assert_eq!(line("StartupAllowedCPUs", vec![4u8]), "04");
    }
}
