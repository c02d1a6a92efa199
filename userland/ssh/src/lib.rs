//! The SSH server.
