//! A server over TLS, with an operator and machines that ask it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use http_client::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE};
use http_client::{Content, Http, Method, StatusCode, Url};
use omaha::{App, COREOS, Check, Event, EventResult, EventType, Request, Response, Verdict};
use tokio::net::TcpListener;
use update_server::api::Server;
use update_server::fleet::Fleet;
use update_server::serve;
use update_server::store::Store;

const TOKEN: &str = "secret";

/// A server of its own, and a client that trusts it.
struct Site {
    http: Http,
    base: String,
}

impl Site {
    async fn new(folder: &Path, token: Option<&str>) -> Site {
        let (certificate, key) = certificate(folder);
        let store = Store::open(&folder.join("data")).unwrap();
        let server = Server::new(store, token.map(str::to_owned), None, true).unwrap();
        let tls = serve::tls(&certificate, &key).unwrap();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(serve::serve(Arc::new(server), listener, Some(tls)));
        Site { http: Http::new(&[certificate]).unwrap(), base }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &[u8],
    ) -> (StatusCode, Vec<u8>) {
        let url = Url::parse(&format!("{}{path}", self.base)).unwrap();
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        let content = Content::Whole(body.to_vec().into());
        let response = self.http.send(&method, &url, &all, &content).await.unwrap();
        (response.status(), response.bytes(64 << 20).await.unwrap())
    }

    async fn put(&self, path: &str, body: &[u8]) -> StatusCode {
        let token = format!("Bearer {TOKEN}");
        self.ask(Method::PUT, path, &[(AUTHORIZATION, &token)], body).await.0
    }

    async fn get(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.ask(Method::GET, path, &[], b"").await;
        assert_eq!(status, StatusCode::OK);
        serde_json::from_slice(&body).unwrap()
    }

    async fn omaha(&self, app: App) -> Response {
        let request = Request { apps: vec![app], ..Request::default() };
        let (status, body) =
            self.ask(Method::POST, "/v1/update/", &[], request.to_xml().unwrap().as_bytes()).await;
        assert_eq!(status, StatusCode::OK);
        Response::parse(&body).unwrap()
    }
}

fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    std::fs::write(folder.join("plain.cnf"), "[req]\ndistinguished_name=name\n[name]\n").unwrap();
    let made = Command::new("openssl")
        .args([
            "req",
            "-config",
            "plain.cnf",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-keyout", "key.pem", "-out", "certificate.pem", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (folder.join("certificate.pem"), folder.join("key.pem"))
}

fn machine(version: &str) -> App {
    App {
        id: COREOS.to_owned(),
        machine_id: "m1".to_owned(),
        version: version.to_owned(),
        track: "db".to_owned(),
        check: Some(Check::default()),
        ping: true,
        ..App::default()
    }
}

/// What would be there, had the server been killed now.
fn of_a_killed_server(folder: &Path) -> Fleet {
    let copied =
        Command::new("cp").args(["-r", "data", "killed"]).current_dir(folder).status().unwrap().success();
    assert!(copied);
    Store::open(&folder.join("killed")).unwrap().load().unwrap()
}

#[tokio::test]
async fn from_an_operators_payload_to_a_machine_that_runs_it() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(folder.path(), Some(TOKEN)).await;
    let payload: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    let channel = br#"{"version":"2.0"}"#;
    assert_eq!(
        site.put("/api/v1/channels/stable", channel).await,
        StatusCode::CONFLICT,
        "there is no payload yet"
    );
    assert_eq!(site.put("/api/v1/packages/c2/payload", &payload).await, StatusCode::NOT_FOUND);
    assert_eq!(site.put("/api/v1/packages/c2", br#"{"version":"2.0"}"#).await, StatusCode::OK);
    assert_eq!(site.put("/api/v1/packages/c2/payload", &payload).await, StatusCode::OK);
    assert_eq!(site.put("/api/v1/channels/stable", channel).await, StatusCode::OK);
    assert_eq!(
        site.put("/api/v1/groups/db", br#"{"channel":"stable","policy":{"one_first":true}}"#).await,
        StatusCode::OK
    );

    let response = site.omaha(machine("1.0")).await;
    let Some(Verdict::Offer(offer)) = &response.answers[0].verdict else { panic!("{response:?}") };
    assert_eq!((offer.version.as_str(), offer.packages[0].size), ("2.0", 1_000_000));
    let url = format!("{}{}", offer.urls[0], offer.packages[0].name);
    assert_eq!(url, format!("{}/payloads/c2", site.base));
    let whole = site.ask(Method::GET, "/payloads/c2", &[], b"").await;
    assert!(whole == (StatusCode::OK, payload.clone()));
    let rest = site.ask(Method::GET, "/payloads/c2", &[(RANGE, "bytes=999000-")], b"").await;
    assert!(rest == (StatusCode::PARTIAL_CONTENT, payload[999_000..].to_vec()));
    let changed = [(RANGE, "bytes=999000-"), (IF_RANGE, "\"another\"")];
    assert_eq!(site.ask(Method::GET, "/payloads/c2", &changed, b"").await.0, StatusCode::OK);
    let behind = site.ask(Method::GET, "/payloads/c2", &[(RANGE, "bytes=1000000-")], b"").await;
    assert_eq!(behind.0, StatusCode::RANGE_NOT_SATISFIABLE);

    let mut after = machine("2.0");
    let mut event = Event::new(EventType::Complete, EventResult::SuccessAfterReboot);
    event.previous_version = Some("1.0".to_owned());
    after.events = vec![event];
    assert_eq!(site.omaha(after).await.answers[0].verdict, Some(Verdict::None));
    assert_eq!(of_a_killed_server(folder.path()).machines["m1"].state, "runs the release");
    assert_eq!(site.get("/api/v1/groups").await["db"]["rollouts"]["2.0"]["grants"]["m1"]["outcome"], "done");
    assert_eq!(site.get("/api/v1/machines").await["m1"]["state"], "runs the release");
    assert_eq!(site.get("/api/v1/events?after=0").await[0][1]["result"], 2);
    let page = site.ask(Method::GET, "/", &[], b"").await.1;
    assert!(String::from_utf8(page).unwrap().contains("Rollouts"));
    // A group that is changed keeps what happened in it.
    assert_eq!(site.put("/api/v1/groups/db", br#"{"channel":"stable"}"#).await, StatusCode::OK);
    assert_eq!(site.get("/api/v1/groups").await["db"]["rollouts"]["2.0"]["grants"]["m1"]["outcome"], "done");
}

#[tokio::test]
async fn strangers_change_nothing_and_no_name_leads_out() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(folder.path(), Some(TOKEN)).await;
    std::fs::write(folder.path().join("data/secret"), "x").unwrap();
    for token in ["", "Bearer ", "Bearer wrong", "secret"] {
        let (status, _) = site.ask(Method::PUT, "/api/v1/groups/a", &[(AUTHORIZATION, token)], b"{}").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token}");
    }
    for path in ["/payloads/..%2fsecret", "/payloads/.hidden", "/payloads/", "/payloads/none", "/nothing"] {
        assert_eq!(site.ask(Method::GET, path, &[], b"").await.0, StatusCode::NOT_FOUND, "{path}");
    }
    for (path, body) in [
        ("/api/v1/packages/..", "{}"),
        ("/api/v1/packages/a%2fb", r#"{"version":"1"}"#),
        ("/api/v1/groups/a", "{"),
        ("/api/v1/groups/a", r#"{"channel":"a","unknown":1}"#),
    ] {
        assert_eq!(site.put(path, body.as_bytes()).await, StatusCode::BAD_REQUEST, "{path}");
    }
    for body in ["", "<a/>", "<request protocol=\"9\"/>"] {
        let asked = site.ask(Method::POST, "/v1/update/", &[], body.as_bytes()).await;
        assert_eq!(asked.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(site.omaha(machine("1")).await.answers[0].status, "error-unknownApplication");
    assert_eq!(site.get("/api/v1/machines").await, serde_json::json!({}));
}
