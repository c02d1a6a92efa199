//! The [Install] section of a unit file, as far as links are made of it: read leniently, for the file may be one that
//! the engine never loads.

use unit::UnitName;

/// The [Install] section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Install {
    /// Alias=
    pub alias: Vec<String>,
    /// WantedBy=
    pub wanted_by: Vec<String>,
    /// RequiredBy=
    pub required_by: Vec<String>,
    /// Also=
    pub also: Vec<String>,
    /// DefaultInstance=
    pub default_instance: Option<String>,
}

impl Install {
    /// Adds what a unit file's text says of it, specifiers filled in for this name. `false`: the text is broken.
    pub fn read_more(&mut self, text: &str, name: &UnitName) -> bool {
        let found = unit::text::parse(text);
        for assignment in found.all.iter().filter(|assignment| assignment.section == "Install") {
            self.set(&assignment.key, &assignment.value, name);
        }
        found.broken.is_none()
    }

    /// Reads it out of a unit file's text.
    #[must_use]
    pub fn read(text: &str, name: &UnitName) -> Install {
        let mut install = Install::default();
        install.read_more(text, name);
        install
    }

    /// Whether it asks for a link.
    #[must_use]
    pub fn asks(&self) -> bool {
        !(self.alias.is_empty() && self.wanted_by.is_empty() && self.required_by.is_empty())
    }

    fn set(&mut self, key: &str, value: &str, name: &UnitName) {
        let list = match key {
            "Alias" => &mut self.alias,
            "WantedBy" => &mut self.wanted_by,
            "RequiredBy" => &mut self.required_by,
            "Also" => &mut self.also,
            "DefaultInstance" => {
                self.default_instance = Some(value.to_owned()).filter(|value| !value.is_empty());
                return;
            }
            _ => return,
        };
        if value.is_empty() {
            list.clear();
        }
        list.extend(value.split_whitespace().map(|word| expand(word, name)));
    }
}

/// Fills in the specifiers that make sense before a unit runs.
fn expand(word: &str, name: &UnitName) -> String {
    let mut out = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('i' | 'I') => out.push_str(name.instance().unwrap_or_default()),
            Some('p' | 'P') => out.push_str(name.prefix()),
            Some('n') => out.push_str(name.as_str()),
            Some('N') => out.push_str(name.stem()),
            Some('j') => out.push_str(name.prefix().rsplit('-').next().unwrap_or_default()),
            Some(other) if other != '%' => out.extend(['%', other]),
            _ => out.push('%'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_resets_and_specifiers() {
        let text = "[Unit]\nWantedBy=no.target\n[Install]\n# c\nWantedBy=a.target \\\n b.target\nRequiredBy=x.target\n\
                    RequiredBy=\nAlias=%p-%i-%%.service\nDefaultInstance=tty1\n[Service]\nAlso=no.service\n";
        let install = Install::read(text, &UnitName::parse("getty@tty2.service").unwrap());
        assert_eq!(install.wanted_by, ["a.target", "b.target"]);
        assert_eq!(install.alias, ["getty-tty2-%.service"]);
        assert_eq!(install.default_instance.as_deref(), Some("tty1"));
        assert!(install.required_by.is_empty() && install.also.is_empty() && install.asks());
        assert!(!Install::read("[Install]\nAlso=x.service\n", &UnitName::parse("a.service").unwrap()).asks());
    }
}
