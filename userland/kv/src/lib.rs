//! The key-value store of the cluster: etcd's v3 and v2 APIs over Raft.
//!
//! A request enters through `serve`, is proposed to `raft` by the `node`, made durable by `storage`, applied to
//! `state`, and what it changed is told to `watch`. `state`, `raft` and `watch` are pure: clock, disk and network
//! come from outside, so that a failure replays from a seed. `cli` holds `etcd` and `etcdctl`.

mod applet;
mod cli;
pub mod fault;
pub mod form;
pub mod identity;
pub mod lessor;
pub mod node;
pub mod password;
pub mod proto;
pub mod raft;
pub mod replica;
pub mod serve;
pub mod server;
pub mod span;
pub mod state;
pub mod storage;
pub mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

/// The applet `etcdctl`.
pub fn etcdctl(args: Vec<OsString>) -> ExitCode {
    cli::main(args)
}

/// The applet `etcd-wrapper`.
pub fn etcd_wrapper(args: Vec<OsString>) -> ExitCode {
    server::wrapper::main(args)
}

/// The applet `etcd-discovery`.
pub fn etcd_discovery(args: Vec<OsString>) -> ExitCode {
    server::discovery_service::main(args)
}

/// The applets `etcd` and `etcd2`.
pub fn etcd(args: Vec<OsString>) -> ExitCode {
    server::main(args)
}
