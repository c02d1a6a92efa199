//! Who may reboot when: the machines of a cluster take turns, by a semaphore in a store that speaks etcd's API.
//!
//! The [`semaphore`] is CoreOS's: its schema, its keys; a machine holds it from before its reboot until it is back.
//! [`store`] keeps it in etcd, by v3 or v2. `locksmithd` ([`daemon`]) reboots the machine when it is its [`turn`] and
//! the [`window`] is open. `locksmithctl` ([`cli`]) shows the semaphore, and lets an operator step in.
//!
//! Machines that reach no store take turns by [`fleet_lock`], which [`fleet_lock_server`] serves from one.
//!
//! `semaphore`, `turn` and `window` are pure.

pub mod cli;
pub mod daemon;
pub mod fleet_lock;
pub mod fleet_lock_server;
pub mod semaphore;
pub mod store;
pub mod turn;
pub mod window;

pub use cli::locksmithctl;
pub use daemon::locksmithd;
pub use fleet_lock_server::fleet_lock_server;
