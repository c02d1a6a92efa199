//! The connection to a cluster: the first endpoint that answers, with TLS and a user's token where asked.

use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::Global;
use super::output::{Format, Printer};
use crate::proto::AuthenticateRequest;
use crate::proto::auth_client::AuthClient;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No endpoint answers.
    #[error("context deadline exceeded: {0}")]
    Unreachable(String),
    /// The store refused.
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// What was read is not what was to be read.
    #[error("{0}")]
    Input(String),
}

impl Failure {
    /// The exit code, as etcdctl's: 128 for bad arguments, 3 for bad input, else 1.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 128,
            Failure::Input(_) => 3,
            _ => 1,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Usage(error.to_string())
    }
}

/// A connection.
pub(crate) struct Client {
    pub channel: Channel,
    pub printer: Printer,
    token: Option<String>,
    timeout: Duration,
}

/// A URL with a scheme.
pub(crate) fn url(endpoint: &str, secure: bool) -> String {
    if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("{}://{endpoint}", if secure { "https" } else { "http" })
    }
}

async fn dial(endpoint: &str, global: &Global) -> Result<Channel, Failure> {
    let secure = global.cacert.is_some() || global.cert.is_some();
    let url = url(endpoint, secure);
    let bad = |error: tonic::transport::Error| Failure::Unreachable(format!("{url}: {error}"));
    let mut builder = Endpoint::from_shared(url.clone()).map_err(bad)?.connect_timeout(global.dial_timeout);
    if url.starts_with("https") {
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &global.cacert {
            tls = tls.ca_certificate(Certificate::from_pem(std::fs::read(ca)?));
        }
        if let (Some(cert), Some(key)) = (&global.cert, &global.key_file) {
            tls = tls.identity(Identity::from_pem(std::fs::read(cert)?, std::fs::read(key)?));
        }
        builder = builder.tls_config(tls).map_err(bad)?;
    }
    builder.connect().await.map_err(|error| {
        use std::error::Error;
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        Failure::Unreachable(format!("{url}: {error}: {cause}"))
    })
}

impl Client {
    /// Connects to the first endpoint that answers.
    pub async fn connect(global: &Global) -> Result<Client, Failure> {
        let mut last = Failure::Usage("--endpoints is empty".into());
        for endpoint in &global.endpoints {
            match Client::to(endpoint, global).await {
                Ok(client) => return Ok(client),
                Err(failure @ Failure::Refused(_)) => return Err(failure),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// Connects to one endpoint.
    pub async fn to(endpoint: &str, global: &Global) -> Result<Client, Failure> {
        let channel = dial(endpoint, global).await?;
        let printer = Printer { format: global.format, hex: global.hex };
        let mut client = Client { channel, printer, token: None, timeout: global.command_timeout };
        if let Some(user) = &global.user {
            let (name, password) = match (user.split_once(':'), &global.password) {
                (_, Some(password)) => (user.clone(), password.clone()),
                (Some((name, password)), None) => (name.to_owned(), password.to_owned()),
                (None, None) => (user.clone(), super::auth::ask_password("Password: ")?),
            };
            let login = AuthenticateRequest { name, password };
            let request = client.request(login);
            let answer = AuthClient::new(client.channel.clone()).authenticate(request).await;
            match answer {
                Ok(answer) => client.token = Some(answer.into_inner().token),
                // A cluster without auth does not mind a user.
                Err(status) if status.message().contains("authentication is not enabled") => {}
                Err(status) => return Err(status.into()),
            }
        }
        Ok(client)
    }

    /// A request that is given up in time.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.stream(message);
        request.set_timeout(self.timeout);
        request
    }

    /// A request that may go on for ever.
    pub fn stream<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.token.as_ref().and_then(|token| token.parse().ok()) {
            request.metadata_mut().insert("token", token);
        }
        request
    }

    /// Whether answers are printed for people.
    pub fn is_simple(&self) -> bool {
        self.printer.format == Format::Simple
    }
}
