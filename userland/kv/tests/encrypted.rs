//! TLS for clients and members, with certificates on both sides, asked by Debian's `etcdctl`.

mod cluster;

use std::fs;
use std::path::Path;

use cluster::{Cluster, bad, good};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Writes `NAME.pem` and `NAME.key` for a name, signed by `ca`.
fn certificate(folder: &Path, name: &str, ca: &Issuer<'_, KeyPair>) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, ca).expect("a certificate");
    fs::write(folder.join(format!("{name}.pem")), cert.pem()).expect("written");
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("written");
}

#[test]
fn both_sides_show_who_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    fs::write(file("ca.pem"), cert.pem()).expect("written");
    let ca = Issuer::new(params, key);
    for name in ["server", "root"] {
        certificate(folder.path(), name, &ca);
    }
    let flags = [
        format!("--cert-file={}", file("server.pem")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.pem")),
        "--client-cert-auth".to_owned(),
        format!("--peer-cert-file={}", file("server.pem")),
        format!("--peer-key-file={}", file("server.key")),
        format!("--peer-trusted-ca-file={}", file("ca.pem")),
        "--peer-client-cert-auth".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut cluster = Cluster::prepare(3, &flags, "https");
    (0..3).for_each(|number| cluster.run(number, "new"));
    let identity = [
        format!("--cacert={}", file("ca.pem")),
        format!("--cert={}", file("root.pem")),
        format!("--key={}", file("root.key")),
    ];
    let with = |args: &[&'static str]| -> Vec<String> {
        identity.iter().cloned().chain(args.iter().map(|arg| (*arg).to_owned())).collect()
    };
    let stock = |cluster: &Cluster, args: &[&'static str]| {
        let args = with(args);
        cluster.stock(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    cluster.until("the cluster serves", |cluster| stock(cluster, &["put", "a", "1"]).status.success());
    assert_eq!(good(&stock(&cluster, &["get", "a"])), "a\n1\n");
    let args = with(&["get", "a"]);
    assert_eq!(good(&cluster.own(&args.iter().map(String::as_str).collect::<Vec<_>>())), "a\n1\n");
    // Who shows nothing is not let in.
    bad(&cluster.own(&[&identity[0], "get", "a"]));
    // The name in the certificate is the user, without a password.
    good(&stock(&cluster, &["user", "add", "root", "--no-password"]));
    good(&stock(&cluster, &["auth", "enable"]));
    assert_eq!(good(&stock(&cluster, &["get", "a"])), "a\n1\n");
    good(&stock(&cluster, &["auth", "disable"]));
}
