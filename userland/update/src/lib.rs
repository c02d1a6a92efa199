//! Who asks for releases, and when: the update engine as CoreOS's operators know it, over `update-engine`, which fills
//! slots.
//!
//! `update_engine` ([`daemon`]) asks a server in Omaha's protocol on a [`schedule`], as [`configuration`] says; the
//! [`engine`] decides, [`work`] does, [`bus`] tells. A payload comes as a [`download`]. `update_engine_client`
//! ([`client`]) asks the engine over the system bus, and installs a payload by itself.
//!
//! `engine` and `schedule` are pure.

pub mod bus;
pub mod client;
pub mod configuration;
pub mod daemon;
pub mod download;
pub mod engine;
pub mod machine;
pub mod peer;
pub mod schedule;
pub mod work;

pub use client::update_engine_client;
pub use daemon::update_engine;
