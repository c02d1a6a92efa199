//! Typed doors to the kernel that rustix and nix lack. The only crate with unsafe code.

pub mod block;
pub mod clean_exec;
pub mod disk;
pub mod inherited;
pub mod loopback;
pub mod mount_attr;
pub mod namespace;
pub mod packet_socket;
pub mod signal;
pub mod watchdog;
