//! YAML text to a tree that knows the line of everything in it.
//!
//! The parser is saphyr-parser; the tree is ours because cloud-config is read leniently: scalars keep
//! their text (`0644` is a mode, not a number), an error ends the reading but what was complete before
//! it is kept, and an alias shares its target instead of copying it, so that no input grows in memory.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::problem::Problem;

/// Deeper than any cloud-config; keeps every walk over the tree off the end of the stack.
const DEEPEST: usize = 32;

/// A value and the line that it begins on.
#[derive(Clone, Debug)]
pub struct Node {
    /// Counted from 1.
    pub line: usize,
    /// What it is.
    pub value: Value,
    /// Levels below, those behind aliases included.
    depth: usize,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Value {
    /// Text; whether it was written without quotes.
    Scalar(String, bool),
    /// A list.
    List(Vec<Rc<Node>>),
    /// Keys and values in the order of the text. Keys that are not scalars are left out.
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// Whether it is the plain `null`, `~` or nothing at all.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(text, true) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What kind of value it is, in a user's words.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar(..) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// A list or map whose end has not come.
enum Open {
    List(Vec<Rc<Node>>),
    Map { entries: Vec<(String, Rc<Node>)>, known: HashMap<String, usize>, key: Option<Option<String>> },
}

struct Frame {
    line: usize,
    anchor: usize,
    open: Open,
}

/// Reads the first document. None if there is none. On an error, what was complete at the top is kept.
pub fn read(text: &str, problems: &mut Vec<Problem>) -> Option<Rc<Node>> {
    let mut stack: Vec<Frame> = Vec::new();
    let mut anchors: HashMap<usize, Rc<Node>> = HashMap::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(e) => {
                problems.push(Problem::at(e.marker().line(), "", format!("not YAML: {}", e.info())));
                return salvage(stack);
            }
        };
        let line = span.start.line();
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !tag.is_some_and(|tag| is_string(&tag));
                (Rc::new(Node { line, value: Value::Scalar(text.into_owned(), plain), depth: 0 }), anchor)
            }
            Event::Alias(id) => match anchors.get(&id) {
                Some(target) if target.depth + stack.len() <= DEEPEST => (Rc::clone(target), 0),
                Some(_) => {
                    problems.push(Problem::at(line, "", format!("nested deeper than {DEEPEST} levels")));
                    return salvage(stack);
                }
                None => {
                    problems.push(Problem::at(line, "", "an alias inside of what it stands for"));
                    return salvage(stack);
                }
            },
            Event::SequenceStart(..) | Event::MappingStart(..) if stack.len() >= DEEPEST => {
                problems.push(Problem::at(line, "", format!("nested deeper than {DEEPEST} levels")));
                return salvage(stack);
            }
            Event::SequenceStart(anchor, _) => {
                stack.push(Frame { line, anchor, open: Open::List(Vec::new()) });
                continue;
            }
            Event::MappingStart(anchor, _) => {
                stack.push(Frame {
                    line,
                    anchor,
                    open: Open::Map { entries: Vec::new(), known: HashMap::new(), key: None },
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(frame) => (Rc::new(close(frame.line, frame.open)), frame.anchor),
                None => continue,
            },
            Event::DocumentEnd => return None,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => continue,
        };
        if anchor != 0 {
            anchors.insert(anchor, Rc::clone(&node));
        }
        match stack.last_mut() {
            None => return Some(node),
            Some(frame) => {
                if let Err(problem) = put(frame, node) {
                    problems.push(problem);
                }
            }
        }
    }
    None
}

fn is_string(tag: &Tag) -> bool {
    tag.suffix == "str" || tag.suffix == "binary"
}

fn put(frame: &mut Frame, node: Rc<Node>) -> Result<(), Problem> {
    match &mut frame.open {
        Open::List(items) => items.push(node),
        Open::Map { entries, known, key } => match key.take() {
            None => {
                *key = Some(match &node.value {
                    Value::Scalar(text, _) => Some(text.clone()),
                    Value::List(_) | Value::Map(_) => None,
                });
            }
            Some(None) => return Err(Problem::at(node.line, "", "a key must be text")),
            Some(Some(name)) => {
                let Some((_, value)) = known.get(&name).and_then(|&at| entries.get_mut(at)) else {
                    known.insert(name.clone(), entries.len());
                    entries.push((name, node));
                    return Ok(());
                };
                let problem = Problem::at(node.line, &name, "given twice; the last one holds");
                *value = node;
                return Err(problem);
            }
        },
    }
    Ok(())
}

fn close(line: usize, open: Open) -> Node {
    let (deepest, value) = match open {
        Open::List(items) => (items.iter().map(|item| item.depth).max(), Value::List(items)),
        Open::Map { entries, .. } => {
            (entries.iter().map(|(_, value)| value.depth).max(), Value::Map(entries))
        }
    };
    Node { line, value, depth: 1 + deepest.unwrap_or(0) }
}

/// What was complete at the top when an error came.
fn salvage(stack: Vec<Frame>) -> Option<Rc<Node>> {
    let first = stack.into_iter().next()?;
    Some(Rc::new(close(first.line, first.open)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(node: &Node) -> String {
        match &node.value {
            Value::Scalar(text, _) => text.clone(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(|i| shape(i)).collect::<Vec<_>>().join(","))
            }
            Value::Map(entries) => {
                let entries: Vec<String> = entries.iter().map(|(k, v)| format!("{k}:{}", shape(v))).collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    fn reads(text: &str) -> (String, Vec<String>) {
        let mut problems = Vec::new();
        let node = read(text, &mut problems);
        (node.map(|n| shape(&n)).unwrap_or_default(), problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn text_lists_and_maps() {
        assert_eq!(reads("a: 1\nb: [x, 'y']\nc: |\n  t\n"), ("{a:1,b:[x,y],c:t\n}".into(), vec![]));
        assert_eq!(reads("a: &x [1]\nb: *x\n").0, "{a:[1],b:[1]}");
        assert_eq!(reads(""), (String::new(), vec![]));
    }

    #[test]
    fn what_was_complete_before_an_error_is_kept() {
        let (tree, problems) = reads("a: 1\nb: [x\nc: }\n");
        assert_eq!(tree, "{a:1}");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("not YAML"), "{problems:?}");
    }

    #[test]
    fn doubles_and_odd_keys() {
        let (tree, problems) = reads("a: 1\na: 2\n? [x]\n: 3\n");
        assert_eq!(tree, "{a:2}");
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn bombs_stay_small() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..30 {
            let last = format!("*a{}, ", n - 1).repeat(9);
            bomb.push_str(&format!("a{n}: &a{n} [{last} *a{}]\n", n - 1));
        }
        let mut problems = Vec::new();
        assert!(read(&bomb, &mut problems).is_some());
        let (_, problems) = reads(&"[".repeat(100_000));
        assert_eq!(problems.len(), 1);
        let (_, problems) = reads(&"- ".repeat(100_000));
        assert_eq!(problems.len(), 1);
        let (_, problems) = reads("a: &a [*a]\n");
        assert_eq!(problems.len(), 1);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ \n\\[\\]{}:,&*a\\-?|>!'\"#%]{0,60}") {
            let mut problems = Vec::new();
            let _ = read(&text, &mut problems);
        }
    }
}
