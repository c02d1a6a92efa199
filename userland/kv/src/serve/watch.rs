//! The service Watch: a stream of requests in, a stream of what watchers are told out.
//!
//! Invariant: nothing is read from the history for a client while it has not taken what it was sent before.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_stream::Stream as _;
use tonic::{Request, Response, Status, Streaming};

use super::Api;
use crate::fault::Fault;
use crate::node::Node;
use crate::proto::watch_request::RequestUnion;
use crate::proto::watch_server::Watch;
use crate::proto::{Event, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::span::{Span, first_key};
use crate::state::auth::Caller;
use crate::watch::News;

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
                News::Compacted(_) => hub.end(self.id, id),
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

/// One client's stream: it is the body of the answer itself, so that an event takes no way through a task of its own.
pub struct Session {
    api: Api,
    caller: Caller,
    stream: Stream,
    /// Nothing once the client has said all.
    requests: Option<Streaming<WatchRequest>>,
    woken: Pin<Box<OwnedNotified>>,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    progress: Interval,
    /// Requests for progress that wait until all is told.
    progress_asked: bool,
    /// Where the client wants to know that there is a leader: when it is looked, and since when there is none.
    look: Option<(Interval, Duration)>,
    answers: VecDeque<WatchResponse>,
    /// How it ends, after the answers.
    end: Option<Option<Status>>,
}

#[tonic::async_trait]
impl Watch for Api {
    type WatchStream = Session;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.ready(&request)?;
        let stream = Stream::open(&self.node);
        let election = self.node.setup.election;
        let needs_leader = request.metadata().get("hasleader").is_some();
        let node = self.node.clone();
        Ok(Response::new(Session {
            api: self.clone(),
            caller,
            woken: Box::pin(stream.waker.clone().notified_owned()),
            stream,
            requests: Some(request.into_inner()),
            ended: Box::pin(async move { node.end.notified().await }),
            progress: every(self.manners.progress),
            progress_asked: false,
            look: needs_leader.then(|| (every(election), Duration::ZERO)),
            answers: VecDeque::new(),
            end: None,
        }))
    }
}

/// Beats of a clock, the first after one of them.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl tokio_stream::Stream for Session {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(answer) = this.answers.pop_front() {
                return Poll::Ready(Some(Ok(answer)));
            }
            if let Some(end) = &mut this.end {
                return Poll::Ready(end.take().map(Err));
            }
            if !this.turn(context) {
                return Poll::Pending;
            }
        }
    }
}

impl Session {
    /// Does what is due, each kind once: who asks much must not keep events back, nor the other way round. Returns
    /// whether anything was.
    fn turn(&mut self, context: &mut Context<'_>) -> bool {
        let mut any = false;
        if let Some(requests) = &mut self.requests
            && let Poll::Ready(request) = Pin::new(requests).poll_next(context)
        {
            any = true;
            match request {
                Some(Ok(request)) => self.take(request),
                Some(Err(_)) => self.end = Some(None),
                // A client that has said all may still listen.
                None => self.requests = None,
            }
        }
        if self.woken.as_mut().poll(context).is_ready() {
            any = true;
            self.woken.set(self.stream.waker.clone().notified_owned());
            self.tell();
        }
        if self.progress.poll_tick(context).is_ready() {
            any = true;
            self.tell_progress();
        }
        if let Some((look, leaderless)) = &mut self.look
            && look.poll_tick(context).is_ready()
        {
            any = true;
            let lost = self.api.node.standing.borrow().leader == 0;
            *leaderless = if lost { *leaderless + look.period() } else { Duration::ZERO };
            if *leaderless > 3 * look.period() {
                self.end = Some(Some(Fault::NoLeader.into()));
            }
        }
        if self.end.is_none() && self.ended.as_mut().poll(context).is_ready() {
            any = true;
            self.end = Some(Some(Fault::Stopped.into()));
        }
        any
    }

    fn send(&mut self, revision: i64, mut response: WatchResponse) {
        response.header = Some(self.api.node.header_at(revision));
        self.answers.push_back(response);
    }

    fn take(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(&create),
            Some(RequestUnion::CancelRequest(cancel)) => {
                let watch_id = cancel.watch_id;
                if self.api.node.hub.lock().cancel(self.stream.id, watch_id) {
                    let revision = self.revision();
                    let canceled = true;
                    self.send(revision, WatchResponse { watch_id, canceled, ..WatchResponse::default() });
                }
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress_asked = true;
                self.answer_progress();
            }
            None => {}
        }
    }

    fn revision(&self) -> i64 {
        self.api.node.state.read().mvcc.revision()
    }

    fn create(&mut self, request: &WatchCreateRequest) {
        let span = Span::new(&first_key(&request.key), &request.range_end);
        let allowed = self.api.node.state.read().auth.check(&self.caller, &span, false);
        let said = |fault: Fault| format!("rpc error: code = {:?} desc = {fault}", fault.code());
        let refused = match allowed {
            Err(fault) => Some(said(fault)),
            Ok(()) if request.start_revision < 0 => Some(said(Fault::Compacted)),
            Ok(()) if span.is_inverted() => Some("mvcc: watcher range is empty".to_owned()),
            Ok(()) => None,
        };
        let (id, revision) = match refused {
            Some(_) => (None, self.revision()),
            None => self.stream.create(request),
        };
        let Some(watch_id) = id else {
            let taken = || "mvcc: duplicate watch ID provided on the WatchStream".to_owned();
            let cancel_reason = refused.unwrap_or_else(taken);
            let refusal = WatchResponse {
                watch_id: -1,
                created: true,
                canceled: true,
                cancel_reason,
                ..WatchResponse::default()
            };
            return self.send(revision, refusal);
        };
        self.send(revision, WatchResponse { watch_id, created: true, ..WatchResponse::default() });
        self.tell();
    }

    fn tell(&mut self) {
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
                    self.send(0, response);
                }
                News::Events(events) if fragment => self.send_parts(watch_id, events, revision),
                News::Events(events) => {
                    self.send(revision, WatchResponse { watch_id, events, ..WatchResponse::default() });
                }
            }
        }
        self.answer_progress();
    }

    fn send_parts(&mut self, watch_id: i64, events: Vec<Event>, revision: i64) {
        let limit = self.api.node.setup.max_request + 512;
        let mut part: Vec<Event> = Vec::new();
        let mut size = 0;
        for event in events {
            let bytes = event.encoded_len() + 16;
            if !part.is_empty() && size + bytes > limit {
                let events = std::mem::take(&mut part);
                let response = WatchResponse { watch_id, events, fragment: true, ..WatchResponse::default() };
                self.send(revision, response);
                size = 0;
            }
            size += bytes;
            part.push(event);
        }
        self.send(revision, WatchResponse { watch_id, events: part, ..WatchResponse::default() });
    }

    /// Says how far all watchers of the stream are, once that is one place.
    fn answer_progress(&mut self) {
        let revision = {
            let hub = self.api.node.hub.lock();
            hub.is_synced(self.stream.id).then(|| hub.published())
        };
        if let Some(revision) = revision
            && std::mem::take(&mut self.progress_asked)
        {
            self.send(revision, WatchResponse { watch_id: -1, ..WatchResponse::default() });
        }
    }

    fn tell_progress(&mut self) {
        let (revision, ids) = {
            let hub = self.api.node.hub.lock();
            let synced = hub.is_synced(self.stream.id);
            (hub.published(), if synced { hub.wants_progress(self.stream.id) } else { Vec::new() })
        };
        for watch_id in ids {
            self.send(revision, WatchResponse { watch_id, ..WatchResponse::default() });
        }
    }
}
