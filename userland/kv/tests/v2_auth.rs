//! Users and roles of the v2 API, letter for letter: Debian's `etcdctl` and ours, each on Debian's etcd and on ours; and
//! every question over HTTP.

mod cluster;

use cluster::v2::{check_script, http_as, store};

/// What is done, one command after the other on a new store.
const SCRIPT: &[&str] = &[
    "auth enable",
    "auth enable x",
    "auth disable",
    "user list",
    "user list x",
    "role list",
    "role list x",
    "user get root",
    "user add",
    "user add a b",
    "user add root:pw",
    "user add root:pw2",
    "user list",
    "user get root",
    "role add",
    "role add r1",
    "role add r1",
    "role add root",
    "role get",
    "role get r1",
    "role get none",
    "role get root",
    "role grant r1",
    "role grant r1 --path /a",
    "role grant --path /x --read",
    "role grant r1 --path x --read",
    "role grant r1 --path /a* --read",
    "role grant r1 --path /a* --read",
    "role grant r1 --path /b* --readwrite",
    "role grant r1 --path /rw* --rw --read",
    "role grant none --path /c --read",
    "role get r1",
    "role revoke r1",
    "role revoke r1 --path /b* --write",
    "role revoke r1 --path /zz --write",
    "role get r1",
    "role grant root --path /x --read",
    "role remove root",
    "role remove",
    "user add u1:p1",
    "user grant u1",
    "user grant u1 --roles r1",
    "user grant u1 --roles r1",
    "user grant u1 --roles none",
    "user get u1",
    "user revoke u1 --roles none",
    "user revoke u1 --roles nope",
    "user get u1",
    "user grant nobody --roles r1",
    "user remove nobody",
    "auth enable",
    "auth enable",
    "user list",
    "-u root:pw2 user list",
    "-u root:bad user list",
    "-u u1:p1 user list",
    "--username root:pw2 user get root",
    "-u root:pw2 role get guest",
    "set /a1 x",
    "get /a1",
    "-u root:pw2 role revoke guest --path /* --readwrite",
    "get /a1",
    "watch /a1",
    "ls",
    "rm -r /a1",
    "-u u1:p1 get /a1",
    "-u u1:p1 set /a1 y",
    "-u u1:p1 mkdir /a2",
    "-u u1:p1 ls /",
    "-u u1:bad get /a1",
    "-u nobody:p get /a1",
    "-u root:pw2 get /a1",
    "-u root:pw2 set /a1 z",
    "-u root:pw2 user grant u1 --roles r,s",
    "-u root:pw2 user get u1",
    "member remove 77",
    "-u root:pw2 user remove root",
    "-u root:pw2 role remove r1",
    "-u root:pw2 role remove r1",
    "-u u1:p1 get /a1",
    "-u root:pw2 user remove u1",
    "auth disable",
    "-u root:pw2 auth disable",
    "-u root:pw2 auth disable",
    "get /a1",
    "-o extended get /a1",
    "user remove root",
    "user list",
    "role list",
];

#[test]
fn both_clients_say_the_same_of_users_and_roles() {
    check_script(SCRIPT);
}

#[test]
fn every_question_about_users_and_roles_has_etcds_answer() {
    let stores = [store("Debian's"), store("our")];
    for (user, method, path, form) in [
        ("", "GET", "/v2/auth/users", ""),
        ("", "GET", "/v2/auth/roles", ""),
        ("", "GET", "/v2/auth/enable", ""),
        ("", "GET", "/v2/auth", ""),
        ("", "GET", "/v2/auth/", ""),
        ("", "GET", "/v2/auth/nothing", ""),
        ("", "POST", "/v2/auth/enable", ""),
        ("", "PUT", "/v2/auth/users/root", r#"{"user":"root","password":"p"}"#),
        ("", "PUT", "/v2/keys/index", "value=after"),
        ("", "PUT", "/v2/auth/users/a", r#"{"user":"a","password":"p"}"#),
        ("", "PUT", "/v2/auth/users/a", r#"{"user":"a","password":"q"}"#),
        ("", "PUT", "/v2/auth/users/a", r#"{"user":"a","password":"p","roles":["x"]}"#),
        ("", "PUT", "/v2/auth/users/b", r#"{"user":"b","password":"p","roles":["x"]}"#),
        ("", "GET", "/v2/auth/users/b", ""),
        ("", "GET", "/v2/auth/users/zz", ""),
        ("", "GET", "/v2/auth/users", ""),
        ("", "PUT", "/v2/auth/users/b", r#"{"user":"c"}"#),
        ("", "PUT", "/v2/auth/users/b", "{"),
        ("", "PUT", "/v2/auth/users/b", ""),
        ("", "PUT", "/v2/auth/users/c", r#"{"user":"c"}"#),
        ("", "PUT", "/v2/auth/users/b", r#"{"user":"b"}"#),
        ("", "PUT", "/v2/auth/users/b", r#"{"user":"b","roles":["x"],"grant":["y"]}"#),
        ("", "PUT", "/v2/auth/users/b", r#"{"user":"b","grant":["y"]}"#),
        ("", "PUT", "/v2/auth/users/b", r#"{"user":"b","revoke":["y"]}"#),
        ("", "PUT", "/v2/auth/users/none", r#"{"user":"none","grant":["y"]}"#),
        ("", "POST", "/v2/auth/users", ""),
        ("", "GET", "/v2/auth/users/q/x", ""),
        ("", "GET", "/v2/auth/users/", ""),
        ("", "PUT", "/v2/auth/roles/x", r#"{"role":"x"}"#),
        ("", "GET", "/v2/auth/users/b", ""),
        (
            "",
            "PUT",
            "/v2/auth/roles/r",
            r#"{"role":"r","permissions":{"kv":{"read":["/x"],"write":["/y"]}}}"#,
        ),
        ("", "PUT", "/v2/auth/roles/r", r#"{"role":"r","grant":{"kv":{"read":["/z"]}}}"#),
        ("", "PUT", "/v2/auth/roles/r", r#"{"role":"r","revoke":{"kv":{"write":["/y","/none"]}}}"#),
        ("", "PUT", "/v2/auth/roles/none", r#"{"role":"none","grant":{"kv":{"read":["/z"]}}}"#),
        ("", "PUT", "/v2/auth/roles/q", r#"{"role":"q"}"#),
        (
            "",
            "PUT",
            "/v2/auth/roles/q",
            r#"{"role":"q","permissions":{"kv":{"read":["/z"]}},"grant":{"kv":{"read":["/z"]}}}"#,
        ),
        ("", "PUT", "/v2/auth/roles/q", r#"{"role":"q","grant":{"kv":{"read":["/z"]}}}"#),
        ("", "PUT", "/v2/auth/roles/q", r#"{"role":"q","permissions":{"kv":{"read":["/z"]}}}"#),
        ("", "PUT", "/v2/auth/roles/q", r#"{"role":"z"}"#),
        ("", "PUT", "/v2/auth/roles/root", r#"{"role":"root"}"#),
        ("", "PUT", "/v2/auth/roles/q", "["),
        ("", "GET", "/v2/auth/roles", ""),
        ("", "GET", "/v2/auth/roles/q/x", ""),
        ("", "POST", "/v2/auth/roles/q", ""),
        ("", "DELETE", "/v2/auth/roles/q", ""),
        ("", "DELETE", "/v2/auth/roles/q", ""),
        ("", "DELETE", "/v2/auth/enable", ""),
        ("", "PUT", "/v2/auth/enable", ""),
        ("", "GET", "/v2/auth/enable", ""),
        ("", "PUT", "/v2/auth/enable", ""),
        ("root:p", "PUT", "/v2/auth/enable", ""),
        ("root:p", "DELETE", "/v2/auth/users/root", ""),
        ("root:p", "GET", "/v2/auth/roles", ""),
        ("", "PUT", "/v2/keys/k", "value=1"),
        ("a:q", "PUT", "/v2/keys/k", "value=1"),
        ("a:x", "PUT", "/v2/keys/k", "value=1"),
        ("a:x", "PUT", "/v2/keys/k", "ttl=x"),
        ("a:x", "POST", "/v2/keys/k", "value=1"),
        ("", "DELETE", "/v2/keys/k?recursive=true", ""),
        ("root:p", "PUT", "/v2/keys/z", "value=1"),
        ("root:p", "PUT", "/v2/auth/users/a", r#"{"user":"a","grant":["r"]}"#),
        ("a:q", "GET", "/v2/keys/z", ""),
        ("a:q", "GET", "/v2/keys/z?recursive=true", ""),
        ("a:q", "DELETE", "/v2/keys/z", ""),
        (
            "root:p",
            "PUT",
            "/v2/auth/roles/r",
            r#"{"role":"r","grant":{"kv":{"read":["/d*"],"write":["/d*"]}}}"#,
        ),
        ("a:q", "PUT", "/v2/keys/d/e", "value=1"),
        ("a:q", "GET", "/v2/keys/d?recursive=true", ""),
        ("a:q", "DELETE", "/v2/keys/d?recursive=true", ""),
        ("", "GET", "/v2/keys/v2/keys/z", ""),
        ("", "POST", "/v2/members", r#"{"peerURLs":["http://x:1"]}"#),
        ("", "DELETE", "/v2/members/77", ""),
        ("a:q", "DELETE", "/v2/members/77", ""),
        ("root:p", "DELETE", "/v2/members/77", ""),
        ("root:p", "DELETE", "/v2/auth/enable", ""),
        ("", "DELETE", "/v2/auth/users/a", ""),
        ("", "DELETE", "/v2/auth/users/a", ""),
    ] {
        let [theirs, ours] =
            stores.each_ref().map(|store| http_as(user, &store.members[0].client, method, path, form));
        assert_eq!(ours.0, theirs.0, "{user} {method} {path} {form}: {} instead of {}", ours.1, theirs.1);
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        assert_eq!(json(&ours.1), json(&theirs.1), "{user} {method} {path} {form}");
    }
}

#[test]
fn users_outlive_their_members_snapshot_and_restart() {
    let mut store = cluster::Cluster::start(1, &["--snapshot-count=5"]);
    let at = store.members[0].client.clone();
    for (path, form) in
        [("/v2/auth/users/root", r#"{"user":"root","password":"p"}"#), ("/v2/auth/enable", "")]
    {
        let (status, said) = http_as("", &at, "PUT", path, form);
        assert!(status == "201" || status == "200", "{said}");
    }
    for number in 0..20 {
        let (status, said) = http_as("root:p", &at, "PUT", "/v2/keys/n", &format!("value={number}"));
        assert!(status.starts_with('2'), "{said}");
    }
    store.kill(0);
    let _ = std::fs::remove_dir_all(store.members[0].data.join("member/state"));
    store.run(0, "new");
    store.wait(0);
    assert_eq!(http_as("", &at, "GET", "/v2/auth/users", "").0, "401");
    let (status, users) = http_as("root:p", &at, "GET", "/v2/auth/users", "");
    assert!(status == "200" && users.contains(r#""user":"root""#), "{users}");
    // No path of a client leads to what is kept of them.
    for path in ["/v2/keys/2", "/v2/keys/2/users", "/v2/keys/../2/users/root", "/v2/keys?recursive=true"] {
        let (_, said) = http_as("root:p", &at, "GET", path, "");
        assert!(!said.contains("pbkdf2"), "{path}: {said}");
    }
}

#[test]
fn a_backup_begins_a_cluster_of_one() {
    let mut store = cluster::Cluster::start(3, &[]);
    let at = store.members[0].client.clone();
    assert_eq!(http_as("", &at, "PUT", "/v2/keys/old", "value=1").0, "201");
    cluster::good(&store.own(&["put", "three", "3"]));
    let own = cluster::applet("etcdctl", store.folder.path());
    let data = store.members[0].data.to_str().expect("text").to_owned();
    let without = store.ask(&own, "2", &["backup"]);
    assert!(cluster::bad(&without).contains("--data-dir"));
    // The member runs meanwhile: what it has decided is on its disk at its next tick.
    for (name, more) in [("two", &[][..]), ("both", &["--with-v3"])] {
        store.until("the backup has both keys", |store| {
            let to = store.folder.path().join(name);
            let _ = std::fs::remove_dir_all(&to);
            let args = [&["backup", "--data-dir", &data, "--backup-dir", name], more].concat();
            cluster::good(&store.ask(&own, "2", &args));
            let paths = kv::node::Paths::new(&to, None);
            let state = kv::server::boot::decided(&paths).expect("it is sound");
            let has_v3 = state.mvcc.key_count() == 1;
            state.v2.get("/old", false).is_ok() && has_v3 == more.contains(&"--with-v3")
        });
    }
    let again = store.ask(&own, "2", &["backup", "--data-dir", &data, "--backup-dir", "both"]);
    assert!(cluster::bad(&again).contains("holds data already"));
    for number in 0..3 {
        store.kill(number);
    }
    let both = store.folder.path().join("both");
    store.members.truncate(1);
    store.members[0].data = both;
    store.flags.push("--force-new-cluster".into());
    store.run(0, "new");
    store.wait(0);
    assert!(http_as("", &at, "GET", "/v2/keys/old", "").1.contains(r#""value":"1""#));
    assert_eq!(cluster::good(&store.stock(&["get", "three"])), "three\n3\n");
}
