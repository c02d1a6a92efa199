//! The GRUB environment block: 1,024 bytes of `name=value` lines, in a file that GRUB finds by its blocks and
//! rewrites in place. Source: GRUB manual, "Environment block"; `grub-editenv`.
//!
//! Invariants: the size never changes; [`Block::to_bytes`] keeps all variables within the first 512 bytes, so that a
//! disk which writes whole sectors can never leave half of a change behind; the comment that `grub-editenv` writes
//! under the header stays out to leave room.

use std::collections::BTreeMap;

/// The length of a block in bytes.
pub const SIZE: usize = 1024;
/// The length that variables may use: one sector.
pub const ROOM: usize = 512;
const HEADER: &str = "# GRUB Environment Block\n";

/// Why a block cannot be read or written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BlockError {
    /// The file is not 1,024 bytes long.
    #[error("a GRUB environment block has {SIZE} bytes, this has {0}")]
    Size(usize),
    /// The first line is not GRUB's.
    #[error("no GRUB environment block: its first line is missing")]
    Header,
    /// Bytes that are not UTF-8, or a line without a name and `=`.
    #[error("line {0} of the GRUB environment block is not NAME=VALUE")]
    Line(usize),
    /// The variables need more than a sector.
    #[error("the variables need {0} bytes, a sector holds {ROOM}")]
    Full(usize),
    /// A name or value that the format cannot hold.
    #[error("{0:?} cannot stand in a GRUB environment block")]
    Text(String),
}

/// The variables of a block, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    variables: BTreeMap<String, String>,
}

impl Block {
    /// Reads a block.
    ///
    /// # Errors
    /// The size, the header or a line is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Block, BlockError> {
        if bytes.len() != SIZE {
            return Err(BlockError::Size(bytes.len()));
        }
        let body = bytes.strip_prefix(HEADER.as_bytes()).ok_or(BlockError::Header)?;
        let mut variables = BTreeMap::new();
        for (index, line) in logical_lines(body).into_iter().enumerate() {
            let at = BlockError::Line(index + 2);
            // The rest of the block is filled with #, without a line end; other lines of # are comments.
            if line.first() == Some(&b'#') || line.is_empty() {
                continue;
            }
            let Ok(text) = String::from_utf8(line) else { return Err(at) };
            match text.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    variables.insert(name.to_owned(), value.to_owned());
                }
                _ => return Err(at),
            }
        }
        Ok(Block { variables })
    }

    /// The bytes of the block.
    ///
    /// # Errors
    /// The variables do not fit in the first sector.
    pub fn to_bytes(&self) -> Result<[u8; SIZE], BlockError> {
        let mut text = HEADER.to_owned();
        for (name, value) in &self.variables {
            text.push_str(name);
            text.push('=');
            for character in value.chars() {
                if matches!(character, '\\' | '\n') {
                    text.push('\\');
                }
                text.push(character);
            }
            text.push('\n');
        }
        if text.len() > ROOM {
            return Err(BlockError::Full(text.len()));
        }
        let mut bytes = [b'#'; SIZE];
        bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Ok(bytes)
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Sets a variable.
    ///
    /// # Errors
    /// The name is empty or holds `=`, a line end or a leading `#`.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> Result<(), BlockError> {
        if name.is_empty() || name.starts_with('#') || name.contains(['=', '\n', '\\']) {
            return Err(BlockError::Text(name.to_owned()));
        }
        let value = value.into();
        if value.contains('\0') {
            return Err(BlockError::Text(value));
        }
        self.variables.insert(name.to_owned(), value);
        Ok(())
    }

    /// Removes a variable.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// All variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Splits at line ends that no backslash escapes, and takes the backslashes away.
fn logical_lines(body: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => lines.push(Vec::new()),
            b'\\' => {
                if let (Some(line), Some(next)) = (lines.last_mut(), bytes.next()) {
                    line.push(*next);
                }
            }
            byte => {
                if let Some(line) = lines.last_mut() {
                    line.push(*byte);
                }
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn block(variables: &[(&str, &str)]) -> Block {
        let mut block = Block::default();
        for (name, value) in variables {
            block.set(name, *value).unwrap();
        }
        block
    }

    #[test]
    fn is_read_by_grub_editenv_and_reads_what_it_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grubenv");
        let ours = block(&[("a_prio", "15"), ("odd", "back\\slash and = sign"), ("last_good", "a")]);
        std::fs::write(&path, ours.to_bytes().unwrap()).unwrap();

        let set = Command::new("grub-editenv").arg(&path).args(["set", "b_tries=3"]).status().unwrap();
        assert!(set.success());
        let list = Command::new("grub-editenv").arg(&path).arg("list").output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        assert!(list.contains("a_prio=15\n") && list.contains("b_tries=3\n"), "{list}");

        let theirs = Block::parse(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(theirs.get("b_tries"), Some("3"));
        assert_eq!(theirs.get("odd"), Some("back\\slash and = sign"));
        assert_eq!(theirs.get("last_good"), Some("a"));
    }

    #[test]
    fn refuses_what_is_no_block() {
        assert_eq!(Block::parse(b"short"), Err(BlockError::Size(5)));
        assert_eq!(Block::parse(&[0; SIZE]), Err(BlockError::Header));
        let mut torn = block(&[("a", "1")]).to_bytes().unwrap();
        torn[HEADER.len()..].fill(0);
        assert_eq!(Block::parse(&torn), Err(BlockError::Line(2)));
        assert!(matches!(block(&[("a", &"x".repeat(500))]).to_bytes(), Err(BlockError::Full(_))));
        assert!(Block::default().set("a=b", "").is_err());
    }

    #[test]
    fn a_sector_holds_the_slots_with_room_to_spare() {
        let bytes = block(&[("a_prio", "15"), ("a_tries", "15"), ("a_ok", "1"), ("last_good", "a")])
            .to_bytes()
            .unwrap();
        assert!(bytes[ROOM..].iter().all(|byte| *byte == b'#'));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), SIZE), keep in 0..HEADER.len() + 1) {
            let mut bytes = bytes;
            bytes[..keep].copy_from_slice(&HEADER.as_bytes()[..keep]);
            let _ = Block::parse(&bytes);
        }

        #[test]
        fn comes_back_as_it_went(pairs in proptest::collection::btree_map("[a-z_]{1,8}", "[ -~\n]{0,20}", 0..10)) {
            let mut block = Block::default();
            for (name, value) in &pairs {
                block.set(name, value.clone()).unwrap();
            }
            if let Ok(bytes) = block.to_bytes() {
                prop_assert_eq!(Block::parse(&bytes).unwrap(), block);
            }
        }
    }
}
