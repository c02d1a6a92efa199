//! `etcdctl`: the client, with etcd's verbs, flags, environment (`ETCDCTL_*`) and output. One group of verbs a file.

mod auth;
mod check;
mod client;
mod endpoint;
mod keys;
mod lease;
mod lock;
mod member;
mod output;
mod snapshot;
mod v2;
mod watch;
mod watch_session;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) use client::url;
use client::{Client, Failure};
use output::Format;

use crate::applet;

/// Asks a key-value store with etcd's API. `ETCDCTL_API=2 etcdctl` speaks the v2 API.
#[derive(Parser)]
#[command(name = "etcdctl", version = crate::serve::VERSION)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// Flags that every verb takes.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Global {
    /// Where the members are
    #[arg(
        long,
        global = true,
        env = "ETCDCTL_ENDPOINTS",
        default_value = "127.0.0.1:2379",
        value_delimiter = ','
    )]
    endpoints: Vec<String>,
    /// Our certificate
    #[arg(long, global = true, env = "ETCDCTL_CERT")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long = "key", global = true, env = "ETCDCTL_KEY")]
    key_file: Option<PathBuf>,
    /// Who signs the members' certificates
    #[arg(long, global = true, env = "ETCDCTL_CACERT")]
    cacert: Option<PathBuf>,
    /// NAME:PASSWORD, or a name alone
    #[arg(long, global = true, env = "ETCDCTL_USER")]
    user: Option<String>,
    /// The password, if it is not with the name
    #[arg(long, global = true, env = "ETCDCTL_PASSWORD")]
    password: Option<String>,
    /// How to print
    #[arg(
        short = 'w',
        long = "write-out",
        global = true,
        env = "ETCDCTL_WRITE_OUT",
        default_value = "simple"
    )]
    format: Format,
    /// Print bytes as hex
    #[arg(long, global = true)]
    hex: bool,
    /// How long to wait for a connection
    #[arg(long, global = true, env = "ETCDCTL_DIAL_TIMEOUT", default_value = "2s", value_parser = parse_duration)]
    dial_timeout: std::time::Duration,
    /// How long to wait for an answer
    #[arg(long, global = true, env = "ETCDCTL_COMMAND_TIMEOUT", default_value = "5s", value_parser = parse_duration)]
    command_timeout: std::time::Duration,
}

fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    crate::server::config::duration(text, 1).ok_or_else(|| format!("{text:?} is no duration such as 5s"))
}

#[derive(Subcommand)]
enum Verb {
    /// Prints keys
    Get(keys::Get),
    /// Writes a key
    Put(keys::Put),
    /// Removes keys
    Del(keys::Del),
    /// Does one of two lists of requests, as comparisons say
    Txn(keys::Txn),
    /// Drops history before a revision
    #[command(alias = "compact")]
    Compaction(keys::Compaction),
    /// Prints changes as they happen
    Watch(watch::Watch),
    /// Copies changes to another cluster
    MakeMirror(watch::MakeMirror),
    /// Grants, renews and ends leases
    #[command(subcommand)]
    Lease(lease::Lease),
    /// Lists and changes members
    #[command(subcommand)]
    Member(member::Member),
    /// Asks each endpoint how it is
    #[command(subcommand)]
    Endpoint(endpoint::Endpoint),
    /// Lists and clears alarms
    #[command(subcommand)]
    Alarm(endpoint::Alarm),
    /// Gives freed space back
    Defrag,
    /// Hands leadership to a member
    MoveLeader(endpoint::MoveLeader),
    /// Measures the cluster
    #[command(subcommand)]
    Check(check::Check),
    /// Saves, looks at and restores snapshots
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Proves that a data directory is sound
    Verify(snapshot::Verify),
    /// Holds a lock
    Lock(lock::Lock),
    /// Takes part in an election, or watches one
    Elect(lock::Elect),
    /// Turns auth on and off
    #[command(subcommand)]
    Auth(auth::Auth),
    /// Users
    #[command(subcommand)]
    User(auth::User),
    /// Roles
    #[command(subcommand)]
    Role(auth::Role),
    /// Prints the version
    Version,
}

/// Runs the client.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if std::env::var("ETCDCTL_API").is_ok_and(|api| api == "2") {
        return runtime.block_on(v2::main(args));
    }
    let cli = match applet::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("Error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let global = cli.global;
    match cli.verb {
        Verb::Endpoint(verb) => return endpoint::endpoint(verb, &global).await,
        Verb::Snapshot(verb) => return snapshot::snapshot(verb, &global).await,
        Verb::Verify(verb) => return Ok(snapshot::verify(&verb)),
        Verb::Defrag => return endpoint::defrag(&global).await,
        Verb::Version => {
            println!("etcdctl version: {}\nAPI version: 3.4", crate::serve::VERSION);
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let client = Client::connect(&global).await?;
    match cli.verb {
        Verb::Get(verb) => verb.run(&client).await?,
        Verb::Put(verb) => verb.run(&client).await?,
        Verb::Del(verb) => verb.run(&client).await?,
        Verb::Txn(verb) => verb.run(&client).await?,
        Verb::Compaction(verb) => verb.run(&client).await?,
        Verb::Watch(verb) => verb.run(&client).await?,
        Verb::MakeMirror(verb) => verb.run(&client).await?,
        Verb::Lease(verb) => verb.run(&client).await?,
        Verb::Member(verb) => verb.run(&client).await?,
        Verb::Alarm(verb) => verb.run(&client).await?,
        Verb::MoveLeader(verb) => verb.run(&client, &global).await?,
        Verb::Check(verb) => return verb.run(&client, &global).await,
        Verb::Lock(verb) => return verb.run(&client).await,
        Verb::Elect(verb) => verb.run(&client).await?,
        Verb::Auth(verb) => verb.run(&client).await?,
        Verb::User(verb) => verb.run(&client).await?,
        Verb::Role(verb) => verb.run(&client).await?,
        Verb::Endpoint(_) | Verb::Snapshot(_) | Verb::Verify(_) | Verb::Defrag | Verb::Version => {}
    }
    Ok(ExitCode::SUCCESS)
}
