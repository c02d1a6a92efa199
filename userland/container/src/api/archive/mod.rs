//! Files of a container, in and out as archives: `docker cp` and `docker export`; and what it changed, `docker diff`.
//!
//! Paths are the container's: a link in them leads where it leads inside, whatever the container does meanwhile
//! ([`place`]). What is read is packed while it is sent ([`pack`]); what is written is unpacked while it comes.

pub(crate) mod changes;
mod pack;
mod place;
pub(crate) mod view;

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};

use super::Api;
use super::answer::{Answer, Failure, empty, stream};
use super::request::{Request, blocking};
use super::settings::Settings;
use crate::layer::{Limits, unpack_files};
use crate::pipe::{Chunked, Chunks};
use pack::Packer;
use place::Place;
use view::View;

/// What a place is, as JSON in base64.
const STAT: &str = "x-docker-container-path-stat";
const KIND: &str = "application/x-tar";

/// `containers/ID/archive`
pub async fn archive(api: &Arc<Api>, method: &Method, name: &str, request: Request) -> Answer {
    let path = request.value("path").filter(|path| !path.is_empty()).map(str::to_owned);
    let path = path.ok_or_else(|| Failure::bad("missing parameter: path"))?;
    let name = name.to_owned();
    match method.as_str() {
        "HEAD" => blocking(api, move |api| head(api, &name, &path)).await,
        "GET" => blocking(api, move |api| get(api, &name, &path)).await,
        "PUT" => {
            let keep_kinds = request.flag("noOverwriteDirNonDir");
            let from = request.reader();
            blocking(api, move |api| put(api, &name, &path, from, keep_kinds)).await
        }
        _ => Err(Failure::missing("page not found")),
    }
}

fn not_found(path: &str, name: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Failure::missing(format!("Could not find the file {path} in container {name}"))
        }
        _ => Failure::bad(format!("{path}: {error}")),
    }
}

fn stat_header(place: &Place) -> Result<HeaderValue, Failure> {
    let text = STANDARD.encode(place.stat()?.to_string());
    HeaderValue::from_str(&text).map_err(Failure::internal)
}

fn head(api: &Api, name: &str, path: &str) -> Answer {
    let view = View::of(api, name)?;
    let place = Place::find(&view, path).map_err(|error| not_found(path, name, &error))?;
    let mut response = empty(StatusCode::OK)?;
    response.headers_mut().insert(STAT, stat_header(&place)?);
    Ok(response)
}

fn get(api: &Api, name: &str, path: &str) -> Answer {
    let view = View::of(api, name)?;
    let place = Place::find(&view, path).map_err(|error| not_found(path, name, &error))?;
    let (mut response, send) = stream(KIND);
    response.headers_mut().insert(STAT, stat_header(&place)?);
    std::thread::Builder::new().name("archive".to_owned()).spawn(move || {
        let packed = Packer::new(Chunked::new(send)).pack(place.parent(), place.name(), place.shown());
        if let Err(error) = packed.and_then(Packer::finish) {
            eprintln!("dockerd: archive: {error}");
        }
        drop(view);
    })?;
    Ok(response)
}

/// `containers/ID/export`
pub fn export(api: &Api, name: &str) -> Answer {
    let view = View::of(api, name)?;
    let (response, send) = stream("application/octet-stream");
    std::thread::Builder::new().name("export".to_owned()).spawn(move || {
        let packed =
            Packer::new(Chunked::new(send)).of_one_mount(&view).and_then(|packer| packer.pack_all(&view));
        if let Err(error) = packed.and_then(Packer::finish) {
            eprintln!("dockerd: export: {error}");
        }
        drop(view);
    })?;
    Ok(response)
}

fn put(api: &Api, name: &str, path: &str, from: Chunks, keep_kinds: bool) -> Answer {
    let containers = api.containers();
    let container = containers.find(name)?;
    if Settings::of(&containers, &container.record).typed().1.readonly_rootfs {
        return Err(Failure::new(StatusCode::FORBIDDEN, "container rootfs is marked read-only"));
    }
    let view = View::of(api, name)?;
    let dir = place::directory(&view, path).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => Failure::bad("extraction point is not a directory"),
        _ => not_found(path, name, &error),
    })?;
    unpack_files(from, Limits::default(), keep_kinds, dir)
        .map_err(|error| Failure::bad(error.to_string()))?;
    empty(StatusCode::OK)
}
