//! The member's disk: the log, its snapshots, and sled behind them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::proto::internal::{Entry, HardState, SnapshotMark};
use crate::replica::Disk;
use crate::state::State;
use crate::storage::{Damage, snapshot, wal::Wal};

/// Where a member's files are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `DATA-DIR`.
    pub data: PathBuf,
    /// The log.
    pub wal: PathBuf,
    /// Snapshots.
    pub snapshots: PathBuf,
    /// sled.
    pub applied: PathBuf,
}

impl Paths {
    /// Those of a data directory; the log may have a place of its own.
    pub fn new(data: &Path, wal: Option<&Path>) -> Paths {
        Paths {
            data: data.to_owned(),
            wal: wal.map_or_else(|| data.join("member/wal"), Path::to_owned),
            snapshots: data.join("member/snap"),
            applied: data.join("member/state"),
        }
    }
}

/// The log and what is beside it.
pub struct FileDisk {
    /// The log.
    pub wal: Wal,
    paths: Paths,
    /// The file of the snapshot that is being installed.
    pub arrived: Option<PathBuf>,
    /// Says that a promise waits for space, so that requests are refused meanwhile.
    pub full: Arc<std::sync::atomic::AtomicBool>,
}

impl FileDisk {
    /// The disk of an open log.
    pub fn new(wal: Wal, paths: Paths) -> FileDisk {
        FileDisk { wal, paths, arrived: None, full: Arc::default() }
    }
}

impl Disk for FileDisk {
    type Error = Damage;

    fn append(&mut self, hard_state: Option<HardState>, entries: &[Entry], sync: bool) -> Result<(), Damage> {
        loop {
            match self.wal.append(hard_state, entries, sync) {
                // Nothing was promised yet: the member waits, and serves reads meanwhile, until there is space.
                Err(error) if error.is_full() => {
                    if !self.full.swap(true, Ordering::Relaxed) {
                        eprintln!("etcd: the disk is full, waiting for space: {error}");
                    }
                    std::thread::sleep(std::time::Duration::from_millis(500));
                }
                other => return other,
            }
        }
    }

    fn install(&mut self, mark: &SnapshotMark, hard_state: HardState) -> Result<State, Damage> {
        let path = self.paths.snapshots.join(snapshot::name(mark.index, mark.term));
        let arrived = self.arrived.take().ok_or_else(|| Damage::Missing {
            path: path.clone(),
            what: "the leader's snapshot did not come with its message".into(),
        })?;
        let state = snapshot::read(&arrived)?;
        fs::rename(&arrived, &path).map_err(Damage::io(&path))?;
        crate::storage::sync_directory(&self.paths.snapshots)?;
        self.wal.reset(mark.index, hard_state)?;
        snapshot::prune(&self.paths.snapshots, 2);
        Ok(state)
    }
}
