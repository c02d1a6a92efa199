//! `attach` and `wait`: connections of clients, joined with a container's supervisor.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::answer::{Answer, Content, Failure, stream};
use super::request::{Request, blocking};
use super::{Api, frame, supervisor};
use crate::state::{Container, Status};

const CHUNK: usize = 32 << 10;

/// The answer that gives the connection away.
///
/// # Errors
/// When the client did not ask for it.
pub fn upgrade(request: &Request, terminal: bool) -> Result<Response<Content>, Failure> {
    if !request.headers.contains_key(UPGRADE) {
        return Err(Failure::bad("unable to upgrade to tcp, received no Upgrade header"));
    }
    let kind = if terminal { "raw" } else { "multiplexed" };
    let kind = format!("application/vnd.docker.{kind}-stream");
    let mut response = Response::new(Content::Whole(None));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("")));
    Ok(response)
}

/// `containers/ID/attach`
pub async fn attach(api: &Arc<Api>, name: &str, mut request: Request) -> Answer {
    let found = name.to_owned();
    let container = blocking(api, move |api| Ok(api.containers().find(&found)?)).await?;
    if super::lifecycle::is_paused(&container) {
        return Err(Failure::conflict(format!(
            "container {name} is paused, unpause the container before attach"
        )));
    }
    let wants =
        [("stdout", frame::WANT_STDOUT), ("stderr", frame::WANT_STDERR), ("stdin", frame::WANT_STDIN)];
    let wants = wants.iter().filter(|(name, _)| request.flag(name)).fold(0, |all, (_, bit)| all | bit);
    let response = upgrade(&request, container.record.tty)?;
    let link = Link::to(api, &container);
    let earlier = if request.flag("logs") { super::logs::all(api, &container)? } else { Vec::new() };
    let live = request.flag("stream");
    let upgraded = hyper::upgrade::on(&mut request.http);
    super::inspect::tell(api, &container.record, "attach", &[]);
    tokio::spawn(async move {
        let Ok(client) = upgraded.await else { return };
        let (mut read, mut write) = tokio::io::split(TokioIo::new(client));
        for piece in earlier {
            if write.write_all(&piece).await.is_err() {
                return;
            }
        }
        // A client that leaves before the container began is not let in.
        if live && let Some(stream) = link.hello(wants).await {
            relay(&mut read, &mut write, stream, container.record.tty).await;
        }
        let _ = write.shutdown().await;
    });
    Ok(response)
}

/// The way to a container's supervisor, which may not be there yet.
pub struct Link {
    socket: std::path::PathBuf,
    early: Option<oneshot::Receiver<oneshot::Sender<()>>>,
}

impl Link {
    /// The way to this one.
    pub fn to(api: &Api, container: &Container) -> Self {
        let id = &container.record.id;
        let early = (container.status != Status::Running).then(|| api.wait_early(id));
        Self { socket: supervisor::socket(&api.containers(), id), early }
    }

    /// Says hello as soon as there is somebody to say it to; none if there never was.
    pub async fn hello(self, wants: u8) -> Option<UnixStream> {
        let told = match self.early {
            Some(early) => Some(early.await.ok()?),
            None => None,
        };
        let mut stream = UnixStream::connect(&self.socket).await.ok()?;
        stream.write_all(&frame::encode(frame::HELLO, &[wants])).await.ok()?;
        if let Some(told) = told {
            let _ = told.send(());
        }
        Some(stream)
    }
}

/// Carries bytes between a client and a supervisor, until the container ends or the client leaves.
async fn relay(
    read: &mut (impl AsyncRead + Unpin),
    write: &mut (impl AsyncWrite + Unpin),
    stream: UnixStream,
    terminal: bool,
) {
    let (mut from, mut to) = stream.into_split();
    let input = async {
        let mut buffer = vec![0; CHUNK];
        loop {
            match read.read(&mut buffer).await {
                Ok(0) => {
                    let _ = to.write_all(&frame::encode(frame::CLOSE, b"")).await;
                    // Its output may go on for long: only whoever writes to it notices that it is gone.
                    return std::future::pending::<()>().await;
                }
                Ok(length) => {
                    let piece = frame::encode(frame::STDIN, buffer.get(..length).unwrap_or_default());
                    if to.write_all(&piece).await.is_err() {
                        return std::future::pending().await;
                    }
                }
                Err(_) => return,
            }
        }
    };
    let output = async {
        while let Ok(Some((kind, bytes))) = frame::read(&mut from).await {
            let piece = if terminal { bytes } else { frame::encode(kind, &bytes) };
            if write.write_all(&piece).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = input => {}
        () = output => {}
    }
}

/// `containers/ID/wait`: the head at once, the status when it ends.
pub async fn wait(api: &Arc<Api>, name: &str, condition: Option<&str>) -> Answer {
    let condition = condition.unwrap_or("not-running").to_owned();
    if !["not-running", "next-exit", "removed"].contains(&condition.as_str()) {
        return Err(Failure::bad(format!("invalid condition: {condition:?}")));
    }
    let found = name.to_owned();
    let container = blocking(api, move |api| Ok(api.containers().find(&found)?)).await?;
    let (response, send) = stream("application/json");
    let waits = container.status == Status::Running || condition != "not-running";
    let over = condition == "removed" && matches!(container.status, Status::Exited(_));
    let link = (waits && !over).then(|| Link::to(api, &container));
    let api = Arc::clone(api);
    tokio::spawn(async move {
        let id = container.record.id.clone();
        let code = match link {
            Some(link) => tokio::select! {
                code = told(&api, link, &id) => code,
                () = send.closed() => return,
            },
            None => None,
        };
        let mut code = code.or_else(|| exit_code(&api, &id));
        if condition == "removed" {
            while let Ok(container) = api.containers().find(&id) {
                if let (None, Status::Exited(ended)) = (code, container.status) {
                    code = Some(ended);
                }
                if send.is_closed() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let answer = json!({ "StatusCode": code.unwrap_or(0) });
        let _ = send.send(Bytes::from(format!("{answer}\n"))).await;
    });
    Ok(response)
}

/// What the supervisor says of the container's end; none if there is no supervisor.
async fn told(api: &Api, link: Link, id: &str) -> Option<i32> {
    let gone = async {
        // Removed before it ever started: nobody will tell.
        while api.containers().find(id).is_ok() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let mut stream = tokio::select! {
        stream = link.hello(0) => stream,
        () = gone => None,
    };
    if let Some(stream) = &mut stream {
        while let Ok(Some((kind, bytes))) = frame::read(stream).await {
            if kind == frame::EXITED {
                return String::from_utf8_lossy(&bytes).parse().ok();
            }
        }
    }
    // A container of a foreground `docker run` has no supervisor that could be asked.
    while api.containers().find(id).is_ok_and(|container| container.status == Status::Running) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    exit_code(api, id)
}

fn exit_code(api: &Api, id: &str) -> Option<i32> {
    match api.containers().find(id).ok()?.status {
        Status::Exited(code) => Some(code),
        _ => None,
    }
}

/// `containers/ID/resize`
pub async fn resize(api: &Arc<Api>, name: &str, rows: u16, columns: u16) -> Answer {
    let found = name.to_owned();
    let container = blocking(api, move |api| Ok(api.containers().find(&found)?)).await?;
    if container.status != Status::Running {
        return Err(Failure::conflict(format!("container {} is not running", container.record.id)));
    }
    if let Some(mut stream) = Link::to(api, &container).hello(frame::WANT_STDIN).await {
        let (rows, columns) = (rows.to_be_bytes(), columns.to_be_bytes());
        stream.write_all(&frame::encode(frame::RESIZE, &[rows, columns].concat())).await?;
    }
    super::answer::empty(StatusCode::OK)
}
