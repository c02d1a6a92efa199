//! `watch` and `make-mirror`: changes as they happen.

use std::process::Command;

use bytes::Bytes;
use tokio_stream::StreamExt;

use super::Global;
use super::client::{Client, Failure};
use super::keys::span;
use crate::proto::event::EventType;
use crate::proto::kv_client::KvClient;
use crate::proto::watch_client::WatchClient;
use crate::proto::watch_request::RequestUnion;
use crate::proto::*;

#[derive(clap::Args)]
pub(crate) struct Watch {
    /// KEY [END] [-- COMMAND ARGUMENT…]; without them, those of the environment
    #[arg(num_args = 1.., trailing_var_arg = false)]
    words: Vec<String>,
    /// Read `watch` and `progress` with their arguments from the standard input
    #[arg(short, long)]
    interactive: bool,
    #[arg(skip = std::env::var("ETCDCTL_WATCH_KEY").unwrap_or_default())]
    key: String,
    #[arg(skip = std::env::var("ETCDCTL_WATCH_RANGE_END").unwrap_or_default())]
    end: String,
    /// What to run at each change; it finds it in ETCD_WATCH_KEY and its like
    #[arg(last = true)]
    command: Vec<String>,
    #[arg(long)]
    prefix: bool,
    #[arg(long, default_value_t = 0)]
    rev: i64,
    #[arg(long)]
    prev_kv: bool,
    #[arg(long)]
    progress_notify: bool,
}

/// A stream of watchers: what asks, and what is told. The sender must live as long as the stream.
pub(super) type Stream = (tokio::sync::mpsc::Sender<WatchRequest>, tonic::Streaming<WatchResponse>);

/// Begins to watch.
async fn begin(client: &Client, create: WatchCreateRequest) -> Result<Stream, Failure> {
    let first = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    open(client, Some(first)).await
}

/// Opens a stream with its first request, if there is one yet.
pub(super) async fn open(client: &Client, first: Option<WatchRequest>) -> Result<Stream, Failure> {
    let (send, requests) = tokio::sync::mpsc::channel(16);
    if let Some(first) = first {
        let _ = send.send(first).await;
    }
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut watch = WatchClient::new(client.channel.clone()).max_decoding_message_size(usize::MAX);
    let answers = watch.watch(client.stream(requests)).await?.into_inner();
    Ok((send, answers))
}

pub(super) fn canceled(answer: &WatchResponse) -> Failure {
    let why = match answer.compact_revision {
        0 => answer.cancel_reason.clone(),
        _ => crate::fault::Fault::Compacted.to_string(),
    };
    eprintln!("watch was canceled ({why})");
    Failure::Refused(tonic::Status::cancelled("watch is canceled by the server"))
}

impl Watch {
    /// What is asked of the store.
    pub(super) fn request(&self) -> Result<WatchCreateRequest, Failure> {
        let (key, end) = match self.words.as_slice() {
            [] => (&self.key, (!self.end.is_empty()).then_some(&self.end)),
            [key, rest @ ..] => (key, rest.first()),
        };
        if end.is_some() && self.prefix {
            return Err(Failure::Usage("`range_end` and `--prefix` are mutually exclusive".into()));
        }
        let (key, range_end) = span(key, end.map(String::as_str), self.prefix, false)?;
        Ok(WatchCreateRequest {
            key,
            range_end,
            start_revision: self.rev,
            prev_kv: self.prev_kv,
            progress_notify: self.progress_notify,
            ..WatchCreateRequest::default()
        })
    }

    /// Whether words, or the environment, name a key.
    pub(super) fn has_key(&self) -> bool {
        !self.words.is_empty() || !self.key.is_empty()
    }

    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        if !self.words.is_empty() && !self.key.is_empty() {
            let text = "bad number of arguments (found conflicting environment key)";
            return Err(Failure::Usage(text.into()));
        }
        if self.interactive {
            return super::watch_session::run(client).await;
        }
        if !self.has_key() {
            return Err(Failure::Usage("bad number of arguments".into()));
        }
        let create = self.request()?;
        let (_requests, mut answers) = begin(client, create).await?;
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            if answer.canceled {
                return Err(canceled(&answer));
            }
            if answer.created {
                continue;
            }
            self.tell(client, &answer);
        }
        Ok(())
    }

    /// Prints what has changed, and runs the command for it.
    pub(super) fn tell(&self, client: &Client, answer: &WatchResponse) {
        if answer.events.is_empty() {
            println!("progress notify: {}", answer.header.map_or(0, |header| header.revision));
        }
        client.printer.print("WatchResponse", answer, |out| {
            for event in &answer.events {
                let _ = writeln!(out, "{}", event.r#type().as_str_name());
                event.prev_kv.iter().for_each(|kv| client.printer.pair(out, kv));
                event.kv.iter().for_each(|kv| client.printer.pair(out, kv));
            }
        });
        self.react(answer);
    }

    fn react(&self, answer: &WatchResponse) {
        let Some((program, args)) = self.command.split_first() else { return };
        let revision = answer.header.map_or(0, |header| header.revision);
        for event in &answer.events {
            let quoted = |bytes: &Bytes| format!("{:?}", String::from_utf8_lossy(bytes));
            let kv = event.kv.clone().unwrap_or_default();
            let status = Command::new(program)
                .args(args)
                .env("ETCD_WATCH_REVISION", revision.to_string())
                .env("ETCD_WATCH_EVENT_TYPE", format!("{:?}", event.r#type().as_str_name()))
                .env("ETCD_WATCH_KEY", quoted(&kv.key))
                .env("ETCD_WATCH_VALUE", quoted(&kv.value))
                .status();
            if let Err(error) = status {
                eprintln!("command {program:?} error ({error})");
            }
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct MakeMirror {
    /// Where to copy to
    destination: String,
    /// Only keys that begin so
    #[arg(long, default_value = "")]
    prefix: String,
    /// What their beginning becomes
    #[arg(long)]
    dest_prefix: Option<String>,
    /// Keep the keys as they are
    #[arg(long)]
    no_dest_prefix: bool,
}

impl MakeMirror {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let global = Global {
            endpoints: vec![self.destination.clone()],
            user: None,
            password: None,
            cert: None,
            key_file: None,
            cacert: None,
            format: client.printer.format,
            hex: false,
            dial_timeout: std::time::Duration::from_secs(2),
            command_timeout: std::time::Duration::from_secs(5),
        };
        let mut to = KvClient::new(Client::connect(&global).await?.channel);
        let (key, range_end) = span(&self.prefix, None, true, false)?;
        let range =
            RangeRequest { key: key.clone(), range_end: range_end.clone(), ..RangeRequest::default() };
        let mut from = KvClient::new(client.channel.clone()).max_decoding_message_size(usize::MAX);
        let base = from.range(client.stream(range)).await?.into_inner();
        let copied = base.kvs.len();
        for kv in base.kvs {
            to.put(PutRequest { key: self.place(&kv.key), value: kv.value, ..PutRequest::default() }).await?;
        }
        println!("{copied}");
        let start_revision = base.header.map_or(0, |header| header.revision) + 1;
        let create = WatchCreateRequest { key, range_end, start_revision, ..WatchCreateRequest::default() };
        let (_requests, mut answers) = begin(client, create).await?;
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            if answer.canceled {
                return Err(canceled(&answer));
            }
            for event in answer.events {
                let kind = event.r#type();
                let kv = event.kv.unwrap_or_default();
                let key = self.place(&kv.key);
                match kind {
                    EventType::Put => {
                        drop(to.put(PutRequest { key, value: kv.value, ..PutRequest::default() }).await?)
                    }
                    EventType::Delete => {
                        to.delete_range(DeleteRangeRequest { key, ..DeleteRangeRequest::default() }).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn place(&self, key: &Bytes) -> Bytes {
        match &self.dest_prefix {
            Some(prefix) if !self.no_dest_prefix => {
                [prefix.as_bytes(), key.get(self.prefix.len()..).unwrap_or_default()].concat().into()
            }
            _ if self.no_dest_prefix => {
                Bytes::copy_from_slice(key.get(self.prefix.len()..).unwrap_or_default())
            }
            _ => key.clone(),
        }
    }
}
