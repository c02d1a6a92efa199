//! Whether a registry takes a name and a password.

use super::auth::Credentials;
use super::config::Trust;
use super::{Access, Content, Registry, RegistryError};
use http_client::Url;
use hyper::{HeaderMap, Method};

/// What Docker Hub is called by those who log in, and where it is asked.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// `HOST[:PORT]` of a server as a user names it, perhaps as a URL.
#[must_use]
pub fn endpoint(server: &str) -> &str {
    let host = server.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    if host.is_empty() || HUB.contains(&host) { "registry-1.docker.io" } else { host }
}

/// Asks the registry at `endpoint` for its own page with these credentials.
///
/// # Errors
/// When it does not take them, or cannot be asked.
pub async fn check(endpoint: &str, trust: &Trust, credentials: Credentials) -> Result<(), RegistryError> {
    let access = Access { credentials: Some(credentials), ..Access::default() };
    let registry = Registry::open(endpoint, "", trust, access).await?;
    let url = format!("{}://{endpoint}/v2/", registry.scheme);
    let url = Url::parse(&url).map_err(|source| registry.http_error(source))?;
    let answer = registry.ask(&Method::GET, &url, HeaderMap::new(), &Content::Empty).await?;
    if answer.status().is_success() { Ok(()) } else { Err(registry.refused("its own page", answer).await) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_in_many_ways() {
        for (server, at) in [
            ("https://index.docker.io/v1/", "registry-1.docker.io"),
            ("", "registry-1.docker.io"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("http://registry.example/v2/", "registry.example"),
        ] {
            assert_eq!(endpoint(server), at, "{server}");
        }
    }
}
