//! Users, roles, and whether they count.

use serde_json::{Value, json};

use super::client::{Client, Failure};
use crate::cli::auth::ask_password;
use crate::form::encode;

fn plain(text: impl Into<String>) -> Failure {
    Failure::Plain(text.into())
}

fn none(words: &[String]) -> Result<(), Failure> {
    if words.is_empty() { Ok(()) } else { Err(plain("No arguments accepted")) }
}

/// The one word that was given.
fn one<'a>(words: &'a [String], what: &str) -> Result<&'a str, Failure> {
    match words {
        [name] => Ok(name),
        _ => Err(plain(format!("Please provide a {what}"))),
    }
}

/// The texts of a list, wherever each has its name.
fn names(list: Option<&Value>, name: &str) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|item| item.get(name).unwrap_or(item).as_str().map(str::to_owned)).collect()
}

/// A name and a password in one word, or a name whose password is asked for.
pub fn login(word: &str, prompt: &str) -> Result<(String, String), Failure> {
    let failed = |error| plain(format!("Error reading password: {error}"));
    match word.split_once(':') {
        Some((name, password)) => Ok((name.to_owned(), password.to_owned())),
        None => Ok((word.to_owned(), ask_password(prompt).map_err(failed)?)),
    }
}

#[derive(clap::Subcommand)]
pub enum Auth {
    /// Requests are checked from now on
    Enable { words: Vec<String> },
    /// Nothing is checked any more
    Disable { words: Vec<String> },
}

impl Auth {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let (method, done, words) = match &self {
            Auth::Enable { words } => ("PUT", "Authentication Enabled", words),
            Auth::Disable { words } => ("DELETE", "Authentication Disabled", words),
        };
        none(words)?;
        client.json(method, "/v2/auth/enable", "").await?;
        println!("{done}");
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct Roles {
    words: Vec<String>,
    /// The role
    #[arg(long)]
    roles: Option<String>,
}

#[derive(clap::Subcommand)]
pub enum User {
    /// Makes one: NAME or NAME:PASSWORD
    Add { words: Vec<String> },
    /// Which roles one has
    Get { words: Vec<String> },
    /// All names
    List { words: Vec<String> },
    /// Removes one
    Remove { words: Vec<String> },
    /// Gives one a role
    Grant(Roles),
    /// Takes a role from one
    Revoke(Roles),
    /// Gives one a new password
    Passwd { words: Vec<String> },
}

impl User {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            User::List { words } => {
                none(&words)?;
                let answer = client.json("GET", "/v2/auth/users", "").await?;
                names(answer.json.get("users"), "user").iter().for_each(|name| println!("{name}"));
            }
            User::Add { words } => {
                let (name, password) = login(one(&words, "username")?, "New password: ")?;
                put_user(client, &name, &json!({ "user": name, "password": password })).await?;
                println!("User {name} created");
            }
            User::Passwd { words } => {
                let name = one(&words, "username")?;
                let password = ask_password("New password: ").map_err(|error| plain(error.to_string()))?;
                put_user(client, name, &json!({ "user": name, "password": password })).await?;
                println!("Password updated");
            }
            User::Remove { words } => {
                let name = one(&words, "username")?;
                client.json("DELETE", &user_path(name), "").await?;
                println!("User {name} removed");
            }
            User::Get { words } => {
                let answer = client.json("GET", &user_path(one(&words, "username")?), "").await?;
                println!("User: {}", answer.text("/user"));
                println!("Roles:  {}", names(answer.json.get("roles"), "role").join(" "));
            }
            User::Grant(change) => change.run(client, "grant").await?,
            User::Revoke(change) => change.run(client, "revoke").await?,
        }
        Ok(())
    }
}

fn user_path(name: &str) -> String {
    format!("/v2/auth/users/{}", encode(name))
}

async fn put_user(client: &Client, name: &str, json: &Value) -> Result<(), Failure> {
    client.json("PUT", &user_path(name), &json.to_string()).await.map(drop)
}

impl Roles {
    async fn run(self, client: &Client, verb: &str) -> Result<(), Failure> {
        let roles = self.roles.filter(|roles| !roles.is_empty());
        // As etcd's client has it: one role, commas and all.
        let role = roles.ok_or_else(|| plain("No roles specified; please use `--roles`"))?;
        let name = one(&self.words, "username")?;
        put_user(client, name, &json!({ "user": name, verb: [role] })).await?;
        println!("User {name} updated");
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct Paths {
    words: Vec<String>,
    /// A key, or with `*` at its end all that begin so
    #[arg(long, default_value = "")]
    path: String,
    #[arg(long)]
    read: bool,
    #[arg(long)]
    write: bool,
    #[arg(long, alias = "rw")]
    readwrite: bool,
}

#[derive(clap::Subcommand)]
pub enum Role {
    /// Makes one
    Add { words: Vec<String> },
    /// What one may
    Get { words: Vec<String> },
    /// All names
    List { words: Vec<String> },
    /// Removes one
    Remove { words: Vec<String> },
    /// Allows one something
    Grant(Paths),
    /// Forbids it again
    Revoke(Paths),
}

impl Role {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        match self {
            Role::List { words } => {
                none(&words)?;
                let answer = client.json("GET", "/v2/auth/roles", "").await?;
                names(answer.json.get("roles"), "role").iter().for_each(|name| println!("{name}"));
            }
            Role::Add { words } => {
                let name = one(&words, "role name")?;
                if client.json("GET", &role_path(name), "").await.is_ok() {
                    return Err(plain(format!("Role {name} already exists")));
                }
                put_role(client, name, &json!({ "role": name })).await?;
                println!("Role {name} created");
            }
            Role::Remove { words } => {
                let name = one(&words, "role name")?;
                client.json("DELETE", &role_path(name), "").await?;
                println!("Role {name} removed");
            }
            Role::Get { words } => {
                let answer = client.json("GET", &role_path(one(&words, "role name")?), "").await?;
                println!("Role: {}", answer.text("/role"));
                for (title, place) in [("Read", "/permissions/kv/read"), ("Write", "/permissions/kv/write")] {
                    println!("KV {title}:");
                    names(answer.json.pointer(place), "").iter().for_each(|path| println!("\t{path}"));
                }
            }
            Role::Grant(change) => change.run(client, "grant").await?,
            Role::Revoke(change) => change.run(client, "revoke").await?,
        }
        Ok(())
    }
}

fn role_path(name: &str) -> String {
    format!("/v2/auth/roles/{}", encode(name))
}

async fn put_role(client: &Client, name: &str, json: &Value) -> Result<(), Failure> {
    client.json("PUT", &role_path(name), &json.to_string()).await.map(drop)
}

impl Paths {
    async fn run(self, client: &Client, verb: &str) -> Result<(), Failure> {
        if self.path.is_empty() {
            return Err(plain("No path specified; please use `--path`"));
        }
        if !self.path.starts_with('/') {
            return Err(plain(format!("Not canonical path; please use `--path=/{}`", self.path)));
        }
        let paths = [self.path.as_str()];
        let (read, write): (&[&str], &[&str]) = match (self.read, self.write, self.readwrite) {
            (true, false, false) => (&paths, &[]),
            (false, true, false) => (&[], &paths),
            (false, false, true) => (&paths, &paths),
            _ => return Err(plain("Please specify exactly one of --read, --write or --readwrite")),
        };
        let name = one(&self.words, "role name")?;
        let change = json!({ "role": name, verb: { "kv": { "read": read, "write": write } } });
        put_role(client, name, &change).await?;
        println!("Role {name} updated");
        Ok(())
    }
}
