//! Connections of clients: accepted, encrypted where asked, and served HTTP/1 and HTTP/2 alike.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::authority::Lenient;
use super::{Api, Peer, tls};

/// Who connects must have said something within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves clients for ever.
pub async fn serve(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, api: Api) {
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
        let (acceptor, api) = (acceptor.clone(), api.clone());
        tokio::spawn(async move {
            match acceptor {
                None => http(stream, api, Peer::default()).await,
                Some(acceptor) => {
                    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else {
                        return;
                    };
                    let certificates = stream.get_ref().1.peer_certificates();
                    let common_name = certificates.and_then(|all| tls::common_name(all.first()?));
                    http(stream, api, Peer { common_name }).await;
                }
            }
        });
    }
}

async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, api: Api, peer: Peer) {
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
    let service = service_fn(move |request| {
        let (api, peer) = (api.clone(), peer.clone());
        async move { api.answer(request, peer).await }
    });
    // A connection that breaks is the client's affair.
    let _ = builder.serve_connection(TokioIo::new(Lenient::new(stream)), service).await;
}
