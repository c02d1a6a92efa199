//! The native protocol: `FIELD=value` lines, or `FIELD`, a line break, a 64-bit little-endian size and that many
//! bytes; an empty line ends a record. Source: systemd's JOURNAL_NATIVE_PROTOCOL.

use crate::record::Record;

/// Calls `each` with the records of a datagram; says whether all of it was understood.
#[must_use]
pub fn parse(datagram: &[u8], field_max: usize, each: &mut dyn FnMut(Record)) -> bool {
    let mut record = Record::default();
    let mut rest = datagram;
    let mut whole = true;
    while !rest.is_empty() {
        let (line, after) = split_line(rest);
        rest = after;
        if line.is_empty() {
            finish(&mut record, each);
            continue;
        }
        // Comments and control lines are no fields.
        if line.starts_with(b".") || line.starts_with(b"#") {
            continue;
        }
        let (name, value) = match line.iter().position(|byte| *byte == b'=') {
            Some(end) => (line.get(..end).unwrap_or_default(), line.get(end + 1..).unwrap_or_default()),
            None => match split_binary(rest) {
                Some((value, after)) => {
                    rest = after;
                    (line, value)
                }
                None => {
                    whole = false;
                    break;
                }
            },
        };
        if value.len() > field_max {
            whole = false;
        } else {
            record.push_untrusted(name, value);
        }
    }
    finish(&mut record, each);
    whole
}

fn finish(record: &mut Record, each: &mut dyn FnMut(Record)) {
    if !record.is_empty() {
        each(std::mem::take(record));
    }
}

fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default()),
        None => (bytes, &[]),
    }
}

fn split_binary(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = bytes.split_first_chunk::<8>()?;
    let size = usize::try_from(u64::from_le_bytes(*size)).ok()?;
    let value = rest.get(..size)?;
    Some((value, rest.get(size..)?.strip_prefix(b"\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(datagram: &[u8]) -> (Vec<Record>, bool) {
        let mut records = Vec::new();
        let whole = parse(datagram, 1 << 20, &mut |record| records.push(record));
        (records, whole)
    }

    #[test]
    fn text_and_binary() {
        let (records, whole) = all(b"MESSAGE=hi\nDATA\n\x03\0\0\0\0\0\0\0a\nb\n_PID=1\n\nMESSAGE=two\n");
        assert!(whole);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].fields(), [&b"MESSAGE=hi"[..], b"DATA=a\nb"]);
        assert_eq!(records[1].get("MESSAGE"), Some(&b"two"[..]));
    }

    #[test]
    fn cut_off() {
        let (records, whole) = all(b"MESSAGE=hi\nDATA\n\xff\xff\xff\xff\xff\xff\xff\xffa");
        assert!(!whole);
        assert_eq!(records.len(), 1);
        assert!(all(b"").0.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(datagram: Vec<u8>) {
            for record in all(&datagram).0 {
                for field in record.fields() {
                    proptest::prop_assert!(field[0].is_ascii_uppercase());
                }
            }
        }
    }
}
