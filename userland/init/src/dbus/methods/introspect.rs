//! `org.freedesktop.DBus.Introspectable`: the tables as XML (D-Bus specification, "Introspection Data Format").

use std::fmt::Write;

use super::{Call, Method, Outcome, interfaces, reads, values};
use crate::dbus::path::{self, Object};
use crate::dbus::{property, signals};

const HEAD: &str = concat!(
    "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n",
    "\"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n"
);

pub(super) const METHODS: &[Method] = &[reads("Introspect", "", "s", introspect)];

fn introspect(call: &mut Call<'_>, object: &Object) -> Outcome {
    let mut xml = String::from(HEAD);
    // Writing to a String does not fail.
    for (interface, tables) in interfaces(object) {
        let _ = writeln!(xml, " <interface name=\"{interface}\">");
        for method in tables.iter().copied().flatten() {
            let _ = writeln!(xml, "  <method name=\"{}\">", method.name);
            arguments(&mut xml, method.takes, " direction=\"in\"");
            arguments(&mut xml, method.gives, " direction=\"out\"");
            xml.push_str("  </method>\n");
        }
        properties(&mut xml, object, interface);
        if interface == property::MANAGER.0 {
            for (name, signature) in signals::SIGNALS {
                let _ = writeln!(xml, "  <signal name=\"{name}\">");
                arguments(&mut xml, signature, "");
                xml.push_str("  </signal>\n");
            }
        }
        xml.push_str(" </interface>\n");
    }
    for child in children(call, object) {
        let _ = writeln!(xml, " <node name=\"{child}\"/>");
    }
    xml.push_str("</node>\n");
    values(&xml)
}

fn properties(xml: &mut String, object: &Object, interface: &str) {
    let known = match object {
        Object::Manager => vec![property::MANAGER],
        Object::Unit(name) => vec![property::UNIT, property::of_type(name)],
        Object::Job(_) => vec![property::JOB],
        Object::LogControl => vec![property::LOG_CONTROL],
        Object::Login => vec![property::LOGIN],
        Object::Node => Vec::new(),
    };
    let tables = known.iter().filter(|(name, _)| *name == interface).flat_map(|(_, tables)| tables.iter());
    for (name, default) in tables.copied().flatten() {
        let signature = signals::signature(*default);
        let access = if super::properties::can_be_set(interface, name) { "readwrite" } else { "read" };
        let _ = writeln!(xml, "  <property name=\"{name}\" type=\"{signature}\" access=\"{access}\"/>");
    }
}

/// One `arg` for each complete type of a signature.
fn arguments(xml: &mut String, signature: &str, direction: &str) {
    let (mut depth, mut start) = (0u32, 0);
    for (at, code) in signature.char_indices() {
        match code {
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            'a' => continue,
            _ => {}
        }
        if depth == 0 {
            let kind = signature.get(start..=at).unwrap_or_default();
            let _ = writeln!(xml, "   <arg type=\"{kind}\"{direction}/>");
            start = at + 1;
        }
    }
}

fn children(call: &Call<'_>, object: &Object) -> Vec<String> {
    let last = |path: String| path.rsplit('/').next().unwrap_or_default().to_owned();
    match (object, call.message.path.as_str()) {
        (Object::Manager, _) => vec!["unit".into(), "job".into()],
        (Object::Node, path) if path.ends_with("/unit") => {
            call.world.units().into_iter().map(|unit| last(path::of_unit(&unit.id))).collect()
        }
        (Object::Node, path) if path.ends_with("/job") => {
            call.world.jobs().into_iter().map(|job| job.id.to_string()).collect()
        }
        (Object::Node, "/") => vec!["org".into()],
        (Object::Node, "/org") => vec!["freedesktop".into()],
        (Object::Node, _) => vec!["LogControl1".into(), "login1".into(), "systemd1".into()],
        _ => Vec::new(),
    }
}
