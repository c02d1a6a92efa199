//! Entries as JSON: one object, a string for text, an array of numbers for other bytes, an array for a field given
//! twice, null for what is too long. Source: systemd's JOURNAL_EXPORT_FORMATS, "Journal JSON Format".

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::text::is_printable;
use super::{Row, Style};
use crate::place::format_id;

/// Fields longer than this are left out.
const FIELD_MAX: usize = 4096;

/// The object of an entry.
pub fn object(row: &Row, style: &Style) -> Value {
    let time = row.entry.time;
    let mut object = Map::new();
    object.insert("__CURSOR".to_owned(), row.cursor().into());
    object.insert("__REALTIME_TIMESTAMP".to_owned(), time.realtime.to_string().into());
    object.insert("__MONOTONIC_TIMESTAMP".to_owned(), time.monotonic.to_string().into());
    object.insert("_BOOT_ID".to_owned(), format_id(&row.entry.boot_id).into());
    // A second value makes a list; a list that is one value, of bytes, becomes the first of that list.
    let mut lists: Vec<String> = Vec::new();
    for (name, value) in row.pairs(&style.fields).filter(|(name, _)| *name != "_BOOT_ID") {
        let value = value_of(name, value, style.all);
        match object.get_mut(name) {
            None => drop(object.insert(name.to_owned(), value)),
            Some(Value::Array(list)) if lists.iter().any(|known| known == name) => list.push(value),
            Some(first) => {
                lists.push(name.to_owned());
                *first = Value::Array(vec![first.take(), value]);
            }
        }
    }
    Value::Object(object)
}

fn value_of(name: &str, value: &[u8], all: bool) -> Value {
    if !all && name.len() + 1 + value.len() >= FIELD_MAX {
        return Value::Null;
    }
    match std::str::from_utf8(value) {
        Ok(text) if is_printable(value) => text.into(),
        _ => Value::Array(value.iter().map(|byte| Value::from(*byte)).collect()),
    }
}

/// Prints a value as systemd lays it out: with tabs, and space around the colon.
///
/// # Errors
/// What write(2) says.
pub fn pretty(value: &Value, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    let tabs = "\t".repeat(depth + 1);
    let end = "\t".repeat(depth);
    match value {
        Value::Object(object) if !object.is_empty() => {
            out.write_all(b"{\n")?;
            for (number, (name, value)) in object.iter().enumerate() {
                let comma = if number > 0 { ",\n" } else { "" };
                write!(out, "{comma}{tabs}{} : ", Value::from(name.as_str()))?;
                pretty(value, depth + 1, out)?;
            }
            write!(out, "\n{end}}}")
        }
        Value::Array(list) if !list.is_empty() => {
            out.write_all(b"[\n")?;
            for (number, value) in list.iter().enumerate() {
                let comma = if number > 0 { ",\n" } else { "" };
                write!(out, "{comma}{tabs}")?;
                pretty(value, depth + 1, out)?;
            }
            write!(out, "\n{end}]")
        }
        other => write!(out, "{other}"),
    }
}
