//! Manifests and indexes, in OCI's and in Docker's schema 2 form, which differ only in their names.
//!
//! Sources: OCI image specification (manifest, image index), Docker's "Image Manifest V 2, Schema 2".

use oci_spec::image::{Arch, Descriptor, ImageIndex, ImageManifest, MediaType, Os};

/// The media types that we take, for the `Accept` header.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// An overlay mount takes no more than this; Docker has the same limit.
const LAYERS_LIMIT: usize = 127;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadManifest {
    /// Not JSON of this form.
    #[error("the manifest cannot be read: {0}")]
    Syntax(#[from] serde_json::Error),
    /// Neither manifest nor index, or the long obsolete schema 1.
    #[error(
        "the manifest is of a kind that Corten does not know ({0}); push the image again with a current tool"
    )]
    Kind(String),
    /// No entry for this machine.
    #[error("no image for linux/{wanted} among {offered}")]
    Platform {
        /// This machine's architecture.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// An index that points to an index.
    #[error("an index within an index")]
    NestedIndex,
    /// Too many layers to mount.
    #[error("{0} layers, more than the {LAYERS_LIMIT} that can be mounted")]
    Layers(usize),
    /// A layer in a form that cannot be unpacked.
    #[error("layer {digest} is of the unknown kind {kind}")]
    LayerKind {
        /// Its digest.
        digest: String,
        /// Its media type.
        kind: String,
    },
}

/// What a registry answers when asked for a manifest.
#[derive(Debug)]
pub enum Document {
    /// One image.
    Manifest(Box<ImageManifest>),
    /// Images by platform.
    Index(Box<ImageIndex>),
}

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Reads a document and finds out which of the two it is.
///
/// # Errors
/// When it is neither, or has more layers than can be mounted.
pub fn read(bytes: &[u8]) -> Result<Document, BadManifest> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outline {
        schema_version: u32,
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
        layers: Option<serde::de::IgnoredAny>,
    }
    let outline: Outline = serde_json::from_slice(bytes)?;
    match (outline.schema_version, outline.manifests.is_some(), outline.layers.is_some()) {
        (2, true, false) => Ok(Document::Index(Box::new(serde_json::from_slice(bytes)?))),
        (2, false, true) => {
            let manifest: ImageManifest = serde_json::from_slice(bytes)?;
            if manifest.layers().len() > LAYERS_LIMIT {
                return Err(BadManifest::Layers(manifest.layers().len()));
            }
            for layer in manifest.layers() {
                compression(layer)?;
            }
            Ok(Document::Manifest(Box::new(manifest)))
        }
        (version, _, _) => {
            Err(BadManifest::Kind(outline.media_type.unwrap_or_else(|| format!("schema version {version}"))))
        }
    }
}

/// The entry of an index for this machine.
///
/// # Errors
/// When there is none.
pub fn choose(index: &ImageIndex) -> Result<&Descriptor, BadManifest> {
    let wanted = Arch::default();
    let mut offered = Vec::new();
    for entry in index.manifests() {
        match entry.platform() {
            // An index without platforms holds what its maker thought self-evident.
            None => return Ok(entry),
            Some(platform) if *platform.os() == Os::Linux && *platform.architecture() == wanted => {
                return Ok(entry);
            }
            Some(platform) => offered.push(format!("{}/{}", platform.os(), platform.architecture())),
        }
    }
    offered.truncate(16);
    Err(BadManifest::Platform { wanted: wanted.to_string(), offered: offered.join(", ") })
}

/// How this layer is compressed, by its media type.
///
/// # Errors
/// When it is no layer that we can unpack.
pub fn compression(layer: &Descriptor) -> Result<Compression, BadManifest> {
    match layer.media_type() {
        MediaType::ImageLayer | MediaType::ImageLayerNonDistributable => Ok(Compression::None),
        MediaType::ImageLayerGzip | MediaType::ImageLayerNonDistributableGzip => Ok(Compression::Gzip),
        MediaType::ImageLayerZstd | MediaType::ImageLayerNonDistributableZstd => Ok(Compression::Zstd),
        MediaType::Other(kind) => match kind.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar" => Ok(Compression::None),
            "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
            "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
            _ => Err(unknown(layer)),
        },
        _ => Err(unknown(layer)),
    }
}

fn unknown(layer: &Descriptor) -> BadManifest {
    BadManifest::LayerKind { digest: layer.digest().to_string(), kind: layer.media_type().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(byte: char) -> String {
        format!("sha256:{}", byte.to_string().repeat(64))
    }

    fn manifest(layers: usize, kind: &str) -> String {
        let layer = format!(r#"{{"mediaType":"{kind}","size":3,"digest":"{}"}}"#, digest('b'));
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
            "config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":2,"digest":"{}"}},
            "layers":[{}]}}"#,
            digest('a'),
            vec![layer; layers].join(",")
        )
    }

    #[test]
    fn dockers_form_is_read() {
        let text = manifest(2, "application/vnd.docker.image.rootfs.diff.tar.gzip");
        let Document::Manifest(read) = read(text.as_bytes()).unwrap() else { panic!("not a manifest") };
        assert_eq!(read.layers().len(), 2);
        assert_eq!(compression(&read.layers()[0]).unwrap(), Compression::Gzip);
    }

    #[test]
    fn the_entry_for_this_machine_is_chosen() {
        let arch = Arch::default();
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"{}","platform":{{"os":"windows","architecture":"{arch}"}}}},
            {{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"{}","platform":{{"os":"linux","architecture":"{arch}"}}}}]}}"#,
            digest('1'),
            digest('2')
        );
        let Document::Index(index) = read(text.as_bytes()).unwrap() else { panic!("not an index") };
        assert_eq!(choose(&index).unwrap().digest().to_string(), digest('2'));
        let none = text.replace(&format!(r#""architecture":"{arch}""#), r#""architecture":"s390x""#);
        let Document::Index(index) = read(none.as_bytes()).unwrap() else { panic!("not an index") };
        assert!(choose(&index).unwrap_err().to_string().contains("linux/s390x"));
    }

    #[test]
    fn bombs_and_strangers_are_refused() {
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        assert!(matches!(read(manifest(128, gzip).as_bytes()), Err(BadManifest::Layers(128))));
        assert!(matches!(read(manifest(1, "text/plain").as_bytes()), Err(BadManifest::LayerKind { .. })));
        assert!(matches!(read(br#"{"schemaVersion":1,"fsLayers":[]}"#), Err(BadManifest::Kind(_))));
        assert!(matches!(read("[".repeat(100_000).as_bytes()), Err(BadManifest::Syntax(_))));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
