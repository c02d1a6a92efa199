//! The words of the kernel's command line (bootparam(7)), double quotes holding words together.

use std::fs;

/// The kernel command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// Reads `/proc/cmdline`; empty when it cannot be read.
    #[must_use]
    pub fn read() -> CommandLine {
        fs::read("/proc/cmdline")
            .map(|text| CommandLine::parse(&String::from_utf8_lossy(&text)))
            .unwrap_or_default()
    }

    /// Splits a command line into words.
    #[must_use]
    pub fn parse(text: &str) -> CommandLine {
        let mut words = Vec::new();
        let mut word = String::new();
        let mut quoted = false;
        for c in text.trim_end_matches('\n').chars() {
            match c {
                '"' => quoted = !quoted,
                c if c.is_ascii_whitespace() && !quoted => words.push(std::mem::take(&mut word)),
                c => word.push(c),
            }
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        CommandLine(words)
    }

    /// Whether this word is there, alone or with a value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|word| word == name || is_named(word, name).is_some())
    }

    /// The value of the last `name=value`.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find_map(|word| is_named(word, name))
    }

    /// All of them, quotes taken off.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

fn is_named<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.strip_prefix(name)?.strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_values_and_quotes() {
        let line = CommandLine::parse("root=/dev/dm-0 ro  dm-mod.create=\"a b,c\" corten.live x=1 x=2\n");
        assert!(line.has("ro") && line.has("corten.live") && line.has("root"));
        assert!(!line.has("r") && !line.has("corten"));
        assert_eq!(line.value("dm-mod.create"), Some("a b,c"));
        assert_eq!(line.value("x"), Some("2"));
        assert_eq!(line.value("ro"), None);
        assert_eq!(line.words().len(), 6);
        assert_eq!(CommandLine::parse(" \n"), CommandLine::default());
    }
}
