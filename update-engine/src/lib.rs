//! Updates: two slots, one of them running, and how the machine moves between them.
//!
//! The story so far: the boot loader picks a slot by the state in a GRUB environment block ([`grubenv`], [`slots`])
//! and takes one of its tries; the kernel verifies the slot's blocks ([`verity`]); when the system is up,
//! [`mark_good`] says so in the same block; when that takes too long or cannot be, [`watch_boot`] ends the [`trial`].
//! What came of it is remembered in a [`record`]. [`status`] shows the slots.
//!
//! Releases come as a [`payload`]: one signed file, whole or as the difference from another release, from which
//! [`apply`] fills the slot that does not run, when [`install`] finds that nothing speaks against it. Who asks servers for
//! releases, and when, is the crate `update`.
//!
//! `grubenv`, `payload`, `slots` and `verity` are pure: they open nothing and read no clock.

pub mod apply;
pub mod grubenv;
pub mod install;
pub mod mark_good;
pub mod payload;
pub mod record;
pub mod slots;
pub mod status;
pub mod trial;
pub mod verity;
pub mod watch_boot;

pub mod boot;

pub use mark_good::mark_good;
pub use watch_boot::watch_boot;
