//! `systemd-journal-gatewayd`: the journal over HTTP, for reading only. It has the paths, arguments and formats of
//! systemd's, so that its clients work; `/boots` is that of later versions.
//!
//! Nobody can hurt it: so many connections at a time and no more, one request each, a header within seconds, and
//! whoever does not take what is sent is dropped. Who may connect is for the network to say; there is no password.
//! Source: systemd-journal-gatewayd.service(8).

mod answer;
mod patient;
mod request;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use clap::Parser;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{self, HeaderName};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::place::{self, Place};
use crate::query::merge::find_all;
use answer::{Journal, Outlet};
use patient::Patient;
use request::{Refusal, Request, media_type};

/// The port that clients know.
const PORT: u16 = 19_531;
/// Connections at a time; each may take the memory of one reader.
const CONNECTIONS: usize = 32;
/// The header of a request comes within this time.
const HEADER_WITHIN: Duration = Duration::from_secs(20);
/// A client takes something at least once in this time.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);

/// Serves the journal over HTTP, for reading.
///
/// It listens on the socket that init hands over, else on port 19531. Paths: /entries, /fields/NAME, /boots, /machine,
/// /browse. Example: curl -H'Accept: application/json' 'http://host:19531/entries?boot&_SYSTEMD_UNIT=sshd.service'
#[derive(Debug, Parser)]
#[command(name = "systemd-journal-gatewayd", version)]
struct Args {
    /// Serve the journals of all machines that are here
    #[arg(short, long)]
    merge: bool,
    /// Serve the system journal
    #[arg(long)]
    system: bool,
    /// Serve the files in this directory
    #[arg(short = 'D', long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Serve these files (* and ? may be used)
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Listen here if init hands over no socket
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// The applet.
#[must_use]
pub fn systemd_journal_gatewayd(args: Vec<OsString>) -> ExitCode {
    let args = Args::parse_from(args);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("systemd-journal-gatewayd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> io::Result<()> {
    let journal = Arc::new(journal_of(args)?);
    let listener = listener(args)?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(CONNECTIONS)
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let free = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return Ok(()) };
            match listener.accept().await {
                Ok((socket, _)) => {
                    tokio::spawn(serve(socket, Arc::clone(&journal), permit));
                }
                // Out of descriptors, or a client that was gone at once: the others go on.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    })
}

fn journal_of(args: &Args) -> io::Result<Journal> {
    let place = Place::new("/".as_ref());
    let mut files = Vec::new();
    for file in &args.file {
        files.extend(find_all(file).map_err(io::Error::other)?);
    }
    let bases = [place.persistent(), place.volatile()];
    let directories = match &args.directory {
        _ if !files.is_empty() => Vec::new(),
        Some(directory) => vec![directory.clone()],
        None if args.merge => bases.to_vec(),
        None => bases.map(|base| base.join(place::format_id(&place.machine_id()))).to_vec(),
    };
    Ok(Journal { directories, files })
}

fn listener(args: &Args) -> io::Result<TcpListener> {
    let mut inherited = linux::listen_fds::take().into_iter();
    if let Some((_, descriptor)) = inherited.next() {
        return Ok(descriptor.into());
    }
    let address = args.listen.unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, PORT).into());
    TcpListener::bind(address).map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

/// One connection, one request.
async fn serve(socket: tokio::net::TcpStream, journal: Arc<Journal>, permit: OwnedSemaphorePermit) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let journal = Arc::clone(&journal);
        async move { Ok::<_, Infallible>(respond(&request, journal)) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WITHIN)
        .keep_alive(false)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Patient::new(socket, TAKEN_WITHIN)), service);
    // Whoever goes away, or is too slow, has only itself to blame.
    let _ = connection.await;
    drop(permit);
}

/// A body that comes through a channel, or one that is there.
enum Answer {
    Channel(Receiver<Bytes>),
    Whole(Option<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answer::Channel(receiver) => {
                receiver.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
            Answer::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Answer::Channel(_) => hyper::body::SizeHint::default(),
            Answer::Whole(bytes) => {
                hyper::body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

fn respond(request: &hyper::Request<Incoming>, journal: Arc<Journal>) -> Response<Answer> {
    let text = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let uri = request.uri();
    let parsed = request::parse(
        request.method().as_str(),
        uri.path(),
        uri.query(),
        text(header::ACCEPT),
        text(header::RANGE),
    );
    match parsed {
        Ok(Request::Redirect) => {
            let page =
                "<html><body>Please continue to the <a href=\"/browse\">journal browser</a>.</body></html>";
            let mut response = whole(StatusCode::MOVED_PERMANENTLY, "text/html", page.to_owned());
            response.headers_mut().insert(header::LOCATION, header::HeaderValue::from_static("/browse"));
            response
        }
        Ok(Request::Browse) => {
            whole(StatusCode::OK, "text/html; charset=utf-8", include_str!("browse.html").to_owned())
        }
        Ok(Request::Machine) => whole(StatusCode::OK, "application/json", answer::machine(&journal)),
        Ok(Request::Entries(wanted)) => {
            let kind = media_type(wanted.format);
            stream(kind, move |out| answer::entries(&journal, &wanted, out))
        }
        Ok(Request::Field(name, format)) => {
            stream(media_type(format), move |out| answer::field(&journal, &name, format, out))
        }
        Ok(Request::Boots) => stream("application/json", move |out| answer::boots(&journal, out)),
        Err(Refusal { status, words }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            whole(status, "text/plain", format!("{words}\n"))
        }
    }
}

fn with_type(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn whole(status: StatusCode, kind: &'static str, text: String) -> Response<Answer> {
    with_type(status, kind, Answer::Whole(Some(text.into())))
}

/// An answer that a thread writes while the client reads.
fn stream(
    kind: &'static str,
    write: impl FnOnce(&mut Outlet) -> io::Result<()> + Send + 'static,
) -> Response<Answer> {
    let (sender, receiver) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        // It fails when the client is gone, and then nobody wants to know.
        let _ = write(&mut Outlet::new(sender));
    });
    with_type(StatusCode::OK, kind, Answer::Channel(receiver))
}
