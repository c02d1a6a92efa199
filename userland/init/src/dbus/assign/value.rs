//! One property's value as the right-hand side of one line or more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zvariant::Value;

use super::RENAMED;

/// A directive and the values it is given, one a line. A value that begins with U+0001 brings its own key along.
pub(super) struct Text {
    pub(super) key: String,
    pub(super) values: Vec<String>,
}

/// Time that never comes, and a limit that is none.
const INFINITY: u64 = u64::MAX;
/// CPUAffinity= and its like go by bits.
const MOST_CPUS: usize = 8192;

/// Turns a value into text; `None`: it is not of a type that this property takes.
pub(super) fn text(name: &str, given: &Value<'_>) -> Option<Text> {
    let renamed = RENAMED.iter().find(|(property, _)| *property == name).map(|(_, key)| (*key).to_owned());
    let key = renamed.unwrap_or_else(|| match name.strip_suffix("USec") {
        Some(stem) => format!("{stem}Sec"),
        None => name.strip_suffix("Ex").filter(|stem| is_command(stem)).unwrap_or(name).to_owned(),
    });
    let values = match name {
        _ if is_command(&key) => commands(given)?,
        "UMask" => vec![format!("{:04o}", u32::try_from(given).ok()?)],
        _ if name.ends_with("Mode") && matches!(given, Value::U32(_)) => {
            vec![format!("{:04o}", u32::try_from(given).ok()?)]
        }
        "CPUQuotaPerSecUSec" => vec![match u64::try_from(given).ok()? {
            INFINITY => String::new(),
            usec => format!("{}.{:02}%", usec / 10_000, usec / 100 % 100),
        }],
        _ if name.ends_with("Scale") => vec![scale(u32::try_from(given).ok()?)],
        _ if name.ends_with("USec") => vec![span(u64::try_from(given).ok()?)],
        "Environment" => words(given, true)?,
        "KillSignal" | "RestartKillSignal" | "FinalKillSignal" | "WatchdogSignal" => {
            vec![i32::try_from(given).ok()?.to_string()]
        }
        "CapabilityBoundingSet" | "AmbientCapabilities" => vec![capabilities(u64::try_from(given).ok()?)],
        "CPUAffinity"
        | "AllowedCPUs"
        | "StartupAllowedCPUs"
        | "AllowedMemoryNodes"
        | "StartupAllowedMemoryNodes"
        | "NUMAMask" => vec![bits(given)?],
        "CPUWeight"
        | "StartupCPUWeight"
        | "IOWeight"
        | "StartupIOWeight"
        | "CPUShares"
        | "StartupCPUShares"
        | "BlockIOWeight"
        | "StartupBlockIOWeight" => vec![match u64::try_from(given).ok()? {
            INFINITY => String::new(),
            weight => weight.to_string(),
        }],
        "RestrictNamespaces" => vec![namespaces(u64::try_from(given).ok()?)],
        "EnvironmentFiles" => pairs(given, |path, optional| {
            let mark = if bool::try_from(optional).ok()? { "-" } else { "" };
            Some(format!("{mark}{}", literal(&string(path)?)))
        })?,
        "TimersMonotonic" => pairs(given, |base, usec| {
            let (base, usec) = (string(base)?, u64::try_from(usec).ok()?);
            let key = base.strip_suffix("USec").map(|stem| format!("{stem}Sec")).unwrap_or(base);
            Some(format!("\u{1}{key}={}", span(usec)))
        })?,
        "TimersCalendar" | "Listen" | "Paths" => pairs(given, |key, value| {
            let key = string(key)?;
            let key = if name == "Listen" { format!("Listen{key}") } else { key };
            Some(format!("\u{1}{key}={}", literal(&string(value)?)))
        })?,
        "Conditions" | "Asserts" => conditions(given)?,
        "SuccessExitStatus" | "RestartPreventExitStatus" | "RestartForceExitStatus" => {
            vec![exit_status(given)?]
        }
        "SystemCallFilter"
        | "SystemCallLog"
        | "SystemCallArchitectures"
        | "RestrictAddressFamilies"
        | "RestrictFileSystems"
        | "RestrictNetworkInterfaces"
            if matches!(given, Value::Structure(_)) =>
        {
            vec![filter(given)?]
        }
        "BindPaths" | "BindReadOnlyPaths" => fields(given, |fields| {
            let [source, target, missing_ok, flags] = fields else { return None };
            let recursive = u64::try_from(flags).ok()? & 0x4000 != 0;
            let mark = if bool::try_from(missing_ok).ok()? { "-" } else { "" };
            let (source, target) = (path(&string(source)?), path(&string(target)?));
            Some(format!("{mark}{source}:{target}:{}", if recursive { "rbind" } else { "norbind" }))
        })?,
        "TemporaryFileSystem" | "LoadCredential" | "LoadCredentialEncrypted" => {
            pairs(given, |left, right| Some(format!("{}:{}", path(&string(left)?), path(&string(right)?))))?
        }
        "SetCredential" | "SetCredentialEncrypted" => {
            pairs(given, |id, bytes| Some(format!("{}:{}", path(&string(id)?), escape(&byte_array(bytes)?))))?
        }
        "DeviceAllow" | "BPFProgram" => pairs(given, |left, right| {
            let separator = if name == "BPFProgram" { ":" } else { " " };
            Some(format!("{}{separator}{}", quote(&string(left)?), string(right)?).trim_end().to_owned())
        })?,
        "IODeviceWeight"
        | "IOReadBandwidthMax"
        | "IOWriteBandwidthMax"
        | "IOReadIOPSMax"
        | "IOWriteIOPSMax"
        | "BlockIOReadBandwidth"
        | "BlockIOWriteBandwidth"
        | "BlockIODeviceWeight" => {
            pairs(given, |left, right| Some(format!("{} {}", quote(&string(left)?), number(right)?)))?
        }
        "IODeviceLatencyTargetUSec" => pairs(given, |left, right| {
            Some(format!("{} {}", quote(&string(left)?), span(u64::try_from(right).ok()?)))
        })?,
        "IPAddressAllow" | "IPAddressDeny" => fields(given, |fields| {
            let [_, address, length] = fields else { return None };
            Some(format!("{}/{}", address_text(&byte_array(address)?)?, u32::try_from(length).ok()?))
        })?,
        "StandardInputFile" | "StandardOutputFile" | "StandardErrorFile" => {
            vec![format!("file:{}", literal(&string(given)?))]
        }
        "StandardOutputFileToAppend" | "StandardErrorFileToAppend" => {
            vec![format!("append:{}", literal(&string(given)?))]
        }
        "StandardOutputFileToTruncate" | "StandardErrorFileToTruncate" => {
            vec![format!("truncate:{}", literal(&string(given)?))]
        }
        "StandardInputData" => vec![BASE64.encode(byte_array(given)?)],
        "SyslogLevel" | "LogLevelMax" | "SyslogFacility" | "IOSchedulingClass" | "CPUSchedulingPolicy" => {
            vec![enumerated(name, i32::try_from(given).ok()?)?]
        }
        "Description" => vec![literal(&string(given)?)],
        _ => plain(given)?,
    };
    Some(Text { key, values })
}

fn is_command(key: &str) -> bool {
    const COMMANDS: [&str; 16] = [
        "ExecCondition",
        "ExecStartPre",
        "ExecStart",
        "ExecStartPost",
        "ExecReload",
        "ExecStop",
        "ExecStopPost",
        "ExecStopPre",
        "ExecConditionEx",
        "ExecStartPreEx",
        "ExecStartEx",
        "ExecStartPostEx",
        "ExecReloadEx",
        "ExecStopEx",
        "ExecStopPostEx",
        "ExecStopPreEx",
    ];
    COMMANDS.contains(&key)
}

/// Text, number, yes or no, or a list of words.
fn plain(given: &Value<'_>) -> Option<Vec<String>> {
    match given {
        Value::Bool(value) => Some(vec![if *value { "yes" } else { "no" }.into()]),
        Value::Str(_) | Value::ObjectPath(_) => Some(vec![literal(&string(given)?)]),
        Value::Array(_) => words(given, false),
        _ => number(given).map(|number| vec![number]),
    }
}

fn string(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.to_string()),
        Value::ObjectPath(path) => Some(path.to_string()),
        Value::Value(inner) => string(inner),
        _ => None,
    }
}

fn number(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::U8(number) => number.to_string(),
        Value::U16(number) => number.to_string(),
        Value::U32(u32::MAX) | Value::U64(INFINITY) => "infinity".into(),
        Value::U32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::I16(number) => number.to_string(),
        Value::I32(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        _ => return None,
    })
}

fn span(usec: u64) -> String {
    if usec == INFINITY { "infinity".into() } else { format!("{usec}us") }
}

/// A share of the whole, of 2³²−1 parts.
fn scale(parts: u32) -> String {
    let hundredths = (u64::from(parts) * 10_000).div_ceil(u64::from(u32::MAX));
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// Words on one line, quoted where they need it. None: the line that resets the list.
fn words(given: &Value<'_>, as_assignments: bool) -> Option<Vec<String>> {
    let Value::Array(array) = given else { return None };
    let texts: Option<Vec<String>> = array
        .iter()
        .map(|word| {
            let word = string(word).or_else(|| number(word))?;
            Some(if as_assignments { quote_always(&word) } else { quote(&word) })
        })
        .collect();
    Some(vec![texts?.join(" ")])
}

fn fields<F>(given: &Value<'_>, line: F) -> Option<Vec<String>>
where
    F: Fn(&[Value<'_>]) -> Option<String>,
{
    let Value::Array(array) = given else { return None };
    if array.is_empty() {
        return Some(vec![String::new()]);
    }
    let each = |item: &Value<'_>| match item {
        Value::Structure(structure) => line(structure.fields()),
        _ => None,
    };
    array.iter().map(each).collect()
}

fn pairs<F>(given: &Value<'_>, line: F) -> Option<Vec<String>>
where
    F: Fn(&Value<'_>, &Value<'_>) -> Option<String>,
{
    fields(given, |fields| match fields {
        [left, right] => line(left, right),
        _ => None,
    })
}

/// Command lines: path, arguments, and whether failure is ignored or which flags they have.
fn commands(given: &Value<'_>) -> Option<Vec<String>> {
    fields(given, |fields| {
        let [path, arguments, flags] = fields else { return None };
        let Value::Array(arguments) = arguments else { return None };
        let path = string(path)?;
        if !path.starts_with('/') {
            return None;
        }
        let mut marks = String::new();
        match flags {
            Value::Bool(ignore) => marks.push_str(if *ignore { "-" } else { "" }),
            Value::Array(flags) => {
                for flag in flags.iter() {
                    marks.push_str(match string(flag)?.as_str() {
                        "ignore-failure" => "-",
                        "privileged" => "+",
                        "no-setuid" => "!",
                        "ambient" => "!!",
                        "no-env-expand" => ":",
                        _ => return None,
                    });
                }
            }
            _ => return None,
        }
        let arguments: Option<Vec<String>> = arguments.iter().map(string).collect();
        let arguments = arguments?;
        let (name, rest) = arguments.split_first()?;
        let head = (*name != path).then(|| quote(name));
        if head.is_some() {
            marks.push('@');
        }
        // A `$` stays as it is: the client has left variables to us.
        let words = std::iter::once(quote(&path)).chain(head).chain(rest.iter().map(|word| quote(word)));
        let line: Vec<String> = words.collect();
        Some(format!("{marks}{}", line.join(" ")))
    })
}

/// Text as it is: a `%` would begin a specifier, the last backslash would continue the line.
fn literal(text: &str) -> String {
    let text = text.replace('%', "%%");
    if text.ends_with('\\') { format!("{text}\\") } else { text }
}

/// A word, in quotes if it needs them.
fn quote(word: &str) -> String {
    let safe = |letter: char| letter.is_alphanumeric() || "-_./:@+,=$*?{}^~![]()&|<>".contains(letter);
    if !word.is_empty() && word.chars().all(safe) { word.into() } else { quote_always(word) }
}

fn quote_always(word: &str) -> String {
    format!("\"{}\"", escape(word.as_bytes()).replace('"', "\\\""))
}

/// A path within a list of paths with colons.
fn path(text: &str) -> String {
    escape(text.as_bytes()).replace(':', "\\:").replace(' ', "\\x20")
}

/// C's escapes, and `%%`.
fn escape(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '%' => escaped.push_str("%%"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            letter if letter.is_ascii_control() => escaped.push_str(&format!("\\x{:02x}", u32::from(letter))),
            letter => escaped.push(letter),
        }
    }
    escaped
}

fn byte_array(value: &Value<'_>) -> Option<Vec<u8>> {
    let Value::Array(array) = value else { return None };
    array.iter().map(|byte| u8::try_from(byte).ok()).collect()
}

/// Numbers of the bits that are set, as ranges.
fn bits(given: &Value<'_>) -> Option<String> {
    let bytes = byte_array(given)?;
    let set: Vec<usize> = (0..(bytes.len() * 8).min(MOST_CPUS))
        .filter(|bit| bytes.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
        .collect();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for bit in set {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == bit => *last = bit,
            _ => ranges.push((bit, bit)),
        }
    }
    let text = ranges.iter().map(
        |(first, last)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        },
    );
    Some(text.collect::<Vec<_>>().join(" "))
}

fn capabilities(set: u64) -> String {
    let names: Vec<String> = (0..64)
        .filter(|bit| set & (1 << bit) != 0)
        .filter_map(unit::load::capability_name)
        .map(str::to_owned)
        .collect();
    match set {
        u64::MAX => "~".into(),
        _ => names.join(" "),
    }
}

/// clone(2)'s flags.
fn namespaces(flags: u64) -> String {
    const KINDS: [(u64, &str); 7] = [
        (0x0200_0000, "cgroup"),
        (0x0800_0000, "ipc"),
        (0x4000_0000, "net"),
        (0x0002_0000, "mnt"),
        (0x2000_0000, "pid"),
        (0x1000_0000, "user"),
        (0x0400_0000, "uts"),
    ];
    let allowed: Vec<&str> =
        KINDS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
    match allowed.len() {
        0 => "yes".into(),
        7 => "no".into(),
        _ => allowed.join(" "),
    }
}

/// Whether it is an allow list, and the names.
fn filter(given: &Value<'_>) -> Option<String> {
    let Value::Structure(structure) = given else { return None };
    let [allow, names] = structure.fields() else { return None };
    let mark = if bool::try_from(allow).ok()? { "" } else { "~" };
    Some(format!("{mark}{}", words(names, false)?.concat()))
}

fn exit_status(given: &Value<'_>) -> Option<String> {
    let Value::Structure(structure) = given else { return None };
    let [codes, signals] = structure.fields() else { return None };
    let numbers = |value: &Value<'_>| -> Option<Vec<i32>> {
        let Value::Array(array) = value else { return None };
        array.iter().map(|number| i32::try_from(number).ok()).collect()
    };
    let codes = numbers(codes)?.into_iter().map(|code| code.to_string());
    let signals: Option<Vec<String>> = numbers(signals)?
        .into_iter()
        .map(|signal| {
            unit::load::signal_name(signal).map(|name| format!("SIG{}", name.trim_start_matches("SIG")))
        })
        .collect();
    Some(codes.chain(signals?).collect::<Vec<_>>().join(" "))
}

/// Name, trigger, negate, parameter.
fn conditions(given: &Value<'_>) -> Option<Vec<String>> {
    fields(given, |fields| {
        let [name, trigger, negate, parameter] = fields else { return None };
        let trigger = if bool::try_from(trigger).ok()? { "|" } else { "" };
        let negate = if bool::try_from(negate).ok()? { "!" } else { "" };
        Some(format!("\u{1}{}={trigger}{negate}{}", string(name)?, literal(&string(parameter)?)))
    })
}

fn address_text(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        _ => None,
    }
}

fn enumerated(name: &str, number: i32) -> Option<String> {
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    const FACILITIES: [&str; 12] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    ];
    const IO: [&str; 4] = ["none", "realtime", "best-effort", "idle"];
    const CPU: [&str; 6] = ["other", "fifo", "rr", "batch", "", "idle"];
    let table: &[&str] = match name {
        "SyslogLevel" | "LogLevelMax" => &LEVELS,
        "SyslogFacility" if (16..24).contains(&number) => return Some(format!("local{}", number - 16)),
        "SyslogFacility" => &FACILITIES,
        "IOSchedulingClass" => &IO,
        _ => &CPU,
    };
    table.get(usize::try_from(number).ok()?).filter(|word| !word.is_empty()).map(|word| (*word).to_owned())
}
