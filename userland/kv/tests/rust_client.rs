//! The crate `etcd-client`, as programs use it, over every group of calls: it is told the same by our store and by
//! Debian's etcd.

mod cluster;

use std::collections::BTreeMap;
use std::fmt::Debug;

use cluster::Cluster;
use etcd_client::{
    AlarmAction, AlarmType, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, Error, GetOptions,
    LeaseTimeToLiveOptions, LockOptions, Permission, ProclaimOptions, PutOptions, ResignOptions, SortOrder,
    SortTarget, Txn, TxnOp, WatchOptions,
};

/// What a store has said, a line an answer.
#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    /// Numbers of this very cluster, and what is written instead.
    names: BTreeMap<u64, &'static str>,
}

impl Notes {
    fn note<T: Debug>(&mut self, what: &str, answer: Result<T, Error>) {
        let mut text = match answer {
            Ok(answer) => format!("{answer:?}"),
            Err(Error::GRpcStatus(status)) => format!("{:?}: {}", status.code(), status.message()),
            Err(error) => format!("{error:?}"),
        };
        for (number, name) in &self.names {
            text = text.replace(&number.to_string(), name);
        }
        self.lines.push(format!("{what}: {text}"));
    }
}

async fn keys(client: &mut Client, notes: &mut Notes) {
    notes.note("put", client.put("k1", "1", None).await);
    notes.note("put over", client.put("k1", "2", Some(PutOptions::new().with_prev_key())).await);
    notes.note("put ignoring", client.put("none", "", Some(PutOptions::new().with_ignore_value())).await);
    notes.note("put leased", client.put("k1", "2", Some(PutOptions::new().with_lease(77))).await);
    for number in 2..8 {
        notes.note("put more", client.put(format!("k{number}"), format!("{}", 9 - number), None).await);
    }
    let prefix = || GetOptions::new().with_prefix();
    for (what, options) in [
        ("get one", GetOptions::new()),
        ("get all", prefix()),
        ("get by value", prefix().with_sort(SortTarget::Value, SortOrder::Descend)),
        ("get limited", prefix().with_limit(2)),
        ("get keys", prefix().with_keys_only()),
        ("get count", prefix().with_count_only()),
        ("get old", prefix().with_revision(3)),
        ("get future", prefix().with_revision(1000)),
        ("get from", GetOptions::new().with_from_key().with_limit(3)),
        ("get range", GetOptions::new().with_range("k4").with_serializable()),
        ("get new", prefix().with_min_mod_revision(6).with_max_create_revision(8)),
    ] {
        notes.note(what, client.get("k", Some(options)).await);
    }
    let txn = |value: &str| {
        Txn::new()
            .when([
                Compare::value("k1", CompareOp::Equal, value),
                Compare::version("k2", CompareOp::Greater, 0),
            ])
            .and_then([TxnOp::put("k1", "txn", None), TxnOp::get("k1", None)])
            .or_else([TxnOp::delete("k2", None), TxnOp::txn(Txn::new().and_then([TxnOp::get("k3", None)]))])
    };
    notes.note("txn", client.txn(txn("2")).await);
    notes.note("txn otherwise", client.txn(txn("2")).await);
    let twice = Txn::new().and_then([TxnOp::put("a", "1", None), TxnOp::put("a", "2", None)]);
    notes.note("txn twice", client.txn(twice).await);
    notes.note("delete", client.delete("k3", Some(DeleteOptions::new().with_prev_key())).await);
    notes.note("delete none", client.delete("none", None).await);
    notes.note("delete all", client.delete("k4", Some(DeleteOptions::new().with_range("k7"))).await);
    notes.note("compact", client.compact(6, None).await);
    notes.note("compact again", client.compact(6, None).await);
    notes.note("get compacted", client.get("k1", Some(GetOptions::new().with_revision(2))).await);
    notes.note("too large", client.put("large", vec![b'x'; 1 << 21], None).await);
}

async fn watches(client: &mut Client, notes: &mut Notes) {
    let options = WatchOptions::new().with_prefix().with_start_revision(7).with_prev_key().with_watch_id(5);
    let mut stream = client.watch("k", Some(options)).await.expect("a stream");
    notes.note("watch created", stream.message().await);
    notes.note("watch history", stream.message().await);
    notes.note("put", client.put("k1", "seen", None).await);
    notes.note("watch event", stream.message().await);
    stream.request_progress().await.expect("sent");
    notes.note("watch progress", stream.message().await);
    stream
        .watch("k1", Some(WatchOptions::new().with_start_revision(2).with_watch_id(6)))
        .await
        .expect("sent");
    notes.note("watch second", stream.message().await);
    notes.note("watch compacted", stream.message().await);
    stream.cancel(5).await.expect("sent");
    notes.note("watch canceled", stream.message().await);
}

async fn leases(client: &mut Client, notes: &mut Notes) {
    let with_id = |id| Some(etcd_client::LeaseGrantOptions::new().with_id(id));
    notes.note("grant", client.lease_grant(600, with_id(4242)).await);
    notes.note("grant again", client.lease_grant(600, with_id(4242)).await);
    notes.note("grant for ever", client.lease_grant(i64::MAX, with_id(4243)).await);
    notes.note("put leased", client.put("leased", "1", Some(PutOptions::new().with_lease(4242))).await);
    let (mut keeper, mut answers) = client.lease_keep_alive(4242).await.expect("kept alive");
    keeper.keep_alive().await.expect("sent");
    notes.note("kept alive", answers.message().await);
    let keys = LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(4242, Some(keys)).await;
    notes.note("left", left.map(|left| (left.granted_ttl(), left.ttl() > 590, left.keys().to_vec())));
    notes.note("leases", client.leases().await);
    notes.note("revoke", client.lease_revoke(4242).await);
    notes.note("revoke again", client.lease_revoke(4242).await);
    notes.note("leased", client.get("leased", None).await);
    notes.note("keep none", client.lease_keep_alive(4242).await.map(drop));
    notes.note("left of none", client.lease_time_to_live(4242, None).await);
}

async fn locks_and_elections(client: &mut Client, notes: &mut Notes) {
    let options = Some(etcd_client::LeaseGrantOptions::new().with_id(99));
    notes.note("grant", client.lease_grant(600, options).await);
    let lock = client.lock("mutex", Some(LockOptions::new().with_lease(99))).await;
    let key = lock.as_ref().map(|lock| lock.key().to_vec()).unwrap_or_default();
    notes.note("lock", lock);
    notes.note("unlock", client.unlock(key).await);
    let campaign = client.campaign("race", "one", 99).await;
    let leader = campaign.as_ref().ok().and_then(|won| won.leader().cloned()).expect("it leads");
    notes.note("campaign", campaign);
    notes.note("leader", client.leader("race").await);
    let mut seen = client.observe("race").await.expect("observed");
    notes.note("observed", seen.message().await);
    let proclaim = ProclaimOptions::new().with_leader(leader.clone());
    notes.note("proclaim", client.proclaim("two", Some(proclaim)).await);
    notes.note("observed again", seen.message().await);
    notes.note("resign", client.resign(Some(ResignOptions::new().with_leader(leader))).await);
    notes.note("no leader", client.leader("race").await);
}

async fn maintenance(client: &mut Client, notes: &mut Notes) {
    notes.note("alarms", client.alarm(AlarmAction::Get, AlarmType::None, None).await);
    let status = client.status().await;
    notes.note("status", status.map(|status| (status.version().to_owned(), status.errors().to_vec())));
    notes.note("defragment", client.defragment().await);
    notes.note("hash", client.hash_kv(0).await);
    notes.note("hash of the future", client.hash_kv(10_000).await);
    let mut snapshot = client.snapshot().await.expect("a snapshot");
    let mut last = None;
    while let Some(part) = snapshot.message().await.expect("a part") {
        last = Some((part.blob().len(), part.remaining_bytes()));
    }
    notes.note("snapshot", Ok(last));
    let leader = client.status().await.expect("a status").leader();
    notes.note("move to itself", client.move_leader(leader).await);
    notes.note("move to nobody", client.move_leader(12_345).await);
    notes.note("members", client.member_list().await.map(|list| list.members().len()));
    notes.note("remove none", client.member_remove(12_345).await);
    notes.note("promote none", client.member_promote(12_345).await);
    notes.note("update none", client.member_update(12_345, vec!["http://127.0.0.1:1".to_owned()]).await);
}

async fn users(client: &mut Client, at: &str, notes: &mut Notes) {
    notes.note("enable without root", client.auth_enable().await);
    notes.note("add user", client.user_add("root", "secret", None).await);
    notes.note("add again", client.user_add("root", "secret", None).await);
    notes.note("add role", client.role_add("root").await);
    notes.note("grant role", client.user_grant_role("root", "root").await);
    notes.note("add alice", client.user_add("alice", "apple", None).await);
    notes.note("add reader", client.role_add("reader").await);
    notes.note("grant none", client.user_grant_role("alice", "none").await);
    notes.note("grant reader", client.user_grant_role("alice", "reader").await);
    let permission = Permission::read("pub/").with_prefix();
    notes.note("permit", client.role_grant_permission("reader", permission).await);
    notes.note("role", client.role_get("reader").await);
    notes.note("roles", client.role_list().await);
    notes.note("user", client.user_get("alice").await);
    notes.note("users", client.user_list().await);
    notes.note("change", client.user_change_password("alice", "pear").await);
    notes.note("enable", client.auth_enable().await);
    notes.note("nobody", client.get("pub/a", None).await);
    let login = |name: &str, word: &str| {
        let options = ConnectOptions::new().with_user(name, word);
        let at = at.to_owned();
        async move { Client::connect([at], Some(options)).await }
    };
    notes.note("old password", login("alice", "apple").await.map(drop));
    let mut alice = login("alice", "pear").await.expect("alice");
    let mut root = login("root", "secret").await.expect("root");
    notes.note("root puts", root.put("pub/a", "1", None).await);
    notes.note("alice reads", alice.get("pub/a", None).await);
    notes.note("alice writes", alice.put("pub/a", "2", None).await);
    notes.note("alice lists", alice.user_list().await);
    notes.note("alice takes it all", alice.get("", Some(GetOptions::new().with_all_keys())).await);
    notes.note("revoke", root.user_revoke_role("alice", "reader").await);
    notes.note("alice no more", alice.get("pub/a", None).await);
    notes.note("forbid", root.role_revoke_permission("reader", "pub/", None).await);
    notes.note("delete role", root.role_delete("reader").await);
    notes.note("delete alice", root.user_delete("alice").await);
    notes.note("disable", root.auth_disable().await);
}

async fn told(at: &str) -> Vec<String> {
    let mut client = Client::connect([at], None).await.expect("a connection");
    let list = client.member_list().await.expect("members");
    let header = list.header().expect("a header");
    let mut notes = Notes::default();
    notes.names.insert(header.cluster_id(), "CLUSTER");
    notes.names.insert(header.member_id(), "MEMBER");
    keys(&mut client, &mut notes).await;
    watches(&mut client, &mut notes).await;
    leases(&mut client, &mut notes).await;
    locks_and_elections(&mut client, &mut notes).await;
    maintenance(&mut client, &mut notes).await;
    users(&mut client, at, &mut notes).await;
    notes.lines
}

/// The term is that of the cluster's own elections.
fn without_term(line: &str) -> String {
    let mut parts = line.split("raft_term: ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "raft_term: " + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

#[test]
fn the_crate_etcd_client_is_told_the_same_by_both_stores() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let [theirs, ours] = [Cluster::of_debian(), Cluster::start(1, &[])].map(|cluster| {
        let lines = runtime.block_on(told(&cluster.members[0].client));
        lines.iter().map(|line| without_term(line)).collect::<Vec<_>>()
    });
    let faults: Vec<String> = theirs
        .iter()
        .zip(&ours)
        .filter(|(theirs, ours)| theirs != ours)
        .map(|(theirs, ours)| format!("{ours}\ninstead of\n{theirs}\n"))
        .collect();
    assert!(faults.is_empty() && theirs.len() == ours.len(), "{}", faults.join("\n"));
}
