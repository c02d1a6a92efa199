//! How answers are printed: as etcdctl prints them, plainly, as JSON, as fields, or as a table.

use std::io::Write;

use prost::Message;
use prost_reflect::{DynamicMessage, SerializeOptions};

use crate::proto::KeyValue;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Simple,
    /// JSON, as Go writes it
    Json,
    /// NAME : VALUE lines
    Fields,
    /// A table, where there is one
    Table,
}

/// Prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub format: Format,
    pub hex: bool,
}

/// A message as Go's JSON: numbers as numbers, what is nothing left out.
pub(crate) fn json(name: &str, message: &impl Message) -> String {
    let pool = crate::serve::descriptors();
    let descriptor = pool.and_then(|pool| pool.get_message_by_name(&format!("etcdserverpb.{name}")));
    let dynamic =
        descriptor.and_then(|of| DynamicMessage::decode(of, message.encode_to_vec().as_slice()).ok());
    let mut text = Vec::new();
    if let Some(dynamic) = dynamic {
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .stringify_64_bit_integers(false)
            .use_enum_numbers(true);
        let _ = dynamic.serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options);
    }
    String::from_utf8_lossy(&text).into_owned()
}

impl Printer {
    /// Prints a message as JSON or fields; `plain` prints it for people.
    pub fn print(&self, name: &str, message: &impl Message, plain: impl FnOnce(&mut dyn Write)) {
        let mut out = std::io::stdout().lock();
        match self.format {
            Format::Json => {
                let _ = writeln!(out, "{}", json(name, message));
            }
            Format::Fields => fields(&mut out, &json(name, message)),
            Format::Simple | Format::Table => plain(&mut out),
        }
    }

    /// Writes bytes, and a newline.
    pub fn line(&self, out: &mut dyn Write, bytes: &[u8]) {
        if self.hex {
            let text: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let _ = writeln!(out, "{text}");
        } else {
            let _ = out.write_all(bytes).and_then(|()| out.write_all(b"\n"));
        }
    }

    /// Writes a key and its value.
    pub fn pair(&self, out: &mut dyn Write, kv: &KeyValue) {
        self.line(out, &kv.key);
        self.line(out, &kv.value);
    }
}

/// Prints JSON as lines of names and values, names as Go's.
fn fields(out: &mut dyn Write, text: &str) {
    fn walk(out: &mut dyn Write, value: &serde_json::Value) {
        let Some(map) = value.as_object() else { return };
        for (name, value) in map {
            match value {
                serde_json::Value::Object(_) => walk(out, value),
                serde_json::Value::Array(all) => all.iter().for_each(|one| walk(out, one)),
                other => {
                    let name: String = name.split('_').map(capital).collect();
                    let _ = writeln!(out, "{name:?} : {other}");
                }
            }
        }
    }
    if let Ok(value) = serde_json::from_str(text) {
        walk(out, &value);
    }
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    match chars.next() {
        Some(_) if word == "id" => "ID".into(),
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// A table with a frame.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let rule: String =
        widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
    let mut text = rule.clone();
    for (cell, width) in head.iter().zip(&widths) {
        text += &format!("| {cell:^width$} ");
    }
    text += "|\n";
    text += &rule;
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text += &format!("| {cell:>width$} ");
        }
        text += "|\n";
    }
    text + &rule
}
