//! The bus's own object: `org.freedesktop.DBus` (D-Bus specification, "Message Bus Messages").

use std::collections::HashMap;

use wire::{Body, Malformed, Message};
use zvariant::Value;

use crate::broker::{Broker, NAME, unique_name};
use crate::names::Id;
use crate::rule::Rule;

/// The most names of one client.
const MOST_NAMES: usize = 64;
/// The most match rules of one client.
const MOST_RULES: usize = 1024;
/// The longest name, in bytes.
const LONGEST: usize = 255;

const ERROR: &str = "org.freedesktop.DBus.Error.";

/// An error's name, without its namespace, and its text.
struct Refusal(&'static str, String);

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Refusal {
        Refusal("InvalidArgs", error.to_string())
    }
}

type Outcome = Result<Body, Refusal>;
type Run = fn(&mut Broker, Id, &Message) -> Outcome;

/// A method: interface, name, what it takes and gives.
struct Method(&'static str, &'static str, &'static str, &'static str, Run);

const MONITORING: &str = "org.freedesktop.DBus.Monitoring";
const PEER: &str = "org.freedesktop.DBus.Peer";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";

const METHODS: &[Method] = &[
    Method(NAME, "Hello", "", "s", hello),
    Method(NAME, "RequestName", "su", "u", request_name),
    Method(NAME, "ReleaseName", "s", "u", release_name),
    Method(NAME, "StartServiceByName", "su", "u", start_service),
    Method(NAME, "UpdateActivationEnvironment", "a{ss}", "", |_, _, _| {
        // PID 1 has the environment of services.
        Err(Refusal("AccessDenied", "Use the service manager's SetEnvironment.".into()))
    }),
    Method(NAME, "NameHasOwner", "s", "b", |broker, _, call| {
        let name: String = call.body()?;
        Ok(Body::of(&(name == NAME || broker.find(&name).is_some()))?)
    }),
    Method(NAME, "ListNames", "", "as", |broker, _, _| {
        let unique =
            broker.clients.values().filter(|client| !client.monitor).map(|client| client.name.as_str());
        let names =
            [NAME].into_iter().chain(unique.filter(|name| !name.is_empty())).chain(broker.names.all());
        Ok(Body::of(&names.collect::<Vec<_>>())?)
    }),
    Method(NAME, "ListActivatableNames", "", "as", |broker, _, _| {
        let names = [NAME].into_iter().chain(broker.activation.names().map(String::as_str));
        Ok(Body::of(&names.collect::<Vec<_>>())?)
    }),
    Method(NAME, "AddMatch", "s", "", add_match),
    Method(NAME, "RemoveMatch", "s", "", remove_match),
    Method(NAME, "GetNameOwner", "s", "s", |broker, _, call| {
        let name: String = call.body()?;
        let owner = if name == NAME { NAME.into() } else { unique_name(find(broker, &name)?) };
        Ok(Body::of(&owner)?)
    }),
    Method(NAME, "ListQueuedOwners", "s", "as", |broker, _, call| {
        let name: String = call.body()?;
        find(broker, &name)?;
        let queue = broker.names.queue(&name).into_iter().map(unique_name);
        Ok(Body::of(&queue.collect::<Vec<_>>())?)
    }),
    Method(NAME, "GetConnectionUnixUser", "s", "u", |broker, _, call| {
        Ok(Body::of(&credentials(broker, call)?.0)?)
    }),
    Method(NAME, "GetConnectionUnixProcessID", "s", "u", |broker, _, call| {
        Ok(Body::of(&credentials(broker, call)?.1)?)
    }),
    Method(NAME, "GetConnectionCredentials", "s", "a{sv}", |broker, _, call| {
        let (uid, pid) = credentials(broker, call)?;
        let known = HashMap::from([("UnixUserID", Value::from(uid)), ("ProcessID", Value::from(pid))]);
        Ok(Body::of(&known)?)
    }),
    Method(NAME, "GetAdtAuditSessionData", "s", "ay", |_, _, _| {
        Err(Refusal("AdtAuditDataUnknown", "There is none on Linux.".into()))
    }),
    Method(NAME, "GetConnectionSELinuxSecurityContext", "s", "ay", |_, _, _| {
        Err(Refusal("SELinuxSecurityContextUnknown", "SELinux is not in use.".into()))
    }),
    Method(NAME, "ReloadConfig", "", "", |broker, _, _| {
        crate::reload(broker);
        Ok(Body::EMPTY)
    }),
    Method(NAME, "GetId", "", "s", |broker, _, _| Ok(Body::of(&broker.guid)?)),
    Method(MONITORING, "BecomeMonitor", "asu", "", become_monitor),
    Method(PEER, "Ping", "", "", |_, _, _| Ok(Body::EMPTY)),
    Method(PEER, "GetMachineId", "", "s", |_, _, _| {
        let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        Ok(Body::of(&id.trim())?)
    }),
    Method(PROPERTIES, "Get", "ss", "v", |_, _, call| {
        let (_, name): (String, String) = call.body()?;
        let value = properties().remove(name.as_str());
        Ok(Body::of(&value.ok_or_else(|| Refusal("UnknownProperty", format!("Unknown property {name}.")))?)?)
    }),
    Method(PROPERTIES, "GetAll", "s", "a{sv}", |_, _, _| Ok(Body::of(&properties())?)),
    Method(INTROSPECTABLE, "Introspect", "", "s", |_, _, call| Ok(Body::of(&introspection(&call.path))?)),
];

fn properties() -> HashMap<&'static str, Value<'static>> {
    HashMap::from([
        ("Features", Value::from(vec!["SystemdActivation"])),
        ("Interfaces", Value::from(vec![MONITORING])),
    ])
}

/// Answers a call to the bus.
pub(crate) fn answer(broker: &mut Broker, id: Id, call: &Message) {
    let named = |method: &&Method| {
        method.1 == call.member && (call.interface.is_empty() || method.0 == call.interface)
    };
    let outcome = match METHODS.iter().find(named) {
        None => Err(Refusal(
            "UnknownMethod",
            format!("The bus has no method {}.{}.", call.interface, call.member),
        )),
        Some(method) if method.2 != call.signature => Err(Refusal(
            "InvalidArgs",
            format!("{} takes '{}', not '{}'.", method.1, method.2, call.signature),
        )),
        Some(method) => (method.4)(broker, id, call),
    };
    if !call.wants_reply() {
        return;
    }
    let reply = match outcome {
        Ok(body) => Message::reply(call.serial).with_body(body),
        Err(Refusal(name, text)) => Ok(Message::refusal(call.serial, &format!("{ERROR}{name}"), &text)),
    };
    // Hello's answer comes before the news of the name.
    let is_hello = call.member == "Hello" && call.sender.is_empty();
    if let Ok(reply) = reply {
        broker.say(id, reply);
    }
    if is_hello {
        let name = unique_name(id);
        broker.tell(&crate::names::Change { name, old: None, new: Some(id) });
    }
}

fn hello(broker: &mut Broker, id: Id, _: &Message) -> Outcome {
    let client = broker.clients.get_mut(&id).ok_or_else(|| Refusal("Disconnected", String::new()))?;
    if !client.name.is_empty() {
        return Err(Refusal("Failed", "Already handled an Hello message".into()));
    }
    client.name = unique_name(id);
    Ok(Body::of(&client.name)?)
}

fn request_name(broker: &mut Broker, id: Id, call: &Message) -> Outcome {
    let (name, flags): (String, u32) = call.body()?;
    if !is_well_known(&name) || name == NAME {
        return Err(Refusal("InvalidArgs", format!("Cannot acquire a service named '{name}'")));
    }
    let (uid, gid) = broker
        .clients
        .get(&id)
        .map_or((u32::MAX, u32::MAX), |client| (client.connection.uid, client.connection.gid));
    if !broker.policy.may_own(uid, gid, &name) {
        let text = format!(
            "Connection \"{}\" (uid {uid}) is not allowed to own the service \"{name}\".",
            call.sender
        );
        return Err(Refusal("AccessDenied", text));
    }
    if broker.names.count(id) >= MOST_NAMES {
        return Err(Refusal("LimitsExceeded", format!("A client may have {MOST_NAMES} names.")));
    }
    let (requested, change) = broker.names.request(&name, id, flags);
    if let Some(change) = change {
        broker.tell(&change);
    }
    Ok(Body::of(&(requested as u32))?)
}

fn release_name(broker: &mut Broker, id: Id, call: &Message) -> Outcome {
    let name: String = call.body()?;
    let (released, change) = broker.names.release(&name, id);
    if let Some(change) = change {
        broker.tell(&change);
    }
    Ok(Body::of(&(released as u32))?)
}

/// Answers at once, as systemd's activation does: what is sent to the name waits for it.
fn start_service(broker: &mut Broker, _: Id, call: &Message) -> Outcome {
    const STARTED: u32 = 1;
    const RUNNING: u32 = 2;
    let (name, _): (String, u32) = call.body()?;
    if broker.find(&name).is_some() || name == NAME {
        return Ok(Body::of(&RUNNING)?);
    }
    match broker.activation.unit(&name) {
        Some(unit) => {
            broker.ask_for(&unit);
            Ok(Body::of(&STARTED)?)
        }
        None => {
            Err(Refusal("ServiceUnknown", format!("The name {name} was not provided by any .service files")))
        }
    }
}

fn add_match(broker: &mut Broker, id: Id, call: &Message) -> Outcome {
    let text: String = call.body()?;
    let rule = Rule::parse(&text).map_err(|error| Refusal("MatchRuleInvalid", error.to_string()))?;
    let Some(client) = broker.clients.get_mut(&id) else { return Ok(Body::EMPTY) };
    if client.rules.len() >= MOST_RULES {
        return Err(Refusal("LimitsExceeded", format!("A client may have {MOST_RULES} match rules.")));
    }
    client.rules.push((text, rule));
    Ok(Body::EMPTY)
}

fn remove_match(broker: &mut Broker, id: Id, call: &Message) -> Outcome {
    let text: String = call.body()?;
    let rule = Rule::parse(&text).map_err(|error| Refusal("MatchRuleInvalid", error.to_string()))?;
    let rules = broker.clients.get_mut(&id).map(|client| &mut client.rules);
    let at = rules.as_ref().and_then(|rules| rules.iter().position(|(_, known)| *known == rule));
    match (rules, at) {
        (Some(rules), Some(at)) => {
            rules.remove(at);
            Ok(Body::EMPTY)
        }
        _ => {
            Err(Refusal("MatchRuleNotFound", "The given match rule wasn't found and can't be removed".into()))
        }
    }
}

fn become_monitor(broker: &mut Broker, id: Id, call: &Message) -> Outcome {
    let (texts, _): (Vec<String>, u32) = call.body()?;
    if broker.clients.get(&id).is_none_or(|client| client.connection.uid != 0) {
        return Err(Refusal("AccessDenied", "Only root may watch what others say.".into()));
    }
    if texts.len() > MOST_RULES {
        return Err(Refusal("LimitsExceeded", format!("A client may have {MOST_RULES} match rules.")));
    }
    let rule = |text: String| {
        let rule = Rule::parse(&text).map_err(|error| Refusal("MatchRuleInvalid", error.to_string()))?;
        Ok((text, rule))
    };
    let rules = texts.into_iter().map(rule).collect::<Result<Vec<_>, Refusal>>()?;
    broker.make_monitor(id, rules);
    Ok(Body::EMPTY)
}

fn find(broker: &Broker, name: &str) -> Result<Id, Refusal> {
    let nobody = || Refusal("NameHasNoOwner", format!("Could not get owner of name '{name}': no such name"));
    broker.find(name).ok_or_else(nobody)
}

/// The uid and pid behind a name.
fn credentials(broker: &Broker, call: &Message) -> Result<(u32, u32), Refusal> {
    let name: String = call.body()?;
    if name == NAME {
        return Ok((rustix::process::getuid().as_raw(), std::process::id()));
    }
    let id = find(broker, &name)?;
    let nobody = || Refusal("NameHasNoOwner", format!("Could not get owner of name '{name}': no such name"));
    let client = broker.clients.get(&id).ok_or_else(nobody)?;
    Ok((client.connection.uid, client.connection.pid))
}

/// Whether it is a bus name other than a unique one: two parts or more, none empty or beginning with a digit.
fn is_well_known(name: &str) -> bool {
    let part = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !part.is_empty()
            && part.bytes().all(letter)
            && !part.starts_with(|first: char| first.is_ascii_digit())
    };
    name.len() <= LONGEST && name.contains('.') && name.split('.').all(part)
}

/// The interfaces as XML.
fn introspection(path: &str) -> String {
    let mut xml = String::from(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n\
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
    );
    if path == crate::broker::PATH {
        for interface in [NAME, PROPERTIES, INTROSPECTABLE, MONITORING, PEER] {
            xml.push_str(&format!("  <interface name=\"{interface}\">\n"));
            for Method(_, name, takes, gives, _) in METHODS.iter().filter(|method| method.0 == interface) {
                xml.push_str(&format!("    <method name=\"{name}\">\n"));
                for (types, direction) in [(takes, "in"), (gives, "out")] {
                    for kind in complete_types(types) {
                        xml.push_str(&format!("      <arg direction=\"{direction}\" type=\"{kind}\"/>\n"));
                    }
                }
                xml.push_str("    </method>\n");
            }
            if interface == NAME {
                for (name, types) in [("NameOwnerChanged", "sss"), ("NameLost", "s"), ("NameAcquired", "s")] {
                    xml.push_str(&format!("    <signal name=\"{name}\">\n"));
                    for kind in complete_types(types) {
                        xml.push_str(&format!("      <arg type=\"{kind}\"/>\n"));
                    }
                    xml.push_str("    </signal>\n");
                }
                xml.push_str("    <property name=\"Features\" type=\"as\" access=\"read\"/>\n");
                xml.push_str("    <property name=\"Interfaces\" type=\"as\" access=\"read\"/>\n");
            }
            xml.push_str("  </interface>\n");
        }
    } else {
        let below = match path {
            "/" => "org/freedesktop/DBus",
            "/org" => "freedesktop/DBus",
            "/org/freedesktop" => "DBus",
            _ => "",
        };
        if !below.is_empty() {
            xml.push_str(&format!("  <node name=\"{below}\"/>\n"));
        }
    }
    xml.push_str("</node>\n");
    xml
}

/// A signature of the table, split; the tables' arrays are of one letter or in braces.
fn complete_types(types: &str) -> Vec<&str> {
    match types {
        "" => Vec::new(),
        "a{sv}" | "a{ss}" | "as" | "ay" => vec![types],
        "asu" => vec!["as", "u"],
        _ => types.split("").filter(|letter| !letter.is_empty()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Released, Requested};

    #[test]
    fn names_and_types() {
        for good in ["a.b", "org.x-y.Z_1"] {
            assert!(is_well_known(good), "{good}");
        }
        for bad in ["", "a", ".a", "a.", "a..b", "a.1b", ":1.2", "a.b c", "a.b/c"] {
            assert!(!is_well_known(bad), "{bad}");
        }
        for Method(_, name, takes, gives, _) in METHODS {
            assert_eq!(complete_types(takes).concat(), **takes, "{name}");
            assert_eq!(complete_types(gives).concat(), **gives, "{name}");
        }
        assert_eq!(Requested::Exists as u32, 3);
        assert_eq!(Released::NotOwner as u32, 3);
    }
}
