//! One client's connection: its key is checked, then its requests are answered.
//!
//! russh calls the functions of [`Connection`]; none of them waits for anything but the file system, since
//! the connection stands still meanwhile.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio::sync::watch;

use crate::access::{Doors, Login};
use crate::flow::{Queues, WINDOW};
use crate::forward::{self, MOST_CHANNELS, Ports};
use crate::pty::{Terminal, size};
use crate::session::{Request, Session};
use crate::startups::Stranger;

/// The most sessions of one connection, as sshd_config(5)'s MaxSessions.
const MOST_SESSIONS: usize = 10;
/// How long a connection pauses when it sends to someone who does not take it.
const PAUSE: Duration = Duration::from_millis(10);

/// The state of a connection.
pub(crate) struct Connection {
    doors: Arc<Doors>,
    /// The client's end, and ours.
    ends: (SocketAddr, SocketAddr),
    /// Held until someone has logged in.
    stranger: Option<Stranger>,
    /// Told when someone has.
    logged_in: watch::Sender<bool>,
    login: Option<Login>,
    sessions: HashMap<ChannelId, Session>,
    queues: Queues,
    ports: Ports,
}

impl Connection {
    /// A connection that nobody has logged in on.
    pub(crate) fn new(
        doors: Arc<Doors>,
        ends: (SocketAddr, SocketAddr),
        stranger: Stranger,
        logged_in: watch::Sender<bool>,
    ) -> Connection {
        Connection {
            doors,
            ends,
            stranger: Some(stranger),
            logged_in,
            login: None,
            sessions: HashMap::new(),
            queues: Queues::default(),
            ports: Ports::default(),
        }
    }

    fn find(&self, user: &str, key: &PublicKey) -> Option<Login> {
        self.doors.login(user, key, self.ends.0.ip())
    }

    fn may_forward(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.rights.forwarding)
    }

    /// Starts a session's process and tells the client whether it did.
    fn start(
        &mut self,
        channel: ChannelId,
        request: Request,
        session: &mut russh::server::Session,
    ) -> Result<(), russh::Error> {
        let started = match (self.sessions.get_mut(&channel), &self.login) {
            (Some(waiting), Some(login)) => {
                let started = waiting.start(request, login, self.ends, session.handle());
                if let Err(error) = &started {
                    eprintln!("sshd: a session of {} could not be started: {error}", login.user.name);
                }
                started.is_ok()
            }
            _ => false,
        };
        answer(session, channel, started)
    }
}

fn answer(session: &mut russh::server::Session, channel: ChannelId, yes: bool) -> Result<(), russh::Error> {
    if yes { session.channel_success(channel) } else { session.channel_failure(channel) }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(if self.find(user, offer.public_key).is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let (peer, kind) = (self.ends.0, key.public_key.algorithm());
        let fingerprint = key.public_key.fingerprint(Default::default());
        let Some(login) = self.find(user, key.public_key) else {
            eprintln!(
                "sshd: Failed publickey for {user:?} from {} port {}: {kind} {fingerprint}",
                peer.ip(),
                peer.port()
            );
            return Ok(Auth::reject());
        };
        eprintln!(
            "sshd: Accepted publickey for {user} from {} port {}: {kind} {fingerprint}",
            peer.ip(),
            peer.port()
        );
        self.login = Some(login);
        self.stranger = None;
        self.logged_in.send_replace(true);
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if self.sessions.len() >= MOST_SESSIONS || self.queues.len() >= MOST_CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let id = channel.id();
        self.sessions.insert(id, Session::new(self.queues.open(channel)));
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let allowed = u16::try_from(port)
            .ok()
            .filter(|port| self.login.as_ref().is_some_and(|login| login.rights.may_open(host, *port)));
        let Some(port) = allowed else {
            reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            return Ok(());
        };
        if self.queues.len() >= MOST_CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let (id, queues, host) = (channel.id(), self.queues.clone(), host.to_owned());
        let (incoming, writer, closed) = queues.open(channel);
        tokio::spawn(async move {
            match forward::connect(&host, port).await {
                Ok(stream) => {
                    reply.accept().await;
                    forward::carry(stream, incoming, writer, closed).await;
                }
                Err(error) => {
                    eprintln!("sshd: no connection to {host} port {port} for a client: {error}");
                    queues.close(id);
                    reply.reject(ChannelOpenFailure::ConnectFailed).await;
                }
            }
        });
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.sessions.remove(&channel);
        self.queues.close(channel);
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        _data: &[u8],
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if self.queues.is_full(channel) {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn adjust_window(&mut self, channel: ChannelId, _current: u32) -> u32 {
        self.queues.room(channel).min(WINDOW)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let (Some(waiting), Some(login)) = (self.sessions.get_mut(&channel), &self.login) else {
            return answer(session, channel, false);
        };
        let terminal = if login.rights.pty && term.len() <= 64 && !term.contains('\0') {
            Terminal::open(term, size(columns, rows, width, height), modes, login.user.uid)
                .inspect_err(|error| eprintln!("sshd: no terminal for {}: {error}", login.user.name))
                .ok()
        } else {
            None
        };
        let given = terminal.is_some();
        if let Some(terminal) = terminal {
            waiting.give(terminal);
        }
        answer(session, channel, given)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        let taken = self.sessions.get_mut(&channel).is_some_and(|waiting| waiting.set(name, value));
        answer(session, channel, taken)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.start(channel, Request::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if command.contains(&0) {
            return answer(session, channel, false);
        }
        self.start(channel, Request::Exec(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if name != "sftp" {
            return answer(session, channel, false);
        }
        self.start(channel, Request::Subsystem(name.to_owned()), session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(running) = self.sessions.get(&channel) {
            running.resize(size(columns, rows, width, height));
        }
        Ok(())
    }

    async fn signal(
        &mut self,
        channel: ChannelId,
        signal: Sig,
        _session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        if let Some(running) = self.sessions.get(&channel) {
            running.signal(&signal);
        }
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut russh::server::Session,
    ) -> Result<bool, Self::Error> {
        let root = self.login.as_ref().is_some_and(|login| login.user.uid == 0);
        if !self.may_forward() || (*port != 0 && *port < 1024 && !root) {
            return Ok(false);
        }
        match self.ports.listen(address, *port, session.handle(), self.queues.clone()).await {
            Ok(given) => {
                *port = given;
                Ok(true)
            }
            Err(error) => {
                eprintln!("sshd: port {port} is not forwarded to a client: {error}");
                Ok(false)
            }
        }
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _session: &mut russh::server::Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.ports.cancel(address, port))
    }
}
