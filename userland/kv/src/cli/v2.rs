//! `etcdctl` with `ETCDCTL_API=2`: the v2 API.
//!
//! Source: etcd 2.3, etcdctl/README.md.

use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::form::encode;

/// Asks a key-value store with etcd's v2 API. `ETCDCTL_API=3 etcdctl` speaks the v3 API.
#[derive(Parser)]
#[command(name = "etcdctl", version = crate::serve::VERSION)]
struct Cli {
    /// Where the members are
    #[arg(
        long,
        alias = "peers",
        short_alias = 'C',
        alias = "endpoint",
        global = true,
        env = "ETCDCTL_ENDPOINTS",
        default_value = "http://127.0.0.1:2379",
        value_delimiter = ','
    )]
    endpoints: Vec<String>,
    /// simple, extended or json
    #[arg(short, long, global = true, default_value = "simple")]
    output: String,
    /// Taken for etcdctl's sake: the endpoints that are given are the ones that are asked
    #[arg(long, global = true)]
    no_sync: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Prints a key
    Get {
        key: String,
        #[arg(long)]
        sort: bool,
        #[arg(short, long)]
        quorum: bool,
    },
    /// Writes a key
    Set {
        key: String,
        value: String,
        #[arg(long)]
        ttl: Option<u64>,
        #[arg(long)]
        swap_with_value: Option<String>,
        #[arg(long)]
        swap_with_index: Option<u64>,
    },
    /// Makes a key that is not there
    Mk {
        key: String,
        value: String,
        #[arg(long)]
        ttl: Option<u64>,
        /// Below this directory, under a name that keeps the order
        #[arg(long)]
        in_order: bool,
    },
    /// Makes a directory that is not there
    Mkdir {
        key: String,
        #[arg(long)]
        ttl: Option<u64>,
    },
    /// Makes a directory, or changes how long it lasts
    Setdir {
        key: String,
        #[arg(long)]
        ttl: Option<u64>,
    },
    /// Writes a key that is there
    Update {
        key: String,
        value: String,
        #[arg(long)]
        ttl: Option<u64>,
    },
    /// Changes how long a directory lasts
    Updatedir {
        key: String,
        value: Option<String>,
        #[arg(long)]
        ttl: Option<u64>,
    },
    /// Removes a key
    Rm {
        key: String,
        #[arg(long)]
        dir: bool,
        #[arg(short, long)]
        recursive: bool,
        #[arg(long)]
        with_value: Option<String>,
        #[arg(long)]
        with_index: Option<u64>,
    },
    /// Removes a directory that is empty
    Rmdir { key: String },
    /// Lists a directory
    Ls {
        #[arg(default_value = "/")]
        key: String,
        #[arg(short, long)]
        recursive: bool,
        /// Put a slash after directories
        #[arg(short)]
        p: bool,
        #[arg(long)]
        sort: bool,
    },
    /// Prints the next change of a key
    Watch {
        key: String,
        #[arg(short, long)]
        forever: bool,
        #[arg(short, long)]
        recursive: bool,
        #[arg(long)]
        after_index: Option<u64>,
    },
    /// Runs a program at each change of a key
    ExecWatch {
        key: String,
        #[arg(short, long)]
        recursive: bool,
        #[arg(long)]
        after_index: Option<u64>,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Who the members are
    #[command(subcommand)]
    Member(Member),
    /// Whether the members are well
    ClusterHealth,
}

#[derive(Subcommand)]
enum Member {
    List,
    Add { name: String, url: String },
    Remove { id: String },
    Update { id: String, url: String },
}

/// An answer: its status, headers and JSON.
struct Answer {
    status: u16,
    index: u64,
    json: Value,
}

/// Why a verb failed: text and exit code.
type Failure = (String, u8);

fn failure(error: impl std::fmt::Display) -> Failure {
    (format!("Error:  {error}"), 1)
}

struct Client {
    endpoints: Vec<String>,
}

impl Client {
    async fn ask(&self, method: &str, path: &str, body: String, kind: &str) -> Result<Answer, Failure> {
        let mut last = "no endpoints".to_owned();
        for endpoint in &self.endpoints {
            match ask(endpoint, method, path, &body, kind).await {
                Ok(answer) => return check(answer),
                Err(error) => last = format!("{endpoint}: {error}"),
            }
        }
        Err((format!("Error:  client: etcd cluster is unavailable or misconfigured; error #0: {last}"), 4))
    }

    async fn keys(&self, method: &str, key: &str, fields: &[(&str, String)]) -> Result<Answer, Failure> {
        let path = format!("/v2/keys/{}", encode(key.trim_matches('/')));
        let text = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect::<Vec<_>>()
            .join("&");
        let kind = "application/x-www-form-urlencoded";
        match method {
            "PUT" | "POST" => self.ask(method, &path, text, kind).await,
            _ => self.ask(method, &format!("{path}?{text}"), String::new(), kind).await,
        }
    }
}

async fn ask(endpoint: &str, method: &str, path: &str, body: &str, kind: &str) -> io::Result<Answer> {
    let url = super::client::url(endpoint, false);
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let stream = TcpStream::connect(&authority).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", authority)
        .header("content-type", kind)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let index = response.headers().get("x-etcd-index").and_then(|value| value.to_str().ok()?.parse().ok());
    let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let json =
        serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    Ok(Answer { status, index: index.unwrap_or(0), json })
}

fn check(answer: Answer) -> Result<Answer, Failure> {
    if answer.status < 300 {
        return Ok(answer);
    }
    let json = &answer.json;
    let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match json.get("errorCode").and_then(Value::as_u64) {
        Some(code) => {
            Err((format!("Error:  {code}: {} ({}) [{}]", text("message"), text("cause"), answer.index), 4))
        }
        None => Err((format!("Error:  {} {}", answer.status, text("message")), 1)),
    }
}

fn value_of(node: &Value) -> &str {
    node.get("value").and_then(Value::as_str).unwrap_or_default()
}

fn print_node(output: &str, answer: &Answer, plain: &str) {
    let node = answer.json.get("node").unwrap_or(&Value::Null);
    match output {
        "json" => println!("{}", answer.json),
        "extended" => {
            let number = |name: &str| node.get(name).and_then(Value::as_u64).unwrap_or(0);
            println!("Key: {}", node.get("key").and_then(Value::as_str).unwrap_or_default());
            println!(
                "Created-Index: {}\nModified-Index: {}",
                number("createdIndex"),
                number("modifiedIndex")
            );
            println!("TTL: {}\nIndex: {}\n\n{}", number("ttl"), answer.index, value_of(node));
        }
        _ if !plain.is_empty() => println!("{plain}"),
        _ => {}
    }
}

fn list(node: &Value, p: bool) {
    for child in node.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        let dir = child.get("dir").and_then(Value::as_bool).unwrap_or(false);
        let key = child.get("key").and_then(Value::as_str).unwrap_or_default();
        println!("{key}{}", if dir && p { "/" } else { "" });
        list(child, p);
    }
}

/// Runs the client.
pub(super) async fn main(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    let client = Arc::new(Client { endpoints: cli.endpoints });
    match run(cli.verb, &client, &cli.output).await {
        Ok(code) => code,
        Err((text, code)) => {
            eprintln!("{text}");
            ExitCode::from(code)
        }
    }
}

fn ttl_field(ttl: Option<u64>) -> Vec<(&'static str, String)> {
    ttl.filter(|ttl| *ttl > 0).map(|ttl| ("ttl", ttl.to_string())).into_iter().collect()
}

async fn run(verb: Verb, client: &Client, output: &str) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Get { key, sort, quorum } => {
            let fields = [("sorted", sort.to_string()), ("quorum", quorum.to_string())];
            let answer = client.keys("GET", &key, &fields).await?;
            let node = answer.json.get("node").cloned().unwrap_or_default();
            if node.get("dir").and_then(Value::as_bool).unwrap_or(false) {
                return Err((format!("{key}: is a directory"), 1));
            }
            print_node(output, &answer, value_of(&node));
        }
        Verb::Set { key, value, ttl, swap_with_value, swap_with_index } => {
            let mut fields = ttl_field(ttl);
            fields.push(("value", value));
            fields.extend(swap_with_value.map(|value| ("prevValue", value)));
            fields.extend(swap_with_index.map(|index| ("prevIndex", index.to_string())));
            print_value(output, &client.keys("PUT", &key, &fields).await?);
        }
        Verb::Mk { key, value, ttl, in_order } => {
            let mut fields = ttl_field(ttl);
            fields.push(("value", value));
            let method = if in_order {
                "POST"
            } else {
                fields.push(("prevExist", "false".into()));
                "PUT"
            };
            print_value(output, &client.keys(method, &key, &fields).await?);
        }
        Verb::Update { key, value, ttl } => {
            let mut fields = ttl_field(ttl);
            fields.extend([("value", value), ("prevExist", "true".into())]);
            print_value(output, &client.keys("PUT", &key, &fields).await?);
        }
        Verb::Mkdir { key, ttl } => directory(client, output, &key, ttl, Some(false)).await?,
        Verb::Setdir { key, ttl } => directory(client, output, &key, ttl, None).await?,
        Verb::Updatedir { key, ttl, .. } => directory(client, output, &key, ttl, Some(true)).await?,
        Verb::Rm { key, dir, recursive, with_value, with_index } => {
            let mut fields = vec![("dir", dir.to_string()), ("recursive", recursive.to_string())];
            fields.extend(with_value.map(|value| ("prevValue", value)));
            fields.extend(with_index.map(|index| ("prevIndex", index.to_string())));
            let answer = client.keys("DELETE", &key, &fields).await?;
            let previous = answer.json.get("prevNode").map(value_of).unwrap_or_default();
            let plain = if recursive || dir { String::new() } else { format!("PrevNode.Value: {previous}") };
            print_node(output, &answer, &plain);
        }
        Verb::Rmdir { key } => {
            let answer = client.keys("DELETE", &key, &[("dir", "true".into())]).await?;
            print_node(output, &answer, "");
        }
        Verb::Ls { key, recursive, p, sort } => {
            let fields = [("recursive", recursive.to_string()), ("sorted", sort.to_string())];
            let answer = client.keys("GET", &key, &fields).await?;
            let node = answer.json.get("node").cloned().unwrap_or_default();
            if node.get("dir").and_then(Value::as_bool).unwrap_or(false) {
                list(&node, p);
            } else {
                println!("{}", node.get("key").and_then(Value::as_str).unwrap_or_default());
            }
        }
        Verb::Watch { key, forever, recursive, after_index } => {
            let mut next = after_index.map(|index| index + 1);
            loop {
                let answer = wait(client, &key, recursive, &mut next).await?;
                let node = answer.json.get("node").cloned().unwrap_or_default();
                print_node(output, &answer, value_of(&node));
                if !forever {
                    break;
                }
            }
        }
        Verb::ExecWatch { key, recursive, after_index, command } => {
            let mut next = after_index.map(|index| index + 1);
            loop {
                let answer = wait(client, &key, recursive, &mut next).await?;
                react(&answer, &command)?;
            }
        }
        Verb::Member(verb) => member(verb, client).await?,
        Verb::ClusterHealth => return health(client).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_value(output: &str, answer: &Answer) {
    print_node(output, answer, answer.json.get("node").map(value_of).unwrap_or_default());
}

async fn directory(
    client: &Client,
    output: &str,
    key: &str,
    ttl: Option<u64>,
    exists: Option<bool>,
) -> Result<(), Failure> {
    let mut fields = ttl_field(ttl);
    fields.push(("dir", "true".into()));
    fields.extend(exists.map(|exists| ("prevExist", exists.to_string())));
    let answer = client.keys("PUT", key, &fields).await?;
    print_node(output, &answer, "");
    Ok(())
}

async fn wait(
    client: &Client,
    key: &str,
    recursive: bool,
    next: &mut Option<u64>,
) -> Result<Answer, Failure> {
    loop {
        let mut fields = vec![("wait", "true".to_owned()), ("recursive", recursive.to_string())];
        fields.extend(next.map(|index| ("waitIndex", index.to_string())));
        let answer = client.keys("GET", key, &fields).await?;
        // The member ends a wait that took too long with an empty answer.
        if let Some(index) = answer.json.pointer("/node/modifiedIndex").and_then(Value::as_u64) {
            *next = Some(index + 1);
            return Ok(answer);
        }
        next.get_or_insert(answer.index + 1);
    }
}

fn react(answer: &Answer, command: &[String]) -> Result<(), Failure> {
    let Some((program, args)) = command.split_first() else { return Ok(()) };
    let text =
        |pointer: &str| answer.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let index = answer.json.pointer("/node/modifiedIndex").and_then(Value::as_u64).unwrap_or(0);
    Command::new(program)
        .args(args)
        .env("ETCD_WATCH_ACTION", text("/action"))
        .env("ETCD_WATCH_KEY", text("/node/key"))
        .env("ETCD_WATCH_VALUE", text("/node/value"))
        .env("ETCD_WATCH_MODIFIED_INDEX", index.to_string())
        .status()
        .map(drop)
        .map_err(failure)
}

fn members(json: &Value) -> Vec<Value> {
    json.get("members").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn texts(member: &Value, name: &str) -> Vec<String> {
    let list = member.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

async fn member(verb: Member, client: &Client) -> Result<(), Failure> {
    let json = "application/json";
    let body = |url: &str| serde_json::json!({ "peerURLs": url.split(',').collect::<Vec<_>>() }).to_string();
    match verb {
        Member::List => {
            let all = client.ask("GET", "/v2/members", String::new(), json).await?;
            let leader = client.ask("GET", "/v2/members/leader", String::new(), json).await;
            let leader = leader.ok().and_then(|answer| answer.json.get("id").cloned());
            for member in members(&all.json) {
                let text =
                    |name: &str| member.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                println!(
                    "{}: name={} peerURLs={} clientURLs={} isLeader={}",
                    text("id"),
                    text("name"),
                    texts(&member, "peerURLs").join(","),
                    texts(&member, "clientURLs").join(","),
                    leader.as_ref() == member.get("id")
                );
            }
        }
        Member::Add { name, url } => {
            let answer = client.ask("POST", "/v2/members", body(&url), json).await?;
            let id = answer.json.get("id").and_then(Value::as_str).unwrap_or_default();
            println!("Added member named {name} with ID {id} to cluster\n\nETCD_NAME={name:?}");
            let all = client.ask("GET", "/v2/members", String::new(), json).await?;
            let parts: Vec<String> = members(&all.json)
                .iter()
                .flat_map(|member| {
                    let known = member.get("name").and_then(Value::as_str).unwrap_or_default();
                    let mine = member.get("id").and_then(Value::as_str) == Some(id);
                    let label = if mine { name.clone() } else { known.to_owned() };
                    texts(member, "peerURLs").into_iter().map(move |url| format!("{label}={url}"))
                })
                .collect();
            println!("ETCD_INITIAL_CLUSTER={:?}\nETCD_INITIAL_CLUSTER_STATE=\"existing\"", parts.join(","));
        }
        Member::Remove { id } => {
            client.ask("DELETE", &format!("/v2/members/{id}"), String::new(), json).await?;
            println!("Removed member {id} from cluster");
        }
        Member::Update { id, url } => {
            client.ask("PUT", &format!("/v2/members/{id}"), body(&url), json).await?;
            println!("Updated member with ID {id} in cluster");
        }
    }
    Ok(())
}

async fn health(client: &Client) -> Result<ExitCode, Failure> {
    let all = client.ask("GET", "/v2/members", String::new(), "application/json").await?;
    let (mut well, mut count) = (0, 0);
    for member in members(&all.json) {
        count += 1;
        let id = member.get("id").and_then(Value::as_str).unwrap_or_default();
        let mut verdict = format!("member {id} is unreachable: no available published client urls");
        if let Some(url) = texts(&member, "clientURLs").into_iter().next() {
            verdict = match ask(&url, "GET", "/health", "", "text/plain").await {
                Ok(answer) if answer.status == 200 => {
                    well += 1;
                    format!("member {id} is healthy: got healthy result from {url}")
                }
                Ok(_) => format!("member {id} is unhealthy: got unhealthy result from {url}"),
                Err(error) => format!("member {id} is unreachable: {url}: {error}"),
            };
        }
        println!("{verdict}");
    }
    let (word, code) = match well {
        _ if well == count => ("healthy", ExitCode::SUCCESS),
        _ if well > count / 2 => ("degraded", ExitCode::from(5)),
        _ => ("unavailable", ExitCode::from(5)),
    };
    println!("cluster is {word}");
    Ok(code)
}
