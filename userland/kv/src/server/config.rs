//! What `etcd` is told: flags, environment (`ETCD_*`), or a file, as etcd has them.
//!
//! Source: etcd 3.4, etcdmain/help.go, and 2.3 for what etcd2.service sets.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

/// Go's way of saying on and off: `--flag`, `--flag=true`, `--flag=false`.
const ON_OFF: &str = "true";

/// A member of a cluster that keeps keys and values, with etcd's v3 and v2 APIs.
///
/// Every flag can be given in the environment too: --data-dir as ETCD_DATA_DIR.
#[derive(Parser, Clone, Debug)]
#[command(name = "etcd", version = crate::serve::VERSION, args_override_self = true)]
pub struct Config {
    /// This member's name
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    pub name: String,
    /// Where its data is; NAME.etcd by default
    #[arg(long, env = "ETCD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where its log is, if not with the data
    #[arg(long, env = "ETCD_WAL_DIR")]
    pub wal_dir: Option<PathBuf>,
    /// URLs to listen on for members
    #[arg(
        long,
        env = "ETCD_LISTEN_PEER_URLS",
        default_value = "http://localhost:2380",
        value_delimiter = ','
    )]
    pub listen_peer_urls: Vec<String>,
    /// URLs to listen on for clients
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        default_value = "http://localhost:2379",
        value_delimiter = ','
    )]
    pub listen_client_urls: Vec<String>,
    /// URLs where other members find this one
    #[arg(
        long,
        env = "ETCD_INITIAL_ADVERTISE_PEER_URLS",
        default_value = "http://localhost:2380",
        value_delimiter = ','
    )]
    pub initial_advertise_peer_urls: Vec<String>,
    /// URLs where clients find this member
    #[arg(
        long,
        env = "ETCD_ADVERTISE_CLIENT_URLS",
        default_value = "http://localhost:2379",
        value_delimiter = ','
    )]
    pub advertise_client_urls: Vec<String>,
    /// The first members: NAME=URL,…
    #[arg(long, env = "ETCD_INITIAL_CLUSTER")]
    pub initial_cluster: Option<String>,
    /// Whether the cluster is `new` or `existing`
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new", value_parser = ["new", "existing"])]
    pub initial_cluster_state: String,
    /// What sets this cluster apart from others with the same URLs
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_TOKEN", default_value = "etcd-cluster")]
    pub initial_cluster_token: String,
    /// A URL where the first members find each other
    #[arg(long, env = "ETCD_DISCOVERY")]
    pub discovery: Option<String>,
    /// What to do when the cluster is full: `proxy` or `exit`
    #[arg(long, env = "ETCD_DISCOVERY_FALLBACK", default_value = "proxy", value_parser = ["proxy", "exit"])]
    pub discovery_fallback: String,
    /// A proxy for HTTP on the way to that URL
    #[arg(long, env = "ETCD_DISCOVERY_PROXY")]
    pub discovery_proxy: Option<String>,
    /// A domain whose SRV records name the first members
    #[arg(long, env = "ETCD_DISCOVERY_SRV")]
    pub discovery_srv: Option<String>,
    /// The end of the names of those records
    #[arg(long, env = "ETCD_DISCOVERY_SRV_NAME")]
    pub discovery_srv_name: Option<String>,
    /// Be no member, but pass requests on: `off`, `readonly`, `on`
    #[arg(long, env = "ETCD_PROXY", default_value = "off", value_parser = ["off", "readonly", "on"])]
    pub proxy: String,
    /// Milliseconds that a proxy leaves out an endpoint that failed
    #[arg(long, env = "ETCD_PROXY_FAILURE_WAIT", default_value_t = 5000)]
    pub proxy_failure_wait: u64,
    /// Milliseconds between a proxy's questions who the members are
    #[arg(long, env = "ETCD_PROXY_REFRESH_INTERVAL", default_value_t = 30000)]
    pub proxy_refresh_interval: u64,
    /// Milliseconds between heartbeats
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..60_000))]
    pub heartbeat_interval: u64,
    /// Milliseconds without a leader before an election
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=50_000))]
    pub election_timeout: u64,
    /// Entries after which a snapshot is written
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub snapshot_count: u64,
    /// Bytes of data after which puts are refused; 0 means 2 GiB
    #[arg(long, env = "ETCD_QUOTA_BACKEND_BYTES", default_value_t = 0, allow_negative_numbers = true)]
    pub quota_backend_bytes: i64,
    /// Bytes of a request
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = 1_572_864)]
    pub max_request_bytes: usize,
    /// Operations in a transaction
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = 128)]
    pub max_txn_ops: usize,
    /// `periodic` or `revision`
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", default_value = "periodic", value_parser = ["periodic", "revision"])]
    pub auto_compaction_mode: String,
    /// How much history to keep: hours or a duration, or a number of revisions; 0 keeps all
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "0")]
    pub auto_compaction_retention: String,
    /// Ask before an election
    #[arg(long, env = "ETCD_PRE_VOTE", default_value_t = true, num_args = 0..=1, default_missing_value = ON_OFF, action = clap::ArgAction::Set, require_equals = true)]
    pub pre_vote: bool,
    /// Serve the v2 API too
    #[arg(long, env = "ETCD_ENABLE_V2", default_value_t = true, num_args = 0..=1, default_missing_value = ON_OFF, action = clap::ArgAction::Set, require_equals = true)]
    pub enable_v2: bool,
    /// Refuse changes of membership that would lose the quorum
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK", default_value_t = true, num_args = 0..=1, default_missing_value = ON_OFF, action = clap::ArgAction::Set, require_equals = true)]
    pub strict_reconfig_check: bool,
    /// Make a cluster of this member alone, from its data
    #[arg(long, env = "ETCD_FORCE_NEW_CLUSTER", default_value_t = false, num_args = 0..=1, default_missing_value = ON_OFF, action = clap::ArgAction::Set, require_equals = true)]
    pub force_new_cluster: bool,
    /// The kind of users' tokens
    #[arg(long, env = "ETCD_AUTH_TOKEN", default_value = "simple")]
    pub auth_token: String,
    /// Seconds that a token is good after its last use
    #[arg(long, env = "ETCD_AUTH_TOKEN_TTL", default_value_t = 300)]
    pub auth_token_ttl: u64,
    /// How often a watcher that wants it is told that nothing happened
    #[arg(long, env = "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", default_value = "10m")]
    pub experimental_watch_progress_notify_interval: String,
    /// This member's certificate for clients
    #[arg(long, env = "ETCD_CERT_FILE")]
    pub cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, env = "ETCD_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Who signs certificates of clients
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE", alias = "ca-file")]
    pub trusted_ca_file: Option<PathBuf>,
    /// Clients must show a certificate
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", default_value_t = false, num_args = 0..=1, default_missing_value = ON_OFF, action = clap::ArgAction::Set, require_equals = true)]
    pub client_cert_auth: bool,
    /// This member's certificate for other members
    #[arg(long, env = "ETCD_PEER_CERT_FILE")]
    pub peer_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, env = "ETCD_PEER_KEY_FILE")]
    pub peer_key_file: Option<PathBuf>,
    /// Who signs certificates of members
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE", alias = "peer-ca-file")]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Members must show a certificate
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_AUTH", default_value_t = false, num_args = 0..=1, default_missing_value = ON_OFF, action = clap::ArgAction::Set, require_equals = true)]
    pub peer_client_cert_auth: bool,
    /// Flags that etcd has and that mean nothing here
    #[command(flatten)]
    pub idle: Idle,
}

impl Config {
    /// Go's flags have no absence: an empty word, as units set it, is none.
    #[must_use]
    pub fn without_empty_words(mut self) -> Config {
        for word in [
            &mut self.initial_cluster,
            &mut self.discovery,
            &mut self.discovery_srv,
            &mut self.discovery_srv_name,
            &mut self.discovery_proxy,
        ] {
            *word = word.take().filter(|word| !word.is_empty());
        }
        self
    }
}

/// Flags of etcd that are taken, so that units that set them run, and that change nothing.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Taken and without effect")]
pub struct Idle {
    #[arg(long, env = "ETCD_DEBUG", hide = true, num_args = 0..=1, default_missing_value = ON_OFF, require_equals = true)]
    debug: Option<String>,
    #[arg(long, env = "ETCD_LOGGER", hide = true)]
    logger: Option<String>,
    #[arg(long, env = "ETCD_LOG_LEVEL", hide = true)]
    log_level: Option<String>,
    #[arg(long, env = "ETCD_LOG_OUTPUTS", hide = true, alias = "log-output")]
    log_outputs: Option<String>,
    #[arg(long, env = "ETCD_LOG_PACKAGE_LEVELS", hide = true)]
    log_package_levels: Option<String>,
    #[arg(long, env = "ETCD_MAX_SNAPSHOTS", hide = true)]
    max_snapshots: Option<u64>,
    #[arg(long, env = "ETCD_MAX_WALS", hide = true)]
    max_wals: Option<u64>,
    #[arg(long, env = "ETCD_CORS", hide = true)]
    cors: Option<String>,
    #[arg(long, env = "ETCD_HOST_WHITELIST", hide = true)]
    host_whitelist: Option<String>,
    #[arg(long, env = "ETCD_METRICS", hide = true)]
    metrics: Option<String>,
    #[arg(long, env = "ETCD_LISTEN_METRICS_URLS", hide = true)]
    listen_metrics_urls: Option<String>,
    #[arg(long, env = "ETCD_ENABLE_PPROF", hide = true, num_args = 0..=1, default_missing_value = ON_OFF, require_equals = true)]
    enable_pprof: Option<String>,
    #[arg(long, env = "ETCD_INITIAL_ELECTION_TICK_ADVANCE", hide = true, num_args = 0..=1, default_missing_value = ON_OFF, require_equals = true)]
    initial_election_tick_advance: Option<String>,
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_MIN_TIME", hide = true)]
    grpc_keepalive_min_time: Option<String>,
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_INTERVAL", hide = true)]
    grpc_keepalive_interval: Option<String>,
    #[arg(long, env = "ETCD_GRPC_KEEPALIVE_TIMEOUT", hide = true)]
    grpc_keepalive_timeout: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = ON_OFF, require_equals = true)]
    experimental_initial_corrupt_check: Option<String>,
    #[arg(long, hide = true)]
    experimental_corrupt_check_time: Option<String>,
    #[arg(long, env = "ETCD_BACKEND_BATCH_INTERVAL", hide = true)]
    backend_batch_interval: Option<String>,
    #[arg(long, env = "ETCD_BACKEND_BATCH_LIMIT", hide = true)]
    backend_batch_limit: Option<u64>,
}

/// Reads a duration as Go writes it, `1h30m` or `500ms`; a plain number means `unit` seconds.
pub fn duration(text: &str, unit: u64) -> Option<std::time::Duration> {
    if let Ok(number) = text.parse::<u64>() {
        return Some(std::time::Duration::from_secs(number.checked_mul(unit)?));
    }
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (name, after) = tail.split_at(end);
        let seconds = match name {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    std::time::Duration::try_from_secs_f64(total).ok()
}

/// Go takes `-flag` for `--flag`.
pub fn two_dashes(args: Vec<OsString>) -> Vec<OsString> {
    args.into_iter()
        .map(|arg| match arg.to_str() {
            Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
                format!("-{text}").into()
            }
            _ => arg,
        })
        .collect()
}

/// The flags that a file of etcd's stands for: YAML, with the flags' names as keys.
///
/// # Errors
/// Where it cannot be read.
pub fn file(path: &std::path::Path) -> Result<Vec<OsString>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let yaml: serde_norway::Value =
        serde_norway::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut args = vec![OsString::from("etcd")];
    let mut add = |prefix: &str, map: &serde_norway::Mapping| {
        for (name, value) in map {
            let Some(name) = name.as_str() else { continue };
            let value = match value {
                serde_norway::Value::Bool(on) => on.to_string(),
                serde_norway::Value::Number(number) => number.to_string(),
                serde_norway::Value::String(text) => text.clone(),
                _ => continue,
            };
            if !value.is_empty() {
                args.push(format!("--{prefix}{name}={value}").into());
            }
        }
    };
    let Some(map) = yaml.as_mapping() else { return Err(format!("{}: it is no mapping", path.display())) };
    add("", map);
    for (section, prefix) in [("client-transport-security", ""), ("peer-transport-security", "peer-")] {
        if let Some(map) = map.get(section).and_then(serde_norway::Value::as_mapping) {
            add(prefix, map);
        }
    }
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_gos() {
        let args = [
            "etcd",
            "-name",
            "a",
            "--pre-vote=false",
            "--enable-v2",
            "-listen-peer-urls=http://a:1,http://b:2",
        ];
        let config =
            Config::try_parse_from(two_dashes(args.map(OsString::from).into())).expect("they are sound");
        assert_eq!((config.name.as_str(), config.pre_vote, config.enable_v2), ("a", false, true));
        assert_eq!(config.listen_peer_urls.len(), 2);
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1h30m", 1), Some(std::time::Duration::from_secs(5400)));
        assert_eq!(duration("2", 3600), Some(std::time::Duration::from_secs(7200)));
        assert_eq!(duration("500ms", 1), Some(std::time::Duration::from_millis(500)));
        assert_eq!(duration("5 parsecs", 1), None);
    }
}
