//! Every interface of systemd's own program, as it describes them itself, against ours: each method, property and
//! signal is there, with the same types and the same right to be written.

use std::collections::BTreeSet;
use std::process::Command;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use wire::Message;

use super::methods::Answer;
use super::tests::{Fake, dispatch};
use super::{ROOT, path};

/// Debian's, from the package systemd.
const PEER: &str = "/lib/systemd/systemd";

/// What systemd has and we have not, and why.
const ABSENT: [(&str, &str); 7] = [
    ("KExecWatchdogUSec t readwrite", WATCHDOG),
    ("RebootWatchdogUSec t readwrite", WATCHDOG),
    ("RuntimeWatchdogUSec t readwrite", WATCHDOG),
    ("RuntimeWatchdogPreUSec t readwrite", WATCHDOG),
    ("RuntimeWatchdogPreGovernor s readwrite", WATCHDOG),
    ("ServiceWatchdogs b readwrite", "services' watchdogs are always on"),
    ("RequestStop", "a scope has no Controller= that could be asked"),
];
const WATCHDOG: &str = "can be read, and holds as PID 1 was built";

#[test]
fn every_member_of_systemds_interfaces_is_here() {
    let said = |interface: &str| {
        let output = Command::new(PEER).arg(format!("--bus-introspect={interface}")).output();
        let output = output.unwrap_or_else(|why| panic!("{PEER}, of ci/packages: {why}"));
        String::from_utf8(output.stdout).unwrap()
    };
    let list = said("list");
    let interfaces: BTreeSet<&str> = list.lines().filter_map(|line| line.split_whitespace().last()).collect();
    assert!(interfaces.len() > 10, "{list}");
    let (mut absent, mut compared) = (Vec::new(), 0);
    for interface in interfaces {
        let (theirs, ours) =
            (members(&said(interface), interface), members(&introspected(interface), interface));
        compared += theirs.len();
        let is_meant = |member: &String| ABSENT.iter().any(|(known, _)| member.ends_with(known));
        let missing = theirs.difference(&ours).filter(|member| !is_meant(member));
        absent.extend(missing.map(|member| format!("{interface}: {member}")));
    }
    assert!(compared > 1000, "only {compared} members were read");
    assert!(absent.is_empty(), "systemd has these, we have not:\n{}", absent.join("\n"));
}

/// How an object of ours with this interface describes itself.
fn introspected(interface: &str) -> String {
    let kind = interface.rsplit('.').next().unwrap_or_default().to_lowercase();
    let path = match kind.as_str() {
        "manager" => ROOT.to_owned(),
        "job" => path::of_job(7),
        "logcontrol1" => path::LOG_CONTROL.to_owned(),
        "unit" => path::of_unit("hello1.service"),
        _ => path::of_unit(&format!("a.{kind}")),
    };
    let ask = Message::call(&path, "org.freedesktop.DBus.Introspectable", "Introspect");
    let Ok(Answer::Now(body)) = dispatch(&ask, 0, true, &mut Fake::default()) else {
        panic!("{path}: no answer")
    };
    Message::reply(1).with_body(body).unwrap().body().unwrap()
}

/// The members of an interface, one text for each: what it is, its name, its types.
fn members(xml: &str, interface: &str) -> BTreeSet<String> {
    let mut reader = Reader::from_str(xml);
    let (mut inside, mut member, mut members) = (false, String::new(), BTreeSet::new());
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return members,
            Event::Start(tag) if tag.name().as_ref() == "interface" => {
                inside = attribute(&tag, "name") == interface;
            }
            Event::Start(tag) | Event::Empty(tag) if inside => match tag.name().as_ref() {
                "method" | "signal" => {
                    members.extend((!member.is_empty()).then(|| std::mem::take(&mut member)));
                    let kind = tag.name().as_ref().to_owned();
                    member = format!("{kind} {}", attribute(&tag, "name"));
                }
                "arg" => member += &format!(" {}{}", attribute(&tag, "direction"), attribute(&tag, "type")),
                "property" => {
                    members.extend((!member.is_empty()).then(|| std::mem::take(&mut member)));
                    let [name, kind, access] = ["name", "type", "access"].map(|name| attribute(&tag, name));
                    members.insert(format!("property {name} {kind} {access}"));
                }
                _ => {}
            },
            Event::End(tag) if tag.name().as_ref() == "interface" => {
                members.extend((!member.is_empty()).then(|| std::mem::take(&mut member)));
                inside = false;
            }
            _ => {}
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> String {
    let attribute = tag.try_get_attribute(name).unwrap();
    attribute.map(|found| found.value.into_owned()).unwrap_or_default()
}
