//! Watchers of a proxy: those of many clients that watch the same keys share one watcher at the store.
//!
//! Invariants: a subscriber gets every event at or after its `next`, once and in order; one that does not read its
//! answers is dropped, so that it holds up nobody, and its client asks anew from where it was.
//!
//! Source: etcd 3.4, proxy/grpcproxy/watch*.go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::namespace::Namespace;
use super::{Token, with_token};
use crate::proto::event::EventType;
use crate::proto::watch_client::WatchClient;
use crate::proto::watch_create_request::FilterType;
use crate::proto::watch_request::RequestUnion;
use crate::proto::watch_server::Watch;
use crate::proto::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};

/// Answers that wait for a slow client.
const WAITING: usize = 256;

/// What watchers must have in common to share one: the user, the keys, and where they begin, if that is the past.
type Subject = (Token, Bytes, Bytes, i64);
/// A watcher of a client: its stream and its number there.
type Id = (u64, i64);
type Out = mpsc::Sender<Result<WatchResponse, Status>>;

struct Subscriber {
    out: Out,
    request: WatchCreateRequest,
    /// The first revision that it has not been told.
    next: i64,
}

/// One watcher at the store, and who listens to it.
#[derive(Default)]
struct Shared {
    subscribers: BTreeMap<Id, Subscriber>,
    /// As the store's last answer had it; nothing before the first.
    header: Option<ResponseHeader>,
    task: Option<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The Watch service of a proxy.
#[derive(Clone)]
pub struct Watchers {
    channel: Channel,
    space: Namespace,
    shared: Arc<Mutex<HashMap<Subject, Shared>>>,
    streams: Arc<AtomicU64>,
}

impl Watchers {
    /// None yet; the store is at the other end of the channel.
    pub fn new(channel: Channel, space: Namespace) -> Watchers {
        Watchers { channel, space, shared: Arc::default(), streams: Arc::default() }
    }

    /// How many watchers there are at the store.
    pub fn len(&self) -> usize {
        self.shared.lock().len()
    }

    fn subscribe(&self, token: &Token, id: Id, request: WatchCreateRequest, out: Out) -> Subject {
        let (key, end) = (self.space.add(&request.key), self.space.add_end(&request.range_end));
        let mut subject = (token.clone(), key, end, 0);
        let mut all = self.shared.lock();
        // Who begins in the past has a watcher of its own, unless the shared one has not been told of that yet.
        let told = all.get(&subject).and_then(|shared| shared.header).map_or(0, |header| header.revision);
        if request.start_revision > 0 && (told == 0 || request.start_revision <= told) {
            subject.3 = request.start_revision;
        }
        let shared = all.entry(subject.clone()).or_default();
        let mut subscriber = Subscriber { out, next: request.start_revision, request };
        if let Some(header) = shared.header {
            subscriber.created(id, header);
        }
        shared.subscribers.insert(id, subscriber);
        if shared.task.is_none() {
            let task = tokio::spawn(self.clone().follow(subject.clone()));
            shared.task = Some(task.abort_handle());
        }
        subject
    }

    fn unsubscribe(&self, subject: &Subject, id: Id) {
        let mut all = self.shared.lock();
        let Some(shared) = all.get_mut(subject) else { return };
        shared.subscribers.remove(&id);
        if shared.subscribers.is_empty() {
            all.remove(subject);
        }
    }

    /// Watches at the store for all who share it.
    async fn follow(self, subject: Subject) {
        let why = match self.listen(&subject).await {
            Ok(canceled) => canceled,
            Err(status) => WatchResponse {
                canceled: true,
                cancel_reason: status.message().to_owned(),
                ..WatchResponse::default()
            },
        };
        let shared = self.shared.lock().remove(&subject);
        for ((_, watch_id), subscriber) in shared.iter().flat_map(|shared| &shared.subscribers) {
            let created = shared.as_ref().is_some_and(|shared| shared.header.is_none());
            let watch_id = if created { -1 } else { *watch_id };
            subscriber.send(WatchResponse { watch_id, created, ..why.clone() });
        }
    }

    /// Until the store ends the watcher. Returns its last word.
    async fn listen(&self, (token, key, range_end, start): &Subject) -> Result<WatchResponse, Status> {
        let create = WatchCreateRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            start_revision: *start,
            prev_kv: true,
            progress_notify: true,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // What is asked stays open as long as answers are wanted.
        let asked = tokio_stream::once(request).chain(tokio_stream::pending());
        let mut client = WatchClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        let mut answers = client.watch(with_token(asked, token)).await?.into_inner();
        let subject = (token.clone(), key.clone(), range_end.clone(), *start);
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            if answer.canceled {
                return Ok(answer);
            }
            let mut all = self.shared.lock();
            let Some(shared) = all.get_mut(&subject) else { break };
            shared.tell(&answer, &self.space);
        }
        Err(Status::unavailable("the store has ended the watch"))
    }
}

impl Shared {
    fn tell(&mut self, answer: &WatchResponse, space: &Namespace) {
        let header = answer.header.unwrap_or_default();
        let is_first = self.header.replace(header).is_none();
        self.subscribers.retain(|id, subscriber| {
            if is_first && !subscriber.created(*id, header) {
                return false;
            }
            answer.created || subscriber.tell(id.1, answer, space)
        });
    }
}

impl Subscriber {
    /// Whether its client still takes what it is told.
    fn send(&self, response: WatchResponse) -> bool {
        self.out.try_send(Ok(response)).is_ok()
    }

    fn created(&mut self, (_, watch_id): Id, header: ResponseHeader) -> bool {
        self.next = self.next.max(1);
        if self.request.start_revision <= 0 {
            self.next = header.revision + 1;
        }
        self.send(WatchResponse { header: Some(header), watch_id, created: true, ..WatchResponse::default() })
    }

    fn tell(&mut self, watch_id: i64, answer: &WatchResponse, space: &Namespace) -> bool {
        let is_progress = answer.events.is_empty();
        if is_progress && !self.request.progress_notify {
            return true;
        }
        let mut response = WatchResponse { watch_id, ..answer.clone() };
        let (next, request) = (self.next, &self.request);
        let has = |filter: FilterType| request.filters.contains(&(filter as i32));
        response.events.retain(|event| {
            let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            let filtered = match event.r#type() {
                EventType::Put => has(FilterType::Noput),
                EventType::Delete => has(FilterType::Nodelete),
            };
            revision >= next && !filtered
        });
        for event in &mut response.events {
            event.kv.iter_mut().for_each(|kv| space.show(kv));
            event.prev_kv = event.prev_kv.take().filter(|_| request.prev_kv);
            event.prev_kv.iter_mut().for_each(|kv| space.show(kv));
        }
        if let Some(last) = answer.events.iter().filter_map(|event| event.kv.as_ref()).last() {
            self.next = self.next.max(last.mod_revision + 1);
        }
        (!is_progress && response.events.is_empty()) || self.send(response)
    }
}

/// One client's stream; its watchers end with it.
struct Session {
    watchers: Watchers,
    number: u64,
    token: Token,
    out: Out,
    open: HashMap<i64, Subject>,
    next_id: i64,
}

impl Drop for Session {
    fn drop(&mut self) {
        for (id, subject) in &self.open {
            self.watchers.unsubscribe(subject, (self.number, *id));
        }
    }
}

impl Session {
    async fn run(mut self, mut requests: Streaming<WatchRequest>) {
        loop {
            let request = tokio::select! {
                request = requests.next() => request,
                () = self.out.closed() => return,
            };
            let Some(Ok(request)) = request else { break };
            match request.request_union {
                Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
                Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id).await,
                Some(RequestUnion::ProgressRequest(_)) => self.tell_progress().await,
                None => {}
            }
        }
        // A client that has said all may still listen.
        self.out.closed().await;
    }

    async fn create(&mut self, create: WatchCreateRequest) {
        let id = match create.watch_id {
            0 => {
                while self.open.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id
            }
            id => id,
        };
        if self.open.contains_key(&id) {
            let refusal = WatchResponse {
                watch_id: -1,
                created: true,
                canceled: true,
                cancel_reason: "mvcc: watcher ID already exists".into(),
                ..WatchResponse::default()
            };
            let _ = self.out.send(Ok(refusal)).await;
            return;
        }
        self.next_id = self.next_id.max(id + 1);
        let subject = self.watchers.subscribe(&self.token, (self.number, id), create, self.out.clone());
        self.open.insert(id, subject);
    }

    async fn cancel(&mut self, id: i64) {
        let Some(subject) = self.open.remove(&id) else { return };
        let header = self.header_of(&subject);
        self.watchers.unsubscribe(&subject, (self.number, id));
        let last = WatchResponse { header, watch_id: id, canceled: true, ..WatchResponse::default() };
        let _ = self.out.send(Ok(last)).await;
    }

    fn header_of(&self, subject: &Subject) -> Option<ResponseHeader> {
        self.watchers.shared.lock().get(subject).and_then(|shared| shared.header)
    }

    /// Says how far all watchers of the stream are: as far as the one that has heard least.
    async fn tell_progress(&mut self) {
        let headers: Option<Vec<ResponseHeader>> =
            self.open.values().map(|subject| self.header_of(subject)).collect();
        let Some(header) = headers.and_then(|all| all.into_iter().min_by_key(|header| header.revision))
        else {
            return;
        };
        let answer = WatchResponse { header: Some(header), watch_id: -1, ..WatchResponse::default() };
        let _ = self.out.send(Ok(answer)).await;
    }
}

#[tonic::async_trait]
impl Watch for Watchers {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (out, answers) = mpsc::channel(WAITING);
        let session = Session {
            watchers: self.clone(),
            number: self.streams.fetch_add(1, Ordering::Relaxed),
            token: Token::of(request.metadata()),
            out,
            open: HashMap::new(),
            next_id: 0,
        };
        tokio::spawn(session.run(request.into_inner()));
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
