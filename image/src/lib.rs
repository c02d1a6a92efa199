//! The builder: from the manifest `image/image.toml` to everything that can be booted.
//!
//! The story, one module a step: [`manifest`] is read; [`userland`] compiles the one static binary and [`kernel`] the
//! kernel; [`tree`] lays out the root tree, [`scan`] makes sure that nothing else is in it, [`root`] makes it an EROFS
//! image with its hash tree; [`boot_partition`] holds GRUB and the kernel; [`disk`] puts all into a GPT disk; [`live`]
//! makes the initramfs for boots from memory; [`artifacts`] lists the results. [`payload`] makes of them what machines
//! update from.
//!
//! Invariants: the same inputs give the same bytes in any folder, at any time, under any user; no root, no loop
//! device; an artifact appears under its name only when it is whole.

pub mod artifacts;
pub mod boot_partition;
pub mod build;
pub mod disk;
pub mod error;
pub mod gpt;
pub mod kernel;
pub mod live;
pub mod manifest;
pub mod payload;
pub mod root;
pub mod scan;
pub mod tool;
pub mod tree;
pub mod userland;

pub use build::{Builder, Target};
pub use error::{Error, Result};
