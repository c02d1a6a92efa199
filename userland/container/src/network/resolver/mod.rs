//! The resolver of a container on a network of the user's, at 127.0.0.11 in its own network namespace.
//!
//! Containers that share a network know each other by name, also those that come later, since each question looks
//! at who is there now ([`zone`]). Everything else is passed on, unchanged, to the machine's name servers or those
//! of `--dns`, from the machine's network. The container's parent serves it, with a thread of its own; the sockets
//! have ports of their own, to which the namespace's nf_tables lead port 53: so a container can have a name
//! server of its own. Sources: RFC 1035, RFC 6891.

mod zone;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nftables::{Chain, Element, Field, Hook, Nftables, Protocol, Rule, Set, Table, Transaction};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{LocalSet, spawn_local};

use super::etc_files::{Names, RESOLV_CONF, servers};
use super::links::within;
use super::{NetworkError, Networks, rules};
use zone::{Verdict, Zone};

/// Where a container finds it, at port 53.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
const TABLE: &str = "corten-resolver";
/// Questions that are worked on at once; others wait in the socket.
const AT_ONCE: usize = 128;
/// How long a name server may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// An idle connection is closed.
const IDLE: Duration = Duration::from_secs(10);
const LARGEST: usize = 65_535;

/// Sockets in a container's namespace, not served yet.
#[derive(Debug)]
pub struct Resolver {
    udp: UdpSocket,
    tcp: TcpListener,
}

/// What it answers from.
pub struct Source {
    /// The container's id.
    pub container: String,
    /// Where it looks who is there.
    pub networks: Networks,
    /// Whether a container is there.
    pub alive: Box<dyn Fn(&str) -> bool + Send>,
    /// The name servers that were asked for.
    pub names: Names,
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Serving {
    _until: oneshot::Sender<()>,
}

impl Resolver {
    /// Opens it in a namespace. Questions wait from here on.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or the kernel refuses.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Self, NetworkError> {
        within(namespace, || {
            let failed = |source| NetworkError::Io { path: "resolver".into(), source };
            let udp = UdpSocket::bind((ADDRESS, 0)).map_err(failed)?;
            let tcp = TcpListener::bind((ADDRESS, 0)).map_err(failed)?;
            udp.set_nonblocking(true).and_then(|()| tcp.set_nonblocking(true)).map_err(failed)?;
            let (udp_port, tcp_port) = udp
                .local_addr()
                .and_then(|udp| Ok((udp.port(), tcp.local_addr()?.port())))
                .map_err(failed)?;
            let ports = [(Protocol::Udp, udp_port), (Protocol::Tcp, tcp_port)].map(|(protocol, port)| {
                let asked = Element::new().ipv4(ADDRESS).protocol(protocol).port(PORT);
                asked.leads_to().ipv4(ADDRESS).port(port)
            });
            let key = [Field::Ipv4Address, Field::Protocol, Field::Port];
            let map = Set::map("ports", &key, &[Field::Ipv4Address, Field::Port]).elements(ports);
            let asked = Chain::destination_nat("asked", Hook::Output);
            let table = Table::new(rules::FAMILY, TABLE)
                .set(map)
                .chain(asked.rule(Rule::new().redirect_by_address_ipv4("ports")));
            Nftables::open()?.commit(&Transaction::new().replace(&table))?;
            Ok(Self { udp, tcp })
        })
        .unwrap_or_else(|source| Err(NetworkError::Io { path: "resolver".into(), source }))
    }

    /// Serves it with a thread of its own.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn serve(self, source: Source) -> io::Result<Serving> {
        let (until, end) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            LocalSet::new().block_on(&runtime, async move {
                tokio::select! {
                    _ = end => {}
                    error = work(self, Rc::new(source)) => eprintln!("resolver: {error}"),
                }
            });
        })?;
        Ok(Serving { _until: until })
    }
}

async fn work(resolver: Resolver, source: Rc<Source>) -> io::Error {
    let udp = tokio::net::UdpSocket::from_std(resolver.udp);
    let tcp = tokio::net::TcpListener::from_std(resolver.tcp);
    match (udp, tcp) {
        (Ok(udp), Ok(tcp)) => {
            let slots = Arc::new(Semaphore::new(AT_ONCE));
            tokio::select! {
                error = datagrams(Rc::new(udp), Rc::clone(&source), Arc::clone(&slots)) => error,
                error = connections(tcp, source, slots) => error,
            }
        }
        (Err(error), _) | (_, Err(error)) => error,
    }
}

async fn datagrams(udp: Rc<tokio::net::UdpSocket>, source: Rc<Source>, slots: Arc<Semaphore>) -> io::Error {
    let mut buffer = vec![0; LARGEST];
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return io::ErrorKind::Other.into() };
        // What a client sends can be no reason to end; that the socket is gone would be told again and again.
        let Ok((length, from)) = udp.recv_from(&mut buffer).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let question = buffer.get(..length).unwrap_or_default().to_vec();
        let (udp, source) = (Rc::clone(&udp), Rc::clone(&source));
        spawn_local(async move {
            if let Some(answer) = answer(&source, &question, Transport::Udp).await {
                let _ = udp.send_to(&answer, from).await;
            }
            drop(slot);
        });
    }
}

async fn connections(tcp: tokio::net::TcpListener, source: Rc<Source>, slots: Arc<Semaphore>) -> io::Error {
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return io::ErrorKind::Other.into() };
        let Ok((mut stream, _)) = tcp.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let source = Rc::clone(&source);
        spawn_local(async move {
            while let Ok(Ok(question)) = tokio::time::timeout(IDLE, read(&mut stream)).await {
                let Some(answer) = answer(&source, &question, Transport::Tcp).await else { break };
                if !matches!(tokio::time::timeout(IDLE, write(&mut stream, &answer)).await, Ok(Ok(()))) {
                    break;
                }
            }
            drop(slot);
        });
    }
}

/// A message of a stream has its length before it.
async fn read(stream: &mut tokio::net::TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write(stream: &mut tokio::net::TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(message);
    stream.write_all(&framed).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

async fn answer(source: &Source, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let zone = Zone::of(&source.networks, &source.container, &source.alive);
    match zone.judge(question, transport == Transport::Udp) {
        Verdict::Answer(bytes) => Some(bytes),
        Verdict::Nothing => None,
        Verdict::PassOn => {
            let machine = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
            for server in servers(&machine, &source.names) {
                let Ok(address) = server.parse::<IpAddr>() else { continue };
                let asked = ask(SocketAddr::new(address, PORT), question, transport);
                if let Ok(Ok(bytes)) = tokio::time::timeout(PATIENCE, asked).await {
                    return Some(bytes);
                }
            }
            zone::failure(question)
        }
    }
}

async fn ask(server: SocketAddr, question: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
    if transport == Transport::Tcp {
        let mut stream = tokio::net::TcpStream::connect(server).await?;
        write(&mut stream, question).await?;
        return read(&mut stream).await;
    }
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = tokio::net::UdpSocket::bind(any).await?;
    // From nobody else is an answer taken.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        if answer.get(..2) == question.get(..2) {
            return Ok(answer.to_vec());
        }
    }
}
