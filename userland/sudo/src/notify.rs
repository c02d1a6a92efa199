//! Telling the service manager that the service is ready.
//!
//! Source: sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says `READY=1` to the socket in `NOTIFY_SOCKET`, if there is one. Nobody is there to hear a failure.
pub(crate) fn ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_encoded_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1\nSTATUS=Listening\n", &address));
    if let Err(error) = sent {
        eprintln!("sudod: the service manager at {} was not told: {error}", name.to_string_lossy());
    }
}
