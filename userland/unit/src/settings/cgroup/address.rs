//! IPAddressAllow=, SocketBindAllow=: addresses and ports.

use std::net::IpAddr;

/// An address and how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressPrefix {
    /// The address; what does not count is zero.
    pub address: IpAddr,
    /// 0 to 32, 0 to 128.
    pub length: u8,
}

impl AddressPrefix {
    /// With the bits that do not count cleared; `None`: longer than the address.
    pub fn new(address: IpAddr, length: u8) -> Option<AddressPrefix> {
        let address = match address {
            IpAddr::V4(v4) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
            _ => return None,
        };
        Some(AddressPrefix { address, length })
    }
}

/// What may be bound to. `None` or 0: any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketBind {
    /// AF_INET (2), AF_INET6 (10) or both (0).
    pub family: i32,
    /// IPPROTO_TCP (6), IPPROTO_UDP (17) or both (0).
    pub protocol: i32,
    /// How many ports; 0: all.
    pub ports: u16,
    /// The first of them.
    pub first: u16,
}
