//! The service Watch: a stream of requests in, a stream of what watchers are told out.
//!
//! Invariant: nothing is read from the history for a client while it has not taken what it was sent before.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Api;
use crate::fault::Fault;
use crate::node::Node;
use crate::proto::watch_request::RequestUnion;
use crate::proto::watch_server::Watch;
use crate::proto::{Event, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::span::Span;
use crate::state::auth::Caller;
use crate::watch::News;

/// Answers that wait for a slow client.
const WAITING: usize = 8;

/// A stream of watchers, which ends with this.
pub(super) struct Stream {
    node: Node,
    id: u64,
    pub(super) waker: Arc<Notify>,
}

impl Stream {
    pub(super) fn open(node: &Node) -> Stream {
        let id = node.hub.lock().open();
        let waker = Arc::new(Notify::new());
        node.wakers.lock().insert(id, waker.clone());
        Stream { node: node.clone(), id, waker }
    }

    /// Adds a watcher. Returns its number and the revision that it begins after.
    pub(super) fn create(&self, request: &WatchCreateRequest) -> (Option<i64>, i64) {
        // Both at once, so that nothing happens between them.
        let state = self.node.state.read();
        let revision = state.mvcc.revision();
        let id = self.node.hub.lock().create(self.id, request, revision);
        (id, revision)
    }

    /// What there is to tell now, at most one answer a watcher.
    pub(super) fn collect(&self) -> Vec<(i64, bool, News, i64)> {
        let state = self.node.state.read();
        let mut hub = self.node.hub.lock();
        let mut all = Vec::new();
        for (id, watcher) in hub.take_dirty(self.id) {
            let (news, cursor, more) = watcher.collect(&state.mvcc);
            match &news {
                News::Events(_) => hub.advance(self.id, id, cursor, more),
                News::Compacted(_) => {
                    hub.cancel(self.id, id);
                }
            }
            if news != News::Events(Vec::new()) {
                all.push((id, watcher.fragment, news, state.mvcc.revision()));
            }
        }
        if !hub.is_synced(self.id) {
            self.waker.notify_one();
        }
        all
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.node.wakers.lock().remove(&self.id);
        self.node.hub.lock().close(self.id);
    }
}

type Out = mpsc::Sender<Result<WatchResponse, Status>>;

/// One client's stream.
struct Session {
    api: Api,
    caller: Caller,
    stream: Stream,
    out: Out,
    /// Requests for progress that wait until all is told.
    progress_asked: bool,
    needs_leader: bool,
}

#[tonic::async_trait]
impl Watch for Api {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.ready(&request)?;
        let needs_leader = request.metadata().get("hasleader").is_some();
        let (out, answers) = mpsc::channel(WAITING);
        let stream = Stream::open(&self.node);
        let session = Session { api: self.clone(), caller, stream, out, progress_asked: false, needs_leader };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

impl Session {
    /// Until the client goes, the member ends, or there is no leader where one is needed.
    async fn run(mut self, mut requests: Streaming<WatchRequest>) {
        let mut progress = tokio::time::interval(self.api.manners.progress);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        progress.tick().await;
        let election = self.api.node.setup.election;
        let mut leaderless = Duration::ZERO;
        let mut look = tokio::time::interval(election);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = true;
        loop {
            let waker = self.stream.waker.clone();
            let done = tokio::select! {
                request = requests.next(), if open => match request {
                    Some(Ok(request)) => self.take(request).await,
                    Some(Err(_)) => None,
                    // A client that has said all may still listen.
                    None => { open = false; Some(()) }
                },
                () = waker.notified() => self.tell().await,
                _ = progress.tick() => self.tell_progress().await,
                _ = look.tick(), if self.needs_leader => {
                    let lost = self.api.node.standing.borrow().leader == 0;
                    leaderless = if lost { leaderless + election } else { Duration::ZERO };
                    if leaderless > 3 * election { self.fail(Fault::NoLeader).await } else { Some(()) }
                },
                () = self.api.node.end.notified() => self.fail(Fault::Stopped).await,
                () = self.out.closed() => None,
            };
            if done.is_none() {
                return;
            }
        }
    }

    async fn fail(&self, fault: Fault) -> Option<()> {
        let _ = self.out.send(Err(fault.into())).await;
        None
    }

    async fn send(&self, revision: i64, mut response: WatchResponse) -> Option<()> {
        response.header = Some(self.api.node.header_at(revision));
        self.out.send(Ok(response)).await.ok()
    }

    async fn take(&mut self, request: WatchRequest) -> Option<()> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => {
                let id = cancel.watch_id;
                if self.api.node.hub.lock().cancel(self.stream.id, id) {
                    let revision = self.revision();
                    self.send(
                        revision,
                        WatchResponse { watch_id: id, canceled: true, ..WatchResponse::default() },
                    )
                    .await?;
                }
                Some(())
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress_asked = true;
                self.answer_progress().await
            }
            None => Some(()),
        }
    }

    fn revision(&self) -> i64 {
        self.api.node.state.read().mvcc.revision()
    }

    async fn create(&mut self, request: WatchCreateRequest) -> Option<()> {
        let span = Span::new(&request.key, &request.range_end);
        let allowed = self.api.node.state.read().auth.check(&self.caller, &span, false);
        let refused = match allowed {
            Err(fault) => Some(Status::from(fault)),
            Ok(()) if request.start_revision < 0 => Some(Fault::Compacted.into()),
            Ok(()) => None,
        };
        let (id, revision) = match refused {
            Some(_) => (None, self.revision()),
            None => self.stream.create(&request),
        };
        let Some(watch_id) = id else {
            let reason = refused.unwrap_or_else(|| Fault::WatcherIdExists.into());
            let cancel_reason = match reason.code() {
                tonic::Code::FailedPrecondition => "mvcc: watcher ID already exists".to_owned(),
                code => format!("rpc error: code = {code:?} desc = {}", reason.message()),
            };
            let refusal = WatchResponse {
                watch_id: -1,
                created: true,
                canceled: true,
                cancel_reason,
                ..WatchResponse::default()
            };
            return self.send(revision, refusal).await;
        };
        self.send(revision, WatchResponse { watch_id, created: true, ..WatchResponse::default() }).await?;
        self.tell().await
    }

    async fn tell(&mut self) -> Option<()> {
        for (watch_id, fragment, news, revision) in self.stream.collect() {
            match news {
                News::Compacted(compact_revision) => {
                    let response = WatchResponse {
                        watch_id,
                        canceled: true,
                        compact_revision,
                        ..WatchResponse::default()
                    };
                    // So etcd says it: where the history is now is no matter of this watcher.
                    self.send(0, response).await?;
                }
                News::Events(events) if fragment => self.send_parts(watch_id, events, revision).await?,
                News::Events(events) => {
                    self.send(revision, WatchResponse { watch_id, events, ..WatchResponse::default() })
                        .await?;
                }
            }
        }
        self.answer_progress().await
    }

    async fn send_parts(&self, watch_id: i64, events: Vec<Event>, revision: i64) -> Option<()> {
        let limit = self.api.node.setup.max_request + 512;
        let mut part: Vec<Event> = Vec::new();
        let mut size = 0;
        for event in events {
            let bytes = event.encoded_len() + 16;
            if !part.is_empty() && size + bytes > limit {
                let events = std::mem::take(&mut part);
                let response = WatchResponse { watch_id, events, fragment: true, ..WatchResponse::default() };
                self.send(revision, response).await?;
                size = 0;
            }
            size += bytes;
            part.push(event);
        }
        self.send(revision, WatchResponse { watch_id, events: part, ..WatchResponse::default() }).await
    }

    /// Says how far all watchers of the stream are, once that is one place.
    async fn answer_progress(&mut self) -> Option<()> {
        let revision = {
            let hub = self.api.node.hub.lock();
            hub.is_synced(self.stream.id).then(|| hub.published())
        };
        match revision {
            Some(revision) if self.progress_asked => {
                self.progress_asked = false;
                self.send(revision, WatchResponse { watch_id: -1, ..WatchResponse::default() }).await
            }
            _ => Some(()),
        }
    }

    async fn tell_progress(&mut self) -> Option<()> {
        let (revision, ids) = {
            let hub = self.api.node.hub.lock();
            let synced = hub.is_synced(self.stream.id);
            (hub.published(), if synced { hub.wants_progress(self.stream.id) } else { Vec::new() })
        };
        for watch_id in ids {
            self.send(revision, WatchResponse { watch_id, ..WatchResponse::default() }).await?;
        }
        Some(())
    }
}
