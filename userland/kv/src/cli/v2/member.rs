//! Who the members are, and whether they are well.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::client::{Client, Failure, dial_error};

#[derive(clap::Subcommand)]
pub enum Member {
    /// Who they are
    List,
    /// Adds one: NAME URL
    Add { words: Vec<String> },
    /// Removes one, by its number
    Remove { words: Vec<String> },
    /// Changes the URLs of one: NUMBER URL
    Update { words: Vec<String> },
}

/// What a member says of another.
struct Known {
    id: String,
    name: String,
    peer_urls: Vec<String>,
    client_urls: Vec<String>,
}

impl Known {
    fn of(json: &Value) -> Known {
        let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let texts = |name: &str| -> Vec<String> {
            let list = json.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        Known {
            id: text("id"),
            name: text("name"),
            peer_urls: texts("peerURLs"),
            client_urls: texts("clientURLs"),
        }
    }
}

async fn known(client: &Client) -> Result<Vec<Known>, Failure> {
    let answer = client.json("GET", "/v2/members", "").await?;
    let members = answer.json.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(members.iter().map(Known::of).collect())
}

fn urls(text: &str) -> String {
    json!({ "peerURLs": text.split(',').collect::<Vec<_>>() }).to_string()
}

fn plain(text: impl Into<String>) -> Failure {
    Failure::Plain(text.into())
}

impl Member {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Member::List => list(client).await,
            Member::Add { words } => {
                let [name, url] = words.as_slice() else {
                    return Err(plain("Provide a name and a single member peerURL"));
                };
                add(client, name, url).await
            }
            Member::Remove { words } => {
                let [id] = words.as_slice() else { return Err(plain("Provide a single member ID")) };
                if !known(client).await?.iter().any(|member| member.id == *id) {
                    return Err(plain(format!("Couldn't find a member in the cluster with an ID of {id}.")));
                }
                client.json("DELETE", &format!("/v2/members/{id}"), "").await?;
                println!("Removed member {id} from cluster");
                Ok(())
            }
            Member::Update { words } => {
                let [id, url] = words.as_slice() else {
                    return Err(plain(
                        "Provide an ID and a list of comma separated peerURL (0xabcd http://example.com,http://example1.com)",
                    ));
                };
                client.json("PUT", &format!("/v2/members/{id}"), &urls(url)).await?;
                println!("Updated member with ID {id} in cluster");
                Ok(())
            }
        }
    }
}

async fn list(client: &Client) -> Result<(), Failure> {
    let all = known(client).await?;
    let leader = client.json("GET", "/v2/members/leader", "").await.ok();
    for member in all {
        let peers = member.peer_urls.join(",");
        if member.name.is_empty() {
            println!("{}[unstarted]: peerURLs={peers}", member.id);
            continue;
        }
        let leads = leader.as_ref().is_some_and(|leader| leader.text("/id") == member.id);
        println!(
            "{}: name={} peerURLs={peers} clientURLs={} isLeader={leads}",
            member.id,
            member.name,
            member.client_urls.join(",")
        );
    }
    Ok(())
}

async fn add(client: &Client, name: &str, url: &str) -> Result<(), Failure> {
    let answer = client.json("POST", "/v2/members", &urls(url)).await?;
    let id = answer.text("/id");
    println!("Added member named {name} with ID {id} to cluster\n\nETCD_NAME={name:?}");
    let all = known(client).await?;
    let parts: Vec<String> = all
        .iter()
        .flat_map(|member| {
            let label = if member.id == id { name } else { member.name.as_str() };
            member.peer_urls.iter().map(move |url| format!("{label}={url}"))
        })
        .collect();
    println!("ETCD_INITIAL_CLUSTER={:?}\nETCD_INITIAL_CLUSTER_STATE=\"existing\"", parts.join(","));
    Ok(())
}

/// Asks every member how it is.
pub async fn health(client: &Client) -> Result<ExitCode, Failure> {
    let all = known(client).await?;
    let mut well = 0;
    for member in &all {
        match ask(client, member).await {
            None if member.client_urls.is_empty() => {
                println!("member {} is unreachable: no available published client urls", member.id);
            }
            None => {
                println!(
                    "member {} is unreachable: [{}] are all unreachable",
                    member.id,
                    member.client_urls.join(" ")
                );
            }
            Some((url, true)) => {
                well += 1;
                println!("member {} is healthy: got healthy result from {url}", member.id);
            }
            Some((url, false)) => {
                println!("member {} is unhealthy: got unhealthy result from {url}", member.id);
            }
        }
    }
    let (word, code) = match well {
        _ if well == all.len() => ("healthy", ExitCode::SUCCESS),
        0 => ("unavailable", ExitCode::from(5)),
        _ => ("degraded", ExitCode::from(5)),
    };
    println!("cluster is {word}");
    Ok(code)
}

/// Which URL of a member answers, and whether it says that it is well.
async fn ask<'a>(client: &Client, member: &'a Known) -> Option<(&'a str, bool)> {
    for url in &member.client_urls {
        match client.health(url).await {
            Ok(answer) => return Some((url, answer.text("/health") == "true" || answer.is("/health"))),
            Err(error) => println!(
                "failed to check the health of member {} on {url}: Get \"{url}/health\": {}",
                member.id,
                dial_error(url, &error)
            ),
        }
    }
    None
}
