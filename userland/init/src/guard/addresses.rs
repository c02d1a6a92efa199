//! IPAddressAllow=, IPAddressDeny=: a packet passes if its other end is allowed, is dropped if that is denied, and
//! passes otherwise.

use std::net::IpAddr;

use linux::bpf::Kind;
use unit::settings::AddressPrefix;

use super::code::{
    CONTEXT, Register, STACK, Test, add, answer, call, copy, keep, load, rule, set, skip_unless,
};

const PROTOCOL: i16 = 16;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// bpf_skb_load_bytes
const LOAD_BYTES: i32 = 26;
/// Where the address lies on the stack.
const PLACE: i16 = -16;
const PACKET: Register = 6;
const KIND: Register = 7;
const WORD: Register = 8;

/// The program. Its context is the packet, beginning with the network header.
pub fn program(kind: Kind, allow: &[AddressPrefix], deny: &[AddressPrefix]) -> Vec<u64> {
    // The other end: who sent what comes in, who gets what goes out.
    let (of_v4, of_v6) = if kind == Kind::Ingress { (12, 8) } else { (16, 24) };
    let mut code = vec![copy(PACKET, CONTEXT), load(KIND, PACKET, PROTOCOL)];
    for (protocol, offset, length) in [(IPV4, of_v4, 4), (IPV6, of_v6, 16)] {
        let block = block(offset, length, allow, deny);
        let size = i16::try_from(block.len()).unwrap_or(i16::MAX);
        code.push(skip_unless(KIND, u32::from(protocol.to_be()), size));
        code.extend(block);
    }
    code.extend(answer(1));
    code
}

/// For one version of the protocol: reads the address and compares it with every prefix of that version.
fn block(offset: i32, length: u16, allow: &[AddressPrefix], deny: &[AddressPrefix]) -> Vec<u64> {
    let mut code = vec![
        copy(1, PACKET),
        set(2, offset),
        copy(3, STACK),
        add(3, PLACE.into()),
        set(4, length.into()),
        call(LOAD_BYTES),
    ];
    // A packet that is too short to have an address is dropped.
    code.push(skip_unless(0, 0, 1));
    code.push(jump(2));
    code.extend(answer(0));
    for (prefixes, verdict) in [(allow, 1), (deny, 0)] {
        for prefix in prefixes.iter().filter(|prefix| octets(prefix).len() == usize::from(length)) {
            let tests = tests(prefix);
            code.extend(rule(&tests, verdict));
            if tests.is_empty() {
                // It holds for every address; the kernel takes no program with a part that is never reached.
                return code;
            }
        }
    }
    code.extend(answer(1));
    code
}

/// Skips this many instructions.
fn jump(count: u16) -> u64 {
    0x05 | u64::from(count) << 16
}

fn octets(prefix: &AddressPrefix) -> Vec<u8> {
    match prefix.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A test for each word of the address of which bits count.
fn tests(prefix: &AddressPrefix) -> Vec<Test> {
    let mut left = u32::from(prefix.length);
    let mut tests = Vec::new();
    for (index, word) in octets(prefix).chunks_exact(4).enumerate() {
        let bits = left.min(32);
        left -= bits;
        if bits == 0 {
            break;
        }
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0).to_be();
        let value = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]) & mask;
        let place = PLACE + i16::try_from(index * 4).unwrap_or(0);
        let prepare = [Some(load(WORD, STACK, place)), Some(keep(WORD, mask))];
        tests.push(Test { prepare, register: WORD, value });
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_count_are_compared() {
        let prefix = |text: &str, length| AddressPrefix::new(text.parse().unwrap(), length).unwrap();
        assert_eq!(tests(&prefix("0.0.0.0", 0)).len(), 0);
        assert_eq!(tests(&prefix("10.0.0.0", 8)).len(), 1);
        assert_eq!(tests(&prefix("fe80::", 64)).len(), 2);
        assert_eq!(tests(&prefix("::1", 128)).len(), 4);
        let [test] = tests(&prefix("10.1.0.0", 16))[..] else { panic!("one word") };
        assert_eq!(test.value, u32::from_ne_bytes([10, 1, 0, 0]));
    }
}
