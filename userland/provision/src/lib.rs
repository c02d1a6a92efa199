//! cloud-config to files, users and units.
//!
//! User data becomes a plan ([`cloud_config`]: pure), and the plan is carried out ([`apply`]). Between
//! the two stands nothing but a list of [`plan::Action`]s, which `coreos-cloudinit --dry-run` prints.
//! The tree of the YAML is built by [`yaml`] and read leniently by [`reader`]; each [`problem`] is one
//! line, and the rest is applied.
//!
//! Invariants: no input panics, hangs or grows in memory; every file is replaced whole; a boot that is
//! told the same as the last one writes nothing but keys.

pub mod accounts;
pub mod apply;
pub mod atomic_file;
pub mod cli;
pub mod cloud_config;
pub mod encoding;
pub mod environment;
pub mod home;
pub mod names;
pub mod plan;
pub mod problem;
pub mod reader;
pub mod units;
pub mod yaml;

pub use cli::main as coreos_cloudinit;
