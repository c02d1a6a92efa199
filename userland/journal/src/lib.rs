//! The journal: what every program says, kept in order, on the disk, bounded.
//!
//! `systemd-journald` ([`serve`]) takes messages in ([`intake`]), adds what the kernel knows of their senders, and
//! appends them to the machine's files ([`store`]) in systemd's format ([`file`]). `journalctl` ([`query`]) reads
//! those files and nothing else: no daemon is needed to look. `systemd-journal-gatewayd` ([`gateway`]) reads them for
//! whoever asks over HTTP.

pub mod config;
pub mod control;
pub mod file;
pub mod gateway;
pub mod intake;
pub mod place;
pub mod query;
pub mod record;
pub mod serve;
pub mod socket;
pub mod space;
pub mod store;

pub use gateway::systemd_journal_gatewayd;
pub use query::cli::journalctl;
pub use serve::systemd_journald;
