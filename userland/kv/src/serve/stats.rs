//! `/v2/stats`: what a member did since it started.
//!
//! Source: etcd 3.4, etcdserver/api/v2stats and v2store/stats.go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::node::latency::Follower;
use crate::node::{self, Standing};
use crate::state::v2::{self, Count};

/// Reads, which leave no trace in the log, and who waits.
#[derive(Debug, Default)]
pub struct Counts {
    gets: Mutex<Count>,
    watchers: AtomicU64,
}

/// One who waits.
pub struct Watching(Arc<Counts>);

impl Counts {
    /// Counts a read.
    pub fn get<T, E>(&self, result: Result<T, E>) -> Result<T, E> {
        self.gets.lock().add(&result);
        result
    }

    /// How the reads went.
    pub fn gets(&self) -> Count {
        *self.gets.lock()
    }

    /// How many wait.
    pub fn watchers(&self) -> u64 {
        self.watchers.load(Ordering::Relaxed)
    }

    /// One more who waits, until this is dropped.
    pub fn watching(self: &Arc<Counts>) -> Watching {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watching(self.clone())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When this member started, and since when the leader leads.
#[derive(Debug)]
pub struct Reign {
    started: Timestamp,
    leader: u64,
    since: Timestamp,
    clock: Instant,
}

impl Default for Reign {
    fn default() -> Reign {
        Reign { started: Timestamp::now(), leader: 0, since: Timestamp::now(), clock: Instant::now() }
    }
}

/// Notes each change of leader.
pub async fn follow(mut standing: watch::Receiver<Standing>, reign: Arc<Mutex<Reign>>) {
    loop {
        let leader = standing.borrow_and_update().leader;
        {
            let mut reign = reign.lock();
            if leader != reign.leader {
                *reign = Reign { started: reign.started, leader, ..Reign::default() };
            }
        }
        if standing.changed().await.is_err() {
            return;
        }
    }
}

/// A duration as Go writes it: `1h2m3.5s`.
fn gos(duration: Duration) -> String {
    let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
    let seconds = format!("{}.{:09}", duration.as_secs() % 60, duration.subsec_nanos());
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `/v2/stats/self`.
pub fn member(name: &str, id: u64, standing: &Standing, reign: &Reign, counts: &node::Counts) -> Value {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    json!({
        "name": name,
        "id": format!("{id:x}"),
        "state": if standing.leader == id { "StateLeader" } else { "StateFollower" },
        "startTime": reign.started.to_string(),
        "leaderInfo": {
            "leader": format!("{:x}", standing.leader),
            "uptime": gos(reign.clock.elapsed()),
            "startTime": reign.since.to_string(),
        },
        "recvAppendRequestCnt": count(&counts.appends_received),
        "sendAppendRequestCnt": count(&counts.appends_sent),
    })
}

/// One follower in `/v2/stats/leader`.
pub fn follower(follower: &Follower) -> Value {
    json!({
        "latency": {
            "current": follower.current,
            "average": follower.average(),
            "standardDeviation": follower.deviation(),
            "minimum": follower.minimum,
            "maximum": follower.maximum,
        },
        "counts": { "fail": follower.fail, "success": follower.success },
    })
}

/// `/v2/stats/store`.
pub fn store(counts: &v2::Counts, gets: Count, watchers: u64) -> Value {
    json!({
        "getsSuccess": gets.success,
        "getsFail": gets.fail,
        "setsSuccess": counts.sets.success,
        "setsFail": counts.sets.fail,
        "deleteSuccess": counts.deletes.success,
        "deleteFail": counts.deletes.fail,
        "updateSuccess": counts.updates.success,
        "updateFail": counts.updates.fail,
        "createSuccess": counts.creates.success,
        "createFail": counts.creates.fail,
        "compareAndSwapSuccess": counts.swaps.success,
        "compareAndSwapFail": counts.swaps.fail,
        "compareAndDeleteSuccess": counts.compared_deletes.success,
        "compareAndDeleteFail": counts.compared_deletes.fail,
        "expireCount": counts.expired,
        "watchers": watchers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_gos() {
        assert_eq!(gos(Duration::from_millis(1500)), "1.5s");
        assert_eq!(gos(Duration::from_secs(60)), "1m0s");
        assert_eq!(gos(Duration::from_secs(3723)), "1h2m3s");
    }
}
