//! The instructions a rule is made of: each loads, compares or does one thing.
//!
//! A rule goes on as long as its comparisons hold. Values lie in registers of four bytes
//! (`NFT_REG32_00`…); register 1 is the first four of them together, register 0 the verdict.

use crate::attribute::Attributes;

/// `NFT_REG_VERDICT`
pub const VERDICT: u32 = 0;
/// `NFT_REG_1`: where every single value goes.
pub const FIRST: u32 = 1;
/// `NFT_REG_2`: behind the 16 bytes of the first.
pub const SECOND: u32 = 2;

/// The register `words` four-byte registers behind the first. The first itself goes by its old
/// name, as with nft(8), which reads the rule only so.
pub fn behind(words: u32) -> u32 {
    const REG32_00: u32 = 8;
    if words == 0 { FIRST } else { REG32_00 + words }
}

/// `enum nft_meta_keys`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    Mark = 3,
    InputName = 6,
    OutputName = 7,
    NetworkProtocol = 15,
    TransportProtocol = 16,
}

/// `enum nft_ct_keys`: what connection tracking knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Connection {
    State = 0,
    Status = 2,
}

/// `enum nft_payload_bases`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Header {
    Network = 1,
    Transport = 2,
}

/// `enum nft_cmp_ops`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Compare {
    Equal = 0,
    Other = 1,
}

/// What ends a rule (`enum nft_verdicts`, `NF_ACCEPT`, `NF_DROP`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    Meta {
        key: Meta,
        into: u32,
    },
    SetMark {
        from: u32,
    },
    Connection {
        key: Connection,
        into: u32,
    },
    /// The kind of the packet's destination address (`RTN_LOCAL` and so on).
    DestinationKind {
        into: u32,
    },
    Payload {
        header: Header,
        offset: u32,
        length: u32,
        into: u32,
    },
    /// `register = register & mask ^ flip`
    Bits {
        register: u32,
        mask: Vec<u8>,
        flip: Vec<u8>,
    },
    Compare {
        register: u32,
        how: Compare,
        with: Vec<u8>,
    },
    /// Goes on if the key is in the set (or, inverted, is not).
    In {
        set: String,
        key: u32,
        inverted: bool,
    },
    /// Goes on if the map has the key, with its value.
    Map {
        map: String,
        key: u32,
        into: u32,
    },
    Value {
        value: Vec<u8>,
        into: u32,
    },
    Verdict(Verdict),
    Counter,
    /// `family` is an `enum nfproto`.
    DestinationNat {
        family: u32,
        address: u32,
        port: Option<u32>,
    },
    Masquerade,
    Reject,
}

impl Expression {
    /// As an element of `NFTA_RULE_EXPRESSIONS`.
    pub fn encode(&self) -> Attributes {
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        let (name, data) = self.parts();
        Attributes::new().text(NAME, name).nested(DATA, data)
    }

    /// The kernel's name of it, and its own attributes (`NFTA_META_DREG` and so on, in their order).
    fn parts(&self) -> (&'static str, Attributes) {
        let own = Attributes::new();
        match self {
            Expression::Meta { key, into } => ("meta", own.number(1, *into).number(2, *key as u32)),
            Expression::SetMark { from } => ("meta", own.number(2, Meta::Mark as u32).number(3, *from)),
            Expression::Connection { key, into } => ("ct", own.number(1, *into).number(2, *key as u32)),
            Expression::DestinationKind { into } => {
                const ADDRESS_KIND: u32 = 3;
                const OF_DESTINATION: u32 = 2;
                ("fib", own.number(1, *into).number(2, ADDRESS_KIND).number(3, OF_DESTINATION))
            }
            Expression::Payload { header, offset, length, into } => (
                "payload",
                own.number(1, *into).number(2, *header as u32).number(3, *offset).number(4, *length),
            ),
            Expression::Bits { register, mask, flip } => (
                "bitwise",
                own.number(1, *register)
                    .number(2, *register)
                    .number(3, mask.len() as u32)
                    .nested(4, value(mask))
                    .nested(5, value(flip)),
            ),
            Expression::Compare { register, how, with } => {
                ("cmp", own.number(1, *register).number(2, *how as u32).nested(3, value(with)))
            }
            Expression::In { set, key, inverted } => {
                ("lookup", own.text(1, set).number(2, *key).number(5, u32::from(*inverted)))
            }
            Expression::Map { map, key, into } => {
                ("lookup", own.text(1, map).number(2, *key).number(3, *into))
            }
            Expression::Value { value: bytes, into } => {
                ("immediate", own.number(1, *into).nested(2, value(bytes)))
            }
            Expression::Verdict(verdict) => {
                ("immediate", own.number(1, VERDICT).nested(2, Attributes::new().nested(2, verdict.encode())))
            }
            Expression::Counter => ("counter", own.bytes(1, &[0; 8]).bytes(2, &[0; 8])),
            Expression::DestinationNat { family, address, port } => {
                const DESTINATION: u32 = 1;
                let own = own.number(1, DESTINATION).number(2, *family).number(3, *address);
                (
                    "nat",
                    match port {
                        Some(port) => own.number(5, *port),
                        None => own,
                    },
                )
            }
            Expression::Masquerade => {
                // NF_NAT_RANGE_PROTO_RANDOM_FULLY: else two connections that begin at once can be
                // given the same port, and one of them is lost.
                const FULLY_RANDOM: u32 = 16;
                ("masq", own.number(1, FULLY_RANDOM))
            }
            Expression::Reject => {
                const ICMPX: u32 = 2;
                const PORT_UNREACHABLE: u8 = 1;
                ("reject", own.number(1, ICMPX).bytes(2, &[PORT_UNREACHABLE]))
            }
        }
    }
}

impl Verdict {
    fn encode(&self) -> Attributes {
        const CODE: u16 = 1;
        const CHAIN: u16 = 2;
        let code = |code: i32| Attributes::new().number(CODE, code.cast_unsigned());
        match self {
            Verdict::Drop => code(0),
            Verdict::Accept => code(1),
            Verdict::Jump(chain) => code(-3).text(CHAIN, chain),
            Verdict::Return => code(-5),
        }
    }
}

/// `NFTA_DATA_VALUE`
fn value(bytes: &[u8]) -> Attributes {
    Attributes::new().bytes(1, bytes)
}
