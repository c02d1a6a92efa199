//! Machines in QEMU: what `./qemu/run` starts and what the boot scenarios are told in.
//!
//! A [`Machine`] is one QEMU process with a directory of its own, described by a [`Config`]:
//! which disk or live image, which firmware, how much memory. Its [`Console`] is the serial
//! line, [`Machine::ssh`] the operator's door. The image that users get is never written to:
//! every machine boots an overlay or a copy ([`Disk`]). Scenarios damage a copy with
//! [`Disk`]'s verbs before they boot it.
//!
//! Only Debian's programs are used from outside: `qemu-system-x86_64`, `qemu-img`, `ssh`,
//! `sfdisk` and mtools.

pub mod accel;
pub mod artifacts;
pub mod cli;
mod command;
mod config;
mod console;
mod disk;
mod error;
pub mod fixtures;

pub mod keys;
mod machine;
pub mod network;
mod qmp;
pub mod registry;
mod ssh;

pub use artifacts::Artifacts;
pub use config::{Boot, Config, Firmware, Forward};
pub use console::Console;
pub use disk::{Disk, Partition};
pub use error::Error;
pub use machine::Machine;
pub use ssh::{Output, Ssh};

/// What a step with a machine gives, or who is at fault.
pub type Result<T> = std::result::Result<T, Error>;
