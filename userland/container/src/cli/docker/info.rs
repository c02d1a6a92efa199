//! `docker info` and `docker version`.

use super::super::{CliError, Places, show};
use crate::state::Status;

/// Show what this machine has of containers and images
#[derive(Debug, clap::Args)]
pub struct Info;

/// Show versions
#[derive(Debug, clap::Args)]
pub struct Version;

impl Info {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let all = places.containers().list()?;
        let running = all.iter().filter(|container| container.status == Status::Running).count();
        let kernel = rustix::system::uname();
        let pure = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let images = places.open_store()?.images()?.len();
        for line in [
            format!("Containers: {}", all.len()),
            format!(" Running: {running}"),
            format!(" Stopped: {}", all.len() - running),
            format!("Images: {images}"),
            format!("Server Version: {} (no daemon)", env!("CARGO_PKG_VERSION")),
            "Storage Driver: overlay".to_owned(),
            format!("Cgroup Version: {}", if pure { "2" } else { "none usable" }),
            "Security Options: seccomp, no-new-privileges".to_owned(),
            format!("Kernel Version: {}", kernel.release().to_string_lossy()),
            "Operating System: Corten".to_owned(),
            format!("Architecture: {}", std::env::consts::ARCH),
            format!("Name: {}", kernel.nodename().to_string_lossy()),
            format!("Docker Root Dir: {}", places.store.display()),
        ] {
            show::line(&line);
        }
        Ok(0)
    }
}

impl Version {
    pub(super) fn run(self, _places: &Places) -> Result<u8, CliError> {
        show::line(&format!("Docker version {} (Corten, no daemon)", env!("CARGO_PKG_VERSION")));
        Ok(0)
    }
}
