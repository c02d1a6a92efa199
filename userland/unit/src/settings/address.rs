//! The addresses that a socket unit listens at, systemd.socket(5), ListenStream=.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A path in the file system.
    Path(String),
    /// A name in the abstract namespace, without its `@`.
    Abstract(String),
    /// IPv4 or IPv6. A bare port means every address of both.
    Inet {
        /// The address.
        ip: IpAddr,
        /// The port.
        port: u16,
        /// The interface behind `%`, for link-local addresses.
        scope: Option<String>,
        /// Only the port was given: without IPv6 in the kernel, all of IPv4.
        any: bool,
    },
    /// A virtual machine's socket.
    Vsock {
        /// The context; `u32::MAX`: any.
        cid: u32,
        /// The port.
        port: u32,
    },
}

/// The longest path of a socket, sun_path in unix(7).
const LONGEST_PATH: usize = 107;

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Address, String> {
        let wrong = || format!("\"{text}\" is not an address");
        if text.starts_with('/') {
            if text.len() > LONGEST_PATH {
                return Err(format!("a socket's path has at most {LONGEST_PATH} bytes"));
            }
            return Ok(Address::Path(super::normal_path(text)));
        }
        if let Some(name) = text.strip_prefix('@') {
            let fits = !name.is_empty() && name.len() < LONGEST_PATH;
            return if fits { Ok(Address::Abstract(name.into())) } else { Err(wrong()) };
        }
        if let Some(rest) = text.strip_prefix("vsock:") {
            let (cid, port) = rest.split_once(':').ok_or_else(wrong)?;
            let cid = if cid.is_empty() { u32::MAX } else { cid.parse().map_err(|_| wrong())? };
            return Ok(Address::Vsock { cid, port: port.parse().map_err(|_| wrong())? });
        }
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let ip = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            return Ok(Address::Inet { ip, port: port(text)?, scope: None, any: true });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (ip, rest) = rest.split_once("]:").ok_or_else(wrong)?;
            let (number, scope) = match rest.split_once('%') {
                Some((number, scope)) if !scope.is_empty() => (number, Some(scope.to_string())),
                Some(_) => return Err(wrong()),
                None => (rest, None),
            };
            let ip = IpAddr::V6(ip.parse().map_err(|_| wrong())?);
            return Ok(Address::Inet { ip, port: port(number)?, scope, any: false });
        }
        let (ip, number) = text.rsplit_once(':').ok_or_else(wrong)?;
        let ip = IpAddr::V4(ip.parse().map_err(|_| wrong())?);
        Ok(Address::Inet { ip, port: port(number)?, scope: None, any: false })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => f.write_str(path),
            Address::Abstract(name) => write!(f, "@{name}"),
            Address::Inet { ip: IpAddr::V4(ip), port, .. } => write!(f, "{ip}:{port}"),
            Address::Inet { ip: IpAddr::V6(ip), port, scope, .. } => {
                write!(f, "[{ip}]:{port}")?;
                scope.as_ref().map_or(Ok(()), |scope| write!(f, "%{scope}"))
            }
            Address::Vsock { cid: u32::MAX, port } => write!(f, "vsock::{port}"),
            Address::Vsock { cid, port } => write!(f, "vsock:{cid}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_systemd_reads_and_tells_it_alike() {
        for (text, told) in [
            ("/run//x.sock", "/run/x.sock"),
            ("@abstract name", "@abstract name"),
            ("80", "[::]:80"),
            ("127.0.0.1:4243", "127.0.0.1:4243"),
            ("[::1]:22", "[::1]:22"),
            ("[fe80::1]:22%eth0", "[fe80::1]:22%eth0"),
            ("vsock:2:1234", "vsock:2:1234"),
            ("vsock::1234", "vsock::1234"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), told, "{text}");
        }
        for bad in
            ["", "0", "65536", "host:80", "1.2.3:80", "[::1]", "[::1]:", "[::1]:22%", "@", "vsock:x:1", "x"]
        {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
        assert!(Address::parse(&format!("/{}", "x".repeat(107))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,30}") {
            let _ = Address::parse(&text);
        }
    }
}
