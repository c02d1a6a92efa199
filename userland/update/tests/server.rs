//! A machine's side against our own server: from the question to the payload's last byte.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use http_client::header::HeaderMap;
use http_client::{Content, Http, Method, StatusCode, Url};
use omaha::{App, Check, Event, EventResult, EventType, Request};
use update::download::{Download, Patience};
use update::engine::Answer;
use update::work;
use update_engine::record::{Record, Verdict};
use update_server::api::Server;
use update_server::store::Store;

/// A server on loopback; returns where it is.
fn serve(folder: &std::path::Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::new(Store::open(folder).unwrap(), None, None, false).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            update_server::serve::serve(Arc::new(server), listener, None).await
        })
    });
    base
}

fn put(base: &str, path: &str, body: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let url = Url::parse(&format!("{base}/api/v1/{path}")).unwrap();
    let http = Http::new(&[]).unwrap();
    let content = Content::Whole(body.into());
    let answer = runtime.block_on(http.send(&Method::PUT, &url, &HeaderMap::new(), &content)).unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
}

fn request(version: &str, events: Vec<Event>) -> Request {
    let app = App {
        id: omaha::COREOS.to_owned(),
        version: version.to_owned(),
        track: "stable".to_owned(),
        machine_id: "m".to_owned(),
        delta_okay: true,
        ping: true,
        check: Some(Check::default()),
        events,
        ..App::default()
    };
    Request { apps: vec![app], ..Request::default() }
}

#[test]
fn what_a_server_offers_is_fetched_and_what_failed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let base = serve(folder.path());
    let payload: Vec<u8> = (0..2_500_000_u32).map(|at| (at % 253) as u8).collect();
    put(&base, "packages/two", br#"{"version":"2"}"#.to_vec());
    put(&base, "packages/two/payload", payload.clone());
    put(&base, "channels/stable", br#"{"version":"2"}"#.to_vec());
    put(&base, "groups/stable", br#"{"channel":"stable"}"#.to_vec());

    let http = || Http::new(&[]).unwrap();
    let server = format!("{base}/v1/update/");
    let ask = |request: &Request, record: &Record| {
        work::judge(work::ask(&http(), &server, request).unwrap(), record, false).unwrap().0
    };
    let Answer::Offer(offer) = ask(&request("1", Vec::new()), &Record::default()) else { panic!("no offer") };
    let urls = work::payload_urls(&offer).unwrap();
    let size = Some(offer.packages[0].size);
    let mut download = Download::new(http(), urls, size, Patience::default()).unwrap();
    let mut fetched = Vec::new();
    download.read_to_end(&mut fetched).unwrap();
    assert!(fetched == payload);
    let started = Event::new(EventType::DownloadStarted, EventResult::Success);
    assert!(
        matches!(ask(&request("1", vec![started]), &Record::default()), Answer::Offer(_)),
        "again, after a cut"
    );

    // It went back: the machine would not take it again, and the server does not offer it.
    let mut record = Record::default();
    record.fail("2", "ff", "no network");
    assert!(matches!(ask(&request("1", Vec::new()), &record), Answer::Held { .. }));
    let verdict = Verdict::WentBack { version: "2".to_owned(), why: "no network".to_owned() };
    let told = request("1", vec![work::verdict_event(&verdict)]);
    assert_eq!(ask(&told, &Record::default()), Answer::None);
}
