//! The command lines of a unit, by directive.

use crate::Role;
use crate::exec::CommandLine;

/// Few directives with few lines each, in the order of [`Role`]: a list takes less memory than a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commands(Vec<(Role, Vec<CommandLine>)>);

impl Commands {
    /// The lines of a directive.
    pub fn of(&self, role: Role) -> &[CommandLine] {
        self.place(role).ok().and_then(|place| self.0.get(place)).map_or(&[], |(_, lines)| lines.as_slice())
    }

    /// Adds lines to those of a directive.
    pub fn add(&mut self, role: Role, lines: Vec<CommandLine>) {
        if lines.is_empty() {
            return;
        }
        let place = self.place(role).unwrap_or_else(|place| {
            self.0.reserve_exact(1);
            self.0.insert(place, (role, Vec::new()));
            place
        });
        if let Some((_, all)) = self.0.get_mut(place) {
            all.reserve_exact(lines.len());
            all.extend(lines);
        }
    }

    /// Forgets the lines of a directive.
    pub fn clear(&mut self, role: Role) {
        self.0.retain(|(other, _)| *other != role);
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every line with its directive and its place among that one's.
    pub fn all(&self) -> impl Iterator<Item = (Role, usize, &CommandLine)> {
        self.0
            .iter()
            .flat_map(|(role, lines)| lines.iter().enumerate().map(|(place, line)| (*role, place, line)))
    }

    fn place(&self, role: Role) -> Result<usize, usize> {
        self.0.binary_search_by_key(&role, |(role, _)| *role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_by_their_directives() {
        let line = |path: &str| crate::exec::parse(path, &|text| Ok(text.to_owned())).0;
        let mut commands = Commands::default();
        assert!(commands.is_empty() && commands.of(Role::Start).is_empty());
        for (role, path) in [(Role::Stop, "/s"), (Role::Start, "/a"), (Role::Start, "/b"), (Role::Reload, "")]
        {
            commands.add(role, line(path));
        }
        let all: Vec<_> =
            commands.all().map(|(role, place, line)| (role, place, line.path.as_str())).collect();
        assert_eq!(all, [(Role::Start, 0, "/a"), (Role::Start, 1, "/b"), (Role::Stop, 0, "/s")]);
        assert_eq!(commands.of(Role::Start).len(), 2);
        commands.clear(Role::Start);
        assert!(commands.of(Role::Start).is_empty() && !commands.is_empty());
    }
}
