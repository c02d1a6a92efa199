//! `images/create`: pulling, told piece by piece as it goes on.

use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Api;
use super::answer::{Answer, Content, Failure, typed};
use super::request::Request;
use crate::pull::{Progress, pull};
use crate::reference::Reference;

type Line = Result<Value, Failure>;

/// `images/create?fromImage=…&tag=…`
pub async fn create(api: &Arc<Api>, request: &Request) -> Answer {
    let Some(name) = request.value("fromImage") else {
        return Err(Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            "importing a root file system is not done here: make an image of it with another tool and push it",
        ));
    };
    let name = match request.value("tag") {
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    };
    let reference: Reference = name.parse()?;
    // Without a bound: a pull tells a line or two for each layer, and must not wait inside its own runtime.
    let (send, mut lines) = mpsc::unbounded_channel::<Line>();
    let puller = Arc::clone(api);
    tokio::task::spawn_blocking(move || {
        let done = fetch(&puller, &reference, &send);
        if let Err(failure) = done {
            let _ = send.send(Err(failure));
        }
    });
    // What fails before anything was told is an answer of its own, with a status.
    match lines.recv().await {
        Some(Err(failure)) => Err(failure),
        first => Ok(told(first, lines)),
    }
}

fn told(first: Option<Line>, mut lines: mpsc::UnboundedReceiver<Line>) -> Response<Content> {
    let (send, receive) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut next = first;
        while let Some(line) = next {
            let value = line.unwrap_or_else(
                |failure| json!({ "errorDetail": { "message": failure.message }, "error": failure.message }),
            );
            if send.send(Bytes::from(format!("{value}\r\n"))).await.is_err() {
                return;
            }
            next = lines.recv().await;
        }
    });
    typed(StatusCode::OK, "application/json", Content::Stream(receive))
}

fn fetch(api: &Api, reference: &Reference, lines: &mpsc::UnboundedSender<Line>) -> Result<(), Failure> {
    let store = api.store()?;
    let tell = |value: Value| drop(lines.send(Ok(value)));
    // The first line is held back until the registry has answered: until then a failure has a status.
    let mut asking = None;
    let pulled = pull(&store, reference, &mut |progress| {
        if let Some(first) = asking.take() {
            tell(first);
        }
        match progress {
            Progress::Asking { selector, repository } => {
                asking = Some(json!({ "status": format!("Pulling from {repository}"), "id": selector }));
            }
            Progress::Exists(layer) => {
                tell(json!({ "status": "Already exists", "progressDetail": {}, "id": layer }))
            }
            Progress::Complete(layer) => {
                tell(json!({ "status": "Pull complete", "progressDetail": {}, "id": layer }));
            }
        }
    });
    let pulled = pulled.map_err(|error| {
        use crate::pull::PullError;
        let status = match &error {
            PullError::Registry(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::new(status, error.to_string())
    })?;
    if let Some(first) = asking {
        tell(first);
    }
    tell(json!({ "status": format!("Digest: {}", pulled.image.manifest) }));
    let status = if pulled.new { "Downloaded newer image for" } else { "Image is up to date for" };
    tell(json!({ "status": format!("Status: {status} {}", reference.familiar()) }));
    api.events.tell("image", "pull", &reference.familiar(), &[("name", &reference.familiar_repository())]);
    Ok(())
}
