//! Connections of clients: accepted, encrypted where asked, and served HTTP/1 and HTTP/2 alike.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::authority::Lenient;
use super::{AnyBody, Peer, tls};

/// Who connects must have said something within this.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets that it is to have said: as many as HTTP/2 begins with.
const GREETING: u64 = 24;

/// Serves clients for ever: `face` answers a request, and knows who is at the other end.
pub async fn serve<F, A>(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, face: F)
where
    F: Fn(Request<Incoming>, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response<AnyBody>, Infallible>> + Send + 'static,
{
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, mostly: it gets better when others go.
                eprintln!("etcd: cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, face) = (acceptor.clone(), face.clone());
        tokio::spawn(async move {
            match acceptor {
                None => http(stream, face, Peer::default()).await,
                Some(acceptor) => {
                    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else {
                        return;
                    };
                    let certificates = stream.get_ref().1.peer_certificates();
                    let common_name = certificates.and_then(|all| tls::common_name(all.first()?));
                    http(stream, face, Peer { common_name }).await;
                }
            }
        });
    }
}

async fn http<S, F, A>(stream: S, face: F, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Response<AnyBody>, Infallible>> + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_concurrent_streams(100_000);
    let service = service_fn(move |request| face(request, peer.clone()));
    let stream = Lenient::new(stream);
    let heard = stream.heard();
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Once it is known what is spoken, the timers of that protocol go on.
    tokio::select! {
        _ = &mut connection => return,
        () = tokio::time::sleep(PATIENCE) => if heard.load(Ordering::Relaxed) < GREETING { return },
    }
    // A connection that breaks is the client's affair.
    let _ = connection.await;
}
