//! A DHCPv4 client (RFC 2131, RFC 2132, RFC 3442).
//!
//! [`client::Client`] is the state machine: it is handed the time and the messages, and returns what
//! to send and what to configure; it opens no socket and reads no clock. [`message`] takes in what a
//! server sends, [`lease`] checks every field of it. [`frame`] wraps messages in IP and UDP, and
//! [`transport`] owns the sockets.

pub mod client;
pub mod frame;
pub mod lease;
pub mod message;
pub mod transport;
