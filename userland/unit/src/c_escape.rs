//! C's escapes in texts that are bytes in the end: `\n`, `\x41`, `\101`.

/// C's escapes; what is none stays as it is.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'a') => out.push(7),
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'v') => out.push(11),
            Some(b's') => out.push(b' '),
            Some(same @ (b'\\' | b'"' | b'\'')) => out.push(same),
            Some(b'x') => {
                let digits: Vec<u8> =
                    std::iter::from_fn(|| bytes.next_if(u8::is_ascii_hexdigit)).take(2).collect();
                match u8::from_str_radix(&String::from_utf8_lossy(&digits), 16) {
                    Ok(value) => out.push(value),
                    Err(_) => out.extend([b'\\', b'x'].into_iter().chain(digits)),
                }
            }
            Some(digit @ b'0'..=b'7') => {
                let more = std::iter::from_fn(|| bytes.next_if(|byte| (b'0'..=b'7').contains(byte))).take(2);
                let value =
                    more.fold(u32::from(digit - b'0'), |value, digit| value * 8 + u32::from(digit - b'0'));
                out.push(value as u8);
            }
            Some(other) => out.extend([b'\\', other]),
            None => out.push(b'\\'),
        }
    }
    out
}

/// Bytes with C's escapes, as systemd writes them: what is not printable ASCII, quotes and the backslash itself.
pub fn escape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            7 => out.push_str("\\a"),
            8 => out.push_str("\\b"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            11 => out.push_str("\\v"),
            12 => out.push_str("\\f"),
            b'\r' => out.push_str("\\r"),
            b'\\' | b'"' | b'\'' => out.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("\\{byte:03o}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_escapes_and_others() {
        assert_eq!(unescape("a\\x41\\n\\101\\q\\"), b"aA\nA\\q\\");
        assert_eq!(unescape("\\x"), b"\\x");
        assert_eq!(escape("/run/a-b\\x2dc \"ü\"\n".as_bytes()), r#"/run/a-b\\x2dc \"\303\274\"\n"#);
    }
}
