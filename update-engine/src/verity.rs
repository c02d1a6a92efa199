//! dm-verity's hash tree, as `veritysetup format --no-superblock` makes it (hash type 1, SHA-256, blocks of 4,096
//! bytes). Source: the kernel's `Documentation/admin-guide/device-mapper/verity.rst`.
//!
//! A hash is SHA-256 of salt and block. A block of the tree holds 128 hashes, the rest is zero; the top block comes
//! first. The root hash is that of the top block; a single block of data needs no tree, the root hash is its own.

use std::io::{self, Read};

use ring::digest::{Context, SHA256};

/// The size of data and hash blocks in bytes.
pub const BLOCK: usize = 4096;
const HASH: usize = 32;
const HASHES_PER_BLOCK: usize = BLOCK / HASH;

/// A tree and what is needed to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The tree as it goes to the disk, the top block first.
    pub bytes: Vec<u8>,
    /// The hash at the top.
    pub root_hash: [u8; HASH],
    /// How many blocks of data it covers.
    pub data_blocks: u64,
}

impl Tree {
    /// The tree over data that is a whole number of blocks.
    ///
    /// # Errors
    /// The data cannot be read, is empty, or ends within a block ([`io::ErrorKind::InvalidData`]).
    pub fn build(mut data: impl Read, salt: &[u8]) -> io::Result<Tree> {
        let mut hashes = Vec::new();
        let mut data_blocks = 0;
        let mut block = [0; BLOCK];
        while read_block(&mut data, &mut block)? {
            hashes.extend_from_slice(&hash(salt, &block));
            data_blocks += 1;
        }
        if data_blocks == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no data to build a hash tree over"));
        }
        let mut levels = Vec::new();
        while hashes.len() > HASH {
            let level = fill(hashes);
            hashes = level.chunks(BLOCK).flat_map(|block| hash(salt, block)).collect();
            levels.push(level);
        }
        let mut root_hash = [0; HASH];
        root_hash.copy_from_slice(&hashes);
        let bytes = levels.into_iter().rev().flatten().collect();
        Ok(Tree { bytes, root_hash, data_blocks })
    }

    /// The length of the tree over so many blocks of data, in bytes.
    #[must_use]
    pub fn length(data_blocks: u64) -> u64 {
        let mut blocks = 0;
        let mut level = data_blocks;
        while level > 1 {
            level = level.div_ceil(HASHES_PER_BLOCK as u64);
            blocks += level;
        }
        blocks * BLOCK as u64
    }
}

/// What the boot loader is told of a slot (`boot.cfg`): the release's words for the kernel, and how its root is mapped,
/// which lies on the partition of this GUID. Source: the kernel's `Documentation/admin-guide/device-mapper/dm-init.rst`.
#[must_use]
pub fn boot_cfg(
    kernel_arguments: &[String],
    partition: &str,
    data_blocks: u64,
    root_hash: &[u8; HASH],
    salt: &[u8],
) -> String {
    let (arguments, sectors) = (kernel_arguments.join(" "), data_blocks * (BLOCK as u64 / 512));
    let (root_hash, salt) = (hex(root_hash), hex(salt));
    format!(
        "set arguments=\"{arguments}\"\nset verity=\"dm-mod.create=vroot,,,ro,0 {sectors} verity 1 \
         PARTUUID={partition} PARTUUID={partition} {BLOCK} {BLOCK} {data_blocks} {data_blocks} sha256 {root_hash} \
         {salt} 1 panic_on_corruption\"\n"
    )
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(salt: &[u8], block: &[u8]) -> [u8; HASH] {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(block);
    let mut hash = [0; HASH];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn fill(mut level: Vec<u8>) -> Vec<u8> {
    level.resize(level.len().next_multiple_of(BLOCK), 0);
    level
}

/// Fills the block: false at the end of the data.
fn read_block(data: &mut impl Read, block: &mut [u8; BLOCK]) -> io::Result<bool> {
    let mut have = 0;
    while let Some(rest) = block.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match data.read(rest) {
            Ok(0) if have == 0 => return Ok(false),
            Ok(0) => return Err(io::Error::new(io::ErrorKind::InvalidData, "the data ends within a block")),
            Ok(count) => have += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const SALT: [u8; 32] = [0xa5; 32];

    /// What veritysetup makes of the same data: the tree and the root hash.
    fn veritysetup(data: &[u8]) -> (Vec<u8>, String) {
        let folder = tempfile::tempdir().unwrap();
        let (data_path, tree_path) = (folder.path().join("data"), folder.path().join("tree"));
        std::fs::write(&data_path, data).unwrap();
        let output = Command::new("/usr/sbin/veritysetup")
            .args([
                "format",
                "--no-superblock",
                "--hash=sha256",
                "--data-block-size=4096",
                "--hash-block-size=4096",
            ])
            .arg(format!("--salt={}", hex(&SALT)))
            .arg(format!("--data-blocks={}", data.len() / BLOCK))
            .args([&data_path, &tree_path])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let root = text.lines().find_map(|line| line.strip_prefix("Root hash:")).expect("a root hash").trim();
        (std::fs::read(&tree_path).unwrap(), root.to_owned())
    }

    #[test]
    fn is_the_tree_that_veritysetup_makes() {
        for blocks in [1, 2, 127, 128, 129, 300, 16384, 16385] {
            let data: Vec<u8> = (0..blocks * BLOCK).map(|at| (at / 7 + at / BLOCK) as u8).collect();
            let ours = Tree::build(&data[..], &SALT).unwrap();
            let (bytes, root) = veritysetup(&data);
            assert_eq!(hex(&ours.root_hash), root, "{blocks} blocks");
            assert_eq!(ours.data_blocks, blocks as u64);
            assert_eq!(ours.bytes.len() as u64, Tree::length(blocks as u64));
            assert!(ours.bytes == bytes, "{blocks} blocks: the trees differ");
        }
    }

    #[test]
    fn refuses_what_it_cannot_cover() {
        assert_eq!(Tree::build(&[][..], &SALT).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(Tree::build(&[0; BLOCK + 1][..], &SALT).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
