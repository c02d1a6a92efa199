//! The configuration of an image, as much of it as running needs.
//!
//! Docker writes `null` where OCI leaves a field out; both are read. Source: OCI image specification,
//! "Image Configuration".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// More layers than an overlay takes.
const DIFF_IDS_LIMIT: usize = 127;

/// What an image says about itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ImageConfig {
    /// When it was made, as RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    #[serde(default)]
    config: Option<Defaults>,
    rootfs: RootFs,
}

/// How its makers want it to run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Defaults {
    /// `USER[:GROUP]`, names or numbers.
    pub user: Option<String>,
    /// `NAME=VALUE` each.
    pub env: Option<Vec<String>>,
    /// The program and its first arguments.
    pub entrypoint: Option<Vec<String>>,
    /// More arguments, which the caller may replace.
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
    /// Free annotations.
    pub labels: Option<BTreeMap<String, String>>,
    /// Paths that are to be volumes.
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// What makes it healthy.
    pub healthcheck: Option<Healthcheck>,
}

/// What makes a container healthy: Docker's extension of the image configuration. Times are nanoseconds; 0 and
/// none mean: as usual, or as the image says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`; `CMD` and a program; or `CMD-SHELL` and a line for the image's shell.
    pub test: Option<Vec<String>>,
    /// Between two tests.
    pub interval: i64,
    /// For one test.
    pub timeout: i64,
    /// After the start, while failures do not count.
    pub start_period: i64,
    /// Between two tests meanwhile.
    pub start_interval: i64,
    /// Failures that make it unhealthy.
    pub retries: i64,
}

impl Healthcheck {
    /// The caller's, with what it leaves open as in the image.
    #[must_use]
    pub fn merged(own: Option<Self>, image: Option<Self>) -> Option<Self> {
        let (Some(own), Some(image)) = (own.clone(), image.clone()) else { return own.or(image) };
        let or = |own: i64, image: i64| if own == 0 { image } else { own };
        Some(Self {
            test: own.test.filter(|words| !words.is_empty()).or(image.test),
            interval: or(own.interval, image.interval),
            timeout: or(own.timeout, image.timeout),
            start_period: or(own.start_period, image.start_period),
            start_interval: or(own.start_interval, image.start_interval),
            retries: or(own.retries, image.retries),
        })
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

impl ImageConfig {
    /// Reads it.
    ///
    /// # Errors
    /// When it is not JSON of this form, or has more layers than can be mounted.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let config: Self = serde_json::from_slice(bytes)?;
        if config.rootfs.diff_ids.len() > DIFF_IDS_LIMIT {
            return Err(serde::de::Error::custom("too many layers"));
        }
        Ok(config)
    }

    /// The digests of the layers' tar archives, the lowest first.
    #[must_use]
    pub fn diff_ids(&self) -> &[String] {
        &self.rootfs.diff_ids
    }

    /// How its makers want it to run.
    #[must_use]
    pub fn defaults(&self) -> Defaults {
        self.config.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_missing_fields_are_the_same() {
        let text = br#"{"architecture":"amd64","os":"linux","config":{"User":"","Env":null,"Entrypoint":null,
            "Cmd":["sh"],"Volumes":null,"ExposedPorts":{"80/tcp":{}},"Labels":null},
            "rootfs":{"type":"layers","diff_ids":["sha256:aa"]}}"#;
        let config = ImageConfig::read(text).unwrap();
        assert_eq!(config.diff_ids(), ["sha256:aa"]);
        assert_eq!(config.defaults().cmd.unwrap(), ["sh"]);
        assert!(config.defaults().env.is_none());
        assert!(
            ImageConfig::read(br#"{"rootfs":{"diff_ids":[]},"config":null}"#)
                .unwrap()
                .defaults()
                .cmd
                .is_none()
        );
    }

    #[test]
    fn wrong_types_and_too_many_layers_are_refused() {
        assert!(ImageConfig::read(br#"{"config":{}}"#).is_err());
        assert!(ImageConfig::read(br#"{"rootfs":{"diff_ids":[]},"config":{"Cmd":"sh"}}"#).is_err());
        let many = vec![r#""x""#; 128].join(",");
        assert!(ImageConfig::read(format!(r#"{{"rootfs":{{"diff_ids":[{many}]}}}}"#).as_bytes()).is_err());
    }
}
