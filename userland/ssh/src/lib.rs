//! The SSH server: the operator's door, by public key only.
//!
//! The story of a connection, one module a step:
//! 1. [`listen`] takes it, if [`startups`] still lets strangers in, and gives it a time to log in;
//! 2. russh speaks the transport, with the machine's own key from [`host_key`];
//! 3. [`access`] finds the user and looks for the key in the files that may hold it; each line is read
//!    by [`authorized`], which also knows what a key may not do;
//! 4. [`connection`] answers the client's requests: sessions, terminals, forwarded ports;
//! 5. [`session`] starts a process for each session: the same binary again ([`child`]), which gives up
//!    root for the user, makes itself the leader of a session and becomes the shell. [`pty`] gives it
//!    a terminal, [`sftp`] is what it becomes for file transfer;
//! 6. [`flow`] carries the bytes, so that a slow side never blocks the connection and never fills memory;
//!    [`forward`] carries those of forwarded ports.
//!
//! Sources: RFC 4251 to 4254, sshd(8) for the files and their options.
//!
//! Invariants: passwords are never asked for; nothing outside [`child`] runs as the user and nothing in
//! it as root; what a stranger can make us hold is bounded before the key is checked.

mod access;
mod authorized;
mod child;
mod cli;
mod connection;
mod flow;
mod forward;
mod host_key;
mod listen;
mod pty;
mod session;
mod sftp;
mod startups;

pub use cli::sshd;
pub use sftp::sftp_server;
