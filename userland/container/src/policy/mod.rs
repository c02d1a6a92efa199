//! Which images may be taken: `/etc/containers/policy.json`, as podman, skopeo and CRI-O read it.
//!
//! The file names requirements for registries, repositories and single images; the longest name that fits
//! counts, and all its requirements must be met. It is looked at when a manifest has come and before anything
//! else of the image is asked for. A file that cannot be understood whole lets nothing in: an unknown word could
//! be the one that forbids. Without a file everything is taken, as Docker does; `insecureAcceptAnything` says
//! the same explicitly.
//!
//! Requirements: `reject`, `insecureAcceptAnything`, `sigstoreSigned` with public keys ([`cosign`]), and
//! `detachedSigned`, our own ([`detached`]). OpenPGP (`signedBy`) and Fulcio are not verified here, so an image
//! that needs them is refused. Source: containers-policy.json(5).

pub mod cosign;
pub mod detached;
pub mod key;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::reference::Reference;
use crate::registry::{Manifest, Registry};
use cosign::Identity;
use key::Key;

/// Where the policy is.
pub const POLICY_JSON: &str = "/etc/containers/policy.json";

const FILE_LIMIT: u64 = 1 << 20;

/// Why an image is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policy cannot be understood.
    #[error("{path}: {why}; no image is taken until it is corrected")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The policy does not let it in.
    #[error("{image} is refused by the signature policy ({scope}): {why}")]
    Refused {
        /// The image.
        image: String,
        /// The name in the policy that counted.
        scope: String,
        /// What is missing.
        why: String,
    },
}

/// What an image must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Requirement {
    InsecureAcceptAnything(Nothing),
    Reject(Nothing),
    SigstoreSigned(Sigstore),
    DetachedSigned(Detached),
    SignedBy(serde::de::IgnoredAny),
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sigstore {
    #[serde(default)]
    signed_identity: Identity,
    #[serde(flatten)]
    keys: Keys,
}

#[derive(Clone, Debug, Deserialize)]
struct Detached {
    signatures: PathBuf,
    #[serde(flatten)]
    keys: Keys,
}

/// Where public keys are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    key_path: Option<PathBuf>,
    key_paths: Option<Vec<PathBuf>>,
    key_data: Option<String>,
    key_datas: Option<Vec<String>>,
    /// Anything else would restrict further, so it must not be passed over.
    #[serde(flatten)]
    others: BTreeMap<String, serde_json::Value>,
}

impl Keys {
    fn check(&self) -> Result<(), String> {
        if let Some(unknown) = self.others.keys().next() {
            return Err(format!("{unknown:?} is not verified here"));
        }
        let given = [
            self.key_path.is_some(),
            self.key_paths.as_ref().is_some_and(|all| !all.is_empty()),
            self.key_data.is_some(),
            self.key_datas.as_ref().is_some_and(|all| !all.is_empty()),
        ];
        match given.iter().filter(|given| **given).count() {
            1 => Ok(()),
            _ => Err("exactly one of keyPath, keyPaths, keyData and keyDatas must be there".to_owned()),
        }
    }

    /// The keys, any of which may have signed.
    fn read(&self) -> Result<Vec<Key>, String> {
        let mut keys = Vec::new();
        for path in self.key_path.iter().chain(self.key_paths.iter().flatten()) {
            let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
            keys.push(Key::from_pem(&text).map_err(|error| format!("{}: {error}", path.display()))?);
        }
        for data in self.key_data.iter().chain(self.key_datas.iter().flatten()) {
            keys.push(Key::from_base64(data)?);
        }
        Ok(keys)
    }
}

type Scopes = BTreeMap<String, Vec<Requirement>>;

/// The policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    default: Vec<Requirement>,
    #[serde(default, deserialize_with = "transports")]
    transports: BTreeMap<String, Scopes>,
}

impl Policy {
    /// What the file says; without it, that everything is taken.
    ///
    /// # Errors
    /// When it is there and cannot be understood whole.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let bad = |why: String| PolicyError::Unreadable { path: path.to_owned(), why };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let default = vec![Requirement::InsecureAcceptAnything(Nothing {})];
                return Ok(Self { default, transports: BTreeMap::new() });
            }
            Err(error) => return Err(bad(error.to_string())),
            Ok(meta) if meta.len() > FILE_LIMIT => return Err(bad("larger than 1 MiB".to_owned())),
            Ok(_) => {}
        }
        let text = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        Self::parse(&text).map_err(bad)
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let policy: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let scopes = policy.transports.values().flat_map(BTreeMap::values);
        for requirements in std::iter::once(&policy.default).chain(scopes) {
            if requirements.is_empty() {
                return Err("a list of requirements is empty".to_owned());
            }
            for requirement in requirements {
                match requirement {
                    Requirement::SigstoreSigned(Sigstore { keys, .. })
                    | Requirement::DetachedSigned(Detached { keys, .. }) => keys.check()?,
                    _ => {}
                }
            }
        }
        Ok(policy)
    }

    /// Whether an image that a registry has may be taken: only its manifest was read so far.
    ///
    /// # Errors
    /// When it may not, with the reason.
    pub async fn check(
        &self,
        registry: &Registry,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<(), PolicyError> {
        let (scope, requirements) = self.for_image(reference);
        for requirement in requirements {
            let met = match requirement {
                Requirement::InsecureAcceptAnything(_) => Ok(()),
                Requirement::Reject(_) => Err("it rejects this image".to_owned()),
                Requirement::SignedBy(_) => {
                    Err("OpenPGP signatures (signedBy) are not verified here".to_owned())
                }
                Requirement::SigstoreSigned(Sigstore { keys, signed_identity }) => match keys.read() {
                    Ok(keys) => cosign::check(registry, reference, manifest, &keys, signed_identity).await,
                    Err(why) => Err(why),
                },
                Requirement::DetachedSigned(Detached { keys, signatures }) => {
                    keys.read().and_then(|keys| detached::check(signatures, reference, manifest, &keys))
                }
            };
            met.map_err(|why| PolicyError::Refused {
                image: reference.familiar(),
                scope: scope.clone(),
                why,
            })?;
        }
        Ok(())
    }

    /// Whether images from a file may be taken, which nothing can vouch for.
    ///
    /// # Errors
    /// When they may not.
    pub fn check_file(&self) -> Result<(), PolicyError> {
        let scopes = self.transports.get("docker-archive").and_then(|scopes| scopes.get(""));
        let requirements = scopes.unwrap_or(&self.default);
        if requirements.iter().all(|one| matches!(one, Requirement::InsecureAcceptAnything(_))) {
            return Ok(());
        }
        Err(PolicyError::Refused {
            image: "an image from a file".to_owned(),
            scope: if scopes.is_some() { "docker-archive" } else { "default" }.to_owned(),
            why: "only insecureAcceptAnything for docker-archive lets files in".to_owned(),
        })
    }

    /// The requirements for an image, and under which name they stand.
    fn for_image(&self, reference: &Reference) -> (String, &[Requirement]) {
        if let Some(scopes) = self.transports.get("docker") {
            for name in names(reference) {
                if let Some(found) = scopes.get(&name) {
                    let shown = if name.is_empty() { "docker".to_owned() } else { name };
                    return (shown, found);
                }
            }
        }
        ("default".to_owned(), &self.default)
    }
}

/// The names that fit an image, the longest first.
fn names(reference: &Reference) -> Vec<String> {
    let host = reference.registry();
    let repository = format!("{host}/{}", reference.repository());
    let mut names = Vec::new();
    if let Some(digest) = reference.digest() {
        names.push(format!("{repository}@{digest}"));
    } else {
        names.push(format!("{repository}:{}", reference.selector()));
    }
    let mut path = repository.as_str();
    loop {
        names.push(path.to_owned());
        match path.rsplit_once('/') {
            Some((shorter, _)) => path = shorter,
            None => break,
        }
    }
    let mut domain = host;
    while let Some((_, rest)) = domain.split_once('.') {
        names.push(format!("*.{rest}"));
        domain = rest;
    }
    names.push(String::new());
    names
}

/// Transports and their scopes; a name that comes twice would hide one of its two meanings.
fn transports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Scopes>, D::Error> {
    let once: Once<Once<Vec<Requirement>>> = Once::deserialize(deserializer)?;
    Ok(once.0.into_iter().map(|(name, scopes)| (name, scopes.0)).collect())
}

/// A map each of whose names comes once.
struct Once<T>(BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Once<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Once<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Once<T>, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((name, value)) = entries.next_entry::<String, T>()? {
                    if map.contains_key(&name) {
                        return Err(A::Error::custom(format!("{name:?} comes twice")));
                    }
                    map.insert(name, value);
                }
                Ok(Once(map))
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_name_counts() {
        let policy = Policy::parse(
            br#"{"default":[{"type":"reject"}],"transports":{"docker":{
                "quay.io/a":[{"type":"insecureAcceptAnything"}], "quay.io/a/b:1":[{"type":"reject"}],
                "*.example.com":[{"type":"reject"}], "docker.io/library":[{"type":"insecureAcceptAnything"}]}}}"#,
        )
        .unwrap();
        let scope = |name: &str| policy.for_image(&name.parse().unwrap()).0;
        assert_eq!(scope("quay.io/a/b:2"), "quay.io/a");
        assert_eq!(scope("quay.io/a/b:1"), "quay.io/a/b:1");
        assert_eq!(scope("quay.io/ab"), "default");
        assert_eq!(scope("x.y.example.com/z"), "*.example.com");
        assert_eq!(scope("busybox"), "docker.io/library");
        assert!(policy.check_file().is_err());
        let host = format!("quay.io/a/b@sha256:{}", "0".repeat(64));
        assert_eq!(scope(&host), "quay.io/a");
    }

    #[test]
    fn what_is_not_understood_lets_nothing_in() {
        let key = r#""keyPath":"/k""#;
        for good in [
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#.to_owned(),
            format!(
                r#"{{"default":[{{"type":"sigstoreSigned",{key},"signedIdentity":{{"type":"matchRepository"}}}}]}}"#
            ),
            format!(r#"{{"default":[{{"type":"detachedSigned",{key},"signatures":"/s"}}]}}"#),
            r#"{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]}"#.to_owned(),
        ] {
            assert!(
                Policy::parse(good.as_bytes()).is_ok(),
                "{good}: {:?}",
                Policy::parse(good.as_bytes()).err()
            );
        }
        for bad in [
            String::new(),
            "{}".to_owned(),
            "garbage".to_owned(),
            r#"{"default":[]}"#.to_owned(),
            r#"{"default":[{"type":"accept"}]}"#.to_owned(),
            r#"{"default":[{"type":"insecureAcceptAnything"}],"defaults":[]}"#.to_owned(),
            r#"{"default":[{"type":"insecureAcceptAnything","but":"not"}]}"#.to_owned(),
            r#"{"default":[{"type":"sigstoreSigned"}]}"#.to_owned(),
            format!(r#"{{"default":[{{"type":"sigstoreSigned",{key},"keyData":"eA=="}}]}}"#),
            format!(r#"{{"default":[{{"type":"sigstoreSigned",{key},"rekorPublicKeyPath":"/r"}}]}}"#),
            format!(r#"{{"default":[{{"type":"sigstoreSigned",{key},"signedIdentity":{{"type":"any"}}}}]}}"#),
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"a":[{"type":"reject"}],"a":[{"type":"insecureAcceptAnything"}]}}}"#.to_owned(),
            r#"{"default":[{"type":"reject"}],"transports":{"docker":{"a":[]}}}"#.to_owned(),
        ] {
            assert!(Policy::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_file_is_no_policy_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        assert!(Policy::load(&path).unwrap().check_file().is_ok());
        std::fs::write(&path, "{").unwrap();
        assert!(Policy::load(&path).unwrap_err().to_string().contains("policy.json"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(Policy::load(&path).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = Policy::parse(text.as_bytes());
        }
    }
}
