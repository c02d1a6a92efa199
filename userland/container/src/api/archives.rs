//! Images as bodies of requests and answers: `images/load`, `images/get`, `images/create` from a root file system,
//! and `commit`.

use std::io::{BufReader, Write};
use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer::{Answer, Failure, json_with, stream};
use super::lifecycle::is_paused;
use super::request::{Request, blocking};
use super::settings::Settings;
use super::transfer::{Line, tell_while};
use super::{Api, images, processes};
use crate::archive::changes::{Step, apply};
use crate::archive::source::Source;
use crate::archive::{
    ArchiveError, commit as archive_commit, import as archive_import, load as archive_load, save,
};
use crate::pipe::Chunked;
use crate::reference::Reference;
use crate::state::Status;

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let status = match &error {
            ArchiveError::Store(_) | ArchiveError::Recipe(_) | ArchiveError::Unwritable(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

/// `images/load`
pub async fn load(api: &Arc<Api>, request: Request) -> Answer {
    let input = request.reader();
    tell_while(api, move |api, lines| {
        let store = api.store()?;
        let source = Source::read(&store, BufReader::new(input))?;
        for image in archive_load::load(&store, &source)? {
            let name = image.reference.parse::<Reference>();
            let said = match &name {
                Ok(name) => format!("Loaded image: {}\n", name.familiar()),
                Err(_) => format!("Loaded image ID: {}\n", image.id),
            };
            let _ = lines.send(Ok(json!({ "stream": said })));
            api.events.tell("image", "load", &image.id, &[("name", &image.id)]);
        }
        Ok(())
    })
    .await
}

/// `images/get?names=…` and `images/NAME/get`
pub async fn get(api: &Arc<Api>, names: Vec<String>) -> Answer {
    if names.is_empty() {
        return Err(Failure::bad("no image is named"));
    }
    let found = blocking(api, move |api| {
        let store = api.store()?;
        save::select(&store, &names).map_err(Failure::missing)
    });
    let found = found.await?;
    let (answer, send) = stream("application/x-tar");
    let worker = Arc::clone(api);
    tokio::task::spawn_blocking(move || {
        let mut out = Chunked::new(send);
        let done = worker.store().map_err(ArchiveError::from);
        let done = done.and_then(|store| save::archive(&store, &found, &mut out));
        match done {
            Ok(()) => drop(out.flush()),
            // The archive ends without the files that name images: nobody takes it for whole.
            Err(error) => eprintln!("docker save: {error}"),
        }
    });
    Ok(answer)
}

/// `images/create?fromSrc=-&repo=…&tag=…`
pub async fn import(api: &Arc<Api>, request: Request) -> Answer {
    let source = request.value("fromSrc").unwrap_or_default();
    if source != "-" {
        return Err(Failure::bad(
            "a root file system is imported from a file or standard input, not from a URL",
        ));
    }
    let name = name(&request)?;
    let comment = request.value("message").unwrap_or_default().to_owned();
    let changes = request.values("changes");
    let input = request.reader();
    tell_while(api, move |api, lines| {
        let store = api.store()?;
        let changes = changes.iter().flat_map(|change| change.lines());
        let image = archive_import::import(&store, BufReader::new(input), name.as_ref(), &comment, changes)?;
        let _: Result<(), mpsc::error::SendError<Line>> = lines.send(Ok(json!({ "status": image.id })));
        api.events.tell("image", "import", &image.id, &[("name", &image.id)]);
        Ok(())
    })
    .await
}

/// `repo` and `tag` of a request.
fn name(request: &Request) -> Result<Option<Reference>, Failure> {
    let Some(repository) = request.value("repo") else { return Ok(None) };
    let tag = request.value("tag").map(|tag| format!(":{tag}")).unwrap_or_default();
    let reference: Reference = format!("{repository}{tag}").parse()?;
    if reference.digest().is_some() {
        return Err(Failure::bad("refusing to create a tag with a digest reference"));
    }
    Ok(Some(reference))
}

/// `commit?container=…&repo=…&tag=…`
pub async fn commit(api: &Arc<Api>, mut request: Request) -> Answer {
    let container =
        request.value("container").ok_or_else(|| Failure::bad("no container is named"))?.to_owned();
    let name = name(&request)?;
    let text = |name: &str| request.value(name).unwrap_or_default().to_owned();
    let (comment, author) = (text("comment"), text("author"));
    let pause = !request.query.contains_key("pause") || request.flag("pause");
    let changes = request.values("changes");
    let given: Value = request.json().await?;
    blocking(api, move |api| {
        let containers = api.containers();
        let container = containers.find(&container)?;
        let store = api.store()?;
        let own = Settings::of(&containers, &container.record).config;
        let mut config =
            if own.is_object() { own } else { images::run_config(&store, &container.record.image_id)? };
        // What the client says itself comes over that, then the single changes.
        for (name, value) in given.as_object().into_iter().flatten() {
            let said = !value.is_null() && *value != json!("") && *value != json!({}) && *value != json!([]);
            if said && name != "Hostname" && name != "Image" {
                super::system::set(&mut config, name, value.clone());
            }
        }
        apply(&mut config, changes.iter().flat_map(|change| change.lines()))?;
        // One without a cgroup of its own cannot be frozen, and goes on meanwhile.
        let can_freeze = processes::own_cgroup(&container).is_some();
        let freeze = pause && can_freeze && container.status == Status::Running && !is_paused(&container);
        if freeze {
            processes::freeze(&container, true)?;
        }
        let by = container.record.command.join(" ");
        let step = Step { author: &author, by: &by, comment: &comment };
        let upper = containers.upper(&container.record.id);
        let base = &container.record.image_id;
        let made = archive_commit::commit(&store, base, &upper, config, &step, name.as_ref());
        if freeze {
            processes::freeze(&container, false)?;
        }
        let image = made?;
        api.events.tell("container", "commit", &container.record.id, &[("comment", &comment)]);
        Ok(json_with(StatusCode::CREATED, &json!({ "Id": image.id })))
    })
    .await
}
