//! Reading values out of the tree leniently: what is wrong becomes a problem, and is left out.

use std::rc::Rc;

use crate::problem::Problem;
use crate::yaml::{Node, Value};

/// A value and its place in the file, as in `users[0].name`.
#[derive(Clone)]
pub struct At {
    /// The value.
    pub node: Rc<Node>,
    /// Its place; empty at the top.
    pub place: String,
}

impl At {
    /// A problem with this value.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        Problem::at(self.node.line, &self.place, what)
    }

    fn wanted(&self, what: &str) -> Problem {
        self.problem(format!("must be {what}, is {}", self.node.kind()))
    }

    /// The text of a scalar.
    pub fn text(&self, problems: &mut Vec<Problem>) -> Option<String> {
        match &self.node.value {
            _ if self.node.is_null() => None,
            Value::Scalar(text, _) => Some(text.clone()),
            _ => {
                problems.push(self.wanted("text"));
                None
            }
        }
    }

    /// `true` or `false`, in any of YAML's spellings.
    pub fn boolean(&self, problems: &mut Vec<Problem>) -> Option<bool> {
        let text = self.text(problems)?.to_ascii_lowercase();
        match text.as_str() {
            "true" | "yes" | "on" | "y" | "1" => Some(true),
            "false" | "no" | "off" | "n" | "0" => Some(false),
            _ => {
                problems.push(self.problem("must be true or false"));
                None
            }
        }
    }

    /// The items of a list.
    pub fn list(&self, problems: &mut Vec<Problem>) -> Vec<At> {
        match &self.node.value {
            _ if self.node.is_null() => Vec::new(),
            Value::List(items) => items
                .iter()
                .enumerate()
                .map(|(n, node)| At { node: Rc::clone(node), place: format!("{}[{n}]", self.place) })
                .collect(),
            _ => {
                problems.push(self.wanted("a list"));
                Vec::new()
            }
        }
    }

    /// The texts of a list; a single text counts as a list of one.
    pub fn texts(&self, problems: &mut Vec<Problem>) -> Vec<(At, String)> {
        match &self.node.value {
            Value::Scalar(text, _) if !self.node.is_null() => vec![(self.clone(), text.clone())],
            _ => self
                .list(problems)
                .into_iter()
                .filter_map(|item| item.text(problems).map(|text| (item, text)))
                .collect(),
        }
    }

    /// The entries of a map. Hyphens in keys count as underscores, as in CoreOS.
    pub fn map(&self, problems: &mut Vec<Problem>) -> Vec<(String, At)> {
        match &self.node.value {
            _ if self.node.is_null() => Vec::new(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, node)| {
                    let place =
                        if self.place.is_empty() { key.clone() } else { format!("{}.{key}", self.place) };
                    (key.replace('-', "_"), At { node: Rc::clone(node), place })
                })
                .collect(),
            _ => {
                problems.push(self.wanted("a map"));
                Vec::new()
            }
        }
    }
}
