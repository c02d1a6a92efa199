//! How processes are set up, systemd.exec(5).

use super::value::{boolean, capabilities, mode, number, size, span};
use super::{Draft, Outcome, Taken};
use crate::environment;
use crate::exec::words;
use crate::settings::{Directories, DirectoryKind, Input, Output, Preserve, ResourceLimit, WorkingDirectory};

const ALL_CAPABILITIES: u64 = (1 << 41) - 1;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    if let Some(name) = key.strip_prefix("Limit").and_then(limit_name) {
        return limit(draft, name, value);
    }
    if let Some(kind) = directory_kind(key) {
        if key.ends_with("Mode") {
            let bits = mode(value)?;
            directory_set(draft, kind).mode = bits;
            return Ok(Taken::Yes);
        }
        return directories(draft, kind, value);
    }
    let context = draft.context;
    let expand = |text: &str| context.expand(text);
    let exec = &mut draft.exec;
    let optional = |text: &str| if text.is_empty() { None } else { Some(expand(text)) };
    match key {
        "Environment" if value.is_empty() => exec.environment.clear(),
        "Environment" => {
            let mut bad = Vec::new();
            for word in words(value).map_err(|error| error.to_string())? {
                let word = expand(&word);
                match word.split_once('=') {
                    Some((name, value)) if environment::is_name(name) => {
                        environment::set(&mut exec.environment, name, value);
                    }
                    _ => bad.push(word),
                }
            }
            if !bad.is_empty() {
                return Err(format!("not assignments: {}", bad.join(" ")));
            }
        }
        "EnvironmentFile" if value.is_empty() => exec.environment_files.clear(),
        "EnvironmentFile" => {
            let path = expand(value);
            let (path, optional) = match path.strip_prefix('-') {
                Some(path) => (path.to_string(), true),
                None => (path, false),
            };
            if !path.starts_with('/') {
                return Err(format!("{path} is not absolute"));
            }
            exec.environment_files.push((path, optional));
        }
        "PassEnvironment" => names(&mut exec.pass_environment, value),
        "UnsetEnvironment" => names(&mut exec.unset_environment, value),
        "User" => exec.user = optional(value),
        "Group" => exec.group = optional(value),
        "SupplementaryGroups" => names(&mut exec.supplementary_groups, &expand(value)),
        "WorkingDirectory" if value.is_empty() => exec.working_directory = None,
        "WorkingDirectory" => {
            let path = expand(value);
            let (path, missing_ok) = match path.strip_prefix('-') {
                Some(path) => (path.to_string(), true),
                None => (path, false),
            };
            let path = if path == "~" { None } else { Some(path) };
            if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
                return Err("the directory is not absolute".into());
            }
            exec.working_directory = Some(WorkingDirectory { path, missing_ok });
        }
        "RootDirectory" => exec.root_directory = optional(value).filter(|path| path != "/"),
        "UMask" => exec.umask = Some(mode(value)?),
        "Nice" => exec.nice = Some(number::<i32>(value)?.clamp(-20, 19)),
        "OOMScoreAdjust" if value.is_empty() => exec.oom_score_adjust = None,
        "OOMScoreAdjust" => exec.oom_score_adjust = Some(number::<i32>(value)?.clamp(-1000, 1000)),
        "StandardInput" => exec.input = input(&expand(value))?,
        "StandardOutput" => exec.output = output(&expand(value))?,
        "StandardError" => exec.error = output(&expand(value))?,
        "TTYPath" => exec.tty_path = optional(value),
        "TTYReset" => exec.tty_reset = boolean(value)?,
        "TTYVHangup" => exec.tty_vhangup = boolean(value)?,
        "TTYVTDisallocate" => {
            boolean(value)?;
        }
        "SyslogIdentifier" => exec.syslog_identifier = optional(value),
        "SyslogLevel" => exec.syslog_level = Some(level(value)?),
        "SyslogLevelPrefix" => exec.syslog_level_prefix = Some(boolean(value)?),
        "RuntimeDirectoryPreserve" => {
            exec.runtime_preserve = match value {
                "restart" => Preserve::Restart,
                _ if boolean(value)? => Preserve::Yes,
                _ => Preserve::No,
            }
        }
        "NoNewPrivileges" => exec.no_new_privileges = boolean(value)?,
        "CapabilityBoundingSet" => {
            let set = capabilities(value, exec.capability_bounding_set, ALL_CAPABILITIES)?;
            exec.capability_bounding_set = Some(set);
        }
        "AmbientCapabilities" => {
            let current = Some(exec.ambient_capabilities).filter(|set| *set != 0);
            exec.ambient_capabilities = capabilities(value, current, ALL_CAPABILITIES)?;
        }
        "IgnoreSIGPIPE" => exec.keep_sigpipe = !boolean(value)?,
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

fn names(list: &mut Vec<String>, value: &str) {
    if value.is_empty() {
        list.clear();
    }
    list.extend(value.split_whitespace().map(str::to_string));
}

fn input(text: &str) -> Result<Input, String> {
    Ok(match text {
        "" | "null" => Input::Null,
        "tty" => Input::Tty,
        "tty-force" => Input::TtyForce,
        "tty-fail" => Input::TtyFail,
        "data" => Input::Data,
        "socket" => Input::Socket,
        _ => match text.strip_prefix("file:") {
            Some(path) if path.starts_with('/') => Input::File(path.into()),
            _ => return Err(format!("\"{text}\" is not an input that we know")),
        },
    })
}

fn output(text: &str) -> Result<Option<Output>, String> {
    Ok(Some(match text {
        "" => return Ok(None),
        "inherit" => Output::Inherit,
        "null" => Output::Null,
        "tty" => Output::Tty,
        "journal" | "syslog" => Output::Journal,
        "journal+console" | "syslog+console" => Output::JournalConsole,
        "kmsg" => Output::Kmsg,
        "kmsg+console" => Output::KmsgConsole,
        "socket" => Output::Socket,
        _ => match text.split_once(':') {
            Some(("file", path)) if path.starts_with('/') => Output::File(path.into()),
            Some(("append", path)) if path.starts_with('/') => Output::Append(path.into()),
            Some(("truncate", path)) if path.starts_with('/') => Output::Truncate(path.into()),
            _ => return Err(format!("\"{text}\" is not an output that we know")),
        },
    }))
}

fn level(text: &str) -> Result<u8, String> {
    const NAMES: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let index = NAMES.iter().position(|name| *name == text).and_then(|index| u8::try_from(index).ok());
    index
        .or_else(|| text.parse().ok().filter(|level| *level < 8))
        .ok_or_else(|| format!("\"{text}\" is not a syslog level"))
}

const LIMITS: &[&str] = &[
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NOFILE",
    "AS",
    "NPROC",
    "MEMLOCK",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

fn limit_name(name: &str) -> Option<&'static str> {
    LIMITS.iter().copied().find(|known| *known == name)
}

fn limit(draft: &mut Draft<'_>, name: &'static str, value: &str) -> Outcome {
    let limits = &mut draft.exec.limits;
    if value.is_empty() {
        limits.retain(|limit| limit.name != name);
        return Ok(Taken::Yes);
    }
    let one = |text: &str| match (text, name) {
        ("infinity", _) => Ok(u64::MAX),
        (_, "CPU") => span(text).map(|usec| usec.div_ceil(1_000_000)),
        (_, "RTTIME") => number(text).or_else(|_| span(text)),
        (_, "NICE") => match text.chars().next() {
            Some('+' | '-') => number::<i64>(text).map(|nice| (20 - nice.clamp(-20, 19)).unsigned_abs()),
            _ => number(text),
        },
        (_, "NOFILE" | "NPROC" | "LOCKS" | "SIGPENDING" | "RTPRIO") => number(text),
        _ => size(text),
    };
    let (soft, hard) = match value.split_once(':') {
        Some((soft, hard)) => (one(soft)?, one(hard)?),
        None => {
            let both = one(value)?;
            (both, both)
        }
    };
    if soft > hard {
        return Err("the soft limit is above the hard one".into());
    }
    limits.retain(|limit| limit.name != name);
    limits.push(ResourceLimit { name, soft, hard });
    Ok(Taken::Yes)
}

fn directory_kind(key: &str) -> Option<DirectoryKind> {
    Some(match key.strip_suffix("Mode").unwrap_or(key) {
        "RuntimeDirectory" => DirectoryKind::Runtime,
        "StateDirectory" => DirectoryKind::State,
        "CacheDirectory" => DirectoryKind::Cache,
        "LogsDirectory" => DirectoryKind::Logs,
        "ConfigurationDirectory" => DirectoryKind::Configuration,
        _ => return None,
    })
    .filter(|_| key.ends_with("Directory") || key.ends_with("DirectoryMode"))
}

fn directory_set<'a>(draft: &'a mut Draft<'_>, kind: DirectoryKind) -> &'a mut Directories {
    let list = &mut draft.exec.directories;
    let index = list.iter().position(|set| set.kind == kind).unwrap_or(list.len());
    if index == list.len() {
        list.push(Directories { kind, names: Vec::new(), mode: 0o755 });
    }
    &mut list[index]
}

fn directories(draft: &mut Draft<'_>, kind: DirectoryKind, value: &str) -> Outcome {
    let context = draft.context;
    let set = directory_set(draft, kind);
    if value.is_empty() {
        set.names.clear();
    }
    for word in words(value).map_err(|error| error.to_string())? {
        let name = context.expand(&word);
        let name = name.split(':').next().unwrap_or_default().trim_end_matches('/').to_string();
        let plain = !name.is_empty()
            && !name.starts_with('/')
            && !name.split('/').any(|part| matches!(part, "" | "." | ".."));
        if !plain {
            return Err(format!("\"{word}\" is not a relative path without .."));
        }
        set.names.push(name);
    }
    Ok(Taken::Yes)
}
