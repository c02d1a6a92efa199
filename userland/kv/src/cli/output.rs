//! How answers are printed: as etcdctl prints them, plainly, as JSON, as fields, or as a table.

use std::io::Write;

use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage, SerializeOptions, Value};

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
    /// The message itself
    Protobuf,
    /// A table, where there is one
    Table,
}

/// Prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub format: Format,
    pub hex: bool,
}

/// A message whose fields can be asked for.
fn dynamic(name: &str, message: &impl Message) -> Option<DynamicMessage> {
    let descriptor = crate::serve::descriptors()?.get_message_by_name(&format!("etcdserverpb.{name}"))?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok()
}

/// A message as Go's JSON: numbers as numbers, what is nothing left out.
pub(crate) fn json(name: &str, message: &impl Message) -> String {
    let mut text = Vec::new();
    if let Some(dynamic) = dynamic(name, message) {
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
            Format::Fields => {
                if let Some(dynamic) = dynamic(name, message) {
                    fields(&mut out, &dynamic, "");
                }
            }
            Format::Protobuf => {
                let _ = out.write_all(&message.encode_to_vec());
            }
            Format::Simple | Format::Table => plain(&mut out),
        }
    }

    /// As [`Printer::print`], for those answers whose JSON etcd's client makes itself: the header's fields are not
    /// in an object of their own, and `rest` follows them.
    pub fn flat(
        &self,
        name: &str,
        message: &impl Message,
        header: Option<crate::proto::ResponseHeader>,
        rest: &str,
        plain: impl FnOnce(&mut dyn Write),
    ) {
        if self.format != Format::Json {
            return self.print(name, message, plain);
        }
        let header = json("ResponseHeader", &header.unwrap_or_default());
        let comma = if header.len() > 2 { "," } else { "" };
        println!("{}{comma}{rest}}}", header.trim_end_matches('}'));
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

/// Prints a message as lines of names and values, both as Go's.
fn fields(out: &mut dyn Write, message: &DynamicMessage, prefix: &str) {
    for field in message.descriptor().fields() {
        // A message that is not there has no lines, any other value is shown.
        if field.kind().as_message().is_some() && !field.is_list() && !message.has_field(&field) {
            continue;
        }
        let below = if field.name().starts_with("prev_kv") { "Prev" } else { "" };
        let name = format!("{prefix}{}", go_name(field.name()));
        match message.get_field(&field).as_ref() {
            Value::List(all) => {
                let one = name.strip_suffix('s').unwrap_or(&name);
                all.iter().for_each(|value| line(out, one, value, below));
            }
            value => line(out, &name, value, below),
        }
    }
}

fn line(out: &mut dyn Write, name: &str, value: &Value, below: &str) {
    let text = match value {
        Value::Message(message) => return fields(out, message, below),
        Value::Bytes(bytes) => quoted(bytes),
        Value::String(text) => quoted(text.as_bytes()),
        Value::Bool(on) => on.to_string(),
        Value::I32(number) | Value::EnumNumber(number) => number.to_string(),
        Value::I64(number) => number.to_string(),
        Value::U32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let _ = writeln!(out, "\"{name}\" : {text}");
}

/// Go's `%q`: a quoted string, with what cannot be shown as escapes.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from('"');
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                letter if letter.is_ascii_control() => {
                    text.push_str(&format!("\\x{:02x}", u32::from(letter)))
                }
                letter => text.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text + "\""
}

/// `create_revision` is `CreateRevision`, `cluster_id` is `ClusterID`.
fn go_name(name: &str) -> String {
    name.split('_').map(|word| if word == "id" { "ID".into() } else { capital(word) }).collect()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_gos() {
        assert_eq!(quoted(b"a\"b\\\n\x01\xff\xc3\xa4"), "\"a\\\"b\\\\\\n\\x01\\xff\u{e4}\"");
    }

    #[test]
    fn fields_are_named_as_gos() {
        let kv = KeyValue { key: "k".into(), value: "v".into(), mod_revision: 3, ..KeyValue::default() };
        let answer = crate::proto::PutResponse { header: Some(Default::default()), prev_kv: Some(kv) };
        let mut out = Vec::new();
        fields(&mut out, &dynamic("PutResponse", &answer).expect("it is described"), "");
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 0\n\"RaftTerm\" : 0\n\"PrevKey\" : \"k\"\n"), "{text}");
        assert!(
            text.contains("\"PrevModRevision\" : 3\n") && text.ends_with("\"PrevLease\" : 0\n"),
            "{text}"
        );
    }
}
