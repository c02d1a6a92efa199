//! `get`, `put`, `del`, `txn`, `compaction`.

use std::io::{BufRead, Read, Write};

use bytes::Bytes;

use super::client::{Client, Failure};
use super::output::Printer;
use crate::proto::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::kv_client::KvClient;
use crate::proto::range_request::{SortOrder, SortTarget};
use crate::proto::request_op::Request as Op;
use crate::proto::response_op::Response as Answer;
use crate::proto::*;
use crate::span::prefix_end;

/// The two fields that say which keys are meant.
pub(super) fn span(
    key: &str,
    end: Option<&str>,
    prefix: bool,
    from_key: bool,
) -> Result<(Bytes, Bytes), Failure> {
    let key = Bytes::copy_from_slice(key.as_bytes());
    if prefix && from_key {
        return Err(Failure::Usage(
            "`--prefix` and `--from-key` cannot be set at the same time, choose one".into(),
        ));
    }
    let zero = Bytes::from_static(&[0]);
    Ok(match end {
        Some(_) if prefix || from_key => {
            return Err(Failure::Usage(
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set".into(),
            ));
        }
        Some(end) => (key, Bytes::copy_from_slice(end.as_bytes())),
        None if (prefix || from_key) && key.is_empty() => (zero.clone(), zero),
        None if prefix => {
            let end = prefix_end(&key);
            (key, end)
        }
        None if from_key => (key, zero),
        None => (key, Bytes::new()),
    })
}

#[derive(clap::Args)]
pub(crate) struct Get {
    key: String,
    range_end: Option<String>,
    /// `l`inearizable or `s`erializable
    #[arg(long, default_value = "l")]
    consistency: String,
    #[arg(long)]
    prefix: bool,
    #[arg(long)]
    from_key: bool,
    #[arg(long, default_value_t = 0)]
    limit: i64,
    #[arg(long, default_value_t = 0)]
    rev: i64,
    /// ASCEND or DESCEND
    #[arg(long, default_value = "")]
    order: String,
    /// CREATE, KEY, MODIFY, VALUE or VERSION
    #[arg(long, default_value = "")]
    sort_by: String,
    #[arg(long)]
    keys_only: bool,
    #[arg(long)]
    count_only: bool,
    #[arg(long)]
    print_value_only: bool,
}

impl Get {
    fn request(&self) -> Result<RangeRequest, Failure> {
        let (key, range_end) = span(&self.key, self.range_end.as_deref(), self.prefix, self.from_key)?;
        let bad = |what: &str, text: &str| Failure::Usage(format!("bad {what} {text}"));
        let sort_order = match self.order.to_uppercase().as_str() {
            "" => SortOrder::None,
            "ASCEND" => SortOrder::Ascend,
            "DESCEND" => SortOrder::Descend,
            other => return Err(bad("sort order", other)),
        };
        let sort_target = match self.sort_by.to_uppercase().as_str() {
            "" | "KEY" => SortTarget::Key,
            "CREATE" => SortTarget::Create,
            "MODIFY" => SortTarget::Mod,
            "VALUE" => SortTarget::Value,
            "VERSION" => SortTarget::Version,
            other => return Err(bad("sort target", other)),
        };
        let serializable = match self.consistency.as_str() {
            "s" => true,
            "l" => false,
            other => return Err(Failure::Usage(format!("unknown consistency flag {other:?}"))),
        };
        Ok(RangeRequest {
            key,
            range_end,
            limit: self.limit,
            revision: self.rev,
            sort_order: sort_order.into(),
            sort_target: sort_target.into(),
            serializable,
            keys_only: self.keys_only,
            count_only: self.count_only,
            ..RangeRequest::default()
        })
    }

    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let request = client.request(self.request()?);
        let answer = KvClient::new(client.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .range(request)
            .await?;
        let answer = answer.into_inner();
        if self.print_value_only && client.is_simple() {
            let mut out = std::io::stdout().lock();
            answer.kvs.iter().for_each(|kv| client.printer.line(&mut out, &kv.value));
            return Ok(());
        }
        client.printer.print("RangeResponse", &answer, |out| print_range(&client.printer, out, &answer));
        Ok(())
    }
}

fn print_range(printer: &Printer, out: &mut dyn Write, answer: &RangeResponse) {
    answer.kvs.iter().for_each(|kv| printer.pair(out, kv));
}

#[derive(clap::Args)]
pub(crate) struct Put {
    key: String,
    /// Taken from the standard input if it is not given
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
    /// A lease, in hex
    #[arg(long, default_value = "0")]
    lease: String,
    #[arg(long)]
    prev_kv: bool,
    #[arg(long)]
    ignore_value: bool,
    #[arg(long)]
    ignore_lease: bool,
}

/// A lease's number as it is printed.
pub(super) fn lease(text: &str) -> Result<i64, Failure> {
    u64::from_str_radix(text, 16)
        .map(|id| id as i64)
        .map_err(|_| Failure::Usage(format!("bad lease ID {text:?}, expecting ID in Hex")))
}

impl Put {
    fn request(self) -> Result<PutRequest, Failure> {
        let value = match self.value {
            Some(value) => value.into_bytes(),
            None if self.ignore_value => Vec::new(),
            None => {
                let mut value = Vec::new();
                std::io::stdin().read_to_end(&mut value)?;
                value
            }
        };
        Ok(PutRequest {
            key: self.key.into_bytes().into(),
            value: value.into(),
            lease: lease(&self.lease)?,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }

    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let request = client.request(self.request()?);
        let answer = KvClient::new(client.channel.clone()).put(request).await?.into_inner();
        client.printer.print("PutResponse", &answer, |out| print_put(&client.printer, out, &answer));
        Ok(())
    }
}

fn print_put(printer: &Printer, out: &mut dyn Write, answer: &PutResponse) {
    let _ = writeln!(out, "OK");
    answer.prev_kv.iter().for_each(|kv| printer.pair(out, kv));
}

#[derive(clap::Args)]
pub(crate) struct Del {
    key: String,
    range_end: Option<String>,
    #[arg(long)]
    prefix: bool,
    #[arg(long)]
    from_key: bool,
    #[arg(long)]
    prev_kv: bool,
}

impl Del {
    fn request(&self) -> Result<DeleteRangeRequest, Failure> {
        let (key, range_end) = span(&self.key, self.range_end.as_deref(), self.prefix, self.from_key)?;
        Ok(DeleteRangeRequest { key, range_end, prev_kv: self.prev_kv })
    }

    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let request = client.request(self.request()?);
        let answer = KvClient::new(client.channel.clone()).delete_range(request).await?.into_inner();
        client
            .printer
            .print("DeleteRangeResponse", &answer, |out| print_delete(&client.printer, out, &answer));
        Ok(())
    }
}

fn print_delete(printer: &Printer, out: &mut dyn Write, answer: &DeleteRangeResponse) {
    let _ = writeln!(out, "{}", answer.deleted);
    answer.prev_kvs.iter().for_each(|kv| printer.pair(out, kv));
}

#[derive(clap::Args)]
pub(crate) struct Compaction {
    revision: i64,
    #[arg(long)]
    physical: bool,
}

impl Compaction {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let request = client.request(CompactionRequest { revision: self.revision, physical: self.physical });
        KvClient::new(client.channel.clone()).compact(request).await?;
        println!("compacted revision {}", self.revision);
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct Txn {
    /// Say what is expected
    #[arg(short, long)]
    interactive: bool,
}

/// Splits a line into words as a shell does, with quotes.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), _) if open == c => quote = None,
            (Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[derive(clap::Parser)]
#[command(no_binary_name = true)]
enum Line {
    Get(Get),
    Put(Put),
    Del(Del),
}

fn parse_op(line: &str) -> Result<RequestOp, Failure> {
    let line = <Line as clap::Parser>::try_parse_from(words(line))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let request = match line {
        Line::Get(get) => Op::RequestRange(get.request()?),
        Line::Put(put) => Op::RequestPut(put.request()?),
        Line::Del(del) => Op::RequestDeleteRange(del.request()?),
    };
    Ok(RequestOp { request: Some(request) })
}

/// Reads `mod("key") > "0"` and the like.
fn parse_compare(line: &str) -> Result<Compare, Failure> {
    let bad = || Failure::Usage(format!("malformed comparison: {line}"));
    let (target, rest) = line.split_once('(').ok_or_else(bad)?;
    let (key, rest) = rest.split_once(')').ok_or_else(bad)?;
    let rest = rest.trim();
    let sign: String = rest.chars().take_while(|c| "=!<>".contains(*c)).collect();
    let value = words(rest.strip_prefix(sign.as_str()).unwrap_or_default().trim())
        .into_iter()
        .next()
        .ok_or_else(bad)?;
    let key = words(key.trim()).into_iter().next().ok_or_else(bad)?;
    let result = match sign.as_str() {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        ">" => CompareResult::Greater,
        _ => return Err(bad()),
    };
    let number = || value.parse::<i64>().map_err(|_| bad());
    let (target, union) = match target.trim() {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(value.clone().into_bytes().into())),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(lease(&value)?)),
        _ => return Err(bad()),
    };
    Ok(Compare {
        result: result.into(),
        target: target.into(),
        key: key.into_bytes().into(),
        target_union: Some(union),
        range_end: Bytes::new(),
    })
}

impl Txn {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut lines = std::io::stdin().lock().lines();
        let mut section = |title: &str| -> Result<Vec<String>, Failure> {
            if self.interactive {
                println!("{title}");
            }
            let mut all = Vec::new();
            for line in lines.by_ref() {
                let line = line?;
                if line.trim().is_empty() {
                    break;
                }
                all.push(line);
            }
            Ok(all)
        };
        let compare =
            section("compares:")?.iter().map(|line| parse_compare(line)).collect::<Result<_, _>>()?;
        let title = "success requests (get, put, del):";
        let success = section(title)?.iter().map(|line| parse_op(line)).collect::<Result<_, _>>()?;
        let title = "failure requests (get, put, del):";
        let failure = section(title)?.iter().map(|line| parse_op(line)).collect::<Result<_, _>>()?;
        let request = client.request(TxnRequest { compare, success, failure });
        let answer = KvClient::new(client.channel.clone()).txn(request).await?.into_inner();
        client.printer.print("TxnResponse", &answer, |out| {
            let _ = writeln!(out, "{}", if answer.succeeded { "SUCCESS" } else { "FAILURE" });
            for response in &answer.responses {
                let _ = writeln!(out);
                match &response.response {
                    Some(Answer::ResponseRange(range)) => print_range(&client.printer, out, range),
                    Some(Answer::ResponsePut(put)) => print_put(&client.printer, out, put),
                    Some(Answer::ResponseDeleteRange(delete)) => print_delete(&client.printer, out, delete),
                    _ => {}
                }
            }
        });
        Ok(())
    }
}
