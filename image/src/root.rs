//! The root image: an uncompressed EROFS of the root tree with its verity hash tree behind it, as it lies in a slot.
//!
//! Everything random in it (UUID, salt) comes from name and version, so that the same tree is the same image.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use update_engine::verity::{BLOCK, Tree};

use crate::error::{At, Error, Result};
use crate::gpt::Guid;
use crate::tool::Tool;

/// A finished root image.
#[derive(Debug, Clone)]
pub struct Root {
    /// EROFS and hash tree in one file.
    pub path: PathBuf,
    /// Blocks of the EROFS; the hash tree begins behind them.
    pub data_blocks: u64,
    /// What the kernel checks the hash tree against.
    pub root_hash: [u8; 32],
    /// What the hashes are salted with.
    pub salt: [u8; 32],
}

impl Root {
    /// Makes the image of a tree.
    ///
    /// # Errors
    /// mkfs.erofs fails, or a file cannot be written.
    pub fn make(tree: &Path, path: &Path, identity: &str, time: u64) -> Result<Root> {
        Tool::new("mkfs.erofs", time)
            .args(["--all-root", "-x-1", "--quiet", "-Eforce-inode-compact"])
            .arg(format!("-T{time}"))
            .arg(format!("-U{}", Guid::from_text(&format!("{identity} erofs"))))
            .args([path, tree])
            .run()?;
        let length = fs::metadata(path).at("read", path)?.len().next_multiple_of(BLOCK as u64);
        let mut file = OpenOptions::new().read(true).write(true).open(path).at("open", path)?;
        file.set_len(length).at("extend", path)?;
        let salt = salt(identity);
        let hashes = Tree::build(std::io::BufReader::new(&file), &salt).at("hash", path)?;
        file.seek(SeekFrom::End(0)).and_then(|_| file.write_all(&hashes.bytes)).at("write", path)?;
        Ok(Root { path: path.to_owned(), data_blocks: hashes.data_blocks, root_hash: hashes.root_hash, salt })
    }

    /// One that was made before, of the same name and version.
    ///
    /// # Errors
    /// The file cannot be read, or its hash tree is not that of its data.
    pub fn open(path: &Path, identity: &str) -> Result<Root> {
        let length = fs::metadata(path).at("read", path)?.len();
        let damaged = |message: &str| Error::Input { path: path.to_owned(), message: message.to_owned() };
        let with_tree = |blocks: u64| blocks * BLOCK as u64 + Tree::length(blocks);
        // The tree is less than a hundredth of it.
        let most = length / BLOCK as u64;
        let data_blocks = (most - most / 64..=most).find(|blocks| with_tree(*blocks) == length);
        let data_blocks =
            data_blocks.filter(|blocks| *blocks > 0).ok_or_else(|| damaged("is no root image"))?;
        let mut file = File::open(path).at("open", path)?;
        let salt = salt(identity);
        let hashes = Tree::build(std::io::BufReader::new((&file).take(data_blocks * BLOCK as u64)), &salt);
        let hashes = hashes.at("hash", path)?;
        let mut rest = Vec::new();
        file.seek(SeekFrom::Start(data_blocks * BLOCK as u64)).at("read", path)?;
        file.read_to_end(&mut rest).at("read", path)?;
        if rest != hashes.bytes {
            return Err(damaged(&format!("is damaged, or not the root of {identity}")));
        }
        Ok(Root { path: path.to_owned(), data_blocks, root_hash: hashes.root_hash, salt })
    }

    /// The GUID of the partition that holds it: the first 128 bits of the root hash. So one kernel command line fits
    /// either slot.
    #[must_use]
    pub fn partition_guid(&self) -> Guid {
        let mut guid = [0; 16];
        guid.iter_mut().zip(self.root_hash).for_each(|(to, from)| *to = from);
        Guid::from_digits(guid)
    }

    /// The EROFS without its hash tree.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn data(&self) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        let length = self.data_blocks * BLOCK as u64;
        File::open(&self.path)
            .and_then(|file| file.take(length).read_to_end(&mut data))
            .at("read", &self.path)?;
        if data.len() as u64 == length {
            return Ok(data);
        }
        Err(Error::Input { path: self.path.clone(), message: "is shorter than when it was made".to_owned() })
    }
}

fn salt(identity: &str) -> [u8; 32] {
    let mut salt = [0; 32];
    salt.copy_from_slice(digest(&SHA256, format!("{identity} salt").as_bytes()).as_ref());
    salt
}
