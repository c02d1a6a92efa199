//! Standard streams, terminals, and what the log says.

use super::super::value::{boolean, number, span};
use super::{Draft, Outcome, Taken, absolute, words};
use crate::c_escape::unescape;
use crate::settings::{Input, Output};

const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "12", "13", "14", "15", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// The most bytes of StandardInputData= and StandardInputText=.
const MOST_DATA: usize = 64 << 20;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let exec = &mut draft.exec;
    let optional = |text: &str| context.resolve(text).map(|text| Some(text).filter(|text| !text.is_empty()));
    match key {
        "StandardInput" => exec.input = input(&context.resolve(value)?)?,
        "StandardOutput" => exec.output = output(&context.resolve(value)?, "stdout")?,
        "StandardError" => exec.error = output(&context.resolve(value)?, "stderr")?,
        "StandardInputText" | "StandardInputData" if value.is_empty() => exec.input_data.clear(),
        "StandardInputText" => {
            let text = context.resolve(value)?;
            exec.input_data.extend(unescape(&text));
            exec.input_data.push(b'\n');
        }
        "StandardInputData" => exec.input_data.extend(base64(value)?),
        "TTYPath" => exec.terminal.path = optional(value)?.map(|path| absolute(&path)).transpose()?,
        "TTYReset" => exec.terminal.reset = boolean(value)?,
        "TTYVHangup" => exec.terminal.hang_up = boolean(value)?,
        "TTYVTDisallocate" => exec.terminal.disallocate = boolean(value)?,
        "TTYRows" => exec.terminal.rows = optional(value)?.map(|text| number(&text)).transpose()?,
        "TTYColumns" => exec.terminal.columns = optional(value)?.map(|text| number(&text)).transpose()?,
        "SyslogIdentifier" => exec.logging.identifier = optional(value)?,
        "SyslogFacility" => exec.logging.facility = Some(index(value, &FACILITIES)?),
        "SyslogLevel" => exec.logging.level = Some(index(value, &LEVELS)?),
        "SyslogLevelPrefix" => exec.logging.level_prefix = Some(boolean(value)?),
        "LogLevelMax" if value.is_empty() => exec.logging.level_max = None,
        "LogLevelMax" => exec.logging.level_max = Some(index(value, &LEVELS)?),
        "LogExtraFields" if value.is_empty() => exec.logging.extra_fields.clear(),
        "LogExtraFields" => {
            for word in words(value).map_err(|error| error.to_string())? {
                let word = context.resolve(&word)?;
                match word.split_once('=') {
                    Some((name, _)) if is_field(name) => exec.logging.extra_fields.push(word),
                    _ => return Err(format!("\"{word}\" is not a field of the journal")),
                }
            }
        }
        "LogRateLimitIntervalSec" => exec.logging.rate_limit_interval = Some(span(value)?),
        "LogRateLimitBurst" => exec.logging.rate_limit_burst = Some(number(value)?),
        "LogNamespace" => exec.logging.namespace = optional(value)?,
        _ => return Ok(Taken::Unknown),
    }
    if exec.input == Input::Null && !exec.input_data.is_empty() && key.starts_with("StandardInput") {
        // Data without StandardInput= means that it is the input.
        exec.input = Input::Data;
    }
    Ok(Taken::Yes)
}

fn input(text: &str) -> Result<Input, String> {
    Ok(match text {
        "" | "null" => Input::Null,
        "tty" => Input::Tty,
        "tty-force" => Input::TtyForce,
        "tty-fail" => Input::TtyFail,
        "data" => Input::Data,
        "socket" => Input::Socket,
        "fd" => Input::Named("stdin".into()),
        _ => match text.split_once(':') {
            Some(("file", path)) => Input::File(absolute(path)?),
            Some(("fd", name)) => Input::Named(if name.is_empty() { "stdin".into() } else { name.into() }),
            _ => return Err(format!("\"{text}\" is not an input that we know")),
        },
    })
}

pub(in crate::load) fn output(text: &str, name: &str) -> Result<Option<Output>, String> {
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
        "fd" => Output::Named(name.into()),
        _ => match text.split_once(':') {
            Some(("file", path)) => Output::File(absolute(path)?),
            Some(("append", path)) => Output::Append(absolute(path)?),
            Some(("truncate", path)) => Output::Truncate(absolute(path)?),
            Some(("fd", "")) => Output::Named(name.into()),
            Some(("fd", name)) => Output::Named(name.into()),
            _ => return Err(format!("\"{text}\" is not an output that we know")),
        },
    }))
}

/// A name's place in a table, or the number itself.
fn index(text: &str, names: &[&str]) -> Result<u8, String> {
    let most = names.len();
    let by_name = names.iter().position(|name| *name == text);
    let found = by_name.or_else(|| text.parse().ok().filter(|number| *number < most));
    found
        .and_then(|index| u8::try_from(index).ok())
        .ok_or_else(|| format!("\"{text}\" is not one of syslog's names"))
}

/// A field that a unit may add: the trusted ones begin with an underscore.
fn is_field(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= 64 && name.bytes().all(letter) && name.starts_with(|first: char| first.is_ascii_uppercase())
}

/// RFC 4648, white space between.
pub(super) fn base64(text: &str) -> Result<Vec<u8>, String> {
    let bad = || "this is not base64".to_string();
    if text.len() > MOST_DATA {
        return Err("too much data".into());
    }
    let mut out = Vec::new();
    let (mut bits, mut held, mut padding) = (0u32, 0, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => return Err(bad()),
        };
        if padding > 0 {
            return Err(bad());
        }
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    if held >= 6 || padding > 2 || bits != 0 { Err(bad()) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read_as_written() {
        assert_eq!(base64("aGVs bG8K"), Ok(b"hello\n".to_vec()));
        assert_eq!(base64("aA=="), Ok(b"h".to_vec()));
        assert!(base64("a").is_err() && base64("a=b").is_err() && base64("*").is_err());
    }

    #[test]
    fn streams_by_name() {
        assert_eq!(input("fd"), Ok(Input::Named("stdin".into())));
        assert_eq!(input("fd:x"), Ok(Input::Named("x".into())));
        assert_eq!(output("fd", "stdout"), Ok(Some(Output::Named("stdout".into()))));
        assert_eq!(output("append:/a//b/", ""), Ok(Some(Output::Append("/a/b".into()))));
        assert!(output("file:x", "").is_err() && input("journal").is_err());
        assert_eq!(index("local7", &FACILITIES), Ok(23));
        assert!(index("24", &FACILITIES).is_err());
    }
}
