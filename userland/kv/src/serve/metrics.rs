//! `/metrics`: Prometheus' text, under the names that dashboards for etcd ask for.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::{Api, VERSION};

impl Api {
    pub(super) fn metrics(&self) -> String {
        let mut out = String::new();
        let mut put = |name: &str, kind: &str, help: &str, labels: &str, value: f64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}");
        };
        let node = &self.node;
        let standing = node.standing.borrow().clone();
        let leads = standing.leader == node.setup.member_id;
        let flag = |on: bool| f64::from(u8::from(on));
        put("etcd_server_has_leader", "gauge", "Whether a leader exists.", "", flag(standing.leader != 0));
        put("etcd_server_is_leader", "gauge", "Whether this member leads.", "", flag(leads));
        put(
            "etcd_server_is_learner",
            "gauge",
            "Whether this member only listens.",
            "",
            flag(node.is_learner()),
        );
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let counts = &node.counts;
        put(
            "etcd_server_leader_changes_seen_total",
            "counter",
            "Leader changes seen.",
            "",
            count(&counts.leader_changes),
        );
        put(
            "etcd_server_proposals_committed_total",
            "gauge",
            "Entries that a majority has.",
            "",
            standing.committed as f64,
        );
        put("etcd_server_proposals_applied_total", "gauge", "Entries applied.", "", standing.applied as f64);
        let pending = counts.pending.load(Ordering::Relaxed) as f64;
        put("etcd_server_proposals_pending", "gauge", "Proposals not answered yet.", "", pending);
        put(
            "etcd_server_proposals_failed_total",
            "counter",
            "Proposals that failed.",
            "",
            count(&counts.failed),
        );
        put("etcd_server_quota_backend_bytes", "gauge", "The quota.", "", node.setup.quota as f64);
        let version = format!("{{server_version=\"{VERSION}\"}}");
        put("etcd_server_version", "gauge", "Which version is running.", &version, 1.0);
        let id = format!("{{server_id=\"{:x}\"}}", node.setup.member_id);
        put("etcd_server_id", "gauge", "This member.", &id, 1.0);
        put(
            "etcd_disk_wal_fsync_duration_seconds_count",
            "counter",
            "Writes that the disk has confirmed.",
            "",
            count(&counts.syncs),
        );
        put("etcd_snap_db_save_total", "counter", "Snapshots written.", "", count(&counts.snapshots));
        let size = self.size() as f64;
        put("etcd_mvcc_db_total_size_in_bytes", "gauge", "Bytes of the data.", "", size);
        put("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge", "Bytes of the data in use.", "", size);
        {
            let state = node.state.read();
            put("etcd_debugging_mvcc_keys_total", "gauge", "Keys.", "", state.mvcc.key_count() as f64);
            put(
                "etcd_debugging_mvcc_current_revision",
                "gauge",
                "The revision.",
                "",
                state.mvcc.revision() as f64,
            );
            put(
                "etcd_debugging_mvcc_compact_revision",
                "gauge",
                "History before this is gone.",
                "",
                state.mvcc.compacted() as f64,
            );
            put("etcd_debugging_lease_total", "gauge", "Leases.", "", state.leases.iter().count() as f64);
        }
        {
            let hub = node.hub.lock();
            put("etcd_debugging_mvcc_watcher_total", "gauge", "Watchers.", "", hub.len() as f64);
            put(
                "etcd_debugging_mvcc_watch_stream_total",
                "gauge",
                "Streams of watchers.",
                "",
                hub.streams() as f64,
            );
        }
        if let Some(bytes) = resident() {
            put("process_resident_memory_bytes", "gauge", "Memory in use.", "", bytes);
        }
        let name = "grpc_server_handled_total";
        let _ = writeln!(out, "# HELP {name} Calls that were answered.\n# TYPE {name} counter");
        let handled = self.handled.lock();
        let counted = handled
            .iter()
            .flat_map(|(path, codes)| codes.iter().map(move |(code, count)| (path, code, count)));
        for (path, code, count) in counted {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
            let code = format!("{:?}", tonic::Code::from_i32(*code)).replace("Ok", "OK");
            let kind = match method {
                "Watch" | "LeaseKeepAlive" => "bidi_stream",
                "Snapshot" | "Observe" => "server_stream",
                _ => "unary",
            };
            let _ = writeln!(
                out,
                "{name}{{grpc_code=\"{code}\",grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"}} {count}"
            );
        }
        out
    }
}

/// Bytes of memory that this process has.
fn resident() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096.0)
}
