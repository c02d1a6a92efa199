//! Who answers: methods and paths.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::answer::{Answer, Content, Failure, empty, json_ok};
use super::request::{Request, blocking};
use super::{
    Api, archive, archives, attach, containers, create, events, exec, images, inspect, join, launch,
    lifecycle, logs, network_request, networks, processes, stats, system, transfer, update, volumes,
};

/// Answers a request.
///
/// # Errors
/// Never: what fails is an answer, too.
pub async fn answer(
    api: Arc<Api>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Content>, Infallible> {
    let answered = match Request::new(request) {
        Ok(request) => route(&api, request).await,
        Err(failure) => Err(failure),
    };
    let mut response = answered.unwrap_or_else(Failure::into_response);
    system::sign(&mut response);
    Ok(response)
}

async fn route(api: &Arc<Api>, mut request: Request) -> Answer {
    let path: Vec<String> = request.path.clone();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let method = request.method.clone();
    match path.as_slice() {
        ["_ping"] => system::ping(&method),
        ["version"] => system::version(),
        ["info"] => blocking(api, system::info).await,
        ["events"] => events::follow(api, &request),
        ["auth"] => transfer::log_in(request).await,
        ["system", "df"] => blocking(api, system::disk_usage).await,
        // Nothing is built, so there is nothing to be cleared: `docker system prune` asks for it, too.
        ["build", "prune"] => json_ok(&json!({ "CachesDeleted": null, "SpaceReclaimed": 0 })),
        ["build", ..] | ["session"] | ["grpc"] => {
            request.discard().await;
            Err(Failure::new(
                StatusCode::NOT_IMPLEMENTED,
                "this engine runs images and does not build them: build with buildah or docker on another machine and \
                 push to a registry that this one pulls from",
            ))
        }
        ["commit"] if method == Method::POST => archives::commit(api, request).await,
        ["images", rest @ ..] => image(api, &method, rest, request).await,
        ["containers", rest @ ..] => container(api, &method, rest, request).await,
        ["exec", id, verb] => process(api, &method, id, verb, request).await,
        ["networks", rest @ ..] => network(api, &method, rest, request).await,
        ["volumes", rest @ ..] => volume(api, &method, rest, request).await,
        ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..] => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This node is not a swarm manager. Use fleetctl to run units in the cluster.",
        )),
        ["plugins"] if method == Method::GET => json_ok(&json!([])),
        _ => Err(Failure::missing("page not found")),
    }
}

fn not_here() -> Answer {
    Err(Failure::missing("page not found"))
}

async fn image(api: &Arc<Api>, method: &Method, path: &[&str], request: Request) -> Answer {
    let query = images::Query::from(&request);
    match (method.as_str(), path) {
        ("GET", ["json"]) => blocking(api, move |api| images::list(api, &query)).await,
        ("POST", ["create"]) if request.value("fromSrc").is_some() => archives::import(api, request).await,
        ("POST", ["create"]) => transfer::create(api, &request).await,
        ("POST", ["load"]) => archives::load(api, request).await,
        ("GET", ["get"]) => archives::get(api, request.values("names")).await,
        ("POST", ["prune"]) => blocking(api, move |api| images::prune(api, query.filters.as_deref())).await,
        ("GET", ["search"]) => Err(Failure::new(StatusCode::NOT_IMPLEMENTED, "registries are not searched")),
        // What names an image has slashes of its own.
        (_, [name @ .., verb]) if !name.is_empty() => {
            let (name, verb) = (name.join("/"), (*verb).to_owned());
            match (method.as_str(), verb.as_str()) {
                ("GET", "json") => blocking(api, move |api| images::inspect(api, &name)).await,
                ("GET", "get") => archives::get(api, vec![name]).await,
                ("GET", "history") => blocking(api, move |api| images::history(api, &name)).await,
                ("POST", "tag") => {
                    let repository = request.value("repo").map(str::to_owned);
                    let repository = repository.ok_or_else(|| Failure::bad("repo must not be empty"))?;
                    let tag = request.value("tag").map(str::to_owned);
                    blocking(api, move |api| images::tag(api, &name, &repository, tag.as_deref())).await
                }
                ("DELETE", _) => remove_image(api, format!("{name}/{verb}"), &request).await,
                ("POST", "push") => transfer::push(api, &name, &request).await,
                _ => not_here(),
            }
        }
        ("DELETE", [name]) => remove_image(api, (*name).to_owned(), &request).await,
        _ => not_here(),
    }
}

async fn remove_image(api: &Arc<Api>, name: String, request: &Request) -> Answer {
    let force = request.flag("force");
    blocking(api, move |api| images::remove(api, &name, force)).await
}

async fn container(api: &Arc<Api>, method: &Method, path: &[&str], mut request: Request) -> Answer {
    let text = |name: &str| request.value(name).map(str::to_owned);
    let flag = |name: &str| request.flag(name);
    let filters = text("filters");
    match (method.as_str(), path) {
        ("GET", ["json"]) => {
            let (all, limit, size) = (flag("all"), request.number("limit")?, flag("size"));
            blocking(api, move |api| containers::list(api, all, limit, size, filters.as_deref())).await
        }
        ("POST", ["create"]) => {
            let name = text("name");
            let body = request.json().await?;
            blocking(api, move |api| create::create(api, name.as_deref(), body)).await
        }
        ("POST", ["prune"]) => blocking(api, move |api| containers::prune(api, filters.as_deref())).await,
        ("DELETE", [name]) => {
            let (name, force, volumes) = ((*name).to_owned(), flag("force"), flag("v"));
            blocking(api, move |api| lifecycle::remove(api, &name, force, volumes)).await
        }
        (_, [name, verb]) => of_container(api, method, name, verb, request).await,
        _ => not_here(),
    }
}

async fn of_container(
    api: &Arc<Api>,
    method: &Method,
    name: &str,
    verb: &str,
    mut request: Request,
) -> Answer {
    let text = |name: &str| request.value(name).map(str::to_owned);
    let own = name.to_owned();
    match (method.as_str(), verb) {
        ("GET", "json") => {
            let size = request.flag("size");
            blocking(api, move |api| inspect::inspect(api, &own, size)).await
        }
        ("GET", "logs") => logs::logs(api, name, &request).await,
        ("GET", "top") => blocking(api, move |api| processes::top(api, &own)).await,
        ("GET", "stats") => {
            // A client that does not say follows.
            let follow = !request.query.contains_key("stream") || request.flag("stream");
            stats::stats(api, name, follow, request.flag("one-shot")).await
        }
        ("POST", "start") => launch::start(api, name).await,
        ("POST", "attach") => attach::attach(api, name, request).await,
        ("POST", "wait") => attach::wait(api, name, request.value("condition")).await,
        ("POST", "stop") => {
            let (time, signal) = (request.number("t")?, text("signal"));
            blocking(api, move |api| lifecycle::stop(api, &own, time, signal.as_deref())).await
        }
        ("POST", "restart") => lifecycle::restart(api, name, request.number("t")?).await,
        ("POST", "kill") => {
            let signal = text("signal");
            blocking(api, move |api| lifecycle::kill(api, &own, signal.as_deref())).await
        }
        ("POST", "pause" | "unpause") => {
            let paused = verb == "pause";
            blocking(api, move |api| lifecycle::pause(api, &own, paused)).await
        }
        ("POST", "rename") => {
            let new = text("name");
            blocking(api, move |api| lifecycle::rename(api, &own, new.as_deref())).await
        }
        ("POST", "resize") => {
            let (rows, columns) = size(&request)?;
            attach::resize(api, name, rows, columns).await
        }
        ("POST", "exec") => {
            let wanted = request.json().await?;
            blocking(api, move |api| exec::create(api, &own, wanted)).await
        }
        ("POST", "update") => {
            let wanted: serde_json::Value = request.json().await?;
            blocking(api, move |api| update::update(api, &own, &wanted)).await
        }
        (_, "archive") => archive::archive(api, method, name, request).await,
        ("GET", "export") => blocking(api, move |api| archive::export(api, &own)).await,
        ("GET", "changes") => blocking(api, move |api| archive::changes::changes(api, &own)).await,
        _ => not_here(),
    }
}

fn size(request: &Request) -> Result<(u16, u16), Failure> {
    let number = |name: &str| {
        let given: Option<u16> = request.number(name)?;
        given.ok_or_else(|| Failure::bad(format!("{name} is missing")))
    };
    Ok((number("h")?, number("w")?))
}

async fn process(api: &Arc<Api>, method: &Method, id: &str, verb: &str, request: Request) -> Answer {
    match (method.as_str(), verb) {
        ("GET", "json") => exec::inspect(api, id),
        ("POST", "start") => exec::start(api, id, request).await,
        ("POST", "resize") => {
            let (rows, columns) = size(&request)?;
            exec::resize(api, id, rows, columns)
        }
        _ => not_here(),
    }
}

async fn network(api: &Arc<Api>, method: &Method, path: &[&str], mut request: Request) -> Answer {
    let filters = request.value("filters").map(str::to_owned);
    match (method.as_str(), path) {
        ("GET", []) => blocking(api, move |api| networks::list(api, filters.as_deref())).await,
        ("POST", ["create"]) => {
            let wanted: network_request::Wanted = request.json().await?;
            blocking(api, move |api| networks::create(api, &wanted)).await
        }
        ("POST", ["prune"]) => blocking(api, move |api| networks::prune(api, filters.as_deref())).await,
        ("GET", [name]) => {
            let name = (*name).to_owned();
            blocking(api, move |api| networks::inspect(api, &name)).await
        }
        ("DELETE", [name]) => {
            let name = (*name).to_owned();
            blocking(api, move |api| networks::remove(api, &name)).await
        }
        ("POST", [name, verb @ ("connect" | "disconnect")]) => {
            let (name, joins) = ((*name).to_owned(), *verb == "connect");
            let wanted: join::Wanted = request.json().await?;
            let work = move |api: &Api| match joins {
                true => join::connect(api, &name, wanted),
                false => join::disconnect(api, &name, &wanted),
            };
            blocking(api, work).await
        }
        _ => not_here(),
    }
}

async fn volume(api: &Arc<Api>, method: &Method, path: &[&str], mut request: Request) -> Answer {
    let filters = request.value("filters").map(str::to_owned);
    match (method.as_str(), path) {
        ("GET", []) => blocking(api, move |api| volumes::list(api, filters.as_deref())).await,
        ("POST", ["create"]) => {
            let wanted: volumes::Wanted = request.json().await?;
            blocking(api, move |api| volumes::create(api, wanted)).await
        }
        ("POST", ["prune"]) => blocking(api, move |api| volumes::prune(api, filters.as_deref())).await,
        ("GET", [name]) => {
            let name = (*name).to_owned();
            blocking(api, move |api| volumes::inspect(api, &name)).await
        }
        ("DELETE", [name]) => {
            let (name, force) = ((*name).to_owned(), request.flag("force"));
            blocking(api, move |api| volumes::remove(api, &name, force)).await
        }
        _ => empty(StatusCode::NOT_FOUND),
    }
}
