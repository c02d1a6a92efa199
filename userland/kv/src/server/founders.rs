//! Who the first members of a cluster are: as a flag names them, or as a discovery URL or DNS tell.
//!
//! Source: etcd 3.4, embed/config.go and etcdmain/etcd.go.

use std::path::Path;
use std::sync::Arc;

use super::boot::{BootError, data_dir};
use super::config::Config;
use super::discovery::{Directory, DiscoveryError};
use super::http_client::HttpClient;
use super::srv;
use crate::identity;
use crate::serve::tls;

/// The authorities that the system trusts: those of public discovery services are among them.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The first members, `NAME=URL,…`; none are named where this one is alone.
#[derive(Default)]
pub struct Founders {
    /// `NAME=URL,…`
    pub cluster: Option<String>,
    /// What sets the cluster apart from others with the same URLs.
    pub token: String,
}

/// Where the first members are not found.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// The cluster that the discovery URL stands for has as many as it wants.
    #[error("failed to join discovery cluster ({})", DiscoveryError::Full)]
    Full,
    /// Anything else.
    #[error(transparent)]
    Boot(#[from] BootError),
}

/// Says no to more than one way of naming the first members.
///
/// # Errors
/// In etcd's words.
pub fn check(config: &Config) -> Result<(), BootError> {
    let ways = [config.discovery.is_some(), config.initial_cluster.is_some(), config.discovery_srv.is_some()];
    if ways.iter().filter(|way| **way).count() > 1 {
        let text = "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
                    \"discovery\" or \"discovery-srv\"";
        return Err(BootError::Config(text.into()));
    }
    let joins = config.initial_cluster_state == "existing";
    if joins && config.discovery.is_some() {
        let text = "discovery URL should not be set when joining existing initial cluster";
        return Err(BootError::Config(text.into()));
    }
    Ok(())
}

/// Asks for them.
///
/// # Errors
/// Why they are not found.
pub async fn find(config: &Config) -> Result<Founders, NotFound> {
    let token = config.initial_cluster_token.clone();
    if let Some(url) = &config.discovery {
        let cluster = join(config, url).await?;
        return Ok(Founders { cluster: Some(cluster), token: url.clone() });
    }
    if let Some(domain) = &config.discovery_srv {
        let urls = &config.initial_advertise_peer_urls;
        let found = srv::cluster(domain, config.discovery_srv_name.as_deref(), &config.name, urls).await;
        let cluster =
            found.map_err(|error| BootError::Config(format!("error setting up initial cluster: {error}")))?;
        let named =
            cluster.split(',').any(|part| part.split_once('=').is_some_and(|(name, _)| name == config.name));
        if !named {
            let text = format!("cannot find local etcd member {:?} in SRV records", config.name);
            return Err(BootError::Config(text).into());
        }
        eprintln!("etcd: got bootstrap from DNS: {cluster}");
        return Ok(Founders { cluster: Some(cluster), token });
    }
    Ok(Founders { cluster: config.initial_cluster.clone(), token })
}

async fn join(config: &Config, url: &str) -> Result<String, NotFound> {
    let urls = identity::clean_urls(&config.initial_advertise_peer_urls).ok_or_else(|| {
        BootError::Config("--initial-advertise-peer-urls must be SCHEME://HOST:PORT,…".to_owned())
    })?;
    let own: Vec<String> = urls.iter().map(|url| format!("{}={url}", config.name)).collect();
    let id = identity::member_id(&urls, url, None);
    let directory = Directory::new(url, client(config)?)?;
    match directory.join(id, &own.join(",")).await {
        Ok(cluster) => Ok(cluster),
        Err(DiscoveryError::Full) => Err(NotFound::Full),
        Err(error) => Err(explain(config, url, "join", &error).into()),
    }
}

/// Who the members are, for a proxy: it need not be one of them.
///
/// # Errors
/// Why they cannot be learned.
pub async fn of_others(config: &Config) -> Result<String, BootError> {
    if let Some(url) = &config.discovery {
        let found = Directory::new(url, client(config)?)?.members().await;
        return found.map_err(|error| explain(config, url, "get", &error));
    }
    if let Some(domain) = &config.discovery_srv {
        let found = srv::cluster(domain, config.discovery_srv_name.as_deref(), &config.name, &[]).await;
        return found
            .map_err(|error| BootError::Config(format!("error setting up initial cluster: {error}")));
    }
    let default = || format!("{}=http://localhost:2380", config.name);
    Ok(config.initial_cluster.clone().unwrap_or_else(default))
}

/// What to do where discovery fails, as etcd says it.
fn explain(config: &Config, url: &str, verb: &str, error: &DiscoveryError) -> BootError {
    BootError::Config(match error {
        DiscoveryError::DuplicateId => format!(
            "member {:?} has previously registered with discovery service token ({url}).\n\
             But etcd could not find valid cluster configuration in the given data dir ({}).\n\
             Please check the given data dir path if the previous bootstrap succeeded\n\
             or use a new discovery token if the previous bootstrap failed.",
            config.name,
            data_dir(config).display()
        ),
        DiscoveryError::DuplicateName => format!(
            "member with duplicated name has registered with discovery service token({url}).\n\
             please check (cURL) the discovery token for more information.\n\
             please do not reuse the discovery token and generate a new discovery token to bootstrap the cluster."
        ),
        _ => format!(
            "failed to {verb} discovery cluster ({error})\n\
             discovery token {url} was used, but failed to bootstrap the cluster.\n\
             please generate a new discovery token and try to bootstrap again."
        ),
    })
}

/// How a discovery service is reached: it may be any on the Internet.
fn client(config: &Config) -> Result<HttpClient, BootError> {
    let system = Path::new(SYSTEM_ROOTS);
    let ca = config.peer_trusted_ca_file.clone().or_else(|| system.exists().then(|| system.to_owned()));
    let files = tls::Files {
        cert: config.peer_cert_file.clone(),
        key: config.peer_key_file.clone(),
        ca,
        client_auth: false,
    };
    let tls = files.client().map_err(|error| BootError::Config(error.to_string()))?;
    let proxy = config.discovery_proxy.clone().filter(|proxy| !proxy.is_empty());
    Ok(HttpClient { tls: Some(Arc::new(tls)), proxy })
}
