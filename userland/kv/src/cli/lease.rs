//! `lease`: granting, renewing, ending.

use std::time::Duration;

use tokio_stream::StreamExt;

use super::client::{Client, Failure};
use super::keys::lease as parse;
use crate::proto::lease_client::LeaseClient;
use crate::proto::*;

#[derive(clap::Subcommand)]
pub(crate) enum Lease {
    /// Grants a lease of so many seconds
    Grant { ttl: i64 },
    /// Ends a lease
    Revoke { id: String },
    /// Says how long a lease still lasts
    Timetolive {
        id: String,
        /// And the keys tied to it
        #[arg(long)]
        keys: bool,
    },
    /// Lists all leases
    List,
    /// Renews a lease for ever
    KeepAlive {
        id: String,
        /// Once only
        #[arg(long)]
        once: bool,
    },
}

impl Lease {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut leases = LeaseClient::new(client.channel.clone());
        match self {
            Lease::Grant { ttl } => {
                let answer =
                    leases.lease_grant(client.request(LeaseGrantRequest { ttl, id: 0 })).await?.into_inner();
                let rest = format!(r#""ID":{},"TTL":{},"Error":{:?}"#, answer.id, answer.ttl, answer.error);
                client.printer.flat("LeaseGrantResponse", &answer, answer.header, &rest, |out| {
                    let _ = writeln!(out, "lease {:016x} granted with TTL({}s)", answer.id, answer.ttl);
                });
            }
            Lease::Revoke { id } => {
                let id = parse(&id)?;
                let answer = leases.lease_revoke(client.request(LeaseRevokeRequest { id })).await;
                let answer = answer.map_err(|status| {
                    let text = format!("failed to revoke lease ({})", status.message());
                    tonic::Status::new(status.code(), text)
                })?;
                let answer = answer.into_inner();
                client.printer.print("LeaseRevokeResponse", &answer, |out| {
                    let _ = writeln!(out, "lease {id:016x} revoked");
                });
            }
            Lease::Timetolive { id, keys } => {
                let id = parse(&id)?;
                let request = client.request(LeaseTimeToLiveRequest { id, keys });
                let answer = leases.lease_time_to_live(request).await?.into_inner();
                let rest = format!(
                    r#""id":{},"ttl":{},"granted-ttl":{},"keys":{}"#,
                    answer.id,
                    answer.ttl,
                    answer.granted_ttl,
                    keys_json(&answer.keys)
                );
                client.printer.flat("LeaseTimeToLiveResponse", &answer, answer.header, &rest, |out| {
                    if answer.granted_ttl == 0 && answer.ttl == -1 {
                        let _ = writeln!(out, "lease {id:016x} already expired");
                        return;
                    }
                    let _ = write!(
                        out,
                        "lease {id:016x} granted with TTL({}s), remaining({}s)",
                        answer.granted_ttl, answer.ttl
                    );
                    if keys {
                        let names: Vec<_> =
                            answer.keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
                        let _ = write!(out, ", attached keys([{}])", names.join(" "));
                    }
                    let _ = writeln!(out);
                });
            }
            Lease::List => {
                let answer = leases.lease_leases(client.request(LeaseLeasesRequest {})).await?.into_inner();
                let ids: Vec<String> =
                    answer.leases.iter().map(|lease| format!(r#"{{"id":{}}}"#, lease.id)).collect();
                let rest = format!(r#""leases":[{}]"#, ids.join(","));
                client.printer.flat("LeaseLeasesResponse", &answer, answer.header, &rest, |out| {
                    let _ = writeln!(out, "found {} leases", answer.leases.len());
                    for lease in &answer.leases {
                        let _ = writeln!(out, "{:016x}", lease.id);
                    }
                });
            }
            Lease::KeepAlive { id, once } => keep_alive(client, parse(&id)?, once).await?,
        }
        Ok(())
    }
}

/// Keys as Go's JSON has bytes: in base64, and `null` where there are none.
fn keys_json(keys: &[bytes::Bytes]) -> String {
    use base64::Engine;
    let encode = |key: &bytes::Bytes| format!("{:?}", base64::engine::general_purpose::STANDARD.encode(key));
    match keys {
        [] => "null".into(),
        keys => format!("[{}]", keys.iter().map(encode).collect::<Vec<_>>().join(",")),
    }
}

async fn keep_alive(client: &Client, id: i64, once: bool) -> Result<(), Failure> {
    let mut leases = LeaseClient::new(client.channel.clone());
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let _ = send.send(LeaseKeepAliveRequest { id }).await;
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = leases.lease_keep_alive(client.stream(requests)).await?.into_inner();
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        if answer.ttl <= 0 {
            println!("lease {id:016x} expired or revoked.");
            return Ok(());
        }
        let rest = format!(r#""ID":{},"TTL":{}"#, answer.id, answer.ttl);
        client.printer.flat("LeaseKeepAliveResponse", &answer, answer.header, &rest, |out| {
            let _ = writeln!(out, "lease {id:016x} keepalived with TTL({})", answer.ttl);
        });
        if once {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis((answer.ttl.unsigned_abs() * 1000) / 3)).await;
        let _ = send.send(LeaseKeepAliveRequest { id }).await;
    }
    Ok(())
}

/// A lease that is renewed as long as the sender lives.
pub(super) async fn hold(client: &Client, ttl: i64) -> Result<(i64, tokio::task::JoinHandle<()>), Failure> {
    let mut leases = LeaseClient::new(client.channel.clone());
    let answer = leases.lease_grant(client.request(LeaseGrantRequest { ttl, id: 0 })).await?.into_inner();
    let id = answer.id;
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let requests = client.stream(tokio_stream::wrappers::ReceiverStream::new(requests));
    let step = Duration::from_millis((answer.ttl.unsigned_abs() * 1000 / 3).max(500));
    let task = tokio::spawn(async move {
        let Ok(answers) = leases.lease_keep_alive(requests).await else { return };
        let mut answers = answers.into_inner();
        while send.send(LeaseKeepAliveRequest { id }).await.is_ok() {
            if !matches!(answers.next().await, Some(Ok(_))) {
                return;
            }
            tokio::time::sleep(step).await;
        }
    });
    Ok((id, task))
}
