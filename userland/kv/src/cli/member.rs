//! `member`: who the members are.

use super::client::{Client, Failure};
use super::output::{Format, table};
use crate::proto::cluster_client::ClusterClient;
use crate::proto::*;

#[derive(clap::Subcommand)]
pub(crate) enum Member {
    /// Lists the members
    List,
    /// Adds one that is to be started then
    Add {
        name: String,
        #[arg(long, value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
        /// It listens first, and is promoted later
        #[arg(long)]
        learner: bool,
    },
    /// Removes one
    Remove { id: String },
    /// Changes where the others find it
    Update {
        id: String,
        #[arg(long, value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
    },
    /// Lets one that listens vote
    Promote { id: String },
}

fn parse(id: &str) -> Result<u64, Failure> {
    u64::from_str_radix(id, 16)
        .map_err(|_| Failure::Usage(format!("bad member ID arg {id:?}, expecting ID in Hex")))
}

impl Member {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut cluster = ClusterClient::new(client.channel.clone());
        let id_of = |header: &Option<ResponseHeader>| header.map_or(0, |header| header.cluster_id);
        match self {
            Member::List => {
                let request = client.request(MemberListRequest { linearizable: true });
                let answer = cluster.member_list(request).await?.into_inner();
                let rows: Vec<Vec<String>> = answer.members.iter().map(row).collect();
                client.printer.print("MemberListResponse", &answer, |out| {
                    if client.printer.format == Format::Table {
                        let head = ["ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"];
                        let _ = write!(out, "{}", table(&head, &rows));
                    } else {
                        rows.iter().for_each(|row| drop(writeln!(out, "{}", row.join(", "))));
                    }
                });
            }
            Member::Add { name, peer_urls, learner } => {
                let request = MemberAddRequest { peer_ur_ls: peer_urls.clone(), is_learner: learner };
                let answer = cluster.member_add(client.request(request)).await?.into_inner();
                let added = answer.member.clone().unwrap_or_default();
                client.printer.print("MemberAddResponse", &answer, |out| {
                    let _ =
                        writeln!(out, "Member {:x} added to cluster {:x}\n", added.id, id_of(&answer.header));
                    let all: Vec<String> = answer
                        .members
                        .iter()
                        .flat_map(|member| {
                            let name = if member.id == added.id { &name } else { &member.name };
                            member.peer_ur_ls.iter().map(move |url| format!("{name}={url}"))
                        })
                        .collect();
                    let _ = writeln!(out, "ETCD_NAME={name:?}\nETCD_INITIAL_CLUSTER={:?}", all.join(","));
                    let _ = writeln!(out, "ETCD_INITIAL_ADVERTISE_PEER_URLS={:?}", peer_urls.join(","));
                    let _ = writeln!(out, "ETCD_INITIAL_CLUSTER_STATE=\"existing\"");
                });
            }
            Member::Remove { id } => {
                let id = parse(&id)?;
                let answer =
                    cluster.member_remove(client.request(MemberRemoveRequest { id })).await?.into_inner();
                client.printer.print("MemberRemoveResponse", &answer, |out| {
                    let _ =
                        writeln!(out, "Member {id:16x} removed from cluster {:16x}", id_of(&answer.header));
                });
            }
            Member::Update { id, peer_urls } => {
                let id = parse(&id)?;
                let request = client.request(MemberUpdateRequest { id, peer_ur_ls: peer_urls });
                let answer = cluster.member_update(request).await?.into_inner();
                client.printer.print("MemberUpdateResponse", &answer, |out| {
                    let _ = writeln!(out, "Member {id:16x} updated in cluster {:16x}", id_of(&answer.header));
                });
            }
            Member::Promote { id } => {
                let id = parse(&id)?;
                let answer =
                    cluster.member_promote(client.request(MemberPromoteRequest { id })).await?.into_inner();
                client.printer.print("MemberPromoteResponse", &answer, |out| {
                    let _ =
                        writeln!(out, "Member {id:16x} promoted in cluster {:16x}", id_of(&answer.header));
                });
            }
        }
        Ok(())
    }
}

fn row(member: &crate::proto::Member) -> Vec<String> {
    vec![
        format!("{:x}", member.id),
        if member.name.is_empty() { "unstarted" } else { "started" }.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}
