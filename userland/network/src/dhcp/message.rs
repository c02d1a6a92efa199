//! Messages from a server, as far as we listen (RFC 2131, section 2).
//!
//! dhcproto decodes every option it knows, and asserts what some of them must look like. Anyone on the
//! link can send them, so only the options that a lease is made of are handed to it, and only in a
//! message whose fixed part is an answer to an Ethernet client.

use dhcproto::v4::{MAGIC, Message, OptionCode};
use dhcproto::{Decodable, Decoder};

/// Up to the options: RFC 2131, figure 1, and the cookie.
const FIXED: usize = 240;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;
const PAD: u8 = 0;
const END: u8 = 255;

/// What we ask a server for.
pub const REQUESTED: [OptionCode; 11] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainName,
    OptionCode::DomainSearch,
    OptionCode::Hostname,
    OptionCode::InterfaceMtu,
    OptionCode::NtpServers,
    OptionCode::Renewal,
    OptionCode::Rebinding,
];

/// What a server must say without being asked.
const ALWAYS: [OptionCode; 3] =
    [OptionCode::MessageType, OptionCode::ServerIdentifier, OptionCode::AddressLeaseTime];

/// The message in a UDP payload, with no other options than those above.
pub fn read(payload: &[u8]) -> Option<Message> {
    let (fixed, mut options) = payload.split_at_checked(FIXED)?;
    if !fixed.starts_with(&[REPLY, ETHERNET, 6]) || !fixed.ends_with(&MAGIC) {
        return None;
    }
    let mut kept = fixed.to_vec();
    while let Some((&code, rest)) = options.split_first() {
        if code == PAD {
            options = rest;
            continue;
        }
        if code == END {
            break;
        }
        let Some((value, rest)) =
            rest.split_first().and_then(|(&length, rest)| rest.split_at_checked(length.into()))
        else {
            break;
        };
        let known = OptionCode::from(code);
        if REQUESTED.contains(&known) || ALWAYS.contains(&known) {
            kept.extend([code, value.len() as u8]);
            kept.extend(value);
        }
        options = rest;
    }
    kept.push(END);
    Message::decode(&mut Decoder::new(&kept)).ok()
}
