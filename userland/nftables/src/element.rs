//! Sets and maps: keys that a rule looks up, of one or several fields.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::Protocol;

/// What a field of a key or of a value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Four bytes.
    Ipv4Address,
    /// Sixteen bytes.
    Ipv6Address,
    /// A transport protocol's number, one byte.
    Protocol,
    /// Two bytes.
    Port,
}

impl Field {
    /// nft(8)'s number of the type: the kernel keeps it for whoever lists the set.
    pub(crate) fn datatype(self) -> u32 {
        match self {
            Field::Ipv4Address => 7,
            Field::Ipv6Address => 8,
            Field::Protocol => 12,
            Field::Port => 13,
        }
    }

    /// Bytes in a register: registers are four bytes each.
    pub(crate) fn width(self) -> u32 {
        match self {
            Field::Ipv6Address => 16,
            Field::Ipv4Address | Field::Protocol | Field::Port => 4,
        }
    }

    /// Bytes of the value itself.
    fn size(self) -> u32 {
        match self {
            Field::Ipv6Address => 16,
            Field::Ipv4Address => 4,
            Field::Port => 2,
            Field::Protocol => 1,
        }
    }
}

/// The type and the length of fields side by side. One field is as long as its value, several are
/// padded to whole registers.
pub(crate) fn shape(fields: &[Field]) -> (u32, u32) {
    match fields {
        [one] => (one.datatype(), one.size()),
        many => many.iter().fold((0, 0), |(datatype, length), field| {
            (datatype << 6 | field.datatype(), length + field.width())
        }),
    }
}

/// Values side by side, each in registers of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values(Vec<(Field, Vec<u8>)>);

impl Values {
    fn with(mut self, field: Field, bytes: &[u8]) -> Values {
        self.0.push((field, bytes.to_vec()));
        self
    }

    /// As the kernel keeps them: see [`shape`].
    pub(crate) fn bytes(&self) -> Vec<u8> {
        if let [(_, one)] = self.0.as_slice() {
            return one.clone();
        }
        let mut all = Vec::new();
        for (_, bytes) in &self.0 {
            all.extend_from_slice(bytes);
            all.resize(all.len().next_multiple_of(4), 0);
        }
        all
    }
}

/// An element of a set, or of a map once it [`leads_to`](Element::leads_to) a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    pub(crate) key: Values,
    pub(crate) value: Option<Values>,
}

impl Element {
    /// An element without fields yet.
    pub fn new() -> Element {
        Element::default()
    }

    /// Adds an IPv4 address.
    #[must_use]
    pub fn ipv4(self, address: Ipv4Addr) -> Element {
        self.field(Field::Ipv4Address, &address.octets())
    }

    /// Adds an IPv6 address.
    #[must_use]
    pub fn ipv6(self, address: Ipv6Addr) -> Element {
        self.field(Field::Ipv6Address, &address.octets())
    }

    /// Adds a transport protocol.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Element {
        self.field(Field::Protocol, &[protocol.number()])
    }

    /// Adds a port.
    #[must_use]
    pub fn port(self, port: u16) -> Element {
        self.field(Field::Port, &port.to_be_bytes())
    }

    /// What follows is the value, not the key.
    #[must_use]
    pub fn leads_to(mut self) -> Element {
        self.value = Some(Values::default());
        self
    }

    fn field(mut self, field: Field, bytes: &[u8]) -> Element {
        match self.value.take() {
            Some(value) => self.value = Some(value.with(field, bytes)),
            None => self.key = self.key.with(field, bytes),
        }
        self
    }
}

/// A named set of keys, or a map from keys to values.
#[derive(Clone, Debug)]
pub struct Set {
    pub(crate) name: String,
    pub(crate) key: Vec<Field>,
    pub(crate) value: Vec<Field>,
    pub(crate) elements: Vec<Element>,
}

impl Set {
    /// A set of keys.
    pub fn new(name: &str, key: &[Field]) -> Set {
        Set::map(name, key, &[])
    }

    /// A map from keys to values.
    pub fn map(name: &str, key: &[Field], value: &[Field]) -> Set {
        Set { name: name.to_owned(), key: key.to_vec(), value: value.to_vec(), elements: Vec::new() }
    }

    /// Adds elements.
    #[must_use]
    pub fn elements(mut self, elements: impl IntoIterator<Item = Element>) -> Set {
        self.elements.extend(elements);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_is_as_long_as_its_value_and_several_are_whole_registers() {
        assert_eq!(shape(&[Field::Port]), (13, 2));
        assert_eq!(shape(&[Field::Protocol, Field::Port]), (12 << 6 | 13, 8));
        assert_eq!(Element::new().port(0x1f90).key.bytes(), [0x1f, 0x90]);
        let published =
            Element::new().protocol(Protocol::Tcp).port(80).leads_to().ipv4([10, 2, 0, 5].into()).port(8080);
        assert_eq!(published.key.bytes(), [6, 0, 0, 0, 0, 80, 0, 0]);
        assert_eq!(published.value.unwrap().bytes(), [10, 2, 0, 5, 0x1f, 0x90, 0, 0]);
    }
}
