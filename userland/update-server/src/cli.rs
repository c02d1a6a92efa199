//! The command line of `corten-update-server`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;

use crate::api::Server;
use crate::serve;
use crate::store::Store;

/// Give machines their releases: Omaha at /v1/update/, an API at /api/v1/, a page at /
#[derive(Parser)]
#[command(name = "corten-update-server", version)]
struct Arguments {
    /// Where state and payloads are kept
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/corten-update-server")]
    data: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8080")]
    listen: SocketAddr,
    /// The certificate for TLS, in PEM, with those between it and its root
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's key, in PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// A file with the word that those show who change something; without it, only this machine may
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where machines find this server, if not where they asked: http[s]://HOST[:PORT]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// The applet.
pub fn corten_update_server(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten-update-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let token = match &arguments.token_file {
        None => None,
        Some(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let token = text.trim().to_owned();
            if token.is_empty() {
                return Err(format!("{}: there is no word in it", path.display()).into());
            }
            Some(token)
        }
    };
    let tls = match (&arguments.certificate, &arguments.key) {
        (Some(certificate), Some(key)) => Some(serve::tls(certificate, key)?),
        _ => None,
    };
    let server = Server::new(Store::open(&arguments.data)?, token, arguments.url, tls.is_some())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let failed = |error| format!("{}: {error}", arguments.listen);
        let listener = TcpListener::bind(arguments.listen).await.map_err(failed)?;
        println!("Listening on {}.", listener.local_addr()?);
        Ok(serve::serve(Arc::new(server), listener, tls).await?)
    })
}
