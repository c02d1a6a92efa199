//! Snapshots: the whole applied state as one file that etcd's own tools read too, followed by its SHA-256.
//!
//! Invariant: a file under its final name is complete; it was written aside, brought to the disk, and renamed.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ring::digest::{Context, SHA256};

use super::{Damage, bolt, sync_directory};
use crate::state::record::Bucket;
use crate::state::{State, View};

/// Bytes of the checksum at the end.
pub const SUM: usize = 32;

/// Writes a view to `path`.
///
/// # Errors
/// Of the file system.
pub fn write(path: &Path, view: &View) -> Result<(), Damage> {
    let partial = path.with_extension("partial");
    let written = write_file(&partial, view).and_then(|()| {
        fs::rename(&partial, path).map_err(Damage::io(path))?;
        path.parent().map_or(Ok(()), sync_directory)
    });
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

fn write_file(path: &Path, view: &View) -> Result<(), Damage> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path);
    let mut writer = bolt::Writer::new(BufWriter::with_capacity(1 << 20, file.map_err(Damage::io(path))?))
        .map_err(Damage::io(path))?;
    for bucket in Bucket::ALL {
        writer.bucket(bucket.name(), view.bucket(bucket)).map_err(Damage::io(path))?;
    }
    let (buffered, _) = writer.finish().map_err(Damage::io(path))?;
    let mut file = buffered.into_inner().map_err(|error| Damage::io(path)(error.into_error()))?;
    append_sum(&mut file).and_then(|()| file.sync_all()).map_err(Damage::io(path))
}

fn append_sum(file: &mut File) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => context.update(buffer.get(..count).unwrap_or_default()),
        }
    }
    file.write_all(context.finish().as_ref())
}

/// Reads a snapshot and checks it.
///
/// # Errors
/// Where it is damaged.
pub fn read(path: &Path) -> Result<State, Damage> {
    let file = Bytes::from(fs::read(path).map_err(Damage::io(path))?);
    parse(&file, true).map_err(|what| Damage::Corrupt { path: path.to_owned(), offset: 0, what })
}

/// Makes a state of a snapshot's bytes; without `sum`, a database without a checksum is taken too.
///
/// # Errors
/// What is wrong with it.
pub fn parse(file: &Bytes, sum: bool) -> Result<State, String> {
    let has_sum = file.len() % 512 == SUM;
    let body = match (has_sum, file.len().checked_sub(SUM)) {
        (true, Some(length)) => {
            let (body, trailer) = (file.slice(..length), file.slice(length..));
            if ring::digest::digest(&SHA256, &body).as_ref() != trailer.as_ref() {
                return Err("its SHA-256 does not match".into());
            }
            body
        }
        _ if sum => return Err("it has no SHA-256 at its end".into()),
        _ => file.clone(),
    };
    let records = bolt::read(&body).map_err(|error| error.to_string())?;
    let known = records
        .into_iter()
        .filter_map(|(bucket, key, value)| Bucket::find(&bucket).map(|bucket| (bucket, key, value)));
    State::restore(known).map_err(|error| error.to_string())
}

/// The name of the snapshot of an entry.
pub fn name(index: u64, term: u64) -> String {
    format!("{index:016x}-{term:016x}.snap")
}

/// Snapshots of a directory, the newest first.
///
/// # Errors
/// Of the file system.
pub fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>, Damage> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(Damage::io(directory))? {
        let path = entry.map_err(Damage::io(directory))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.strip_suffix(".snap").and_then(|name| name.split_once('-')) {
            Some((index, _)) => {
                if let Ok(index) = u64::from_str_radix(index, 16) {
                    found.push((index, path));
                }
            }
            None if name.ends_with(".partial") => {
                let _ = fs::remove_file(&path);
            }
            None => {}
        }
    }
    found.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
    Ok(found)
}

/// Removes all snapshots but the newest `keep`.
pub fn prune(directory: &Path, keep: usize) {
    for (_, path) in list(directory).unwrap_or_default().into_iter().skip(keep) {
        let _ = fs::remove_file(path);
    }
}
