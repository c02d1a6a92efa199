//! `backup`: what a member has on its disk, as the data of a cluster of one that may be begun anew with it.
//!
//! etcd's own command reads etcd's log; this one reads ours. As there, keys of the v3 API are only taken along where
//! that is asked for.

use std::path::PathBuf;

use super::client::Failure;
use crate::node::Paths;
use crate::proto::Member;
use crate::proto::internal::Identity;
use crate::server::boot;
use crate::state::State;

#[derive(clap::Args)]
pub struct Backup {
    /// The member's data
    #[arg(long, default_value = "")]
    data_dir: PathBuf,
    /// Its log, where that lies elsewhere
    #[arg(long)]
    wal_dir: Option<PathBuf>,
    /// Where the copy is made
    #[arg(long, default_value = "")]
    backup_dir: PathBuf,
    /// The log of the copy, where that is to lie elsewhere
    #[arg(long)]
    backup_wal_dir: Option<PathBuf>,
    /// Keys of the v3 API too
    #[arg(long)]
    with_v3: bool,
}

impl Backup {
    pub fn run(self) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Plain(format!("Error: {error}"));
        if self.data_dir.as_os_str().is_empty() || self.backup_dir.as_os_str().is_empty() {
            return Err(Failure::Plain("Error: --data-dir and --backup-dir are both needed".into()));
        }
        let from = Paths::new(&self.data_dir, self.wal_dir.as_deref());
        let to = Paths::new(&self.backup_dir, self.backup_wal_dir.as_deref());
        if to.wal.exists() || to.snapshots.exists() {
            return Err(failed(&format_args!("{} holds data already", self.backup_dir.display())));
        }
        let kept = boot::decided(&from).map_err(|error| failed(&error))?;
        let mut state = State::default();
        if self.with_v3 {
            state = kept;
        } else {
            state.v2 = kept.v2;
        }
        // Numbers of its own: nobody of the old cluster may take it for a member.
        let identity = Identity { cluster_id: random()?, member_id: random()? };
        let own = Member { id: identity.member_id, ..Member::default() };
        boot::create(&to, identity, vec![own], &mut state).map_err(|error| failed(&error))
    }
}

fn random() -> Result<u64, Failure> {
    let mut bytes = [0u8; 8];
    let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    filled.map_err(|_| Failure::Plain("Error: there is no chance to be had from the kernel".into()))?;
    Ok(u64::from_le_bytes(bytes))
}
