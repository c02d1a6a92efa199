//! Requests over HTTP/1.1 that a member makes of others: TLS where the URL says so, through a proxy where one is given.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::HOST;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;

use super::peer::{self, Stream};

/// Within this a proxy says whether it lets us through.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a body.
const LARGEST: usize = 16 << 20;

/// How others are reached.
#[derive(Clone, Default)]
pub struct HttpClient {
    /// For `https` URLs.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Where all requests go first.
    pub proxy: Option<String>,
}

impl HttpClient {
    /// Sends a request whose URI is absolute, and returns the head of the answer as soon as it is there.
    ///
    /// # Errors
    /// Where there is no connection, or no HTTP comes back.
    pub async fn send<B>(&self, mut request: Request<B>) -> io::Result<Response<Incoming>>
    where
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let uri = request.uri().clone();
        let authority = uri.authority().ok_or_else(|| io::Error::other(format!("{uri} names no host")))?;
        let host = authority.as_str().parse().map_err(io::Error::other)?;
        request.headers_mut().insert(HOST, host);
        let stream = match &self.proxy {
            None => peer::connect(&uri.to_string(), self.tls.clone()).await?.1,
            Some(proxy) if uri.scheme_str() == Some("https") => self.tunnel(proxy, &uri).await?,
            Some(proxy) => peer::connect(proxy, self.tls.clone()).await?.1,
        };
        // A proxy that passes plain requests on wants the whole URI, a server its path.
        if self.proxy.is_none() || uri.scheme_str() == Some("https") {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = path.parse().map_err(io::Error::other)?;
        }
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(io::Error::other)
    }

    /// Has a proxy connect us with the host of a URL, and speaks TLS with that.
    async fn tunnel(&self, proxy: &str, uri: &Uri) -> io::Result<Box<dyn Stream>> {
        let (_, stream) = peer::connect(proxy, self.tls.clone()).await?;
        let place = format!("{}:{}", uri.host().unwrap_or_default(), uri.port_u16().unwrap_or(443));
        let request = Request::connect(&place).header(HOST, &place).body(Empty::<Bytes>::new());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection.with_upgrades());
        let request = sender.send_request(request.map_err(io::Error::other)?);
        let response = tokio::time::timeout(PATIENCE, request).await?.map_err(io::Error::other)?;
        if !response.status().is_success() {
            return Err(io::Error::other(format!("the proxy {proxy} answers {}", response.status())));
        }
        let through = TokioIo::new(hyper::upgrade::on(response).await.map_err(io::Error::other)?);
        let tls = self.tls.clone().ok_or_else(|| io::Error::other("there are no certificates for https"))?;
        peer::encrypt(uri, through, tls).await
    }

    /// Sends a form, or nothing, and returns the answer whole.
    ///
    /// # Errors
    /// As [`HttpClient::send`], or where the answer breaks off.
    pub async fn form(&self, method: &str, url: &str, fields: &str) -> io::Result<Response<Bytes>> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::copy_from_slice(fields.as_bytes())))
            .map_err(io::Error::other)?;
        let (head, body) = self.send(request).await?.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(io::Error::other)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}
