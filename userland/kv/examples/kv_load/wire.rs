//! Connections without what a general client has around them, so that less of the machine goes to the load itself.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::Service;

/// Why it did not work.
pub type Failed = Box<dyn Error + Send + Sync>;

/// One HTTP/2 connection that many clients share.
#[derive(Clone)]
pub struct Connection(SendRequest<Body>);

impl Connection {
    /// Connects, and returns the URL that requests are for.
    pub async fn open(endpoint: &str) -> Result<(Connection, Uri), Failed> {
        let uri: Uri = endpoint.parse()?;
        let authority = uri.authority().ok_or("an endpoint is http://HOST:PORT")?;
        let stream = TcpStream::connect(authority.as_str()).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        Ok((Connection(sender), uri))
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
