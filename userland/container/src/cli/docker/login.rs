//! `docker login` and `logout`: credentials that a registry has taken, kept where Docker keeps them.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::{CliError, show};
use crate::registry::auth::{Credentials, config_file};
use crate::registry::config::{DAEMON_JSON, Trust};
use crate::registry::login;

/// The name of Docker Hub in that file.
const HUB: &str = "https://index.docker.io/v1/";

/// Log in to a registry
#[derive(Debug, clap::Args)]
pub struct Login {
    /// User name
    #[arg(short, long)]
    username: String,
    /// Password; everyone on this machine can see it while this runs
    #[arg(short, long)]
    password: Option<String>,
    /// Take the password from standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    /// HOST[:PORT]; none: Docker Hub
    server: Option<String>,
}

impl Login {
    pub(super) fn run(self) -> Result<u8, CliError> {
        let mut password = self.password.unwrap_or_default();
        if self.password_stdin {
            let failed = |error| CliError::Io("standard input", error);
            std::io::stdin().take(1 << 20).read_to_string(&mut password).map_err(failed)?;
            password.truncate(password.trim_end_matches(['\r', '\n']).len());
        }
        if password.is_empty() {
            return Err(CliError::Usage("give the password by --password-stdin".to_owned()));
        }
        let server = self.server.unwrap_or_default();
        let credentials = Credentials::new(&self.username, &password);
        let trust =
            Trust::load(Path::new(DAEMON_JSON)).map_err(|error| CliError::Usage(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::Io("log in", error))?;
        runtime
            .block_on(login::check(login::endpoint(&server), &trust, credentials.clone()))
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let basic = credentials.basic();
        let auth = json!({ "auth": basic.trim_start_matches("Basic ") });
        change(|auths| drop(auths.insert(key(&server), auth)))?;
        show::line("Login Succeeded");
        Ok(0)
    }
}

/// Forget the credentials for a registry
#[derive(Debug, clap::Args)]
pub struct Logout {
    /// HOST[:PORT]; none: Docker Hub
    server: Option<String>,
}

impl Logout {
    pub(super) fn run(self) -> Result<u8, CliError> {
        let key = key(&self.server.unwrap_or_default());
        change(|auths| drop(auths.remove(&key)))?;
        show::line(&format!("Removing login credentials for {key}"));
        Ok(0)
    }
}

fn key(server: &str) -> String {
    match login::endpoint(server) {
        "registry-1.docker.io" => HUB.to_owned(),
        host => host.to_owned(),
    }
}

/// Changes `auths` of the file, whole or not at all; nobody else may read it.
fn change(work: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Result<(), CliError> {
    let path = config_file();
    let failed = |error| CliError::Io("the file of credentials", error);
    let mut config: Value = match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(failed(error)),
    };
    let fields = config.as_object_mut();
    let auths = fields.and_then(|all| all.entry("auths").or_insert_with(|| json!({})).as_object_mut());
    work(auths.ok_or_else(|| CliError::Usage(format!("{}: no object of auths", path.display())))?);
    let text = serde_json::to_vec_pretty(&config).map_err(|error| failed(error.into()))?;
    let dir = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let new = path.with_extension(format!("json.{}", std::process::id()));
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    made.and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&new, &path))
        .map_err(failed)
}
