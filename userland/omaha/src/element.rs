//! XML as a tree of elements with attributes, which is all that Omaha uses of it.
//!
//! Text between elements, comments and processing instructions are passed over; a document type, deep nesting and
//! long lists are refused, so that a tree takes no more memory than a few times its text.

use std::fmt;

use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

const DEEPEST: usize = 16;
const MOST_ELEMENTS: usize = 10_000;

/// The text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is no XML.
    #[error("it is no XML: {0}")]
    Xml(String),
    /// It is longer, deeper or has more elements than makes sense.
    #[error("it is too large")]
    TooLarge,
    /// Something is missing or has another form.
    #[error("<{element}> {what}")]
    Element {
        /// Which element.
        element: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A value has a character that XML cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} has a character that XML cannot hold")]
pub struct Unwritable(pub String);

/// An element with its attributes and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element>,
}

impl Element {
    /// One without anything.
    pub fn new(name: &str) -> Element {
        Element { name: name.to_owned(), ..Element::default() }
    }

    /// The same with an attribute.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Element {
        self.attributes.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same with an attribute, if it has a value.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl fmt::Display>) -> Element {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The same with an element in it.
    #[must_use]
    pub fn holding(mut self, child: Element) -> Element {
        self.children.push(child);
        self
    }

    /// The same with these elements in it.
    #[must_use]
    pub fn holding_all(mut self, children: impl IntoIterator<Item = Element>) -> Element {
        self.children.extend(children);
        self
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of an attribute; empty if it is not there.
    pub fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// The value of an attribute that has to be there.
    pub fn required(&self, name: &str) -> Result<String, Malformed> {
        self.get(name).map(str::to_owned).ok_or_else(|| self.wrong(format!("has no {name}")))
    }

    /// The number in an attribute, if it is there.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Malformed> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.wrong(format!("has {text:?} for its {name}")))
    }

    /// The first element of this name in it.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The elements of this name in it.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// What is wrong with it.
    pub fn wrong(&self, what: String) -> Malformed {
        Malformed::Element { element: self.name.clone(), what }
    }

    /// Reads a document whose outermost element has this name.
    pub fn parse(text: &[u8], name: &str) -> Result<Element, Malformed> {
        if text.len() > crate::LONGEST {
            return Err(Malformed::TooLarge);
        }
        let bad = |error: String| Malformed::Xml(error);
        let text = std::str::from_utf8(text).map_err(|error| bad(error.to_string()))?;
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element> = Vec::new();
        let mut count = 0;
        loop {
            let done = match reader.read_event().map_err(|error| bad(error.to_string()))? {
                Event::Start(start) => {
                    count += 1;
                    open.push(begin(&start)?);
                    None
                }
                Event::Empty(start) => {
                    count += 1;
                    Some(begin(&start)?)
                }
                Event::End(_) => Some(open.pop().ok_or_else(|| bad("an end too many".to_owned()))?),
                Event::DocType(_) => return Err(bad("it has a document type".to_owned())),
                Event::Eof => return Err(bad("it ends too early".to_owned())),
                _ => None,
            };
            if count > MOST_ELEMENTS || open.len() > DEEPEST {
                return Err(Malformed::TooLarge);
            }
            let Some(element) = done else { continue };
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None if element.name == name => return Ok(element),
                None => return Err(element.wrong(format!("stands where <{name}> should"))),
            }
        }
    }

    /// The document with this as its outermost element.
    pub fn document(&self) -> Result<String, Unwritable> {
        let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
        self.write(&mut text)?;
        text.push('\n');
        Ok(text)
    }

    fn write(&self, text: &mut String) -> Result<(), Unwritable> {
        text.push('<');
        text.push_str(&self.name);
        for (name, value) in &self.attributes {
            text.push(' ');
            text.push_str(name);
            text.push_str("=\"");
            escape(value, text)?;
            text.push('"');
        }
        if self.children.is_empty() {
            text.push_str("/>");
            return Ok(());
        }
        text.push('>');
        for child in &self.children {
            child.write(text)?;
        }
        text.push_str("</");
        text.push_str(&self.name);
        text.push('>');
        Ok(())
    }
}

/// Line ends and tabs are written as numbers: a reader would make spaces of them.
fn escape(value: &str, text: &mut String) -> Result<(), Unwritable> {
    for character in value.chars() {
        match character {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&apos;"),
            '\n' => text.push_str("&#10;"),
            '\r' => text.push_str("&#13;"),
            '\t' => text.push_str("&#9;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => return Err(Unwritable(value.to_owned())),
            other => text.push(other),
        }
    }
    Ok(())
}

fn begin(start: &BytesStart<'_>) -> Result<Element, Malformed> {
    let bad = |error: String| Malformed::Xml(error);
    let mut element = Element::new(start.local_name().into_inner());
    for attribute in start.attributes() {
        let attribute: Attribute<'_> = attribute.map_err(|error| bad(error.to_string()))?;
        let value =
            attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| bad(error.to_string()))?;
        element.attributes.push((attribute.key.into_inner().to_owned(), value.into_owned()));
    }
    Ok(element)
}
