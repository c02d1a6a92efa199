//! The signature policy: what it does not vouch for is not taken, before a byte of it is unpacked.
//!
//! The policy is the machine's: each test lays one of its own over it in a mount namespace.

use std::path::Path;
use std::process::Command;

use crate::world::{World, done, refused};

impl World {
    /// The command where this is the policy.
    fn under(&self, policy: &str, args: &[&str]) -> Command {
        self.docker_with(&[("containers/policy.json", policy)], args)
    }

    fn signed_by(&self, key: &str, identity: &str) -> String {
        format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"{}":[{{"type":"sigstoreSigned",
            "keyPath":"{}","signedIdentity":{{"type":"{identity}"}}}}]}}}}}}"#,
            self.host,
            self.path(key).display()
        )
    }

    /// Makes a pair of keys with openssl: `NAME.key` and `NAME.pub`.
    fn keys(&self, name: &str, kind: &[&str]) {
        let (private, public) = (self.path(&format!("{name}.key")), self.path(&format!("{name}.pub")));
        done(Command::new("openssl").arg("genpkey").args(kind).arg("-out").arg(&private));
        done(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public));
    }

    fn sign(&self, key: &str, file: &Path) -> Vec<u8> {
        let out = self.path("signature");
        let private = self.path(&format!("{key}.key"));
        let mut openssl = Command::new("openssl");
        if key.starts_with("ed") {
            openssl
                .args(["pkeyutl", "-sign", "-rawin", "-inkey"])
                .arg(private)
                .arg("-out")
                .arg(&out)
                .arg("-in");
        } else {
            openssl.args(["dgst", "-sha256", "-sign"]).arg(private).arg("-out").arg(&out);
        }
        done(openssl.arg(file));
        std::fs::read(out).unwrap()
    }

    /// What `cosign sign` does: a signature of `digest` for `named`, under the tag that belongs to `tagged`.
    fn cosign(&self, key: &str, named: &str, digest: &str, tagged: &str, tamper: impl Fn(&mut Vec<u8>)) {
        use base64::Engine as _;
        let payload = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{named}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        let file = self.path("payload");
        std::fs::write(&file, &payload).unwrap();
        let signature = self.sign(key, &file);
        let mut payload = payload.into_bytes();
        tamper(&mut payload);
        std::fs::write(&file, &payload).unwrap();
        let dir = self.path("cosign");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let blob = |bytes: &[u8]| {
            let path = self.path("blob");
            std::fs::write(&path, bytes).unwrap();
            let sum = done(Command::new("sha256sum").arg(&path));
            let hex = sum.split(' ').next().unwrap().to_owned();
            std::fs::copy(&path, dir.join(&hex)).unwrap();
            (hex, bytes.len())
        };
        let (config, config_size) =
            blob(br#"{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}"#);
        let (layer, size) = blob(&payload);
        let signature = base64::engine::general_purpose::STANDARD.encode(signature);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","size":{config_size},"digest":"sha256:{config}"}},
            "layers":[{{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":{size},"digest":"sha256:{layer}",
            "annotations":{{"dev.cosignproject.cosign/signature":"{signature}"}}}}]}}"#
        );
        std::fs::write(dir.join("manifest.json"), manifest).unwrap();
        std::fs::write(dir.join("version"), "Directory Transport Version: 1.1\n").unwrap();
        let tag = format!("docker://{}:{}.sig", self.name("busybox"), tagged.replace(':', "-"));
        self.skopeo(&["copy", "--dest-tls-verify=false", &format!("dir:{}", dir.display()), &tag]);
    }

    fn nothing_is_kept(&self) {
        assert_eq!(self.done(&["images", "-q"]), "");
        for name in ["layers", "blobs/sha256", "tmp"] {
            assert_eq!(std::fs::read_dir(self.path("store").join(name)).unwrap().count(), 0, "{name}");
        }
    }
}

const ECDSA: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const ED25519: &[&str] = &["-algorithm", "ed25519"];

#[test]
fn what_the_policy_does_not_name_stays_out() {
    let world = World::new();
    let image = world.name("busybox");
    let pull = |policy: &str| world.under(policy, &["pull", &image]);
    for broken in ["", "{", "garbage", r#"{"default":[]}"#, r#"{"default":[{"type":"accept"}]}"#] {
        let why = refused(&mut pull(broken));
        assert!(why.contains("no image is taken until it is corrected"), "{broken}: {why}");
    }
    let why = refused(&mut pull(r#"{"default":[{"type":"reject"}]}"#));
    assert!(why.contains("refused by the signature policy (default): it rejects this image"), "{why}");
    let gpg = r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]}"#;
    assert!(refused(&mut pull(gpg)).contains("OpenPGP"));
    world.nothing_is_kept();
    let narrow = |name: &str| {
        format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"{name}":[{{"type":"insecureAcceptAnything"}}]}}}}}}"#
        )
    };
    refused(&mut pull(&narrow(&world.name("other"))));
    done(&mut pull(&narrow(&image)));
    // What comes from a file needs a word of its own.
    let saved = world.path("saved.tar");
    let saved = saved.to_str().unwrap();
    world.done(&["save", "-o", saved, &image]);
    world.forget();
    refused(&mut world.under(&narrow(&image), &["load", "-i", saved]));
    world.nothing_is_kept();
}

#[test]
fn an_image_signed_as_by_cosign_is_taken_and_no_other() {
    for (kind, key) in [(ECDSA, "ec"), (ED25519, "ed")] {
        let world = World::new();
        let (image, digest) = (world.name("busybox"), world.digest("busybox"));
        world.keys(key, kind);
        world.keys(&format!("{key}-other"), kind);
        let by = |key: &str| world.signed_by(&format!("{key}.pub"), "matchRepository");
        let refused = |policy: &str, words: &str| {
            let why = refused(&mut world.under(policy, &["pull", &image]));
            assert!(why.contains(words), "{key}: {why}");
            world.nothing_is_kept();
        };
        refused(&by(key), "it has no signature");
        let other = format!("sha256:{}", "1".repeat(64));
        world.cosign(key, &image, &other, &digest, |_| {});
        refused(&by(key), "the signature is for sha256:1111");
        world.cosign(key, &world.name("other"), &digest, &digest, |_| {});
        refused(&by(key), "the signature is for");
        world.cosign(key, &image, &digest, &digest, |payload| {
            let end = payload.len() - 2;
            payload[end] = b' ';
        });
        refused(&by(key), "tampered");
        world.cosign(&format!("{key}-other"), &image, &digest, &digest, |_| {});
        refused(&by(key), "not by a key of the policy");
        refused(&by("missing"), "missing.pub");
        world.cosign(key, &image, &digest, &digest, |_| {});
        // cosign names no tag, and without a word about that the tag must be named, as with podman.
        refused(&world.signed_by(&format!("{key}.pub"), "matchRepoDigestOrExact"), "matchRepository");
        done(&mut world.under(&by(key), &["pull", &image]));
        assert_eq!(world.done(&["run", "--rm", "--network", "none", &image, "cat", "/layer-two"]), "two");
    }
}

#[test]
fn a_detached_signature_of_the_manifest_is_enough() {
    let world = World::new();
    let (image, digest) = (world.name("busybox"), world.digest("busybox"));
    world.keys("ed", ED25519);
    world.keys("ed-other", ED25519);
    let policy = |key: &str| {
        format!(
            r#"{{"default":[{{"type":"detachedSigned","keyPath":"{}","signatures":"{}"}}]}}"#,
            world.path(&format!("{key}.pub")).display(),
            world.path("sigstore").display()
        )
    };
    let pull = |key: &str| world.under(&policy(key), &["pull", &image]);
    assert!(refused(&mut pull("ed")).contains("it has no signature in"));
    let manifest = world.path("manifest");
    let name = format!("docker://{image}");
    let mut raw = Command::new("skopeo");
    let raw = raw.args(["inspect", "--raw", "--tls-verify=false", &name]).output().unwrap().stdout;
    std::fs::write(&manifest, raw).unwrap();
    let dir = world.path("sigstore").join(format!("{image}@{}", digest.replace(':', "=")));
    std::fs::create_dir_all(&dir).unwrap();
    let mut signature = world.sign("ed", &manifest);
    signature[5] ^= 1;
    std::fs::write(dir.join("signature-1"), &signature).unwrap();
    assert!(refused(&mut pull("ed")).contains("no signature is by a key"));
    signature[5] ^= 1;
    std::fs::write(dir.join("signature-2"), &signature).unwrap();
    assert!(refused(&mut pull("ed-other")).contains("no signature is by a key"));
    world.nothing_is_kept();
    done(&mut pull("ed"));
}
