//! Typed doors to the kernel that rustix and nix lack. The only crate with unsafe code.

pub mod autofs;
pub mod block;
pub mod bpf;
pub mod clean_exec;
pub mod crash;
pub mod disk;
pub mod gpt;
pub mod inherit;
pub mod keyring;
pub mod listen_fds;
pub mod loopback;
pub mod memory;
pub mod mount_attr;
pub mod namespace;
pub mod packet_socket;
pub mod reboot;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod swap;
pub mod syscall;
pub mod syscall_x86;
pub mod sysv;
pub mod terminal;
pub mod watchdog;
