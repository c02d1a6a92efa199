//! Registries that want TLS, names and tokens, and connections that break.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::world::{World, done, refused, response, server};

fn shell(dir: &Path, script: &str) {
    done(Command::new("sh").args(["-ec", script]).current_dir(dir).stderr(Stdio::null()));
}

/// `FILE.crt` and `FILE.key` for 127.0.0.1, by an authority of its own, `ca.crt`.
const CERTIFICATE: &str = "\
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=authority -days 2
    openssl req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=registry
    echo subjectAltName=IP:127.0.0.1 > names
    openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out tls.crt -days 2 -extfile names";

#[test]
fn a_registry_with_tls_is_believed_by_its_authority_alone() {
    let tls = ", tls: {certificate: DIR/tls.crt, key: DIR/tls.key}";
    let world = World::prepared(|dir| shell(dir, CERTIFICATE), tls, "");
    let image = world.name("busybox");
    let said = world.refused(&["pull", &image]);
    assert!(said.contains("certificate"), "{said}");
    let authority = std::fs::read_to_string(world.path("ca.crt")).unwrap();
    let place = format!("docker/certs.d/{}/ca.crt", world.host);
    done(&mut world.docker_with(&[(&place, &authority)], &["pull", &image]));
    done(&mut world.docker_with(&[(&place, &authority)], &["tag", &image, &world.name("made")]));
    done(&mut world.docker_with(&[(&place, &authority)], &["push", &world.name("made")]));
    // Another authority's certificate is no proof.
    shell(world.dir.path(), CERTIFICATE);
    let other = std::fs::read_to_string(world.path("ca.crt")).unwrap();
    let said = refused(&mut world.docker_with(&[(&place, &other)], &["pull", &image]));
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn a_login_is_what_the_registry_takes() {
    // The password "secret", as htpasswd(1) would write it with -B.
    let line = "me:$2b$05$KJk5tmbi0SNx1vTW/J3/JOmt1.omZZ.g3zPefXGaCtNPeWLeZGNim\n";
    let make = |dir: &Path| std::fs::write(dir.join("htpasswd"), line).unwrap();
    let world = World::prepared(make, "", "auth:\n  htpasswd: {realm: here, path: DIR/htpasswd}\n");
    let image = world.name("busybox");
    assert!(world.refused(&["pull", &image]).contains("denied"));
    let file = world.path("docker/config.json");
    let said = world.refused(&["login", "-u", "me", "-p", "wrong", &world.host]);
    assert!(said.contains("denied") && !file.exists(), "{said}");
    assert_eq!(world.done(&["login", "-u", "me", "-psecret", &world.host]), "Login Succeeded");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    world.done(&["pull", &image]);
    world.done(&["tag", &image, &world.name("made")]);
    world.done(&["push", &world.name("made")]);
    world.done(&["logout", &world.host]);
    assert!(world.refused(&["pull", &image]).contains("denied"));
}

/// A token as docker-registry reads it: the claims, signed by the key of the certificate that it trusts.
fn token(dir: &Path, audience: &str, access: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let pem = std::fs::read_to_string(dir.join("token.crt")).unwrap();
    let certificate: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let header = format!(r#"{{"typ":"JWT","alg":"RS256","x5c":["{certificate}"]}}"#);
    let claims = format!(
        r#"{{"iss":"issuer","sub":"me","aud":"{audience}","exp":{},"nbf":{},"iat":{now},"jti":"1","access":[{access}]}}"#,
        now + 300,
        now - 10
    );
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut sign = Command::new("openssl");
    sign.args(["dgst", "-sha256", "-sign"]).arg(dir.join("token.key"));
    let mut sign = sign.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sign.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let signature = sign.wait_with_output().unwrap().stdout;
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn tokens_are_asked_for_as_the_registry_says() {
    let keys = tempfile::tempdir().unwrap();
    let dir = keys.path().to_owned();
    let make =
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout token.key -out token.crt -subj /CN=t -days 2";
    shell(&dir, make);
    let issuer = server(move |request| {
        let line = request.lines().next().unwrap_or_default();
        let wanted = format!("authorization: Basic {}", STANDARD.encode("me:secret"));
        let known = request.lines().any(|line| line.eq_ignore_ascii_case(&wanted));
        if !known {
            return response("401 Unauthorized", "");
        }
        let mut access = Vec::new();
        for part in line.split(['?', '&', ' ']) {
            let Some(scope) = part.strip_prefix("scope=repository:") else { continue };
            let (name, verbs) = scope.split_once(':').unwrap();
            let verbs: Vec<String> = verbs.split(',').map(|verb| format!("\"{verb}\"")).collect();
            access
                .push(format!(r#"{{"type":"repository","name":"{name}","actions":[{}]}}"#, verbs.join(",")));
        }
        let body = format!(r#"{{"token":"{}"}}"#, token(&dir, "here", &access.join(",")));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    });
    let more = format!(
        "auth:\n  token: {{realm: 'http://{issuer}/token', service: here, issuer: issuer, rootcertbundle: {}}}\n",
        keys.path().join("token.crt").display()
    );
    let world = World::with(&more);
    let image = world.name("busybox");
    assert!(world.refused(&["pull", &image]).contains("denied"));
    assert!(world.refused(&["login", "-u", "me", "-p", "wrong", &world.host]).contains("denied"));
    world.done(&["login", "-u", "me", "-p", "secret", &world.host]);
    world.done(&["pull", &image]);
    world.done(&["tag", &image, &world.name("made")]);
    world.done(&["push", &world.name("made")]);
    assert!(world.done(&["pull", &world.name("made")]).contains("made"));
}

/// Copies, and ends both connections after so many bytes.
fn copy(mut from: TcpStream, mut to: TcpStream, mut left: usize, cuts: &AtomicUsize) {
    let mut buffer = [0; 16 << 10];
    loop {
        let most = left.min(buffer.len());
        match from.read(&mut buffer[..most]) {
            Ok(read) if read > 0 && to.write_all(&buffer[..read]).is_ok() => left -= read,
            _ => break,
        }
        if left == 0 {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// A way to `host` on which no connection brings more bytes back than `down`, and none of the first `ups` takes more
/// than `up` there.
fn bad_line(host: &str, down: usize, (up, ups): (usize, usize)) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = listener.local_addr().unwrap().to_string();
    let (host, cuts) = (host.to_owned(), Arc::new(AtomicUsize::new(0)));
    let told = Arc::clone(&cuts);
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(&host).unwrap();
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let (one, two) = (Arc::clone(&cuts), Arc::clone(&cuts));
            let most = if cuts.load(Ordering::Relaxed) < ups { up } else { usize::MAX };
            std::thread::spawn(move || copy(near_too, far_too, most, &one));
            std::thread::spawn(move || copy(far, near, down, &two));
        }
    });
    (name, told)
}

#[test]
fn a_pull_goes_on_where_the_connection_broke() {
    let world = World::new();
    // Fewer bytes than the layer has, so often that only what goes on ends.
    let (line, cuts) = bad_line(&world.host, 90_000, (usize::MAX, 0));
    world.done(&["pull", &format!("{line}/busybox")]);
    let cuts = cuts.load(Ordering::Relaxed);
    assert!(cuts > 5, "the line broke {cuts} times");
}

#[test]
fn a_push_goes_on_where_the_connection_broke() {
    let world = World::new();
    world.done(&["pull", &world.name("busybox")]);
    let (line, cuts) = bad_line(&world.host, usize::MAX, (100_000, 2));
    let name = format!("{line}/new/name");
    world.done(&["tag", &world.name("busybox"), &name]);
    world.done(&["push", &name]);
    assert!(cuts.load(Ordering::Relaxed) >= 2);
    world.forget();
    world.done(&["pull", &world.name("new/name")]);
}
