//! Verbs of keys and directories.

use std::io::Read;

use super::client::{Client, Failure};
use super::print::{self, Output};

type Fields = Vec<(&'static str, String)>;

fn key(given: Option<String>) -> Result<String, Failure> {
    given.ok_or_else(|| Failure::Usage("key required".into()))
}

/// The value that was given, or the standard input.
fn value(given: Option<String>) -> Result<String, Failure> {
    if let Some(value) = given {
        return Ok(value);
    }
    let mut bytes = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if text.is_empty() { Err(Failure::Usage("value required".into())) } else { Ok(text) }
}

fn lasting(ttl: Option<u64>) -> Fields {
    ttl.filter(|ttl| *ttl > 0).map(|ttl| ("ttl", ttl.to_string())).into_iter().collect()
}

#[derive(clap::Args)]
pub struct Get {
    key: Option<String>,
    /// In the order of their names
    #[arg(long)]
    sort: bool,
    /// As a majority has it
    #[arg(short, long)]
    quorum: bool,
}

impl Get {
    pub async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let fields = [("sorted", self.sort.to_string()), ("quorum", self.quorum.to_string())];
        let answer = client.keys("GET", &key(self.key)?, &fields).await?;
        if answer.is("/node/dir") {
            return Err(Failure::Plain(format!("{}: is a directory", answer.text("/node/key"))));
        }
        print::answer(output, &answer);
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct Set {
    key: Option<String>,
    /// Else it is read from the standard input
    value: Option<String>,
    /// Seconds that it lasts
    #[arg(long)]
    ttl: Option<u64>,
    /// Only where this is the value now
    #[arg(long)]
    swap_with_value: Option<String>,
    /// Only where this is its index now
    #[arg(long)]
    swap_with_index: Option<u64>,
}

impl Set {
    pub async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let (key, value) = (key(self.key)?, value(self.value)?);
        let mut fields = lasting(self.ttl);
        fields.push(("value", value));
        fields.extend(self.swap_with_value.map(|value| ("prevValue", value)));
        fields.extend(self.swap_with_index.map(|index| ("prevIndex", index.to_string())));
        print::answer(output, &client.keys("PUT", &key, &fields).await?);
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct Mk {
    key: Option<String>,
    /// Else it is read from the standard input
    value: Option<String>,
    /// Seconds that it lasts
    #[arg(long)]
    ttl: Option<u64>,
    /// Below this directory, under a name that keeps the order
    #[arg(long)]
    in_order: bool,
}

impl Mk {
    pub async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let (key, value) = (key(self.key)?, value(self.value)?);
        let mut fields = lasting(self.ttl);
        fields.push(("value", value));
        let method = if self.in_order { "POST" } else { "PUT" };
        if !self.in_order {
            fields.push(("prevExist", "false".into()));
        }
        print::answer(output, &client.keys(method, &key, &fields).await?);
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct Update {
    key: Option<String>,
    /// Else it is read from the standard input
    value: Option<String>,
    /// Seconds that it lasts
    #[arg(long)]
    ttl: Option<u64>,
}

impl Update {
    pub async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let (key, value) = (key(self.key)?, value(self.value)?);
        let mut fields = lasting(self.ttl);
        fields.extend([("value", value), ("prevExist", "true".into())]);
        print::answer(output, &client.keys("PUT", &key, &fields).await?);
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct Directory {
    key: Option<String>,
    /// Taken for etcdctl's sake: a directory has none
    #[arg(hide = true)]
    value: Option<String>,
    /// Seconds that it lasts
    #[arg(long)]
    ttl: Option<u64>,
}

impl Directory {
    pub async fn run(self, client: &Client, output: Output, exists: Option<bool>) -> Result<(), Failure> {
        let mut fields = lasting(self.ttl);
        fields.push(("dir", "true".into()));
        fields.extend(exists.map(|exists| ("prevExist", exists.to_string())));
        print::directory(output, &client.keys("PUT", &key(self.key)?, &fields).await?);
        Ok(())
    }
}

#[derive(clap::Args)]
pub struct Rm {
    key: Option<String>,
    /// A directory that is empty, too
    #[arg(long)]
    dir: bool,
    /// With all that is in it
    #[arg(short, long)]
    recursive: bool,
    /// Only where this is the value now
    #[arg(long)]
    with_value: Option<String>,
    /// Only where this is its index now
    #[arg(long)]
    with_index: Option<u64>,
}

impl Rm {
    pub async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let mut fields = vec![("dir", self.dir.to_string()), ("recursive", self.recursive.to_string())];
        fields.extend(self.with_value.map(|value| ("prevValue", value)));
        fields.extend(self.with_index.map(|index| ("prevIndex", index.to_string())));
        remove(client, output, self.key, &fields).await
    }
}

#[derive(clap::Args)]
pub struct Rmdir {
    key: Option<String>,
}

impl Rmdir {
    pub async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        remove(client, output, self.key, &[("dir", "true".into())]).await
    }
}

async fn remove(
    client: &Client,
    output: Output,
    given: Option<String>,
    fields: &[(&str, String)],
) -> Result<(), Failure> {
    let answer = client.keys("DELETE", &key(given)?, fields).await?;
    if answer.is("/node/dir") {
        print::directory(output, &answer)
    } else {
        print::answer(output, &answer)
    }
    Ok(())
}

#[derive(clap::Args)]
pub struct Ls {
    #[arg(default_value = "/")]
    key: String,
    /// What is below directories too
    #[arg(short, long)]
    recursive: bool,
    /// Put a slash after directories
    #[arg(short)]
    p: bool,
    /// In the order of their names
    #[arg(long)]
    sort: bool,
    /// As a majority has it
    #[arg(short, long)]
    quorum: bool,
}

impl Ls {
    pub async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let fields = [
            ("recursive", self.recursive.to_string()),
            ("sorted", self.sort.to_string()),
            ("quorum", self.quorum.to_string()),
        ];
        let answer = client.keys("GET", &self.key, &fields).await?;
        if output != Output::Simple {
            print::answer(output, &answer);
        } else if answer.is("/node/dir") {
            print::list(answer.json.get("node").unwrap_or(&serde_json::Value::Null), self.p);
        } else {
            println!("{}", answer.text("/node/key"));
        }
        Ok(())
    }
}
