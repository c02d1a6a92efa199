//! Compaction by itself: the leader drops history that is older than was asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::boot::BootError;
use super::config::{Config, duration};
use crate::node::Node;
use crate::proto::CompactionRequest;
use crate::proto::internal::command::Request;
use crate::state::auth::Caller;

/// How often history by number is looked at.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);

/// Begins to look after it, if that was asked for.
///
/// # Errors
/// Where what was asked for makes no sense.
pub fn start(node: &Node, config: &Config) -> Result<(), BootError> {
    let text = &config.auto_compaction_retention;
    let bad = || BootError::Config(format!("--auto-compaction-retention: {text:?} cannot be read"));
    if config.auto_compaction_mode == "revision" {
        let keep: i64 = text.parse().map_err(|_| bad())?;
        if keep > 0 {
            tokio::spawn(by_revision(node.clone(), keep));
        }
        return Ok(());
    }
    let keep = duration(text, 3600).ok_or_else(bad)?;
    if !keep.is_zero() {
        tokio::spawn(by_time(node.clone(), keep));
    }
    Ok(())
}

async fn compact(node: &Node, revision: i64) {
    let leads = node.standing.borrow().leader == node.setup.member_id;
    if leads && revision > node.state.read().mvcc.compacted() {
        let request = CompactionRequest { revision, physical: false };
        let _ = node.propose(Caller::default(), Request::Compaction(request)).await;
    }
}

async fn by_revision(node: Node, keep: i64) {
    loop {
        tokio::time::sleep(REVISION_INTERVAL).await;
        let revision = node.state.read().mvcc.revision() - keep;
        compact(&node, revision).await;
    }
}

async fn by_time(node: Node, keep: Duration) {
    let step = (keep / 10).clamp(Duration::from_millis(100), Duration::from_secs(360));
    let mut seen: VecDeque<(Instant, i64)> = VecDeque::new();
    loop {
        seen.push_back((Instant::now(), node.state.read().mvcc.revision()));
        while let Some((_, revision)) = seen.pop_front_if(|(at, _)| at.elapsed() >= keep) {
            compact(&node, revision).await;
        }
        tokio::time::sleep(step).await;
    }
}
