//! The words of a command line, taken one by one.

use std::net::IpAddr;

use super::Failure;
use netlink::link::Prefix;

/// What is left of the command line.
pub struct Words<'a> {
    rest: &'a [String],
}

impl<'a> Words<'a> {
    /// All of these.
    pub fn new(words: &'a [String]) -> Words<'a> {
        Words { rest: words }
    }

    /// The next word.
    pub fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The word that a keyword needs after it.
    pub fn value(&mut self, keyword: &str) -> Result<&'a str, Failure> {
        self.next().ok_or_else(|| {
            Failure::Usage(format!(
                "Command line is not complete. Try option \"help\" ({keyword} needs a value)"
            ))
        })
    }

    /// The number that a keyword needs after it.
    pub fn number<T: std::str::FromStr>(&mut self, keyword: &str) -> Result<T, Failure> {
        let word = self.value(keyword)?;
        word.parse().map_err(|_| wrong(word, keyword))
    }

    /// The address that a keyword needs after it.
    pub fn address(&mut self, keyword: &str) -> Result<IpAddr, Failure> {
        self.number(keyword)
    }
}

/// The word is not what belongs here.
pub fn wrong(word: &str, what: &str) -> Failure {
    Failure::Usage(format!("Error: argument \"{word}\" is wrong: {what}"))
}

/// A verb that no object has.
pub fn unknown(verb: &str, object: &str) -> Failure {
    Failure::Usage(format!("Command \"{verb}\" is unknown, try \"ip {object} help\"."))
}

/// The first of the candidates that the word begins.
pub fn complete(word: &str, candidates: &[&'static str]) -> Option<&'static str> {
    if word.is_empty() {
        return None;
    }
    candidates.iter().copied().find(|candidate| candidate.starts_with(word))
}

/// An address with or without the length of its prefix.
pub fn prefix(word: &str) -> Result<Prefix, Failure> {
    Prefix::parse(word)
        .ok_or_else(|| Failure::Usage(format!("Error: any valid prefix is expected rather than \"{word}\".")))
}
