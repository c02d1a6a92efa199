//! `etcdctl` with `ETCDCTL_API=2`: the v2 API, with the words and exit codes of etcd's own client.
//!
//! Source: etcd 3.4, etcdctl/ctlv2/README.md.

mod auth;
mod backup;
mod client;
mod keys;
mod member;
mod print;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use client::{Client, Failure};
use print::Output;

use crate::applet;

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
    output: Output,
    /// Taken for etcdctl's sake: the endpoints that are given are the ones that are asked
    #[arg(long, global = true)]
    no_sync: bool,
    /// How long to wait for a connection and an answer
    #[arg(long, global = true, default_value = "2s", value_parser = super::parse_duration)]
    timeout: std::time::Duration,
    /// NAME:PASSWORD, or a name alone
    #[arg(short, long, global = true)]
    username: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Prints a key
    Get(keys::Get),
    /// Writes a key
    Set(keys::Set),
    /// Makes a key that is not there
    Mk(keys::Mk),
    /// Makes a directory that is not there
    Mkdir(keys::Directory),
    /// Makes a directory, or changes how long it lasts
    Setdir(keys::Directory),
    /// Writes a key that is there
    Update(keys::Update),
    /// Changes how long a directory lasts
    Updatedir(keys::Directory),
    /// Removes a key
    Rm(keys::Rm),
    /// Removes a directory that is empty, or a key
    Rmdir(keys::Rmdir),
    /// Lists a directory
    Ls(keys::Ls),
    /// Prints the next change of a key
    Watch(watch::Watch),
    /// Runs a program at each change of a key
    ExecWatch(watch::ExecWatch),
    /// Who the members are
    #[command(subcommand)]
    Member(member::Member),
    /// Whether the members are well
    ClusterHealth,
    /// Whether users and roles count
    #[command(subcommand)]
    Auth(auth::Auth),
    /// Users
    #[command(subcommand)]
    User(auth::User),
    /// Roles
    #[command(subcommand)]
    Role(auth::Role),
    /// Copies what a member has on its disk
    Backup(backup::Backup),
}

/// Runs the client.
pub(super) async fn main(args: Vec<OsString>) -> ExitCode {
    let cli: Cli = match applet::parse(args) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let login = cli.username.map(|word| auth::login(&word, "Password: ")).transpose();
    let asked = async {
        let client = Client { endpoints: cli.endpoints, timeout: cli.timeout, login: login? };
        run(cli.verb, &client, cli.output).await
    };
    match asked.await {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

async fn run(verb: Verb, client: &Client, output: Output) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Get(verb) => verb.run(client, output).await?,
        Verb::Set(verb) => verb.run(client, output).await?,
        Verb::Mk(verb) => verb.run(client, output).await?,
        Verb::Mkdir(verb) => verb.run(client, output, Some(false)).await?,
        Verb::Setdir(verb) => verb.run(client, output, None).await?,
        Verb::Update(verb) => verb.run(client, output).await?,
        Verb::Updatedir(verb) => verb.run(client, output, Some(true)).await?,
        Verb::Rm(verb) => verb.run(client, output).await?,
        Verb::Rmdir(verb) => verb.run(client, output).await?,
        Verb::Ls(verb) => verb.run(client, output).await?,
        Verb::Watch(verb) => verb.run(client, output).await?,
        Verb::ExecWatch(verb) => verb.run(client).await?,
        Verb::Member(verb) => verb.run(client).await?,
        Verb::Auth(verb) => verb.run(client).await?,
        Verb::User(verb) => verb.run(client).await?,
        Verb::Role(verb) => verb.run(client).await?,
        Verb::Backup(verb) => verb.run()?,
        Verb::ClusterHealth => return member::health(client).await,
    }
    Ok(ExitCode::SUCCESS)
}
