//! A record on its way into the journal: fields in one buffer.

/// `FIELD=value` pairs, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Fields that one record may have; systemd's own bound.
pub const FIELDS_MAX: usize = 1024;

impl Record {
    /// Adds a field.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        if self.ends.len() >= FIELDS_MAX {
            return;
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(b'=');
        self.bytes.extend(value.as_ref());
        self.ends.push(self.bytes.len());
    }

    /// Adds all fields of another record.
    pub fn extend(&mut self, other: &Record) {
        let start = self.bytes.len();
        let room = FIELDS_MAX.saturating_sub(self.ends.len());
        let taken = other.ends.get(..room.min(other.ends.len())).unwrap_or_default();
        let size = taken.last().copied().unwrap_or(0);
        self.bytes.extend(other.bytes.get(..size).unwrap_or_default());
        self.ends.extend(taken.iter().map(|end| start + end));
    }

    /// Adds a field as it came from a client; says whether its name is one that clients may use.
    pub fn push_untrusted(&mut self, name: &[u8], value: &[u8]) -> bool {
        match std::str::from_utf8(name) {
            Ok(name) if is_client_name(name) => {
                self.push(name, value);
                true
            }
            _ => false,
        }
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All fields, each `FIELD=value`.
    #[must_use]
    pub fn fields(&self) -> Vec<&[u8]> {
        let mut start = 0;
        let mut fields = Vec::with_capacity(self.ends.len());
        for end in &self.ends {
            fields.push(self.bytes.get(start..*end).unwrap_or_default());
            start = *end;
        }
        fields
    }

    /// The first value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields().into_iter().find_map(|field| field.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }
}

/// Capitals, digits and underscores, at most 64; those that begin with an underscore are ours alone.
fn is_client_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(|first: char| first == '_' || first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_cannot_forge() {
        let mut record = Record::default();
        for name in ["_PID", "__X", "lower", "1ST", "", "A-B", "A=B"] {
            assert!(!record.push_untrusted(name.as_bytes(), b"x"), "{name}");
        }
        assert!(record.is_empty());
        assert!(record.push_untrusted(b"MESSAGE", b"a=b\n"));
        assert_eq!(record.fields(), [b"MESSAGE=a=b\n"]);
        assert_eq!(record.get("MESSAGE"), Some(&b"a=b\n"[..]));
        assert_eq!(record.get("MESS"), None);
    }

    #[test]
    fn records_are_joined() {
        let (mut one, mut two) = (Record::default(), Record::default());
        one.push("A", "1");
        two.push("B", "2");
        two.push("C", "3");
        one.extend(&two);
        assert_eq!(one.fields(), [b"A=1", b"B=2", b"C=3"]);
    }

    #[test]
    fn bounded() {
        let mut record = Record::default();
        for _ in 0..5000 {
            record.push("A", "x");
        }
        assert_eq!(record.fields().len(), FIELDS_MAX);
    }
}
