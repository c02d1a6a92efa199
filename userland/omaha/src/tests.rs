//! What goes out comes back the same, what servers and machines of others say is understood, and no bytes do harm.

use proptest::prelude::*;

use super::*;

/// As a server of CoreOS's time answers a machine that is offered a release, in the protocol's schema.
const OFFER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<response protocol="3.0" server="update.example.org">
 <daystart elapsed_seconds="0"></daystart>
 <app appid="e96281a6-d1af-4bde-9a0a-97b76e56dc57" status="ok">
  <updatecheck status="ok" PollInterval="2700">
   <urls>
    <url codebase="https://one.example.org/amd64-usr/2.1.0/"></url>
    <url codebase="http://two.example.org/?release="></url>
   </urls>
   <manifest version="2.1.0">
    <packages>
     <package hash="mnjR1Q+5SC4AMnBVDTjFpVbIhTc=" name="update.gz" size="121000000" required="true"></package>
    </packages>
    <actions>
     <action event="install"/>
     <action event="postinstall" ChromeOSVersion="2.1.0" sha256="ZXhhbXBsZQ==" needsadmin="false"
      IsDelta="false" IsDeltaPayload="true" DisablePayloadBackoff="true" MaxFailureCountPerUrl="3"/>
    </actions>
   </manifest>
  </updatecheck>
  <ping status="ok"/>
  <event status="ok"/><event status="ok"/>
 </app>
</response>
"#;

fn request() -> Request {
    let mut event = Event::new(EventType::Complete, EventResult::Error);
    event.error_code = Some(Event::WENT_BACK);
    event.reason = Some("failed: \"a\" & <b>\n".to_owned());
    let app = App {
        id: COREOS.to_owned(),
        version: "1.2.3".to_owned(),
        track: "stable".to_owned(),
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
        machine_alias: "db-1".to_owned(),
        boot_id: "{c0ffee}".to_owned(),
        oem: "qemu".to_owned(),
        oem_version: "1".to_owned(),
        board: "amd64-usr".to_owned(),
        delta_okay: true,
        root_hash: "ff".to_owned(),
        ping: true,
        check: Some(Check { target_version_prefix: Some("1.".to_owned()) }),
        events: vec![event, Event::new(EventType::Other(77), EventResult::Deferred)],
    };
    let os = Os {
        version: "Chateau".to_owned(),
        platform: "CoreOS".to_owned(),
        service_pack: "1.2.3_x86_64".to_owned(),
    };
    Request { updater: "corten-0.1".to_owned(), on_demand: true, os, apps: vec![app] }
}

#[test]
fn an_offer_of_another_server_is_understood() {
    let response = Response::parse(OFFER.as_bytes()).unwrap();
    let answer = &response.answers[0];
    assert_eq!((answer.status.as_str(), answer.ping, answer.events), ("ok", true, 2));
    let Some(Verdict::Offer(offer)) = &answer.verdict else { panic!("{answer:?}") };
    let expected = Offer {
        version: "2.1.0".to_owned(),
        urls: vec![
            "https://one.example.org/amd64-usr/2.1.0/".to_owned(),
            "http://two.example.org/?release=".to_owned(),
        ],
        packages: vec![Package { name: "update.gz".to_owned(), size: 121_000_000 }],
        sha256: "ZXhhbXBsZQ==".to_owned(),
        is_delta: true,
        failures_per_url: Some(3),
        no_backoff: true,
        poll_interval: Some(2700),
    };
    assert_eq!(**offer, expected);
    // And what we would have answered reads the same.
    let ours = Response::parse(response.to_xml().unwrap().as_bytes()).unwrap();
    assert_eq!(ours, response);
}

#[test]
fn an_answer_may_be_no() {
    let with = |check: &str| {
        let text = format!(r#"<response protocol="3.0"><app appid="a" status="ok">{check}</app></response>"#);
        Response::parse(text.as_bytes()).map(|response| response.answers[0].verdict.clone())
    };
    assert_eq!(with(r#"<updatecheck status="noupdate"/>"#), Ok(Some(Verdict::None)));
    assert_eq!(
        with(r#"<updatecheck status="error-internal"/>"#),
        Ok(Some(Verdict::Error("error-internal".to_owned())))
    );
    assert_eq!(with(""), Ok(None));
    for bad in [
        r#"<updatecheck/>"#,
        r#"<updatecheck status="ok"/>"#,
        r#"<updatecheck status="ok"><urls/><manifest version="1"><packages/></manifest></updatecheck>"#,
        r#"<updatecheck status="ok"><urls><url codebase="http://a/"/></urls><manifest version="1"><packages><package name="a" size="-1"/></packages></manifest></updatecheck>"#,
    ] {
        assert!(with(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_request_is_in_the_form_that_servers_know() {
    let text = request().to_xml().unwrap();
    for part in [
        r#"<request protocol="3.0" version="corten-0.1" updaterversion="corten-0.1" installsource="ondemandupdate" ismachine="1">"#,
        r#"<os version="Chateau" platform="CoreOS" sp="1.2.3_x86_64"/>"#,
        r#"appid="{e96281a6-d1af-4bde-9a0a-97b76e56dc57}" version="1.2.3" track="stable""#,
        r#"<ping active="1"/><updatecheck targetversionprefix="1."/>"#,
        r#"<event eventtype="3" eventresult="0" errorcode="44" reason="failed: &quot;a&quot; &amp; &lt;b&gt;&#10;"/>"#,
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert_eq!(Request::parse(text.as_bytes()).unwrap(), request());
}

#[test]
fn what_is_not_omaha_is_refused() {
    for bad in [
        "",
        "<request protocol=\"3.0\">",
        "<response protocol=\"3.0\"/>",
        "<request protocol=\"2.0\"/>",
        "<request protocol=\"3.0\"><app/></request>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><request protocol=\"3.0\"/>",
        "<request protocol=\"&b;\"/>",
        "<request protocol=\"3.0\"><app appid=\"a\"><event eventtype=\"x\" eventresult=\"1\"/></app></request>",
    ] {
        assert!(Request::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let deep = format!("<request protocol=\"3.0\">{}", "<a>".repeat(100_000));
    assert_eq!(Request::parse(deep.as_bytes()), Err(Malformed::TooLarge));
    let long = format!("<request protocol=\"3.0\">{}</request>", "<a/>".repeat(20_000));
    assert_eq!(Request::parse(long.as_bytes()), Err(Malformed::TooLarge));
    assert_eq!(Request::parse(&vec![b' '; LONGEST + 1]), Err(Malformed::TooLarge));
    let mut request = request();
    request.apps[0].track = "a\0b".to_owned();
    assert!(request.to_xml().is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Request::parse(&bytes);
        let _ = Response::parse(&bytes);
    }

    /// A whole answer with a few bytes of it changed: what is understood is written and read the same.
    #[test]
    fn what_is_understood_comes_back_the_same(changes in prop::collection::vec((0..OFFER.len(), any::<u8>()), 0..8)) {
        let mut bytes = OFFER.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(response) = Response::parse(&bytes)
            && let Ok(text) = response.to_xml()
        {
            prop_assert_eq!(Response::parse(text.as_bytes()).unwrap(), response);
        }
    }

    #[test]
    fn any_text_comes_back_as_it_went(track in any::<String>(), alias in any::<String>()) {
        let mut request = request();
        request.apps[0].track = track;
        request.apps[0].machine_alias = alias;
        if let Ok(text) = request.to_xml() {
            prop_assert_eq!(Request::parse(text.as_bytes()).unwrap(), request);
        }
    }
}
