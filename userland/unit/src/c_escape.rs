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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_escapes_and_others() {
        assert_eq!(unescape("a\\x41\\n\\101\\q\\"), b"aA\nA\\q\\");
        assert_eq!(unescape("\\x"), b"\\x");
    }
}
