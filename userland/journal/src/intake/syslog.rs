//! A line of syslog, as /dev/log brings it: `<PRI>Mmm dd hh:mm:ss name[pid]: text`, every part of it optional.
//! Source: RFC 3164, and what glibc's syslog(3) sends.

use crate::intake::{INFO, split_priority};
use crate::record::Record;

/// The record of a datagram, and its priority.
#[must_use]
pub fn parse(datagram: &[u8]) -> (Record, u8) {
    let end = datagram
        .iter()
        .rposition(|byte| !matches!(byte, 0 | b'\n' | b'\r' | b' '))
        .map_or(0, |last| last + 1);
    let text = datagram.get(..end).unwrap_or_default();
    let (value, text) = split_priority(text).unwrap_or((u16::from(INFO) | 1 << 3, text));
    let (time, text) = split_time(text);
    let (name, pid, message) = split_identifier(text);
    let priority = (value & 7) as u8;

    let mut record = Record::default();
    record.push("PRIORITY", priority.to_string());
    record.push("SYSLOG_FACILITY", (value >> 3).to_string());
    if let Some(name) = name {
        record.push("SYSLOG_IDENTIFIER", name);
    }
    if let Some(pid) = pid {
        record.push("SYSLOG_PID", pid);
    }
    if let Some(time) = time {
        record.push("SYSLOG_TIMESTAMP", time);
    }
    record.push("MESSAGE", message);
    (record, priority)
}

/// `Nov 24 02:26:46 `
fn split_time(text: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let shape = b"Aaa d9 99:99:99 ";
    let fits = text.len() >= shape.len()
        && text.iter().zip(shape).all(|(byte, kind)| match kind {
            b'A' => byte.is_ascii_uppercase(),
            b'a' => byte.is_ascii_lowercase(),
            b'd' => byte.is_ascii_digit() || *byte == b' ',
            b'9' => byte.is_ascii_digit(),
            other => byte == other,
        });
    match text.split_at_checked(shape.len()) {
        Some((time, rest)) if fits => (Some(time), rest),
        _ => (None, text),
    }
}

/// `name[pid]: text` or `name: text`.
#[must_use]
pub fn split_identifier(text: &[u8]) -> (Option<&[u8]>, Option<&[u8]>, &[u8]) {
    let none = (None, None, text);
    let Some(end) = text.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n')) else { return none };
    let Some(word) = text.get(..end).and_then(|word| word.strip_suffix(b":")) else { return none };
    let message = text.get(end + 1..).unwrap_or_default();
    if let Some(inner) = word.strip_suffix(b"]")
        && let Some(start) = inner.iter().rposition(|byte| *byte == b'[')
        && let (Some(name), Some(pid)) = (inner.get(..start), inner.get(start + 1..))
        && !pid.is_empty()
        && pid.iter().all(u8::is_ascii_digit)
    {
        return (Some(name), Some(pid), message);
    }
    if word.is_empty() { none } else { (Some(word), None, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(record: &Record) -> String {
        record
            .fields()
            .iter()
            .map(|field| String::from_utf8_lossy(field).into_owned())
            .collect::<Vec<_>>()
            .join("|")
    }

    #[test]
    fn lines() {
        assert_eq!(
            text(&parse(b"<13>Nov  4 02:26:46 me[12]: hello there\n\0").0),
            "PRIORITY=5|SYSLOG_FACILITY=1|SYSLOG_IDENTIFIER=me|SYSLOG_PID=12|SYSLOG_TIMESTAMP=Nov  4 02:26:46 |MESSAGE=hello there"
        );
        assert_eq!(text(&parse(b"<999>x").0), "PRIORITY=6|SYSLOG_FACILITY=1|MESSAGE=<999>x");
        assert_eq!(
            text(&parse(b"<3>kernel: x").0),
            "PRIORITY=3|SYSLOG_FACILITY=0|SYSLOG_IDENTIFIER=kernel|MESSAGE=x"
        );
        assert_eq!(text(&parse(b"").0), "PRIORITY=6|SYSLOG_FACILITY=1|MESSAGE=");
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(datagram: Vec<u8>) {
            proptest::prop_assert!(parse(&datagram).1 < 8);
        }
    }
}
