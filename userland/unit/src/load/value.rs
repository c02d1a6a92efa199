//! The values of directives: booleans, sizes, signals, exit statuses, capabilities.

use crate::settings::{Amount, ExitSet, normal_path};

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(format!("\"{text}\" is neither yes nor no")),
    }
}

pub(super) fn span(text: &str) -> Result<u64, String> {
    crate::timespan::parse(text).ok_or_else(|| format!("\"{text}\" is not a time span"))
}

/// A timeout: zero means none.
pub(super) fn timeout(text: &str) -> Result<u64, String> {
    span(text).map(|usec| if usec == 0 { crate::INFINITY } else { usec })
}

/// A number: decimal, or with `0x`, `0o`, `0b` or a leading zero to the base that those say.
pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let error = || format!("\"{text}\" is not a number that fits");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let based = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)].into_iter().find_map(|(prefix, base)| {
        digits.strip_prefix(prefix).filter(|rest| !rest.is_empty()).map(|rest| (rest, base))
    });
    match based {
        Some((rest, base)) => {
            let number = u64::from_str_radix(rest, base).map_err(|_| error())?;
            format!("{sign}{number}").parse().map_err(|_| error())
        }
        None => format!("{sign}{digits}").parse().map_err(|_| error()),
    }
}

/// An absolute path without `..`; what does not matter in it is taken out.
pub(super) fn absolute(text: &str) -> Result<String, String> {
    if !text.starts_with('/') || text.contains('\0') {
        return Err(format!("\"{text}\" is not an absolute path"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(format!("\"{text}\" contains \"..\""));
    }
    Ok(normal_path(text))
}

pub(super) fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("\"{text}\" is not an octal file mode"))
}

/// Bytes, with K, M, G, T, P, E to the base 1024.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let error = || format!("\"{text}\" is not a size");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let shift = match suffix.trim() {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return Err(error()),
    };
    match digits.split_once('.') {
        None => digits.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << shift)).ok_or_else(error),
        Some(_) => {
            let count: f64 = digits.parse().map_err(|_| error())?;
            Ok((count * (1u64 << shift) as f64) as u64)
        }
    }
}

/// A percentage in hundredths of a percent, up to `most` percent.
pub fn percent(text: &str) -> Option<u32> {
    let digits = text.strip_suffix('%')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = match fraction.len() {
        0 => 0,
        1 => fraction.parse::<u32>().ok()? * 10,
        2 => fraction.parse::<u32>().ok()?,
        _ => return None,
    };
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(fraction)
}

/// A limit of memory or tasks; empty: the default.
pub fn amount(text: &str) -> Result<Option<Amount>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    if text == "infinity" {
        return Ok(Some(Amount::Infinity));
    }
    if text.ends_with('%') {
        let share = percent(text).filter(|share| *share <= 10_000);
        return share
            .map(|share| Some(Amount::Share(share)))
            .ok_or_else(|| format!("\"{text}\" is not a share"));
    }
    size(text).map(|size| Some(Amount::Absolute(size)))
}

/// Processors or memory nodes: numbers and ranges, between them spaces or commas.
pub(super) fn processors(text: &str) -> Result<Vec<u32>, String> {
    const MOST: u32 = 8192;
    let mut found = Vec::new();
    for word in text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty()) {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        let (first, last): (u32, u32) = (number(first)?, number(last)?);
        if first > last || last >= MOST {
            return Err(format!("\"{word}\" is not a range below {MOST}"));
        }
        found.extend(first..=last);
    }
    Ok(found)
}

const SIGNALS: &[&str] = &[
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// A signal's number by name (`SIGTERM`, `TERM`, `SIGRTMIN+3`) or number.
pub(super) fn signal(text: &str) -> Result<i32, String> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let number = if let Some(index) = SIGNALS.iter().position(|known| *known == name) {
        i32::try_from(index + 1).ok()
    } else if let Some(offset) = name.strip_prefix("RTMIN") {
        if offset.is_empty() {
            Some(34)
        } else {
            offset.strip_prefix('+').and_then(|n| n.parse::<i32>().ok()?.checked_add(34))
        }
    } else if let Some(offset) = name.strip_prefix("RTMAX") {
        if offset.is_empty() {
            Some(64)
        } else {
            offset.strip_prefix('-').and_then(|n| 64i32.checked_sub(n.parse().ok()?))
        }
    } else {
        text.parse().ok()
    };
    number.filter(|number| (1..=64).contains(number)).ok_or_else(|| format!("\"{text}\" is not a signal"))
}

/// A signal's name without SIG, if it has one.
pub fn signal_name(number: i32) -> Option<&'static str> {
    SIGNALS.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

const STATUSES: &[(&str, i32)] = &[
    ("SUCCESS", 0),
    ("FAILURE", 1),
    ("INVALIDARGUMENT", 2),
    ("NOTIMPLEMENTED", 3),
    ("NOPERMISSION", 4),
    ("NOTINSTALLED", 5),
    ("NOTCONFIGURED", 6),
    ("NOTRUNNING", 7),
    ("USAGE", 64),
    ("DATAERR", 65),
    ("NOINPUT", 66),
    ("NOUSER", 67),
    ("NOHOST", 68),
    ("UNAVAILABLE", 69),
    ("SOFTWARE", 70),
    ("OSERR", 71),
    ("OSFILE", 72),
    ("CANTCREAT", 73),
    ("IOERR", 74),
    ("TEMPFAIL", 75),
    ("PROTOCOL", 76),
    ("NOPERM", 77),
    ("CONFIG", 78),
    ("CHDIR", 200),
    ("NICE", 201),
    ("FDS", 202),
    ("EXEC", 203),
    ("MEMORY", 204),
    ("LIMITS", 205),
    ("OOM_ADJUST", 206),
    ("SIGNAL_MASK", 207),
    ("STDIN", 208),
    ("STDOUT", 209),
    ("CHROOT", 210),
    ("IOPRIO", 211),
    ("TIMERSLACK", 212),
    ("SECUREBITS", 213),
    ("SETSCHEDULER", 214),
    ("CPUAFFINITY", 215),
    ("GROUP", 216),
    ("USER", 217),
    ("CAPABILITIES", 218),
    ("CGROUP", 219),
    ("SETSID", 220),
    ("CONFIRM", 221),
    ("STDERR", 222),
    ("PAM", 224),
    ("NETWORK", 225),
    ("NAMESPACE", 226),
    ("NO_NEW_PRIVILEGES", 227),
    ("SECCOMP", 228),
    ("SELINUX_CONTEXT", 229),
    ("PERSONALITY", 230),
    ("APPARMOR_PROFILE", 231),
    ("ADDRESS_FAMILIES", 232),
    ("RUNTIME_DIRECTORY", 233),
    ("CHOWN", 235),
    ("SMACK_PROCESS_LABEL", 236),
    ("KEYRING", 237),
    ("STATE_DIRECTORY", 238),
    ("CACHE_DIRECTORY", 239),
    ("LOGS_DIRECTORY", 240),
    ("CONFIGURATION_DIRECTORY", 241),
    ("NUMA_POLICY", 242),
    ("CREDENTIALS", 243),
    ("BPF", 245),
    ("EXCEPTION", 255),
];

/// systemd's name of an exit status.
pub(crate) fn status_name(code: i32) -> Option<&'static str> {
    STATUSES.iter().find(|(_, known)| *known == code).map(|(name, _)| *name)
}

/// Adds exit codes (numbers or names) and signals to a set; tells what it could not read.
pub(super) fn exit_set(text: &str, set: &mut ExitSet) -> Result<(), String> {
    if text.is_empty() {
        *set = ExitSet::default();
        return Ok(());
    }
    let mut bad = Vec::new();
    for word in text.split_whitespace() {
        let named = STATUSES.iter().find(|(name, _)| *name == word).map(|(_, code)| *code);
        if let Some(code) = named.or_else(|| number::<u8>(word).ok().map(i32::from)) {
            set.codes.insert(code);
        } else if let Ok(number) = signal(word) {
            set.signals.insert(number);
        } else {
            bad.push(word);
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(format!("neither exit status nor signal: {}", bad.join(" "))) }
}

/// The names of capabilities, without `cap_`, in the order of their numbers.
pub const CAPABILITIES: &[&str] = &[
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// Merges a list of capabilities into a set: `~` takes away, the empty text empties.
pub(super) fn capabilities(text: &str, current: Option<u64>, all: u64) -> Result<u64, String> {
    let (invert, list) = match text.strip_prefix('~') {
        Some(list) => (true, list),
        None => (false, text),
    };
    let mut bits = 0;
    let mut bad = Vec::new();
    for word in list.split_whitespace() {
        match capability(word) {
            Some(bit) => bits |= 1 << bit,
            None => bad.push(word),
        }
    }
    if !bad.is_empty() {
        return Err(format!("not capabilities: {}", bad.join(" ")));
    }
    Ok(match (invert, list.trim().is_empty()) {
        (false, true) => 0,
        (true, true) => all,
        (false, false) => current.unwrap_or(0) | bits,
        (true, false) => current.unwrap_or(all) & !bits,
    })
}

/// A capability's name, of its number.
pub fn capability_name(number: u32) -> Option<&'static str> {
    CAPABILITIES.get(usize::try_from(number).ok()?).copied()
}

/// A capability's number.
pub(crate) fn capability(name: &str) -> Option<u32> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("cap_").unwrap_or(&name);
    CAPABILITIES.iter().position(|known| *known == name).and_then(|index| u32::try_from(index).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values_as_systemd() {
        assert_eq!(size("1.5G"), Ok(1_610_612_736));
        assert_eq!(size("64K"), Ok(65_536));
        assert!(size("99999999999E").is_err() && size("K").is_err() && size("5X").is_err());
        assert_eq!(amount("15%"), Ok(Some(Amount::Share(1500))));
        assert_eq!(amount("infinity"), Ok(Some(Amount::Infinity)));
        assert_eq!((signal("SIGRTMIN+3"), signal("TERM"), signal("9")), (Ok(37), Ok(15), Ok(9)));
        assert!(signal("SIGNOPE").is_err() && signal("0").is_err() && signal("RTMIN+99").is_err());
        assert_eq!(capabilities("CAP_CHOWN cap_kill", None, u64::MAX), Ok(0b100001));
        assert_eq!(capabilities("~CAP_CHOWN", None, 0b11), Ok(0b10));
        assert_eq!(signal_name(15), Some("TERM"));
    }

    #[test]
    fn exit_sets_add_up_until_emptied() {
        let mut set = ExitSet::default();
        exit_set("143 SIGTERM TEMPFAIL", &mut set).unwrap();
        assert!(exit_set("nope 7", &mut set).is_err());
        assert_eq!(set.codes.iter().copied().collect::<Vec<_>>(), [7, 75, 143]);
        exit_set("", &mut set).unwrap();
        assert_eq!(set, ExitSet::default());
    }
}
