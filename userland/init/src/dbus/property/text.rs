//! A property as text, as `systemctl show` writes it.

use zvariant::Value;

use crate::cli::time;

/// Names whose greatest value means "no limit".
const LIMITS: [&str; 4] = ["Limit", "DefaultLimit", "Memory", "TasksMax"];
/// Names whose greatest value means that nothing was measured.
const MEASURES: [&str; 3] = ["MemoryCurrent", "CPUUsageNSec", "TasksCurrent"];

/// A property's value as text, a line for each command it holds.
pub fn lines(name: &str, value: &Value<'_>) -> Vec<String> {
    let octal = name == "UMask" || name.ends_with("DirectoryMode");
    let one = match value {
        Value::Str(text) => text.to_string(),
        Value::ObjectPath(path) => path.to_string(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
        Value::U64(0) if name.ends_with("Timestamp") => String::new(),
        Value::U64(usec) if name.ends_with("Timestamp") => time::moment(*usec),
        Value::U64(usec) if name.ends_with("USec") => time::span(*usec, 1),
        Value::U64(u64::MAX) if MEASURES.contains(&name) => "[not set]".into(),
        Value::U64(u64::MAX)
            if name.starts_with("IP") || name.starts_with("IO") && !name.contains("Weight") =>
        {
            "[no data]".into()
        }
        Value::U64(u64::MAX) if LIMITS.iter().any(|limit| name.starts_with(limit)) => "infinity".into(),
        Value::U64(u64::MAX) | Value::U32(u32::MAX) => "[not set]".into(),
        Value::U64(number) => number.to_string(),
        Value::U32(number) if octal => format!("{number:04o}"),
        Value::U32(number) => number.to_string(),
        Value::I32(number) => number.to_string(),
        Value::U16(number) => number.to_string(),
        Value::U8(number) => number.to_string(),
        Value::F64(number) => number.to_string(),
        Value::Array(array) if array.element_signature() == "y" => array
            .iter()
            .map(|byte| u8::try_from(byte).map_or(String::new(), |byte| format!("{byte:02x}")))
            .collect(),
        Value::Array(array) if name.starts_with("Exec") => {
            return array.iter().map(|item| command(item, name.ends_with("Ex"))).collect();
        }
        Value::Array(array) => {
            array.iter().map(|item| lines(name, item).join(" ")).collect::<Vec<_>>().join(" ")
        }
        Value::Structure(fields) if name == "Job" => match fields.fields() {
            [Value::U32(id), ..] if *id > 0 => id.to_string(),
            _ => String::new(),
        },
        Value::Structure(fields) => {
            let fields: Vec<String> =
                fields.fields().iter().map(|field| lines("", field).join(" ")).collect();
            let empty = fields.iter().all(|field| field.is_empty() || field == "no");
            if empty { String::new() } else { fields.join(" ") }
        }
        _ => String::new(),
    };
    vec![one]
}

/// A command line with its last run.
fn command(value: &Value<'_>, extended: bool) -> String {
    let Value::Structure(fields) = value else { return String::new() };
    let [
        Value::Str(path),
        argv,
        flags,
        Value::U64(start),
        _,
        Value::U64(stop),
        _,
        Value::U32(pid),
        Value::I32(code),
        Value::I32(status),
    ] = fields.fields()
    else {
        return String::new();
    };
    let moment = |usec: u64| format!("[{}]", time::moment(usec));
    let flags = if extended {
        format!("flags={}", lines("", flags).join(" "))
    } else {
        format!("ignore_errors={}", lines("", flags).join(" "))
    };
    let (code, status) = match code {
        0 => ("(null)", format!("{status}/0")),
        1 => ("exited", status.to_string()),
        2 => ("killed", status.to_string()),
        _ => ("dumped", status.to_string()),
    };
    format!(
        "{{ path={path} ; argv[]={} ; {flags} ; start_time={} ; stop_time={} ; pid={pid} ; code={code} ; status={status} }}",
        lines("", argv).join(" "),
        moment(*start),
        moment(*stop),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, value: impl Into<Value<'static>>) -> String {
        lines(name, &value.into()).join("|")
    }

    #[test]
    fn values_as_systemctl_writes_them() {
        assert_eq!(line("TimeoutStartUSec", 90_000_000u64), "1min 30s");
        assert_eq!(line("RuntimeMaxUSec", u64::MAX), "infinity");
        assert_eq!(line("MemoryCurrent", u64::MAX), "[not set]");
        assert_eq!(line("MemoryMax", u64::MAX), "infinity");
        assert_eq!(line("CPUWeight", u64::MAX), "[not set]");
        assert_eq!(line("IPIngressBytes", u64::MAX), "[no data]");
        assert_eq!(line("UMask", 18u32), "0022");
        assert_eq!(line("CanStop", true), "yes");
        assert_eq!(line("Names", vec!["a", "b"]), "a b");
        assert_eq!(line("InvocationID", vec![0xfau8, 0x01]), "fa01");
        assert_eq!(line("ActiveEnterTimestamp", 0u64), "");
    }
}
