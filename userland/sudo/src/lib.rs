//! Passwordless root for the operators, without a setuid file.
//!
//! `sudo` asks and `sudod` does. The story of a command:
//! 1. [`options`] reads the command line; [`client`] sends a [`request`] with the caller's standard input,
//!    output and error over a socket ([`wire`]);
//! 2. [`server`] asks the kernel who is at the other end, and [`policy`] whether that user may;
//! 3. the same binary, started again, becomes the wanted user and then the program ([`child`]), on the
//!    caller's own descriptors or, where those are a terminal, on a fresh one whose other end goes back to
//!    the client, which carries the bytes ([`terminal`]);
//! 4. signals go one way, the exit status the other; the command dies when the client goes.
//!
//! Sources: sudo(8) for options, environment and exit status; unix(7) for credentials and descriptors.
//!
//! Invariants: the request decides nothing about who asks, the kernel does; what a stranger can make
//! `sudod` hold is bounded; nothing is run before [`policy`] has said yes.

mod child;
mod client;
mod options;
mod policy;
mod request;
mod server;
mod terminal;
mod wire;

pub use client::sudo;
pub use server::sudod;

/// Where `sudod` listens.
const SOCKET: &str = "/run/sudo.sock";
