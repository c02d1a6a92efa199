//! `watch -i`: watchers that are begun by lines of the standard input, on one stream.
//!
//! `watch KEY [END] [FLAGS] [-- COMMAND…]` begins one, `progress` asks how far all are. The end of the input ends it.

use std::collections::HashMap;
use std::collections::VecDeque;

use clap::Parser;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

use super::client::{Client, Failure};
use super::keys::words;
use super::watch::{Stream, Watch, canceled, open};
use crate::proto::watch_request::RequestUnion;
use crate::proto::{WatchProgressRequest, WatchRequest, WatchResponse};

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    watch: Watch,
}

/// Lines of the standard input, as they come.
fn lines() -> mpsc::Receiver<std::io::Result<String>> {
    let (send, receive) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receive
}

#[derive(Default)]
struct Session {
    stream: Option<Stream>,
    /// Watchers that are not confirmed yet, in the order in which they were asked for.
    asked: VecDeque<Watch>,
    watchers: HashMap<i64, Watch>,
}

/// Until the input ends.
pub(super) async fn run(client: &Client) -> Result<(), Failure> {
    let mut lines = lines();
    let mut session = Session::default();
    loop {
        tokio::select! {
            line = lines.recv() => {
                let why = match line {
                    Some(Ok(line)) => { session.take(client, &line).await?; continue }
                    Some(Err(error)) => error.to_string(),
                    None => "EOF".into(),
                };
                return Err(Failure::Input(format!("Error reading watch request line: {why}")));
            }
            answer = session.next() => session.tell(client, answer?),
        }
    }
}

impl Session {
    /// What the store says next; never, where nothing is watched.
    async fn next(&mut self) -> Result<WatchResponse, Failure> {
        let Some((_, answers)) = &mut self.stream else { return std::future::pending().await };
        match answers.next().await {
            Some(answer) => Ok(answer?),
            None => Err(Failure::Input("the store has ended the watch".into())),
        }
    }

    async fn take(&mut self, client: &Client, line: &str) -> Result<(), Failure> {
        let words = words(line);
        let Some((verb, rest)) = words.split_first() else {
            eprintln!("Invalid command: {line} (watch and progress supported)");
            return Ok(());
        };
        match verb.as_str() {
            "watch" => {
                let parsed = Line::try_parse_from(rest).map_err(|error| {
                    let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                    Failure::Usage(first.trim_start_matches("error: ").to_owned())
                });
                self.begin(client, line, parsed?.watch).await
            }
            "progress" => {
                let request = WatchProgressRequest {};
                self.ask(client, RequestUnion::ProgressRequest(request)).await
            }
            _ => {
                eprintln!("Invalid command {line} (only support watch)");
                Ok(())
            }
        }
    }

    async fn begin(&mut self, client: &Client, line: &str, watch: Watch) -> Result<(), Failure> {
        if !watch.has_key() {
            eprintln!("Invalid command {line} (command type or key is not provided)");
            return Ok(());
        }
        match watch.request() {
            Ok(create) => {
                self.asked.push_back(watch);
                self.ask(client, RequestUnion::CreateRequest(create)).await
            }
            Err(failure) => {
                eprintln!("Invalid command {line} ({failure})");
                Ok(())
            }
        }
    }

    async fn ask(&mut self, client: &Client, request: RequestUnion) -> Result<(), Failure> {
        let request = WatchRequest { request_union: Some(request) };
        match &self.stream {
            Some((requests, _)) => drop(requests.send(request).await),
            None => self.stream = Some(open(client, Some(request)).await?),
        }
        Ok(())
    }

    fn tell(&mut self, client: &Client, answer: WatchResponse) {
        let id = answer.watch_id;
        if answer.created
            && let Some(watch) = self.asked.pop_front()
            && !answer.canceled
        {
            self.watchers.insert(id, watch);
            return;
        }
        if answer.canceled {
            let _ = canceled(&answer);
            self.watchers.remove(&id);
            return;
        }
        // Progress of the whole stream is every watcher's.
        let all = self.watchers.iter().filter(|(watcher, _)| id == -1 || **watcher == id);
        all.for_each(|(_, watch)| watch.tell(client, &answer));
    }
}
