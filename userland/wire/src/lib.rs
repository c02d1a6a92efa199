//! D-Bus on the wire, for the daemons that must never block: what PID 1 and the message bus have in common.
//!
//! A [`Connection`] goes through the [`auth`] handshake, then yields and takes [`Message`]s; both of its buffers are
//! bounded. Who may do what, and what the messages mean, is the daemons' own business. Source: the D-Bus
//! specification.

pub mod auth;
pub mod connection;
pub mod message;

pub use connection::{Connection, Gone};
pub use message::{Body, Fds, Malformed, Message, MessageType};

/// 32 hex digits that name a server, new for each.
#[must_use]
pub fn guid() -> String {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let digits: String = random.chars().filter(char::is_ascii_hexdigit).collect();
    if digits.len() == 32 { digits } else { "0".repeat(32) }
}
