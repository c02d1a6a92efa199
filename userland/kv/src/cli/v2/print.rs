//! How an answer about a key is printed.

use serde::Serialize;
use serde_json::Value;

use super::client::Answer;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Simple,
    Extended,
    Json,
}

/// A node as etcd's client writes it, whatever the member left out.
#[derive(Serialize)]
struct Node {
    key: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dir: bool,
    value: String,
    nodes: Option<Vec<Node>>,
    #[serde(rename = "createdIndex")]
    created: u64,
    #[serde(rename = "modifiedIndex")]
    modified: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
}

impl Node {
    fn of(json: &Value) -> Node {
        let text = |name: &str| json.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| json.get(name).and_then(Value::as_u64);
        let nodes = json.get("nodes").and_then(Value::as_array);
        Node {
            key: text("key").unwrap_or_default(),
            dir: json.get("dir").and_then(Value::as_bool).unwrap_or(false),
            value: text("value").unwrap_or_default(),
            nodes: nodes.map(|nodes| nodes.iter().map(Node::of).collect()),
            created: number("createdIndex").unwrap_or(0),
            modified: number("modifiedIndex").unwrap_or(0),
            expiration: text("expiration"),
            ttl: number("ttl").filter(|ttl| *ttl > 0),
        }
    }
}

#[derive(Serialize)]
struct Event {
    action: String,
    node: Option<Node>,
    #[serde(rename = "prevNode")]
    previous: Option<Node>,
}

/// Prints an answer whole.
pub fn answer(output: Output, answer: &Answer) {
    let is_delete = answer.text("/action") == "delete";
    let previous = answer.json.get("prevNode").map(|_| answer.text("/prevNode/value"));
    match output {
        Output::Simple if is_delete => println!("PrevNode.Value: {}", previous.unwrap_or_default()),
        Output::Simple => println!("{}", answer.text("/node/value")),
        Output::Extended => {
            println!("Key: {}", answer.text("/node/key"));
            println!("Created-Index: {}", answer.number("/node/createdIndex"));
            println!("Modified-Index: {}", answer.number("/node/modifiedIndex"));
            if let Some(previous) = previous {
                println!("PrevNode.Value: {previous}");
            }
            println!("TTL: {}\nIndex: {}", answer.number("/node/ttl"), answer.index);
            if !is_delete {
                println!("\n{}", answer.text("/node/value"));
            }
        }
        Output::Json => {
            let event = Event {
                action: answer.text("/action").to_owned(),
                node: answer.json.get("node").map(Node::of),
                previous: answer.json.get("prevNode").map(Node::of),
            };
            println!("{}", serde_json::to_string(&event).unwrap_or_default());
        }
    }
}

/// Prints an answer about a directory: in the simple form there is nothing to say.
pub fn directory(output: Output, whole: &Answer) {
    if output != Output::Simple {
        answer(output, whole);
    }
}

/// Prints the names in a directory, and what is below them if that was asked for.
pub fn list(node: &Value, slashes: bool) {
    for child in node.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        let dir = child.get("dir").and_then(Value::as_bool).unwrap_or(false);
        let key = child.get("key").and_then(Value::as_str).unwrap_or_default();
        println!("{key}{}", if dir && slashes { "/" } else { "" });
        list(child, slashes);
    }
}
