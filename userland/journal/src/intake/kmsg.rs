//! A record of /dev/kmsg: `priority,sequence,microseconds,flags;text`, then lines ` KEY=value`; unprintable bytes
//! are `\xNN`. Source: the kernel's Documentation/ABI/testing/dev-kmsg.

use crate::intake::syslog::split_identifier;
use crate::record::Record;

/// A message of the kernel, or one that a program wrote into its log.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number.
    pub sequence: u64,
    /// 0 (worst) to 7.
    pub priority: u8,
    /// Its fields.
    pub record: Record,
}

/// Reads one record.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Message> {
    let split = bytes.iter().position(|byte| *byte == b';')?;
    let head = std::str::from_utf8(bytes.get(..split)?).ok()?;
    let mut numbers = head.split(',').map(|number| number.parse::<u64>().ok());
    let value = numbers.next()??;
    let sequence = numbers.next()??;
    let micros = numbers.next()??;
    let mut lines = bytes.get(split + 1..)?.split(|byte| *byte == b'\n');
    let text = unescape(lines.next()?);
    let priority = (value & 7) as u8;
    let facility = value >> 3;

    let mut record = Record::default();
    record.push("_TRANSPORT", "kernel");
    record.push("_SOURCE_MONOTONIC_TIMESTAMP", micros.to_string());
    record.push("PRIORITY", priority.to_string());
    record.push("SYSLOG_FACILITY", facility.to_string());
    if facility == 0 {
        record.push("SYSLOG_IDENTIFIER", "kernel");
        record.push("MESSAGE", &text);
    } else {
        let (name, pid, message) = split_identifier(&text);
        if let Some(name) = name {
            record.push("SYSLOG_IDENTIFIER", name);
        }
        if let Some(pid) = pid {
            record.push("SYSLOG_PID", pid);
        }
        record.push("MESSAGE", message);
    }
    for line in lines {
        let Some(pair) = line.strip_prefix(b" ") else { continue };
        let Some(end) = pair.iter().position(|byte| *byte == b'=') else { continue };
        if let (Some(name), Some(value)) = (pair.get(..end), pair.get(end + 1..))
            && let Ok(name) = std::str::from_utf8(name)
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            && name.len() < 50
        {
            record.push(&format!("_KERNEL_{name}"), unescape(value));
        }
    }
    Some(Message { sequence, priority, record })
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'\\'
            && let Some(([b'x', high, low], after)) = rest.split_first_chunk::<3>()
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            out.push((high * 16 + low) as u8);
            rest = after;
        } else {
            out.push(*byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_and_program() {
        let message =
            parse(b"6,339,5140900,-;NET: Registered \\x22protocol\\x22\n SUBSYSTEM=pci\n DEVICE=+pci:0\n")
                .unwrap();
        assert_eq!((message.sequence, message.priority), (339, 6));
        assert_eq!(message.record.get("MESSAGE"), Some(&b"NET: Registered \"protocol\""[..]));
        assert_eq!(message.record.get("_KERNEL_SUBSYSTEM"), Some(&b"pci"[..]));
        let message = parse(b"30,5,1,-;init[1]: started").unwrap();
        assert_eq!(message.record.get("SYSLOG_IDENTIFIER"), Some(&b"init"[..]));
        assert_eq!(message.record.get("SYSLOG_FACILITY"), Some(&b"3"[..]));
        assert_eq!(parse(b"nonsense"), None);
        assert_eq!(parse(b"1,2;x"), None);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
