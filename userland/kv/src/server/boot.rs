//! How a member comes up: from its data, as one of the first of a new cluster, or into one that exists.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::config::Config;
use super::peer;
use crate::identity;
use crate::node::{Paths, Setup};
use crate::proto::Member;
use crate::proto::internal::{HardState, Identity};
use crate::state::State;
use crate::storage::applied::{self, Checkpoint};
use crate::storage::wal::{Replay, Wal};
use crate::storage::{Damage, snapshot};

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// What it was told makes no sense.
    #[error("{0}")]
    Config(String),
    /// Its data does not.
    #[error(
        "{0}\nThe data was left as it is. A member whose data is lost can be removed and added again; a cluster can be restored from a snapshot with `etcdctl snapshot restore`."
    )]
    Damage(#[from] Damage),
    /// No member of the cluster answers.
    #[error("no member of the cluster answers: {0}")]
    Unreachable(String),
}

/// A member that is ready to run.
pub struct Booted {
    /// Its numbers and limits.
    pub setup: Setup,
    /// Where its files are.
    pub paths: Paths,
    /// Its log, and what that held.
    pub log: (Wal, Replay),
    /// Its state.
    pub state: State,
    /// What follows the state.
    pub checkpoint: Checkpoint,
}

/// The first members that `NAME=URL,…` names.
///
/// # Errors
/// What is wrong with it.
pub fn parse_cluster(text: &str, token: &str) -> Result<Vec<Member>, BootError> {
    let mut members: Vec<Member> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, url)) = part.split_once('=') else {
            return Err(BootError::Config(format!("--initial-cluster: {part:?} is not NAME=URL")));
        };
        let url =
            identity::clean_urls(&[url.to_owned()]).and_then(|urls| urls.into_iter().next()).ok_or_else(
                || BootError::Config(format!("--initial-cluster: {url:?} is not SCHEME://HOST:PORT")),
            )?;
        match members.iter_mut().find(|member| member.name == name) {
            Some(member) => member.peer_ur_ls.push(url),
            None => members.push(Member { name: name.into(), peer_ur_ls: vec![url], ..Member::default() }),
        }
    }
    for member in &mut members {
        member.peer_ur_ls.sort();
        member.id = identity::member_id(&member.peer_ur_ls, token, None);
    }
    let mut ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < members.len() {
        return Err(BootError::Config("--initial-cluster: two members have the same URLs".into()));
    }
    Ok(members)
}

fn setup(config: &Config, identity: Identity) -> Setup {
    const GIB: u64 = 1 << 30;
    let quota = match config.quota_backend_bytes {
        0 => 2 * GIB,
        bytes => u64::try_from(bytes).unwrap_or(u64::MAX / 2),
    };
    Setup {
        member_id: identity.member_id,
        cluster_id: identity.cluster_id,
        heartbeat: Duration::from_millis(config.heartbeat_interval),
        election: Duration::from_millis(config.election_timeout),
        snapshot_count: config.snapshot_count,
        pre_vote: config.pre_vote,
        quota,
        max_request: config.max_request_bytes,
        token_ttl: Duration::from_secs(config.auth_token_ttl),
    }
}

/// Where a member's data is.
pub fn data_dir(config: &Config) -> PathBuf {
    config.data_dir.clone().unwrap_or_else(|| PathBuf::from(format!("{}.etcd", config.name)))
}

/// Whether this was a member before: then its data says who the others are.
pub fn has_data(config: &Config) -> bool {
    Wal::exists(&Paths::new(&data_dir(config), config.wal_dir.as_deref()).wal)
}

/// Brings a member up. `cluster` is who the first members are, however that was found out.
///
/// # Errors
/// Why it cannot be.
pub async fn boot(
    config: &Config,
    cluster: Option<String>,
    token: &str,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<Booted, BootError> {
    let data = data_dir(config);
    let paths = Paths::new(&data, config.wal_dir.as_deref());
    if paths.snapshots.join("db").exists() && !Wal::exists(&paths.wal) {
        return Err(BootError::Config(format!(
            "{} holds the data of another etcd. Take a snapshot there with `etcdctl snapshot save FILE` and begin \
             here with `etcdctl snapshot restore FILE --data-dir NEW`.",
            data.display()
        )));
    }
    std::fs::create_dir_all(&paths.snapshots).map_err(Damage::io(&paths.snapshots))?;
    restrict(&data);
    if Wal::exists(&paths.wal) {
        return reopen(config, paths);
    }
    let urls = identity::clean_urls(&config.initial_advertise_peer_urls).ok_or_else(|| {
        BootError::Config("--initial-advertise-peer-urls must be SCHEME://HOST:PORT,…".to_owned())
    })?;
    let text = cluster.unwrap_or_else(|| {
        urls.iter().map(|url| format!("{}={url}", config.name)).collect::<Vec<_>>().join(",")
    });
    let members = parse_cluster(&text, token)?;
    let own = members.iter().find(|member| member.name == config.name).ok_or_else(|| {
        BootError::Config(format!(
            "couldn't find local name {:?} in the initial cluster configuration",
            config.name
        ))
    })?;
    if !identity::same_places(&own.peer_ur_ls, &urls) {
        return Err(BootError::Config(format!(
            "--initial-cluster has {}={} but --initial-advertise-peer-urls={}",
            own.name,
            own.peer_ur_ls.join(","),
            urls.join(",")
        )));
    }
    if config.initial_cluster_state == "existing" {
        return join(config, paths, &members, own, tls).await;
    }
    check_not_begun(config, &members, own, tls).await?;
    let identity = Identity { cluster_id: identity::cluster_id(&members), member_id: own.id };
    let names: Vec<Member> = members.iter().map(|m| Member { name: String::new(), ..m.clone() }).collect();
    begin(config, paths, identity, names, State::default())
}

/// Others must not read what is in the store.
fn restrict(data: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(data, std::fs::Permissions::from_mode(0o700));
}

/// A new log on top of a state, with these members: a new cluster, or one restored.
fn begin(
    config: &Config,
    paths: Paths,
    identity: Identity,
    members: Vec<Member>,
    mut state: State,
) -> Result<Booted, BootError> {
    create(&paths, identity, members, &mut state)?;
    reopen(config, paths)
}

/// Writes a data directory: a snapshot as of entry 1, and a log that goes on from it.
///
/// # Errors
/// Of the file system.
pub fn create(
    paths: &Paths,
    identity: Identity,
    members: Vec<Member>,
    state: &mut State,
) -> Result<(), Damage> {
    std::fs::create_dir_all(&paths.snapshots).map_err(Damage::io(&paths.snapshots))?;
    state.members.replace(members);
    state.mark(1, 1);
    snapshot::write(&paths.snapshots.join(snapshot::name(1, 1)), &state.view())?;
    let mut wal = Wal::create(&paths.wal, identity, 1)?;
    wal.append(Some(HardState { term: 1, vote: 0, commit: 1 }), &[], true)
}

/// Goes on from the data.
fn reopen(config: &Config, paths: Paths) -> Result<Booted, BootError> {
    let (wal, replay) = Wal::open(&paths.wal)?;
    if replay.torn > 0 {
        eprintln!("etcd: {} bytes of a write that was cut short were dropped from the log", replay.torn);
    }
    let (state, fresh) = load(&paths, &replay)?;
    let checkpoint = Checkpoint::start(&paths.applied, fresh.then(|| state.view()));
    let identity = replay.identity;
    let mut booted = Booted { setup: setup(config, identity), paths, log: (wal, replay), state, checkpoint };
    if config.force_new_cluster {
        alone(&mut booted)?;
    }
    Ok(booted)
}

/// The newest state that the log goes on from, and whether sled has to be made anew.
///
/// # Errors
/// Where there is none.
pub fn load(paths: &Paths, replay: &Replay) -> Result<(State, bool), Damage> {
    let first = replay.entries.first().map(|entry| entry.index);
    let last = replay.entries.last().map_or(0, |entry| entry.index);
    let snapshots = snapshot::list(&paths.snapshots)?;
    let newest = snapshots.first().map_or(0, |(index, _)| *index);
    let fits = |index: u64| first.is_none_or(|first| index + 1 >= first);
    match applied::read(&paths.applied) {
        Ok(Some(state)) => {
            let (index, _) = state.applied();
            // It may not be ahead of what the log says is decided, nor behind the log's beginning.
            if index >= newest.max(1)
                && fits(index)
                && index <= replay.hard_state.commit.max(newest).min(last.max(newest))
            {
                return Ok((state, false));
            }
        }
        Ok(None) => {}
        Err(error) => {
            eprintln!("etcd: {error}; the applied state is made anew from the snapshot and the log")
        }
    }
    let state = load_snapshot(paths, replay)?;
    Ok((state, true))
}

/// The newest snapshot that the log goes on from.
fn load_snapshot(paths: &Paths, replay: &Replay) -> Result<State, Damage> {
    let first = replay.entries.first().map(|entry| entry.index);
    let fits = |index: u64| first.is_none_or(|first| index + 1 >= first);
    let mut damage = None;
    for (index, path) in &snapshot::list(&paths.snapshots)? {
        if !fits(*index) {
            break;
        }
        match snapshot::read(path) {
            Ok(state) => return Ok(state),
            Err(error) => {
                eprintln!("etcd: {error}; an older snapshot is looked for");
                damage.get_or_insert(error);
            }
        }
    }
    match damage {
        Some(error) => Err(error),
        None if first.is_none_or(|first| first == 1) => Ok(State::default()),
        None => Err(Damage::Missing {
            path: paths.snapshots.clone(),
            what: "there is no snapshot that the log goes on from".into(),
        }),
    }
}

/// Applies all that the log says is decided. Returns index and term of the last of it.
fn catch_up(state: &mut State, replay: &Replay) -> (u64, u64) {
    let (applied, mut term) = state.applied();
    let mut index = applied;
    for entry in replay.entries.iter().filter(|entry| entry.index > applied) {
        if entry.index > replay.hard_state.commit {
            break;
        }
        let _ = crate::replica::apply_entry(state, entry);
        (index, term) = (entry.index, entry.term);
    }
    let _ = state.take_changes();
    (index, term)
}

/// Everything that is decided in a data directory, which is left as it is; its member may run meanwhile.
///
/// # Errors
/// Where it cannot be read.
pub fn decided(paths: &Paths) -> Result<State, Damage> {
    let replay = Wal::read(&paths.wal)?;
    let mut state = load_snapshot(paths, &replay)?;
    catch_up(&mut state, &replay);
    Ok(state)
}

/// Applies all that is decided and leaves this member alone in its cluster.
fn alone(booted: &mut Booted) -> Result<(), BootError> {
    let (wal, replay) = &mut booted.log;
    let (index, term) = catch_up(&mut booted.state, replay);
    let id = booted.setup.member_id;
    let own = booted.state.members.get(id).cloned().unwrap_or(Member { id, ..Member::default() });
    booted.state.members.replace([Member { is_learner: false, ..own }]);
    booted.state.mark(index, term);
    snapshot::write(&booted.paths.snapshots.join(snapshot::name(index, term)), &booted.state.view())?;
    let hard_state = HardState { commit: index, ..replay.hard_state };
    wal.reset(index, hard_state)?;
    replay.entries.clear();
    replay.hard_state = hard_state;
    booted.checkpoint.discard();
    booted.checkpoint = Checkpoint::start(&booted.paths.applied, Some(booted.state.view()));
    Ok(())
}

/// A member that has lost its data has lost its promises with them: under its old number it could vote twice.
async fn check_not_begun(
    config: &Config,
    members: &[Member],
    own: &Member,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<(), BootError> {
    let others = others(members, own);
    let asked = ask_members(&others, tls);
    let patience = Duration::from_secs(1) + Duration::from_millis(config.election_timeout);
    // Where nobody answers the cluster begins now, as far as anyone can know.
    let Ok(Ok((_, found))) = tokio::time::timeout(patience, asked).await else { return Ok(()) };
    if found.iter().any(|member| member.id == own.id && !member.client_ur_ls.is_empty()) {
        return Err(BootError::Config(format!(
            "member {:x} has already been bootstrapped: if its data is lost, remove it with `etcdctl member remove`, \
             add it again, and start it with --initial-cluster-state=existing",
            own.id
        )));
    }
    Ok(())
}

/// Where the other members are.
fn others(members: &[Member], own: &Member) -> Vec<String> {
    members.iter().filter(|member| member.id != own.id).flat_map(|member| member.peer_ur_ls.clone()).collect()
}

/// Asks the members of a cluster which of them this is, and begins with nothing: the leader sends the rest.
async fn join(
    config: &Config,
    paths: Paths,
    members: &[Member],
    own: &Member,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<Booted, BootError> {
    let (cluster_id, found) = ask_members(&others(members, own), tls).await?;
    if found.len() != members.len() {
        return Err(BootError::Config(format!(
            "member count is unequal: --initial-cluster names {}, the cluster has {}",
            members.len(),
            found.len()
        )));
    }
    let mine = found.iter().find(|member| identity::same_places(&member.peer_ur_ls, &own.peer_ur_ls));
    let mine = mine.ok_or_else(|| {
        BootError::Config(format!(
            "the cluster has no member with the URLs {}; add it first with `etcdctl member add`",
            own.peer_ur_ls.join(",")
        ))
    })?;
    let identity = Identity { cluster_id, member_id: mine.id };
    // Until the leader's snapshot comes, where the others are is known from what they said. Nobody votes.
    let mut state = State::default();
    state.members.replace(found.into_iter().map(|member| Member { is_learner: true, ..member }));
    snapshot::write(&paths.snapshots.join(snapshot::name(0, 0)), &state.view())?;
    drop(Wal::create(&paths.wal, identity, 0)?);
    reopen(config, paths)
}

/// The number of a cluster and its members, from the first that answers.
///
/// # Errors
/// Where none does.
pub async fn ask_members(
    urls: &[String],
    tls: Option<Arc<rustls::ClientConfig>>,
) -> Result<(u64, Vec<Member>), BootError> {
    let mut last = "there is no other member".to_owned();
    for url in urls {
        match peer::get(url, "/members", tls.clone()).await {
            Ok((headers, body)) => {
                let id = headers.get("x-etcd-cluster-id").and_then(|value| value.to_str().ok());
                let id = id.and_then(|text| u64::from_str_radix(text, 16).ok());
                match (id, parse_members(&body)) {
                    (Some(id), Some(members)) => return Ok((id, members)),
                    _ => last = format!("{url}/members: the answer cannot be read"),
                }
            }
            Err(error) => last = format!("{url}/members: {error}"),
        }
    }
    Err(BootError::Unreachable(last))
}

fn parse_members(body: &Bytes) -> Option<Vec<Member>> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let texts = |value: Option<&serde_json::Value>| -> Vec<String> {
        let list = value.and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    json.as_array()?
        .iter()
        .map(|member| {
            Some(Member {
                id: member.get("id")?.as_u64()?,
                name: member.get("name").and_then(serde_json::Value::as_str).unwrap_or_default().into(),
                peer_ur_ls: texts(member.get("peerURLs")),
                client_ur_ls: texts(member.get("clientURLs")),
                is_learner: member.get("isLearner").and_then(serde_json::Value::as_bool).unwrap_or(false),
            })
        })
        .collect()
}
