//! `images/create` and `images/NAME/push`: told piece by piece as it goes on.

use std::path::Path;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Api;
use super::answer::{Answer, Content, Failure, json_ok, typed};
use super::request::Request;
use crate::pull::{Progress, pull};
use crate::push;
use crate::reference::Reference;
use crate::registry::auth::Credentials;
use crate::registry::config::{DAEMON_JSON, Trust};
use crate::registry::{RegistryError, login};

/// What is told, or why it ended.
pub type Line = Result<Value, Failure>;

/// `images/create?fromImage=…&tag=…`
pub async fn create(api: &Arc<Api>, request: &Request) -> Answer {
    let Some(name) = request.value("fromImage") else {
        return Err(Failure::bad("fromImage or fromSrc must be given"));
    };
    let name = match request.value("tag") {
        Some(digest) if digest.contains(':') => format!("{name}@{digest}"),
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    };
    let reference: Reference = name.parse()?;
    let credentials = credentials(request)?;
    tell_while(api, move |api, lines| fetch(api, &reference, credentials, lines)).await
}

/// Who a client says it is to the registry.
fn credentials(request: &Request) -> Result<Option<Credentials>, Failure> {
    let Some(header) = request.headers.get("x-registry-auth") else { return Ok(None) };
    let text = header.to_str().unwrap_or("*");
    Credentials::from_header(text).map_err(|why| Failure::bad(format!("X-Registry-Auth: {why}")))
}

/// `auth`: whether a registry takes what a client would log in with.
pub async fn log_in(mut request: Request) -> Answer {
    let given: Value = request.json().await?;
    let text = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or_default();
    let endpoint = login::endpoint(text("serveraddress"));
    let credentials = Credentials::new(text("username"), text("password"));
    let trust = Trust::load(Path::new(DAEMON_JSON)).map_err(Failure::internal)?;
    login::check(endpoint, &trust, credentials).await.map_err(|error| match error {
        RegistryError::Denied { .. } => Failure::new(StatusCode::UNAUTHORIZED, error.to_string()),
        _ => Failure::internal(error),
    })?;
    json_ok(&json!({ "Status": "Login Succeeded", "IdentityToken": "" }))
}

/// Answers with the lines that come while `work` is done on a thread of its own.
pub async fn tell_while(
    api: &Arc<Api>,
    work: impl FnOnce(&Api, &mpsc::UnboundedSender<Line>) -> Result<(), Failure> + Send + 'static,
) -> Answer {
    // Without a bound: a pull tells a line or two for each layer, and must not wait inside its own runtime.
    let (send, mut lines) = mpsc::unbounded_channel::<Line>();
    let worker = Arc::clone(api);
    tokio::task::spawn_blocking(move || {
        if let Err(failure) = work(&worker, &send) {
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

fn fetch(
    api: &Api,
    reference: &Reference,
    credentials: Option<Credentials>,
    lines: &mpsc::UnboundedSender<Line>,
) -> Result<(), Failure> {
    let store = api.store()?;
    let tell = |value: Value| drop(lines.send(Ok(value)));
    // The first line is held back until the registry has answered: until then a failure has a status.
    let mut asking = None;
    let pulled = pull(&store, reference, credentials, &mut |progress| {
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
            PullError::Policy(_) => StatusCode::FORBIDDEN,
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

/// `images/NAME/push?tag=…`: this tag, or without one all tags of the repository.
pub async fn push(api: &Arc<Api>, name: &str, request: &Request) -> Answer {
    let credentials = credentials(request)?;
    let repository: Reference = name.parse()?;
    if repository.digest().is_some() {
        return Err(Failure::bad("cannot push a digest reference"));
    }
    let mut references = Vec::new();
    match request.value("tag") {
        Some(tag) => references.push(format!("{}:{tag}", repository.familiar_repository()).parse()?),
        None => {
            for image in api.store()?.images()? {
                let Ok(known) = image.reference.parse::<Reference>() else { continue };
                if known.familiar_repository() == repository.familiar_repository() && known.digest().is_none()
                {
                    references.push(known);
                }
            }
        }
    }
    if references.is_empty() {
        let shown = repository.familiar_repository();
        return Err(Failure::missing(format!("An image does not exist locally with the tag: {shown}")));
    }
    tell_while(api, move |api, lines| {
        references.iter().try_for_each(|reference| send(api, reference, credentials.clone(), lines))
    })
    .await
}

fn send(
    api: &Api,
    reference: &Reference,
    credentials: Option<Credentials>,
    lines: &mpsc::UnboundedSender<Line>,
) -> Result<(), Failure> {
    let store = api.store()?;
    let missing = || {
        let shown = reference.familiar_repository();
        Failure::missing(format!("An image does not exist locally with the tag: {shown}"))
    };
    let image = store.image(reference)?.ok_or_else(missing)?;
    let tell = |value: Value| drop(lines.send(Ok(value)));
    let told = |id: String, status: &str| tell(json!({ "status": status, "progressDetail": {}, "id": id }));
    let pushed = push::push(&store, &image, reference, credentials, &mut |progress| match progress {
        push::Progress::Asking(repository) => {
            tell(json!({ "status": format!("The push refers to repository [{repository}]") }));
        }
        push::Progress::Preparing(layer) => told(layer, "Preparing"),
        push::Progress::Exists(layer) => told(layer, "Layer already exists"),
        push::Progress::Mounted { layer, from } => told(layer, &format!("Mounted from {from}")),
        push::Progress::Pushing { layer, sent, total } => tell(json!({
            "status": "Pushing", "progressDetail": { "current": sent, "total": total }, "id": layer,
        })),
        push::Progress::Pushed(layer) => told(layer, "Pushed"),
    });
    let pushed = pushed.map_err(Failure::internal)?;
    let tag = reference.tag().unwrap_or("latest");
    let push::Pushed { digest, size } = pushed;
    tell(json!({ "status": format!("{tag}: digest: {digest} size: {size}") }));
    tell(json!({ "progressDetail": {}, "aux": { "Tag": tag, "Digest": digest, "Size": size } }));
    api.events.tell("image", "push", &reference.familiar(), &[("name", &reference.familiar_repository())]);
    Ok(())
}
