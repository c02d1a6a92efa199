//! Links, addresses, DHCP and resolver configuration.
//!
//! `systemd-networkd` hears of links from the kernel (`netlink`), finds the `.network` file that
//! matches each ([`network_file`]), and brings addresses, routes and a DHCP lease onto it. What to do
//! is decided by [`state`] and, for each link, [`dhcp::client`]: both pure. [`serve`] does it, and
//! tells of it in `/run/systemd/netif` ([`report`]) and `/run/systemd/resolve/resolv.conf`
//! ([`resolv`]). Of IPv6 the kernel's own autoconfiguration takes care.
//!
//! The commands are in [`cli`]: `systemd-networkd`, `systemd-networkd-wait-online`, `networkctl`, `ip`.

pub mod cli;
pub mod dhcp;
pub mod glob;
pub mod network_file;
pub mod report;
pub mod resolv;
pub mod serve;
pub mod state;

pub use cli::ip::main as ip;
pub use cli::networkctl::main as networkctl;
pub use cli::networkd::main as networkd;
pub use cli::wait_online::main as wait_online;
