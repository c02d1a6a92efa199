//! Sessions of clients, call by call: each call is answered as systemd answers it: a reply of the same type, properties
//! of the same names and types, or the error of the same name.
//!
//! `sessions` beside this file are ours. `CORTEN_DBUS_SESSIONS` names a folder with more: a JSON file for each, its
//! `events` in order, messages with `dir` `>` (called) or `<` (answered), `signature` and `body`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value as Json;
use wire::{Message, MessageType};
use zvariant::{OwnedValue, Value};

use super::machine::Machine;

const SESSIONS: &str = include_str!("sessions");
const MANAGER: &str = "org.freedesktop.systemd1";
/// What the sessions are about. `/etc`, so that it cannot be masked.
const UNITS: &[(&str, &str)] = &[
    (
        "hello1.service",
        "[Unit]\nDescription=My Service\n[Service]\nExecStartPre=-/bin/true\n\
         ExecStart=/bin/sh -c \"trap : USR2; while true; do echo Hello World; sleep 1; done\"\nExecReload=/bin/true\n\
         [Install]\nWantedBy=multi-user.target\n",
    ),
    ("fails.service", "[Service]\nExecStart=/bin/false\n"),
    ("sock1.socket", "[Socket]\nListenStream=/run/sock1\n"),
    ("sock1.service", "[Service]\nExecStart=/bin/sleep 1000\n"),
    ("tick.timer", "[Timer]\nOnActiveSec=10min\n"),
    ("tick.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n"),
];

/// A call, and what systemd said.
#[derive(Debug)]
struct Call {
    /// On the system bus; else on PID 1's own socket.
    on_bus: bool,
    path: String,
    interface: String,
    member: String,
    signature: String,
    body: Json,
    want: Want,
}

#[derive(Debug)]
enum Want {
    /// Of this type; if it is told: the names of properties, or none for the one that was asked for, and their types.
    Reply(String, BTreeMap<String, String>),
    Error(String),
}

pub fn sessions(machine: &Machine) {
    let folder = Path::new(&machine.root()).join("etc/systemd/system");
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in UNITS {
        fs::write(folder.join(name), text).unwrap();
    }
    assert!(machine.systemctl(&["daemon-reload"]).status.success());
    let mut calls: Vec<(String, Call)> =
        SESSIONS.lines().filter_map(of_line).map(|call| ("ours".into(), call)).collect();
    assert!(calls.len() > 40);
    if let Some(folder) = std::env::var_os("CORTEN_DBUS_SESSIONS") {
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "json")) {
            let session: Json = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            let name = format!("{} ({})", file.file_name().unwrap().display(), session["cmd"]);
            calls.extend(of_session(&session).into_iter().map(|call| (name.clone(), call)));
        }
    }
    let mut wrong = Vec::new();
    for (session, call) in &calls {
        if let Some(why) = replay(machine, call) {
            wrong.push(format!("{session}: {} {} {}: {why}", call.path, call.member, call.body));
        }
    }
    println!("{} calls replayed", calls.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `PATH INTERFACE MEMBER SIGNATURE JSON => SIGNATURE`, or `=> !ERROR`; `-` is no signature.
fn of_line(line: &str) -> Option<Call> {
    let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
    let (call, want) = line.split_once(" => ")?;
    let mut words = call.splitn(5, ' ');
    let [path, interface, member, signature] = [(); 4].map(|()| words.next().unwrap_or_default());
    let none = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
    let want = match want.strip_prefix('!') {
        Some(error) => Want::Error(error.into()),
        None => Want::Reply(none(want), BTreeMap::new()),
    };
    Some(Call {
        on_bus: !path.starts_with("/org/freedesktop/systemd1"),
        path: path.into(),
        interface: interface.into(),
        member: member.into(),
        signature: none(signature),
        body: serde_json::from_str(words.next().unwrap_or("[]")).unwrap(),
        want,
    })
}

/// The calls of a recorded session that mean something on another machine.
fn of_session(session: &Json) -> Vec<Call> {
    let events = session["events"].as_array().unwrap();
    let text = |event: &Json, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let answer = |serial: &Json| {
        events.iter().find(|event| {
            event["dir"] == "<" && !event["reply_serial"].is_null() && event["reply_serial"] == *serial
        })
    };
    let on_bus = events
        .iter()
        .any(|event| event["event"] == "CONNECT" && text(event, "a").ends_with("system_bus_socket"));
    let mut calls = Vec::new();
    for event in events.iter().filter(|event| event["dir"] == ">" && event["type"] == "method_call") {
        // Unanswered, or about a name or process of the recorded machine.
        let Some(reply) = answer(&event["serial"]) else { continue };
        let body = event["body"].clone();
        let foreign =
            text(event, "interface") == "org.freedesktop.DBus" && body.to_string().contains("[\":1.");
        if foreign || body.to_string().contains("\"PIDs\"") || text(event, "path").ends_with("/unit/self") {
            continue;
        }
        let want = if reply["type"] == "error" {
            Want::Error(text(reply, "error_name"))
        } else {
            let types = match text(event, "member").as_str() {
                "GetAll" => {
                    let all = reply["body"][0].as_object().unwrap();
                    all.iter()
                        .map(|(name, value)| (name.clone(), value[0].as_str().unwrap().to_owned()))
                        .collect()
                }
                "Get" => BTreeMap::from([(String::new(), reply["body"][0][0].as_str().unwrap().to_owned())]),
                _ => BTreeMap::new(),
            };
            Want::Reply(text(reply, "signature"), types)
        };
        calls.push(Call {
            on_bus,
            path: text(event, "path"),
            interface: text(event, "interface"),
            member: text(event, "member"),
            signature: text(event, "signature"),
            body,
            want,
        });
    }
    calls
}

/// Makes the call and lets what it began come to an end; what is not as systemd has it.
fn replay(machine: &Machine, call: &Call) -> Option<String> {
    if matches!(call.member.as_str(), "Hello" | "PowerOffWithFlags") {
        return None; // said by every connection to the bus; the end of the machine
    }
    let socket = if call.on_bus { "run/dbus/system_bus_socket" } else { "run/systemd/private" };
    let mut peer = Peer::connect(&Path::new(&machine.root()).join(socket), call.on_bus);
    let destination = match call.interface.as_str() {
        "org.freedesktop.DBus" => "org.freedesktop.DBus",
        _ if call.path.starts_with("/org/freedesktop/login1") => "org.freedesktop.login1",
        _ => MANAGER,
    };
    let message = Message::call(&call.path, &call.interface, &call.member).to(destination);
    let answer = peer.ask(with_body(message, &call.signature, &call.body));
    if call.member.ends_with("Unit") {
        machine.until("no job is left", |m| m.systemctl(&["list-jobs", "--no-legend"]).stdout.is_empty());
    }
    match (&call.want, answer.kind) {
        (Want::Error(name), MessageType::Error) if *name == answer.error => None,
        (Want::Reply(signature, types), MessageType::Return) if *signature == answer.signature => {
            differs(&answer, types)
        }
        (want, _) => {
            Some(format!("systemd: {want:?}; here: {:?} {} {}", answer.kind, answer.signature, answer.error))
        }
    }
}

/// Properties that are missing, or of another type.
fn differs(answer: &Message, types: &BTreeMap<String, String>) -> Option<String> {
    let here: HashMap<String, OwnedValue> = match answer.signature.as_str() {
        "a{sv}" if !types.is_empty() => answer.body().unwrap(),
        "v" if !types.is_empty() => HashMap::from([(String::new(), answer.body().unwrap())]),
        _ => return None,
    };
    let wrong = |(name, wanted): (&String, &String)| {
        let found = here.get(name).map(|value| value.value_signature().to_string());
        (found.as_ref() != Some(wanted)).then(|| format!("{name} is {wanted}, here {found:?}"))
    };
    let all: Vec<String> = types.iter().filter_map(wrong).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The types of arguments that the sessions have.
fn with_body(message: Message, signature: &str, body: &Json) -> Message {
    macro_rules! typed {
        ($types:ty) => {
            message.with(&serde_json::from_value::<$types>(body.clone()).unwrap()).unwrap()
        };
    }
    match signature {
        "" => message,
        "s" => typed!((String,)),
        "t" => typed!((u64,)),
        "u" => typed!((u32,)),
        "as" => typed!((Vec<String>,)),
        "sb" => typed!((String, bool)),
        "ss" => typed!((String, String)),
        "ssi" => typed!((String, String, i32)),
        "sas" => typed!((String, Vec<String>)),
        "asb" => typed!((Vec<String>, bool)),
        "asas" => typed!((Vec<String>, Vec<String>)),
        "asbb" => typed!((Vec<String>, bool, bool)),
        "sba(sv)" => {
            let (name, runtime): (String, bool) = part(body, 0, 1);
            message.with(&(name, runtime, settings(&body[2]))).unwrap()
        }
        "ssa(sv)a(sa(sv))" => {
            let (name, mode): (String, String) = part(body, 0, 1);
            let more = body[3].as_array().unwrap().iter();
            let more: Vec<(String, Vec<(String, OwnedValue)>)> =
                more.map(|unit| (unit[0].as_str().unwrap().to_owned(), settings(&unit[1]))).collect();
            message.with(&(name, mode, settings(&body[2]), more)).unwrap()
        }
        other => panic!("arguments of the type {other} are not known here yet"),
    }
}

fn part<A: serde::de::DeserializeOwned, B: serde::de::DeserializeOwned>(
    body: &Json,
    a: usize,
    b: usize,
) -> (A, B) {
    (serde_json::from_value(body[a].clone()).unwrap(), serde_json::from_value(body[b].clone()).unwrap())
}

/// `a(sv)`: a variant is its type and its value.
fn settings(all: &Json) -> Vec<(String, OwnedValue)> {
    let value = |variant: &Json| -> Value<'static> {
        let value = variant[1].clone();
        match variant[0].as_str().unwrap() {
            "s" => value.as_str().unwrap().to_owned().into(),
            "b" => value.as_bool().unwrap().into(),
            "t" => value.as_u64().unwrap().into(),
            "as" => serde_json::from_value::<Vec<String>>(value).unwrap().into(),
            "a(sasb)" => serde_json::from_value::<Vec<(String, Vec<String>, bool)>>(value).unwrap().into(),
            other => panic!("settings of the type {other} are not known here yet"),
        }
    };
    let one =
        |setting: &Json| (setting[0].as_str().unwrap().to_owned(), value(&setting[1]).try_into().unwrap());
    all.as_array().unwrap().iter().map(one).collect()
}

/// A plain client: one call, one answer.
struct Peer {
    stream: UnixStream,
    input: Vec<u8>,
    serial: u32,
}

impl Peer {
    fn connect(socket: &Path, is_bus: bool) -> Peer {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n").unwrap();
        let mut peer = Peer { stream, input: Vec::new(), serial: 0 };
        for _ in 0..3 {
            while !peer.input.windows(2).any(|pair| pair == b"\r\n") {
                peer.more();
            }
            let end = peer.input.windows(2).position(|pair| pair == b"\r\n").unwrap();
            peer.input.drain(..end + 2);
        }
        if is_bus {
            peer.ask(
                Message::call("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
                    .to("org.freedesktop.DBus"),
            );
        }
        peer
    }

    fn ask(&mut self, mut call: Message) -> Message {
        self.serial += 1;
        call.serial = self.serial;
        wire::connection::write(&self.stream, &call).unwrap();
        loop {
            while let Some(length) =
                Message::length(&self.input).unwrap().filter(|length| *length <= self.input.len())
            {
                let message = Message::decode(&self.input[..length]).unwrap();
                self.input.drain(..length);
                if let Some(message) = message.filter(|message| message.reply_serial == self.serial) {
                    return message;
                }
            }
            self.more();
        }
    }

    fn more(&mut self) {
        let mut gulp = [0; 1 << 16];
        let length = self.stream.read(&mut gulp).unwrap();
        assert!(length > 0, "the manager hung up");
        self.input.extend_from_slice(&gulp[..length]);
    }
}
