//! What a machine says of itself to an update server.

use std::fs;

use omaha::{App, Os, Request};
use update_engine::install::{InstallError, running_version};

use crate::configuration::Configuration;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    version: String,
    id: String,
    boot_id: String,
    alias: String,
    oem: String,
    oem_version: String,
    root_hash: String,
}

impl Machine {
    /// This one.
    ///
    /// # Errors
    /// Its version is not known.
    pub fn this() -> Result<Machine, InstallError> {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let oem =
            Configuration::read(&["/usr/share/oem/oem-release", "/etc/oem-release"]).unwrap_or_default();
        let of_oem = |name: &str| oem.get(name).unwrap_or_default().to_owned();
        Ok(Machine {
            version: running_version()?,
            id: text("/etc/machine-id"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            alias: text("/proc/sys/kernel/hostname"),
            oem: of_oem("ID"),
            oem_version: of_oem("VERSION_ID"),
            root_hash: update_engine::install::running_root_hash().unwrap_or_default(),
        })
    }

    /// The version that runs.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The same machine, as if it had another version.
    #[must_use]
    pub fn with_version(self, version: &str) -> Machine {
        Machine { version: version.to_owned(), ..self }
    }

    /// A request of it, about the system.
    #[must_use]
    pub fn request(&self, configuration: &Configuration, on_demand: bool) -> Request {
        let arch = std::env::consts::ARCH;
        let alias = configuration.get("MACHINE_ALIAS").unwrap_or(&self.alias);
        let app = App {
            id: configuration.get("APPID").unwrap_or(omaha::COREOS).to_owned(),
            version: self.version.clone(),
            track: configuration.group().to_owned(),
            machine_id: self.id.clone(),
            machine_alias: alias.to_owned(),
            boot_id: format!("{{{}}}", self.boot_id),
            oem: self.oem.clone(),
            oem_version: self.oem_version.clone(),
            board: if arch == "aarch64" { "arm64-usr" } else { "amd64-usr" }.to_owned(),
            delta_okay: true,
            root_hash: self.root_hash.clone(),
            ..App::default()
        };
        Request {
            updater: concat!("corten-", env!("CARGO_PKG_VERSION")).to_owned(),
            on_demand,
            os: Os {
                version: "Chateau".to_owned(),
                platform: "CoreOS".to_owned(),
                service_pack: format!("{}_{arch}", self.version),
            },
            apps: vec![app],
        }
    }
}
