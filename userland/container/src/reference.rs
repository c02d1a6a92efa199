//! Names of images: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`.
//!
//! The grammar is the one of the OCI distribution specification and of Docker: without a host the
//! registry is `docker.io`, a single name there lives under `library/`, and without tag and digest the tag
//! is `latest`.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference as Parsed;

const DOCKER_HUB: &str = "docker.io";

/// Where an image is and which one is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    parsed: Parsed,
}

/// A name that no image can have.
#[derive(Debug, thiserror::Error)]
#[error("invalid reference format: {name:?}: {why}; write [HOST[:PORT]/]NAME[:TAG][@DIGEST] in lower case")]
pub struct BadReference {
    name: String,
    why: String,
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(name: &str) -> Result<Self, BadReference> {
        let bad = |why: &str| BadReference { name: name.chars().take(256).collect(), why: why.to_owned() };
        if name.len() > 1024 {
            return Err(bad("it is longer than 1024 bytes"));
        }
        let parsed = Parsed::try_from(name).map_err(|error| bad(&error.to_string()))?;
        Ok(Self { parsed })
    }
}

impl Reference {
    /// The registry as written, `docker.io` when none was.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.parsed.registry()
    }

    /// The host and port to speak to, which for Docker Hub is not the name it goes by.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        match self.registry() {
            DOCKER_HUB => "registry-1.docker.io",
            host => host,
        }
    }

    /// Whether its registry is Docker Hub.
    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        self.registry() == DOCKER_HUB
    }

    /// The path of the image on its registry.
    #[must_use]
    pub fn repository(&self) -> &str {
        self.parsed.repository()
    }

    /// The tag, if one was written or is implied.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.parsed.tag()
    }

    /// The digest that the manifest must have.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        self.parsed.digest()
    }

    /// What to ask the registry for: the digest if there is one, else the tag.
    #[must_use]
    pub fn selector(&self) -> &str {
        self.digest().or(self.tag()).unwrap_or("latest")
    }

    /// The repository in the short form that people type: no `docker.io/`, no `library/`.
    #[must_use]
    pub fn familiar_repository(&self) -> String {
        if self.registry() == DOCKER_HUB {
            let path = self.repository();
            return path.strip_prefix("library/").unwrap_or(path).to_owned();
        }
        format!("{}/{}", self.registry(), self.repository())
    }

    /// The short form with tag or digest.
    #[must_use]
    pub fn familiar(&self) -> String {
        let repository = self.familiar_repository();
        match (self.tag(), self.digest()) {
            (_, Some(digest)) => format!("{repository}@{digest}"),
            (tag, None) => format!("{repository}:{}", tag.unwrap_or("latest")),
        }
    }
}

/// The full name, which parses back to the same reference.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parsed.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(name: &str) -> Reference {
        name.parse().unwrap()
    }

    #[test]
    fn a_short_name_is_docker_hubs() {
        let short = parse("busybox");
        assert_eq!(short.registry(), "docker.io");
        assert_eq!(short.endpoint(), "registry-1.docker.io");
        assert_eq!(short.repository(), "library/busybox");
        assert_eq!(short.selector(), "latest");
        assert_eq!(short.familiar(), "busybox:latest");
        assert_eq!(short.to_string(), "docker.io/library/busybox:latest");
    }

    #[test]
    fn a_host_with_a_port_is_no_tag() {
        let local = parse("10.0.2.2:5000/test/busybox:1.36");
        assert_eq!(local.registry(), "10.0.2.2:5000");
        assert_eq!(local.endpoint(), "10.0.2.2:5000");
        assert_eq!(local.repository(), "test/busybox");
        assert_eq!(local.tag(), Some("1.36"));
        assert_eq!(parse("localhost:5000/busybox").selector(), "latest");
    }

    #[test]
    fn a_digest_wins_over_the_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = parse(&format!("quay.io/coreos/etcd:v2.3.8@{digest}"));
        assert_eq!(pinned.selector(), digest);
        assert_eq!(pinned.familiar_repository(), "quay.io/coreos/etcd");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(2000);
        for bad in ["", "Busybox", "a b", "busybox:", "busybox@sha256:12", "../etc", "a//b", ":5000/x", &long]
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_refused_or_comes_back_the_same(name in ".{0,80}") {
            if let Ok(reference) = name.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert!(!reference.repository().contains(".."));
            }
        }
    }
}
