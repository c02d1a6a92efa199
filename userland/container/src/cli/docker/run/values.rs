//! Values of options: sizes, limits, mounts.

use serde_json::{Value, json};

/// `512m` as bytes.
pub(super) fn bytes(text: &str) -> Result<i64, String> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.trim_end_matches('b');
    let (number, shift) = match plain.char_indices().last() {
        Some((at, 'k')) => (plain.get(..at), 10),
        Some((at, 'm')) => (plain.get(..at), 20),
        Some((at, 'g')) => (plain.get(..at), 30),
        _ => (Some(plain), 0),
    };
    let bad = || format!("{text:?} is not a size like 512m");
    let number: i64 = number.and_then(|number| number.parse().ok()).ok_or_else(bad)?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

/// The same, or -1 for all that there is.
pub(super) fn bytes_or_all(text: &str) -> Result<i64, String> {
    if text == "-1" { Ok(-1) } else { bytes(text) }
}

/// A limit of each process, as the engine takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ulimit {
    name: String,
    soft: i64,
    hard: i64,
}

impl Ulimit {
    pub(super) fn told(&self) -> Value {
        json!({ "Name": self.name, "Soft": self.soft, "Hard": self.hard })
    }
}

pub(super) fn ulimit(text: &str) -> Result<Ulimit, String> {
    const KNOWN: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let bad = || format!("{text:?} is not a limit like nofile=1024:4096");
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    if !KNOWN.contains(&name) {
        return Err(format!("{name:?} is no limit; there are {}", KNOWN.join(", ")));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(-1),
        number => number.parse().ok().filter(|number: &i64| *number >= 0).ok_or_else(bad),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard >= 0 && (soft > hard || soft < 0) {
        return Err(format!("{text:?}: the soft limit is above the hard one"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// A mount of the engine's API from `type=…,source=…,target=…[,readonly]`.
pub(super) fn mount(text: &str) -> Result<Value, String> {
    let bad = |why: String| format!("invalid argument {text:?} for \"--mount\": {why}");
    let mut mount = json!({ "Type": "volume" });
    let mut set = |name: &str, value: Value| {
        if let Some(mount) = mount.as_object_mut() {
            mount.insert(name.to_owned(), value);
        }
    };
    let (mut memory, mut has_target) = (json!({}), false);
    for part in text.split(',') {
        let (name, value) = part.split_once('=').unwrap_or((part, "true"));
        match name {
            "type" => set("Type", value.into()),
            "source" | "src" => set("Source", value.into()),
            "target" | "dst" | "destination" => {
                has_target = true;
                set("Target", value.into());
            }
            "readonly" | "ro" => match value {
                "true" | "1" => set("ReadOnly", true.into()),
                "false" | "0" => {}
                _ => return Err(bad(format!("invalid value for {name}: {value}"))),
            },
            "tmpfs-size" => memory = json!({ "SizeBytes": bytes(value)?, "Mode": memory.get("Mode") }),
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| bad(format!("no mode: {value}")))?;
                memory = json!({ "SizeBytes": memory.get("SizeBytes"), "Mode": mode });
            }
            _ => return Err(bad(format!("unexpected key '{name}' in '{part}'"))),
        }
    }
    if !has_target {
        return Err(bad("target is required".to_owned()));
    }
    if let Some(options) = memory.as_object_mut() {
        options.retain(|_, value| !value.is_null());
        set("TmpfsOptions", memory);
    }
    Ok(mount)
}

/// What `-v` is given: whether it has a source, or is a path that is to be a volume without a name.
pub(super) fn has_source(text: &str) -> Result<bool, String> {
    let bad = |why: &str| format!("-v {text}: {why}; write SOURCE:TARGET[:ro], NAME:TARGET[:ro] or TARGET");
    let mut parts = text.split(':');
    let (Some(first), Some(target)) = (parts.next(), parts.next()) else {
        return if text.starts_with('/') {
            Ok(false)
        } else {
            Err(bad("the target must be an absolute path"))
        };
    };
    if !first.starts_with('/') && !crate::state::is_name(first) {
        return Err(bad("the source must be an absolute path or the name of a volume"));
    }
    if !target.starts_with('/') {
        return Err(bad("the target must be an absolute path"));
    }
    for option in parts.next().unwrap_or_default().split(',').filter(|option| !option.is_empty()) {
        // Labels for SELinux and modes of macOS mean nothing here.
        const KNOWN: [&str; 8] = ["ro", "rw", "z", "Z", "cached", "delegated", "consistent", "rprivate"];
        if !KNOWN.contains(&option) {
            return Err(bad("unknown option"));
        }
    }
    if parts.next().is_some() { Err(bad("too many colons")) } else { Ok(true) }
}

/// `1m30s` as nanoseconds.
pub(super) fn time(text: &str) -> Result<i64, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is not a time like 30s or 1m30s"))?;
    i64::try_from(span.as_nanos())
        .ok()
        .filter(|nanos| *nanos >= 0)
        .ok_or_else(|| format!("{text:?} is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!((bytes("512m"), bytes("1GB"), bytes("7")), (Ok(512 << 20), Ok(1 << 30), Ok(7)));
        for bad in ["", "m", "-1", "0", "99999999999g", "1.5g"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ulimits() {
        assert_eq!(ulimit("nofile=10:20").unwrap(), Ulimit { name: "nofile".into(), soft: 10, hard: 20 });
        assert_eq!(ulimit("core=-1").unwrap().hard, -1);
        for bad in ["nofile", "nofile=x", "nofile=2:1", "nofile=-1:5", "nofile=-2", "files=1"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!((time("30s"), time("1m30s"), time("0s")), (Ok(30_000_000_000), Ok(90_000_000_000), Ok(0)));
        for bad in ["", "30", "-1s", "x"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes() {
        assert_eq!(
            (has_source("/a:/data:ro"), has_source("data:/d"), has_source("/d")),
            (Ok(true), Ok(true), Ok(false))
        );
        for bad in ["d", "../x:/data", "/a:data", "/a:/data:bad", "/a:/data:ro:x", ":/data", "/a:"] {
            assert!(has_source(bad).is_err(), "{bad}");
        }
        let all = mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770,readonly").unwrap();
        let options = json!({ "SizeBytes": 1 << 20, "Mode": 0o1770 });
        assert_eq!(
            all,
            json!({ "Type": "tmpfs", "Target": "/t", "ReadOnly": true, "TmpfsOptions": options })
        );
        for bad in ["type=bind,source=/a", "target=/a,colour=red", "target=/a,ro=perhaps"] {
            assert!(mount(bad).is_err(), "{bad}");
        }
    }
}
