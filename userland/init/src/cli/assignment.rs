//! `NAME=VALUE` as a property on the bus: what a person types to `set-property` and `systemd-run -p`.
//!
//! The tables of properties say the type; a few properties are typed by another name or in another form than they
//! have on the bus. Source: systemctl(1) `set-property`, systemd-run(1), systemd.resource-control(5).

use unit::settings::Amount;
use zvariant::{OwnedValue, Signature, Value};

use crate::dbus::property::{self, Default, Property, array, strings, structure};

/// A property and its value.
pub type Setting = (String, OwnedValue);

/// Directives that are told in µs under another name.
fn on_the_bus(name: &str) -> Option<&'static Property> {
    let find = |wanted: &str| {
        let kinds =
            ["a.service", "a.scope", "a.slice", "a.socket", "a.timer", "a.path", "a.mount", "a.automount"];
        let tables = kinds.into_iter().map(property::of_type).chain([property::UNIT]);
        let mut all = tables.flat_map(|(_, tables)| tables.iter().copied().flatten());
        all.find(|(known, _)| *known == wanted)
    };
    match name.strip_suffix("Sec") {
        Some(stem) => find(&format!("{stem}USec")).or_else(|| find(name)),
        None => find(name),
    }
}

/// Reads an assignment.
///
/// # Errors
/// What is wrong, for a person.
pub fn parse(text: &str) -> Result<Vec<Setting>, String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("Not an assignment: {text}"))?;
    let one = |name: &str, value: Value<'static>| {
        let value = OwnedValue::try_from(value).map_err(|error| format!("{name}: {error}"))?;
        Ok(vec![(name.to_owned(), value)])
    };
    let wrong = |what: &str| format!("Failed to parse {name}= value, {what} expected: {value}");
    match name {
        "CPUQuota" if value.is_empty() => return one("CPUQuotaPerSecUSec", u64::MAX.into()),
        "CPUQuota" => {
            let share = unit::load::percent(value).ok_or_else(|| wrong("a percentage"))?;
            return one("CPUQuotaPerSecUSec", (u64::from(share) * 100).into());
        }
        "MemoryMin" | "MemoryLow" | "MemoryHigh" | "MemoryMax" | "MemorySwapMax" | "MemoryLimit"
        | "TasksMax" => {
            return match unit::load::amount(value).map_err(|_| wrong("a size, a percentage or infinity"))? {
                Some(Amount::Absolute(amount)) => one(name, amount.into()),
                Some(Amount::Infinity) | None => one(name, u64::MAX.into()),
                Some(Amount::Share(share)) => {
                    let parts = u64::from(share) * u64::from(u32::MAX) / 10_000;
                    one(&format!("{name}Scale"), u32::try_from(parts).unwrap_or(u32::MAX).into())
                }
            };
        }
        "CPUWeight" | "StartupCPUWeight" | "IOWeight" | "StartupIOWeight" if value.is_empty() => {
            return one(name, u64::MAX.into());
        }
        "Environment" => return one(name, strings(words(value)?)),
        "Slice" | "User" | "Group" | "Type" | "Restart" => return one(name, value.to_owned().into()),
        "DeviceAllow" => {
            let (node, access) = value.split_once(' ').unwrap_or((value, "rwm"));
            let entry = structure([node.to_owned().into(), access.to_owned().into()]);
            return one(name, array("(ss)", (!value.is_empty()).then_some(entry)));
        }
        "IOReadBandwidthMax"
        | "IOWriteBandwidthMax"
        | "IOReadIOPSMax"
        | "IOWriteIOPSMax"
        | "IODeviceWeight" => {
            let pair = value.split_once(' ');
            let number = |text: &str| match unit::load::amount(text) {
                Ok(Some(Amount::Absolute(number))) => Some(number),
                Ok(Some(Amount::Infinity)) => Some(u64::MAX),
                _ => None,
            };
            let entry = match pair {
                _ if value.is_empty() => None,
                Some((device, amount)) => {
                    let amount = number(amount.trim()).ok_or_else(|| wrong("a device and a number"))?;
                    Some(structure([device.to_owned().into(), amount.into()]))
                }
                None => return Err(wrong("a device and a number")),
            };
            return one(name, array("(st)", entry));
        }
        _ if name.starts_with("Exec") => return one(name, command(value).ok_or_else(|| wrong("a command"))?),
        _ if name.starts_with("Limit") => return limit(name, value).ok_or_else(|| wrong("a limit")),
        _ => {}
    }
    let (on_bus, default) = on_the_bus(name).ok_or_else(|| format!("Unknown assignment: {text}"))?;
    one(on_bus, typed(on_bus, *default, value).ok_or_else(|| wrong("another value"))?)
}

/// Words as in a unit file: quotes and escapes.
fn words(text: &str) -> Result<Vec<String>, String> {
    unit::exec::words(text).map_err(|error| error.to_string())
}

/// A value of the type that the table says.
fn typed(name: &str, default: Default, text: &str) -> Option<Value<'static>> {
    let yes = |text: &str| match text {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    };
    Some(match default {
        Default::Str(_) => text.to_owned().into(),
        Default::Bool(_) => yes(text)?.into(),
        Default::U64(_) if name.ends_with("USec") => span(text)?.into(),
        Default::U64(_) if text == "infinity" => u64::MAX.into(),
        Default::U64(_) => match unit::load::amount(text).ok()?? {
            Amount::Absolute(number) => number.into(),
            _ => return None,
        },
        Default::U32(_) if name.ends_with("Mode") || name == "UMask" => {
            u32::from_str_radix(text, 8).ok()?.into()
        }
        Default::U32(_) => text.parse::<u32>().ok()?.into(),
        Default::I32(_) if name.ends_with("Signal") => super::job::signal_number(text)?.into(),
        Default::I32(_) => text.parse::<i32>().ok()?.into(),
        Default::U16(_) => text.parse::<u16>().ok()?.into(),
        Default::Empty(signature) => {
            let signature = Signature::try_from(signature).ok()?;
            match signature.to_string().as_str() {
                "as" => strings(words(text).ok()?),
                _ => return None,
            }
        }
        Default::Byte(_) | Default::Double(_) => return None,
    })
}

/// A span of time in µs.
pub fn span(text: &str) -> Option<u64> {
    unit::timespan::parse(text)
}

/// `soft:hard`, or both.
fn limit(name: &str, text: &str) -> Option<Vec<Setting>> {
    let number = |text: &str| match unit::load::amount(text).ok()?? {
        Amount::Absolute(number) => Some(number),
        Amount::Infinity => Some(u64::MAX),
        Amount::Share(_) => None,
    };
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let owned = |value: u64| OwnedValue::try_from(Value::from(value)).ok();
    Some(vec![(name.to_owned(), owned(number(hard)?)?), (format!("{name}Soft"), owned(number(soft)?)?)])
}

/// A command line with its prefix.
fn command(text: &str) -> Option<Value<'static>> {
    let bare = text.trim_start_matches(['-', '+', '!', ':', '@']);
    let ignore = text.len() > bare.len() && text.starts_with('-');
    let words = words(bare).ok()?;
    let path = words.first()?.clone();
    Some(commands([(path, words, ignore)]))
}

/// Command lines: path, arguments, whether failure is ignored.
pub fn commands(lines: impl IntoIterator<Item = (String, Vec<String>, bool)>) -> Value<'static> {
    let line = |(path, words, ignore): (String, Vec<String>, bool)| {
        structure([path.into(), strings(words), ignore.into()])
    };
    array("(sasb)", lines.into_iter().map(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> (String, Value<'static>) {
        let (name, value) = parse(text).unwrap().remove(0);
        (name, Value::from(value))
    }

    #[test]
    fn what_people_type_becomes_what_the_bus_takes() {
        assert_eq!(one("MemoryMax=100M"), ("MemoryMax".into(), 104_857_600u64.into()));
        assert_eq!(one("MemoryMax=infinity"), ("MemoryMax".into(), u64::MAX.into()));
        assert_eq!(one("MemoryMax=50%"), ("MemoryMaxScale".into(), (u32::MAX / 2).into()));
        assert_eq!(one("CPUQuota=25%"), ("CPUQuotaPerSecUSec".into(), 250_000u64.into()));
        assert_eq!(one("CPUWeight=50"), ("CPUWeight".into(), 50u64.into()));
        assert_eq!(one("RuntimeMaxSec=1min"), ("RuntimeMaxUSec".into(), 60_000_000u64.into()));
        assert_eq!(one("RemainAfterExit=yes"), ("RemainAfterExit".into(), true.into()));
        assert_eq!(one("Nice=-5"), ("Nice".into(), (-5i32).into()));
        assert_eq!(one("UMask=027"), ("UMask".into(), 0o27u32.into()));
        assert_eq!(one("KillSignal=INT"), ("KillSignal".into(), 2i32.into()));
        assert_eq!(one("Environment=A=b \"C=d e\"").1, strings(["A=b", "C=d e"]));
        assert_eq!(parse("LimitNOFILE=7:9").unwrap().len(), 2);
        for wrong in ["MemoryMax", "MemoryMax=much", "CPUQuota=5", "NoSuch=1", "RemainAfterExit=perhaps"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
