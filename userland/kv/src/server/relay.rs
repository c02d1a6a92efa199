//! What `etcd gateway` and `etcd grpc-proxy` have in common: where they listen, and how they find the members.
//!
//! Source: etcd 3.4, etcdmain/gateway.go and etcdmain/grpc_proxy.go.

use tokio::net::TcpListener;

use super::srv;

/// Options of what stands between clients and members.
#[derive(clap::Args)]
pub struct Relay {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:23790")]
    listen_addr: String,
    /// Where the members are
    #[arg(long, default_value = "127.0.0.1:2379", value_delimiter = ',')]
    endpoints: Vec<String>,
    /// A domain whose SRV records name the members
    #[arg(long)]
    discovery_srv: Option<String>,
    /// The end of the names of those records
    #[arg(long)]
    discovery_srv_name: Option<String>,
    /// Taken for etcd's sake: SRV records are not checked
    #[arg(long)]
    insecure_discovery: bool,
}

impl Relay {
    /// Where the members are, as told or as DNS says.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn endpoints(&self) -> Result<Vec<String>, String> {
        let endpoints = match &self.discovery_srv {
            Some(domain) => srv::endpoints(domain, self.discovery_srv_name.as_deref()).await?,
            None => self.endpoints.clone(),
        };
        if endpoints.iter().all(String::is_empty) { Err("no endpoints found".into()) } else { Ok(endpoints) }
    }

    /// Listens for clients, and says so.
    ///
    /// # Errors
    /// Where that address cannot be had.
    pub async fn listen(&self, name: &str, endpoints: &[String]) -> Result<TcpListener, String> {
        let listener = TcpListener::bind(&self.listen_addr).await;
        let listener = listener.map_err(|error| format!("cannot listen on {}: {error}", self.listen_addr))?;
        println!("{name}: ready on {} for {}", self.listen_addr, endpoints.join(","));
        if let Err(error) = super::ready() {
            eprintln!("{name}: the service manager could not be told: {error}");
        }
        Ok(listener)
    }
}
