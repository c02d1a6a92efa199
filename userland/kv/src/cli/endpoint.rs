//! `endpoint`, `alarm`, `defrag`, `move-leader`: how the members are.

use std::process::ExitCode;
use std::time::Instant;

use super::Global;
use super::client::{Client, Failure};
use super::output::{Format, json, table};
use crate::proto::alarm_request::AlarmAction;
use crate::proto::cluster_client::ClusterClient;
use crate::proto::kv_client::KvClient;
use crate::proto::maintenance_client::MaintenanceClient;
use crate::proto::*;

#[derive(clap::Subcommand)]
pub(crate) enum Endpoint {
    /// Whether each answers a linearizable read
    Health {
        /// Ask all members of the cluster
        #[arg(long)]
        cluster: bool,
    },
    /// What each says of itself
    Status {
        #[arg(long)]
        cluster: bool,
    },
    /// A hash of each one's keys
    Hashkv {
        #[arg(long)]
        cluster: bool,
        #[arg(long, default_value_t = 0)]
        rev: i64,
    },
}

async fn endpoints(global: &Global, cluster: bool) -> Result<Vec<String>, Failure> {
    if !cluster {
        return Ok(global.endpoints.clone());
    }
    let client = Client::connect(global).await?;
    let request = client.request(MemberListRequest::default());
    let answer = ClusterClient::new(client.channel.clone()).member_list(request).await?.into_inner();
    Ok(answer.members.into_iter().flat_map(|member| member.client_ur_ls).collect())
}

fn size(bytes: i64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if value < 10.0 && unit != "B" {
                format!("{value:.1} {unit}")
            } else {
                format!("{value:.0} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

pub(super) async fn endpoint(verb: Endpoint, global: &Global) -> Result<ExitCode, Failure> {
    let cluster = match verb {
        Endpoint::Health { cluster } | Endpoint::Status { cluster } | Endpoint::Hashkv { cluster, .. } => {
            cluster
        }
    };
    let mut failed = false;
    let mut rows = Vec::new();
    let mut objects = Vec::new();
    for endpoint in endpoints(global, cluster).await? {
        let began = Instant::now();
        let result = one(&verb, &endpoint, global).await;
        match result {
            Ok((mut row, json)) => {
                if matches!(verb, Endpoint::Health { .. }) {
                    let took = format!("{:?}", began.elapsed());
                    objects.push(format!(r#"{{"endpoint":{endpoint:?},"health":true,"took":{took:?}}}"#));
                    row.push(took);
                    row.push(String::new());
                } else {
                    objects.push(format!(r#"{{"Endpoint":{endpoint:?},{json}}}"#));
                }
                let mut whole = vec![endpoint.clone()];
                whole.extend(row);
                rows.push(whole);
            }
            Err(failure) => {
                failed = true;
                match verb {
                    Endpoint::Health { .. } => {
                        let (took, error) = (format!("{:?}", began.elapsed()), failure.to_string());
                        objects.push(
                            serde_json::json!({
                                "endpoint": endpoint, "health": false, "took": took, "error": error,
                            })
                            .to_string(),
                        );
                        rows.push(vec![endpoint.clone(), "false".into(), took, error]);
                    }
                    _ => eprintln!("Failed to get the status of endpoint {endpoint} ({failure})"),
                }
            }
        }
    }
    let head: &[&str] = match verb {
        Endpoint::Health { .. } => &["ENDPOINT", "HEALTH", "TOOK", "ERROR"],
        Endpoint::Status { .. } => &[
            "ENDPOINT",
            "ID",
            "VERSION",
            "DB SIZE",
            "IS LEADER",
            "IS LEARNER",
            "RAFT TERM",
            "RAFT INDEX",
            "RAFT APPLIED INDEX",
            "ERRORS",
        ],
        Endpoint::Hashkv { .. } => &["ENDPOINT", "HASH"],
    };
    match (global.format, &verb) {
        (Format::Table, _) => print!("{}", table(head, &rows)),
        (Format::Json, _) => println!("[{}]", objects.join(",")),
        (_, Endpoint::Health { .. }) => {
            for row in &rows {
                match row.as_slice() {
                    [endpoint, health, took, error] if health == "false" => {
                        eprintln!(
                            "{endpoint} is unhealthy: failed to commit proposal: {error} (took = {took})"
                        );
                    }
                    [endpoint, _, took, _] => {
                        eprintln!("{endpoint} is healthy: successfully committed proposal: took = {took}");
                    }
                    _ => {}
                }
            }
        }
        _ => rows.iter().for_each(|row| println!("{}", row.join(", "))),
    }
    if failed {
        if matches!(verb, Endpoint::Health { .. }) {
            eprintln!("Error: unhealthy cluster");
        }
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What one endpoint says: as cells of a table, and as JSON.
async fn one(verb: &Endpoint, endpoint: &str, global: &Global) -> Result<(Vec<String>, String), Failure> {
    let client = Client::to(endpoint, global).await?;
    let mut maintenance = MaintenanceClient::new(client.channel.clone());
    match verb {
        Endpoint::Health { .. } => {
            let request = RangeRequest { key: "health".into(), ..RangeRequest::default() };
            match KvClient::new(client.channel.clone()).range(client.request(request)).await {
                // Who may not read is answered all the same.
                Err(status) if status.code() != tonic::Code::PermissionDenied => Err(status.into()),
                _ => Ok((vec!["true".into()], String::new())),
            }
        }
        Endpoint::Status { .. } => {
            let status = maintenance.status(client.request(StatusRequest {})).await?.into_inner();
            let id = status.header.map_or(0, |header| header.member_id);
            let json = format!(r#""Status":{}"#, json("StatusResponse", &status));
            let cells = vec![
                format!("{id:x}"),
                status.version,
                size(status.db_size),
                (status.leader == id).to_string(),
                status.is_learner.to_string(),
                status.raft_term.to_string(),
                status.raft_index.to_string(),
                status.raft_applied_index.to_string(),
                status.errors.join(", "),
            ];
            Ok((cells, json))
        }
        Endpoint::Hashkv { rev, .. } => {
            let hash =
                maintenance.hash_kv(client.request(HashKvRequest { revision: *rev })).await?.into_inner();
            let json = format!(r#""HashKV":{}"#, json("HashKVResponse", &hash));
            Ok((vec![hash.hash.to_string()], json))
        }
    }
}

pub(super) async fn defrag(global: &Global) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::SUCCESS;
    for endpoint in &global.endpoints {
        let result = async {
            let client = Client::to(endpoint, global).await?;
            let mut maintenance = MaintenanceClient::new(client.channel.clone());
            maintenance.defragment(client.stream(DefragmentRequest {})).await?;
            Ok::<_, Failure>(())
        };
        match result.await {
            Ok(()) => println!("Finished defragmenting etcd member[{endpoint}]"),
            Err(failure) => {
                eprintln!("Failed to defragment etcd member[{endpoint}] ({failure})");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

#[derive(clap::Subcommand)]
pub(crate) enum Alarm {
    /// Prints alarms that are on
    List,
    /// Clears all alarms
    Disarm,
}

impl Alarm {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let action = match self {
            Alarm::List => AlarmAction::Get,
            Alarm::Disarm => AlarmAction::Deactivate,
        };
        let request = client.request(AlarmRequest { action: action.into(), ..AlarmRequest::default() });
        let answer = MaintenanceClient::new(client.channel.clone()).alarm(request).await?.into_inner();
        client.printer.print("AlarmResponse", &answer, |out| {
            for alarm in &answer.alarms {
                let _ = writeln!(out, "memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name());
            }
        });
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct MoveLeader {
    /// The member that is to lead
    id: String,
}

impl MoveLeader {
    pub async fn run(self, client: &Client, global: &Global) -> Result<(), Failure> {
        let target_id = u64::from_str_radix(&self.id, 16)
            .map_err(|_| Failure::Usage(format!("bad member ID arg {:?}, expecting ID in Hex", self.id)))?;
        for endpoint in endpoints(global, false).await? {
            let there = Client::to(&endpoint, global).await?;
            let mut maintenance = MaintenanceClient::new(there.channel.clone());
            let status = maintenance.status(there.request(StatusRequest {})).await?.into_inner();
            let id = status.header.map_or(0, |header| header.member_id);
            if status.leader == id {
                maintenance.move_leader(client.stream(MoveLeaderRequest { target_id })).await?;
                println!("Leadership transferred from {id:x} to {target_id:x}");
                return Ok(());
            }
        }
        Err(Failure::Usage(format!("no leader endpoint given at {:?}", global.endpoints)))
    }
}
