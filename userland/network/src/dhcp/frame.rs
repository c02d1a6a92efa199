//! IPv4 and UDP around a DHCP message, for sending without an address (RFC 791, RFC 768).

use std::net::Ipv4Addr;

use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

/// A packet from our port to the server's that carries `payload`. None if it is too long for IP.
pub fn wrap(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let total = udp_length.checked_add(IP_HEADER as u16)?;
    let mut packet = Vec::with_capacity(total.into());
    // Version 4, five words; service class CS6, network control.
    packet.extend([0x45, 0xc0]);
    packet.extend(total.to_be_bytes());
    // No fragments, 64 hops.
    packet.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let checksum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());

    let mut udp = Vec::with_capacity(udp_length.into());
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    // Zero means "no checksum", so a sum of zero is sent as its other form.
    let sum = match udp_checksum(from, to, &udp) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    packet.extend(udp);
    Some(packet)
}

/// The payload of a packet from a server to our port, if the packet is whole and its checksums are right.
/// `checksum_ready`: whether the UDP checksum is filled in.
pub fn unwrap(packet: &[u8], checksum_ready: bool) -> Option<&[u8]> {
    let &[version, _, total_high, total_low, _, _, fragment_high, fragment_low, _, protocol, ..] = packet
    else {
        return None;
    };
    let header_length = usize::from(version & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([total_high, total_low]));
    let fragment = u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff;
    if version >> 4 != 4 || header_length < IP_HEADER || protocol != UDP || fragment != 0 {
        return None;
    }
    // The link may have padded the packet.
    let packet = packet.get(..total)?;
    let (header, udp) = packet.split_at_checked(header_length)?;
    if checksum(&[header]) != 0 {
        return None;
    }
    let &[from_high, from_low, to_high, to_low, length_high, length_low, sum_high, sum_low, ..] = udp else {
        return None;
    };
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let udp = udp.get(..length)?;
    if u16::from_be_bytes([from_high, from_low]) != SERVER_PORT
        || u16::from_be_bytes([to_high, to_low]) != CLIENT_PORT
    {
        return None;
    }
    let address = |at: usize| header.get(at..at + 4)?.first_chunk().copied().map(Ipv4Addr::from_octets);
    if checksum_ready && (sum_high, sum_low) != (0, 0) && udp_checksum(address(12)?, address(16)?, udp) != 0 {
        return None;
    }
    udp.get(UDP_HEADER..)
}

fn udp_checksum(from: Ipv4Addr, to: Ipv4Addr, udp: &[u8]) -> u16 {
    let length = (udp.len() as u16).to_be_bytes();
    checksum(&[&from.octets(), &to.octets(), &[0, UDP], &length, udp])
}

/// The internet checksum (RFC 1071) over parts; all but the last must be of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As a server would send it: the ports change places.
    fn answer(payload: &[u8]) -> Vec<u8> {
        let mut packet = wrap(Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::BROADCAST, payload).unwrap();
        packet[20..24].rotate_left(2);
        packet
    }

    #[test]
    fn a_known_header() {
        let packet = wrap(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, b"x").unwrap();
        let want = [0x45, 0xc0, 0, 29, 0, 0, 0x40, 0, 64, 17, 0x3a, 0x11, 0, 0, 0, 0, 255, 255, 255, 255];
        assert_eq!(packet[..20], want);
        assert_eq!(packet.len(), 29);
    }

    proptest! {
        #[test]
        fn comes_back(payload in proptest::collection::vec(any::<u8>(), 0..600), padding in 0usize..30) {
            let mut packet = answer(&payload);
            packet.extend(vec![0; padding]);
            prop_assert_eq!(unwrap(&packet, true), Some(&payload[..]));
        }

        #[test]
        fn a_flipped_bit_is_seen(payload in proptest::collection::vec(any::<u8>(), 1..100), at: usize) {
            let mut packet = answer(&payload);
            let bit = at % (packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
            // A checksum of zero means there is none.
            prop_assume!(packet[26..28] != [0, 0]);
            prop_assert_eq!(unwrap(&packet, true), None);
        }

        #[test]
        fn any_bytes(packet in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = unwrap(&packet, true);
            let _ = unwrap(&packet, false);
        }
    }
}
