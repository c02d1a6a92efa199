//! IOWeight=, IOReadBandwidthMax= and their kin, and the old BlockIO names.

use super::super::value::{number, size, span};
use super::{Draft, Outcome, Taken, weight};
use crate::settings::IoLimit;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let to = &mut draft.cgroup.io;
    let pair = || -> Result<(String, String), String> {
        let (path, rest) =
            value.split_once(char::is_whitespace).ok_or("a path and a value, with a space between")?;
        let path = context.resolve(path)?;
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(format!("\"{path}\" is not an absolute path"));
        }
        Ok((path, rest.trim().to_string()))
    };
    match key {
        "IOWeight" => to.weight = weight(value, 1, 10_000)?,
        "StartupIOWeight" => to.startup_weight = weight(value, 1, 10_000)?,
        "BlockIOWeight" => to.block_weight = weight(value, 10, 1000)?,
        "StartupBlockIOWeight" => to.startup_block_weight = weight(value, 10, 1000)?,
        "IODeviceWeight" if value.is_empty() => to.device_weights.clear(),
        "BlockIODeviceWeight" if value.is_empty() => to.block_device_weights.clear(),
        "IODeviceLatencyTargetSec" if value.is_empty() => to.latency_targets.clear(),
        "IODeviceWeight" | "BlockIODeviceWeight" => {
            let (path, text) = pair()?;
            let (least, most, list) = match key {
                "IODeviceWeight" => (1, 10_000, &mut to.device_weights),
                _ => (10, 1000, &mut to.block_device_weights),
            };
            list.push((path, weight(&text, least, most)?.ok_or("a weight is missing")?));
        }
        "IODeviceLatencyTargetSec" => {
            let (path, text) = pair()?;
            to.latency_targets.push((path, span(&text)?));
        }
        _ => {
            let (list, field): (_, fn(&mut IoLimit) -> &mut Option<u64>) = match key {
                "IOReadBandwidthMax" => (&mut to.limits, |limit| &mut limit.read_bandwidth),
                "IOWriteBandwidthMax" => (&mut to.limits, |limit| &mut limit.write_bandwidth),
                "IOReadIOPSMax" => (&mut to.limits, |limit| &mut limit.read_iops),
                "IOWriteIOPSMax" => (&mut to.limits, |limit| &mut limit.write_iops),
                "BlockIOReadBandwidth" => (&mut to.block_limits, |limit| &mut limit.read_bandwidth),
                "BlockIOWriteBandwidth" => (&mut to.block_limits, |limit| &mut limit.write_bandwidth),
                _ => return Ok(Taken::Unknown),
            };
            if value.is_empty() {
                list.iter_mut().for_each(|limit| *field(limit) = None);
                return Ok(Taken::Yes);
            }
            let (path, text) = pair()?;
            let amount = match text.as_str() {
                "infinity" => u64::MAX,
                text if key.contains("IOPS") => number(text).or_else(|_| decimal(text))?,
                text if key.contains("Bandwidth") => decimal(text)?,
                text => size(text)?,
            };
            let index = list.iter().position(|limit| limit.path == path).unwrap_or(list.len());
            if index == list.len() {
                list.push(IoLimit { path, ..IoLimit::default() });
            }
            *field(&mut list[index]) = Some(amount);
        }
    }
    Ok(Taken::Yes)
}

/// A number with K, M, G, T to the base 1000.
fn decimal(text: &str) -> Result<u64, String> {
    let error = || format!("\"{text}\" is not an amount a second");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let factor: u64 = match suffix {
        "" | "B" => 1,
        "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        _ => return Err(error()),
    };
    digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor)).ok_or_else(error)
}
