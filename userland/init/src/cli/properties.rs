//! An object's properties as the client gets them: in order, and asked for by name.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use zvariant::{OwnedValue, Signature, Type, Value};

use super::client::{Client, Trouble};
use crate::dbus::{ROOT, path};
use wire::Message;

/// Names and values, in the manager's order.
#[derive(Debug, Default)]
pub struct Properties(pub Vec<(String, OwnedValue)>);

impl Type for Properties {
    const SIGNATURE: &'static Signature = <HashMap<String, OwnedValue> as Type>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Properties;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a dictionary of properties")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Properties(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

impl Properties {
    /// All of a unit's; the manager loads the unit if need be.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn of_unit(client: &mut Client, name: &str) -> Result<Properties, Trouble> {
        Properties::of(client, &path::of_unit(name))
    }

    /// The manager's own.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn of_manager(client: &mut Client) -> Result<Properties, Trouble> {
        Properties::of(client, ROOT)
    }

    fn of(client: &mut Client, path: &str) -> Result<Properties, Trouble> {
        client.call(Message::call(path, "org.freedesktop.DBus.Properties", "GetAll").with(&"")?)
    }

    /// A property.
    pub fn get(&self, name: &str) -> Option<&Value<'static>> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// A text; empty if there is none.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(Value::Str(text)) => text.as_str(),
            _ => "",
        }
    }

    /// A number of any width; zero if there is none.
    pub fn number(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(Value::U64(number)) => *number,
            Some(Value::U32(number)) => u64::from(*number),
            Some(Value::I32(number)) => u64::try_from(*number).unwrap_or(0),
            _ => 0,
        }
    }

    /// A list of texts.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::Array(array)) => {
                array.iter().filter_map(|item| String::try_from(item.clone()).ok()).collect()
            }
            _ => Vec::new(),
        }
    }
}
