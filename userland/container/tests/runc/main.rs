//! The `runc` face: the runtime specification's requirements as a table of configurations and what a script in the
//! container sees of them, the life of a container verb by verb, attacks, and other people's engines driving it.
//! Needs root and busybox-static; says so and passes where they are missing.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod attacks;
mod bundle;
mod configuration;
mod engines;
mod life;
mod peers;
