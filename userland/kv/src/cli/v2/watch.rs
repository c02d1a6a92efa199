//! `watch` and `exec-watch`.

use std::process::Command;

use super::client::{Answer, Client, Failure};
use super::print::{self, Output};

#[derive(clap::Args)]
pub struct Watch {
    key: Option<String>,
    /// Go on after the first change
    #[arg(short, long)]
    forever: bool,
    /// What is below it too
    #[arg(short, long)]
    recursive: bool,
    /// From the change after this one
    #[arg(long)]
    after_index: Option<u64>,
}

impl Watch {
    pub async fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let key = self.key.ok_or_else(|| Failure::Usage("key required".into()))?;
        let mut next = self.after_index.map(|index| index + 1);
        loop {
            let answer = wait(client, &key, self.recursive, &mut next).await?;
            if answer.is("/node/dir") {
                continue;
            }
            if self.recursive {
                println!("[{}] {}", answer.text("/action"), answer.text("/node/key"));
            }
            print::answer(output, &answer);
            if !self.forever {
                return Ok(());
            }
        }
    }
}

#[derive(clap::Args)]
pub struct ExecWatch {
    /// KEY COMMAND ARGUMENT…
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
    /// What is below it too
    #[arg(short, long)]
    recursive: bool,
    /// From the change after this one
    #[arg(long)]
    after_index: Option<u64>,
}

impl ExecWatch {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let words: Vec<&String> = self.words.iter().filter(|word| *word != "--").collect();
        let [key, program, args @ ..] = words.as_slice() else {
            return Err(Failure::Usage("key and command to exec required".into()));
        };
        let mut next = self.after_index.map(|index| index + 1);
        loop {
            let answer = wait(client, key, self.recursive, &mut next).await?;
            let status = Command::new(program)
                .args(args.iter())
                .env("ETCD_WATCH_ACTION", answer.text("/action"))
                .env("ETCD_WATCH_KEY", answer.text("/node/key"))
                .env("ETCD_WATCH_VALUE", answer.text("/node/value"))
                .env("ETCD_WATCH_MODIFIED_INDEX", answer.number("/node/modifiedIndex").to_string())
                .status();
            if let Err(error) = status {
                return Err(Failure::Plain(format!("{program}: {error}")));
            }
        }
    }
}

/// The next change, however long it takes.
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
        let index = answer.number("/node/modifiedIndex");
        if index > 0 {
            *next = Some(index + 1);
            return Ok(answer);
        }
        next.get_or_insert(answer.index + 1);
    }
}
