//! Disks of machines, and what scenarios do to them: copy, grow, damage.
//!
//! The image that users get is read only; a machine writes to an overlay or a copy of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::At;
use crate::{Error, Result, command};

/// Bytes of a sector, as sfdisk counts them.
const SECTOR: u64 = 512;

/// A disk that a machine may write to.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
    format: &'static str,
}

/// A partition's place on the disk, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The GPT label.
    pub label: String,
    /// The first byte.
    pub start: u64,
    /// The size.
    pub size: u64,
    /// The partition's own GUID.
    pub uuid: String,
}

impl Disk {
    /// A new overlay at `path` over a raw `image`, which must stay as it is.
    ///
    /// # Errors
    /// When qemu-img fails or is missing.
    pub fn overlay(image: &Path, path: &Path) -> Result<Disk> {
        let (image, target) = (image.display().to_string(), path.display().to_string());
        command::run("qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &image, &target])?;
        Ok(Disk { path: path.to_owned(), format: "qcow2" })
    }

    /// A copy in qcow2: holds all it needs, whatever is built later.
    ///
    /// # Errors
    /// When qemu-img fails or is missing.
    pub fn standalone(image: &Path, path: &Path) -> Result<Disk> {
        let aside = path.with_extension("new");
        let (image, target) = (image.display().to_string(), aside.display().to_string());
        command::run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", &image, &target])?;
        fs::rename(&aside, path).at("rename", &aside)?;
        Ok(Disk { path: path.to_owned(), format: "qcow2" })
    }

    /// A disk made earlier by [`Disk::standalone`].
    pub fn existing(path: &Path) -> Disk {
        Disk { path: path.to_owned(), format: "qcow2" }
    }

    /// A raw, sparse copy, which scenarios can look into and damage.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn raw_copy(image: &Path, path: &Path) -> Result<Disk> {
        let (image, target) = (image.display().to_string(), path.display().to_string());
        command::run("cp", ["--sparse=always", &image, &target])?;
        Ok(Disk { path: path.to_owned(), format: "raw" })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// QEMU's name of the file's format.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// Makes the disk larger, as a cloud does when a bigger one is asked for.
    ///
    /// # Errors
    /// When qemu-img refuses.
    pub fn grow_to(&self, bytes: u64) -> Result<()> {
        let path = self.path.display().to_string();
        command::run("qemu-img", ["resize", "-q", "-f", self.format, &path, &bytes.to_string()]).map(drop)
    }

    /// Makes the disk at least this large; a larger one stays as it is.
    ///
    /// # Errors
    /// When qemu-img refuses.
    pub fn grow_at_least_to(&self, bytes: u64) -> Result<()> {
        let output = command::run("qemu-img", ["info", "--output=json", &self.path.display().to_string()])?;
        let info: Info = serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::Usage(format!("qemu-img on {}: {error}", self.path.display())))?;
        if info.virtual_size < bytes { self.grow_to(bytes) } else { Ok(()) }
    }

    /// The partition with this label, of a raw disk.
    ///
    /// # Errors
    /// When there is no such partition, or no partition table.
    pub fn partition(&self, label: &str) -> Result<Partition> {
        let all = self.partitions()?;
        all.into_iter()
            .find(|partition| partition.label == label)
            .ok_or_else(|| Error::Usage(format!("{} has no partition labelled {label}", self.path.display())))
    }

    /// The number, from 1, of the partition with this label.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn number_of(&self, label: &str) -> Result<usize> {
        let position = self.partitions()?.iter().position(|partition| partition.label == label);
        position
            .map(|index| index + 1)
            .ok_or_else(|| Error::Usage(format!("no partition is labelled {label}")))
    }

    /// The partitions of a raw disk, in the order of the table.
    ///
    /// # Errors
    /// When sfdisk cannot read the table.
    pub fn partitions(&self) -> Result<Vec<Partition>> {
        let output = command::run("sfdisk", ["--json", &self.path.display().to_string()])?;
        let dump: Dump = serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::Usage(format!("sfdisk on {}: {error}", self.path.display())))?;
        Ok(dump.partitiontable.partitions.into_iter().map(Partition::from).collect())
    }

    /// Overwrites bytes of a raw disk.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path).at("open", &self.path)?;
        file.write_all_at(bytes, offset).at("write to", &self.path)
    }

    /// Reads bytes of a raw disk.
    ///
    /// # Errors
    /// When the file ends before.
    pub fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let file = File::open(&self.path).at("open", &self.path)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).at("read", &self.path)?;
        Ok(bytes)
    }

    /// Copies a partition's content from another raw disk into the partition with label `to`.
    ///
    /// # Errors
    /// When it does not fit, or a file cannot be read or written.
    pub fn fill_partition(&self, to: &str, source: &Disk, from: &str) -> Result<()> {
        const CHUNK: usize = 1 << 20;
        let (from, to) = (source.partition(from)?, self.partition(to)?);
        if from.size > to.size {
            return Err(Error::Usage(format!("{} does not fit into {}", from.label, to.label)));
        }
        let mut input = File::open(&source.path).at("open", &source.path)?;
        input.seek(SeekFrom::Start(from.start)).at("read", &source.path)?;
        let mut input = input.take(from.size);
        let output = OpenOptions::new().write(true).open(&self.path).at("open", &self.path)?;
        let (mut chunk, mut at) = (vec![0; CHUNK], to.start);
        loop {
            let read = input.read(&mut chunk).at("read", &source.path)?;
            if read == 0 {
                return Ok(());
            }
            if chunk[..read].iter().any(|byte| *byte != 0) {
                output.write_all_at(&chunk[..read], at).at("write to", &self.path)?;
            }
            at += read as u64;
        }
    }

    /// Sets the GUID of a partition, by its number from 1.
    ///
    /// # Errors
    /// When sfdisk refuses.
    pub fn set_partition_uuid(&self, number: usize, uuid: &str) -> Result<()> {
        let path = self.path.display().to_string();
        command::run("sfdisk", ["--part-uuid", &path, &number.to_string(), uuid]).map(drop)
    }

    /// Reads a file of the EFI system partition.
    ///
    /// # Errors
    /// When it is not there.
    pub fn esp_read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(command::run("mtype", ["-i", &self.esp()?, &format!("::{name}")])?.stdout)
    }

    /// Writes a file of the EFI system partition.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn esp_write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let aside = self.path.with_extension("esp-file");
        let mut file = File::create(&aside).at("create", &aside)?;
        file.write_all(bytes).at("write to", &aside)?;
        let written = command::run(
            "mcopy",
            ["-o", "-i", &self.esp()?, &aside.display().to_string(), &format!("::{name}")],
        );
        fs::remove_file(&aside).at("remove", &aside)?;
        written.map(drop)
    }

    /// Removes a file of the EFI system partition.
    ///
    /// # Errors
    /// When it is not there.
    pub fn esp_remove(&self, name: &str) -> Result<()> {
        command::run("mdel", ["-i", &self.esp()?, &format!("::{name}")]).map(drop)
    }

    /// The EFI system partition, as mtools names it.
    fn esp(&self) -> Result<String> {
        Ok(format!("{}@@{}", self.path.display(), self.partition("EFI-SYSTEM")?.start))
    }
}

/// What `qemu-img info --output=json` prints.
#[derive(Deserialize)]
struct Info {
    #[serde(rename = "virtual-size")]
    virtual_size: u64,
}

/// What `sfdisk --json` prints.
#[derive(Deserialize)]
struct Dump {
    partitiontable: Table,
}

#[derive(Deserialize)]
struct Table {
    #[serde(default)]
    partitions: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    start: u64,
    size: u64,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uuid: String,
}

impl From<Row> for Partition {
    fn from(row: Row) -> Partition {
        Partition { label: row.name, start: row.start * SECTOR, size: row.size * SECTOR, uuid: row.uuid }
    }
}
