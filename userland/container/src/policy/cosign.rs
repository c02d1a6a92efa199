//! Signatures as cosign keeps them: beside the image, under the tag `sha256-DIGEST.sig`.
//!
//! The layers of that manifest are small documents which name a manifest's digest and a repository; each
//! carries its signature as an annotation. A signature of the index that led to a manifest is as good as one of
//! the manifest. Nothing that it says is believed before a key has vouched for it. Source: sigstore's
//! "Cosign Signature Specification"; containers-policy.json(5), `signedIdentity`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize;

use super::key::Key;
use crate::reference::Reference;
use crate::registry::{Manifest, Registry};

const KIND: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Signatures of one image that are looked at.
const SIGNATURES_LIMIT: usize = 64;
/// Bytes of what is signed.
const PAYLOAD_LIMIT: u64 = 1 << 20;

/// Which repository a signature must be for.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Identity {
    /// This one and this tag; for an image that is asked for by digest this one.
    MatchRepoDigestOrExact {},
    /// This one and this tag.
    MatchExact {},
    /// This one. What cosign signs names no tag, so this is the one for it.
    MatchRepository {},
    /// Exactly that one.
    #[serde(rename_all = "camelCase")]
    ExactReference {
        /// With its tag.
        docker_reference: String,
    },
    /// That repository.
    #[serde(rename_all = "camelCase")]
    ExactRepository {
        /// Without a tag.
        docker_repository: String,
    },
}

impl Default for Identity {
    fn default() -> Self {
        Self::MatchRepoDigestOrExact {}
    }
}

/// What is signed.
#[derive(Debug, Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Debug, Deserialize)]
struct Critical {
    identity: Named,
    image: Signed,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Debug, Deserialize)]
struct Signed {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Looks for one signature by one of the keys.
pub(super) async fn check(
    registry: &Registry,
    reference: &Reference,
    manifest: &Manifest,
    keys: &[Key],
    identity: &Identity,
) -> Result<(), String> {
    let mut why = None;
    for digest in std::iter::once(&manifest.digest).chain(&manifest.index) {
        let tag = format!("{}.sig", digest.replace(':', "-"));
        let found = registry.document(&tag).await.map_err(|error| error.to_string())?;
        let Some(bytes) = found else { continue };
        let signatures: ImageManifest = serde_json::from_slice(&bytes)
            .map_err(|error| format!("its signatures cannot be read: {error}"))?;
        for layer in signatures.layers().iter().take(SIGNATURES_LIMIT) {
            match one(registry, layer, keys).await {
                Ok(payload) => match vouches(&payload, reference, digest, identity) {
                    Ok(()) => return Ok(()),
                    Err(reason) => why = Some(reason),
                },
                Err(reason) => {
                    why.get_or_insert(reason);
                }
            }
        }
    }
    Err(why.unwrap_or_else(|| "it has no signature".to_owned()))
}

/// What a signature is for, after one of the keys has vouched for it.
async fn one(registry: &Registry, layer: &Descriptor, keys: &[Key]) -> Result<Vec<u8>, String> {
    if layer.media_type().to_string() != KIND || layer.size() > PAYLOAD_LIMIT {
        return Err("its signature is of an unknown kind".to_owned());
    }
    let text = layer.annotations().as_ref().and_then(|all| all.get(SIGNATURE));
    let signature = text.and_then(|text| STANDARD.decode(text.trim()).ok());
    let signature = signature.ok_or_else(|| "its signature is not base64".to_owned())?;
    let payload = registry.blob(layer).await.map_err(|error| error.to_string())?;
    if keys.iter().any(|key| key.signed(&payload, &signature)) {
        return Ok(payload);
    }
    Err("its signature is not by a key of the policy, or was tampered with".to_owned())
}

fn vouches(payload: &[u8], reference: &Reference, digest: &str, identity: &Identity) -> Result<(), String> {
    let Payload { critical } =
        serde_json::from_slice(payload).map_err(|error| format!("what is signed cannot be read: {error}"))?;
    if critical.kind != "cosign container image signature" {
        return Err(format!("what is signed is a {:?}", critical.kind));
    }
    if critical.image.digest != digest {
        return Err(format!("the signature is for {}, this is {digest}", critical.image.digest));
    }
    let signed = Written::parse(&critical.identity.reference)?;
    let same_repository = signed.repository == repository(reference);
    let fits = match identity {
        Identity::MatchRepository {} => same_repository,
        Identity::MatchExact {} => {
            same_repository && signed.tag.is_some() && signed.tag.as_deref() == reference.tag()
        }
        Identity::MatchRepoDigestOrExact {} => {
            let exact = signed.tag.is_some() && signed.tag.as_deref() == reference.tag();
            same_repository && (reference.digest().is_some() || exact)
        }
        Identity::ExactReference { docker_reference } => Written::parse(docker_reference)? == signed,
        Identity::ExactRepository { docker_repository } => {
            Written::parse(docker_repository)?.repository == signed.repository
        }
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "the signature is for {:?}; if that is meant, say so with signedIdentity (cosign names no tag: \
         matchRepository)",
        critical.identity.reference
    ))
}

fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

/// A reference with a tag only if one is written.
#[derive(Debug, PartialEq, Eq)]
struct Written {
    repository: String,
    tag: Option<String>,
}

impl Written {
    fn parse(text: &str) -> Result<Self, String> {
        let reference: Reference = text.parse().map_err(|error| format!("{error}"))?;
        let tagged =
            text.rsplit('/').next().is_some_and(|last| last.split('@').next().unwrap_or(last).contains(':'));
        let tag = reference.tag().filter(|_| tagged).map(str::to_owned);
        Ok(Self { repository: repository(&reference), tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(reference: &str, digest: &str, kind: &str) -> Vec<u8> {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{reference}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":null}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_signature_is_for_one_image_of_one_repository() {
        const KIND: &str = "cosign container image signature";
        let ours: Reference = "quay.io/a/b:1".parse().unwrap();
        let check = |signed: &str, identity: &Identity| {
            vouches(&payload(signed, "sha256:1", KIND), &ours, "sha256:1", identity).is_ok()
        };
        let (exact, repository) = (Identity::MatchRepoDigestOrExact {}, Identity::MatchRepository {});
        assert!(check("quay.io/a/b:1", &exact) && check("quay.io/a/b", &repository));
        assert!(!check("quay.io/a/b", &exact), "a signature of the repository is not one of the tag");
        assert!(!check("quay.io/a/b:2", &exact) && check("quay.io/a/b:2", &repository));
        assert!(!check("quay.io/a/bc", &repository) && !check("evil.io/a/b", &repository));
        let other = Identity::ExactRepository { docker_repository: "evil.io/a/b".to_owned() };
        assert!(check("evil.io/a/b", &other) && !check("quay.io/a/b", &other));
        let digest = format!("quay.io/a/b@sha256:{}", "0".repeat(64)).parse().unwrap();
        assert!(vouches(&payload("quay.io/a/b", "sha256:1", KIND), &digest, "sha256:1", &exact).is_ok());
        assert!(vouches(&payload("quay.io/a/b", "sha256:2", KIND), &ours, "sha256:1", &repository).is_err());
        assert!(
            vouches(&payload("quay.io/a/b", "sha256:1", "other"), &ours, "sha256:1", &repository).is_err()
        );
        assert!(vouches(b"{}", &ours, "sha256:1", &repository).is_err());
    }
}
