//! `etcd gateway start`: passes TCP connections on to the members, one after the other in turn. It reads nothing of
//! what goes through, so TLS is between client and member.
//!
//! Source: etcd 3.4, proxy/tcpproxy/userspace.go and Documentation/op-guide/gateway.md.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::config::duration;
use super::relay::Relay;
use crate::applet;

/// How it calls itself.
const NAME: &str = "etcd: gateway";
/// How long a member may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Passes connections on to the members of a cluster
#[derive(Parser)]
#[command(name = "etcd gateway", version = crate::serve::VERSION)]
enum Arguments {
    /// Start the gateway
    Start(Start),
}

#[derive(clap::Args)]
struct Start {
    #[command(flatten)]
    relay: Relay,
    /// Taken for etcd's sake: connections are passed on as they are
    #[arg(long)]
    trusted_ca_file: Option<std::path::PathBuf>,
    /// How long a member that failed is left out
    #[arg(long, default_value = "1m", value_parser = |text: &str| duration(text, 1).ok_or("this is no duration"))]
    retry_delay: Duration,
}

/// Runs the gateway.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match applet::parse(args) {
        Ok(Arguments::Start(start)) => applet::serve(NAME, run(start)),
        Err(code) => code,
    }
}

/// `HOST:PORT` of an endpoint that may be a URL.
fn place(endpoint: &str) -> String {
    let place = endpoint.split_once("://").map_or(endpoint, |(_, place)| place);
    place.trim_end_matches('/').to_owned()
}

async fn run(start: Start) -> Result<(), String> {
    let endpoints = start.relay.endpoints().await?;
    let members = Members::new(endpoints.iter().map(|endpoint| place(endpoint)), start.retry_delay);
    let listener = start.relay.listen(NAME, &endpoints).await?;
    let members = Arc::new(members);
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(pass_on(client, members.clone()))),
            Err(error) => {
                eprintln!("etcd: gateway: cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn pass_on(mut client: TcpStream, members: Arc<Members>) {
    // Each is tried once; with none left, the client's connection ends.
    for place in members.candidates() {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(&place)).await {
            Ok(Ok(mut member)) => {
                members.succeeded(&place);
                let _ = (client.set_nodelay(true), member.set_nodelay(true));
                let _ = tokio::io::copy_bidirectional(&mut client, &mut member).await;
                return;
            }
            Ok(Err(error)) => members.failed(&place, &error.to_string()),
            Err(_) => members.failed(&place, "no answer in time"),
        }
    }
}

/// The members in turn, and until when each is left out.
struct Members {
    turn: Mutex<VecDeque<(String, Option<Instant>)>>,
    retry_delay: Duration,
}

impl Members {
    fn new(places: impl Iterator<Item = String>, retry_delay: Duration) -> Members {
        let turn = places.filter(|place| !place.is_empty()).map(|place| (place, None)).collect();
        Members { turn: Mutex::new(turn), retry_delay }
    }

    /// Those to try, the one whose turn it is first; those that are left out come last, for there may be no other.
    fn candidates(&self) -> Vec<String> {
        let mut turn = self.turn.lock();
        if let Some(first) = turn.pop_front() {
            turn.push_back(first);
        }
        let now = Instant::now();
        let (out, well): (Vec<_>, Vec<_>) =
            turn.iter().cloned().partition(|(_, until)| until.is_some_and(|until| until > now));
        well.into_iter().chain(out).map(|(place, _)| place).collect()
    }

    fn mark(&self, place: &str, until: Option<Instant>) {
        if let Some((_, mark)) = self.turn.lock().iter_mut().find(|(known, _)| known == place) {
            *mark = until;
        }
    }

    fn succeeded(&self, place: &str) {
        self.mark(place, None);
    }

    fn failed(&self, place: &str, why: &str) {
        eprintln!("etcd: gateway: deactivated endpoint {place} for {:?}: {why}", self.retry_delay);
        self.mark(place, Some(Instant::now() + self.retry_delay));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_take_turns_and_one_that_failed_comes_last() {
        let members = Members::new(["a", "b", "c"].map(String::from).into_iter(), Duration::from_secs(60));
        assert_eq!(members.candidates(), ["b", "c", "a"]);
        assert_eq!(members.candidates(), ["c", "a", "b"]);
        members.failed("b", "a test");
        assert_eq!(members.candidates(), ["a", "c", "b"]);
        assert_eq!(members.candidates(), ["c", "a", "b"]);
        members.succeeded("b");
        assert_eq!(members.candidates(), ["c", "a", "b"]);
    }

    #[test]
    fn an_endpoint_is_a_url_or_a_place() {
        assert_eq!(place("https://10.0.0.1:2379/"), "10.0.0.1:2379");
        assert_eq!(place("10.0.0.1:2379"), "10.0.0.1:2379");
    }
}
