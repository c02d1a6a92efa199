//! `corten-update-server`: gives machines their releases, a few at a time, and shows how that goes.
//!
//! Machines ask in Omaha's protocol. A package is a payload in a file; a channel names the version that is current;
//! a group of machines follows a channel by its own policy ([`rollout`]). [`fleet`] decides, [`store`] keeps, [`api`]
//! answers, [`serve`] takes connections. What a payload is worth is for the machines to say, who have the keys.
//!
//! `fleet` and `rollout` are pure.

pub mod api;
mod cli;
pub mod fleet;
pub mod payload;
pub mod rollout;
pub mod serve;
pub mod store;

pub use cli::corten_update_server;
