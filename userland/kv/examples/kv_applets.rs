//! The crate's applets in a binary of their own, for its tests.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let name = args.first().map(|arg| Path::new(arg).file_name().unwrap_or_default().to_string_lossy());
    match name.as_deref() {
        Some("etcdctl") => kv::etcdctl(args),
        Some("etcd-discovery") => kv::etcd_discovery(args),
        Some("etcd-wrapper") => kv::etcd_wrapper(args),
        _ => kv::etcd(args),
    }
}
