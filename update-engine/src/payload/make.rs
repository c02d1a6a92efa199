//! From a release to its payload: full, or as the difference from an older one. The same releases make the same bytes.

use std::collections::HashMap;
use std::io::{self, Write};

use ring::signature::{Ed25519KeyPair, KeyPair};

use super::manifest::{Base, Digest, Image, Manifest, Piece, Source};
use super::{FORMAT, MAGIC, signature};
use crate::verity::BLOCK;

/// The length of a piece in bytes, but for the last.
const PIECE: usize = 1 << 20;
/// How far around its own place a piece looks for what it shares with the base, in bytes: code that is inserted moves
/// what is behind it.
const AROUND: usize = 3 << 20;
/// Of Zstandard's window, which has to hold a piece and what stands before it.
pub(super) const WINDOW_LOG: u32 = 24;
const LEVEL: i32 = 19;

/// What a payload is made of.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its version.
    pub version: String,
    /// The root file system, without its hash tree.
    pub root: Vec<u8>,
    /// The root hash of that.
    pub root_hash: [u8; 32],
    /// The salt of the hash tree.
    pub salt: [u8; 32],
    /// The kernel.
    pub kernel: Vec<u8>,
    /// What it is to be told, but for what belongs to the slot.
    pub kernel_arguments: Vec<String>,
}

/// A private key.
#[derive(Debug)]
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// A key as `openssl genpkey -algorithm ed25519` writes it; `None`: it is something else.
    #[must_use]
    pub fn read(pem: &str) -> Option<Signer> {
        let inner = signature::unwrap(pem, "PRIVATE KEY")?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&inner).ok().map(Signer)
    }
}

/// What a payload says beside what it is made of.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// The oldest version that can update to it at once.
    pub minimum: Option<String>,
    /// Seconds since 1970 after which it is not to be installed any more.
    pub expires: Option<u64>,
}

/// Writes the payload of a release, as the difference from `base` if there is one.
///
/// # Errors
/// It cannot be written, or the compressor has no memory.
pub fn make(
    release: &Release,
    base: Option<&Release>,
    terms: &Terms,
    signers: &[Signer],
    mut to: impl Write,
) -> io::Result<()> {
    let mut data = Vec::new();
    let root = image(&release.root, base.map(|base| Old::of(&base.root)).as_ref(), &mut data)?;
    let kernel = image(&release.kernel, base.map(|base| Old::of(&base.kernel)).as_ref(), &mut data)?;
    let manifest = Manifest {
        product: "corten".to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        version: release.version.clone(),
        minimum: terms.minimum.clone(),
        expires: terms.expires,
        root_hash: Digest(release.root_hash),
        salt: Digest(release.salt),
        kernel_arguments: release.kernel_arguments.clone(),
        base: base.map(|base| Base {
            version: base.version.clone(),
            root_hash: Digest(base.root_hash),
            root: base.root.len() as u64,
            kernel: base.kernel.len() as u64,
        }),
        root,
        kernel,
    };
    let text = serde_json::to_vec(&manifest)?;
    let count = |number: usize| u32::try_from(number).map_err(io::Error::other);
    let mut signed = MAGIC.to_vec();
    signed.extend(FORMAT.to_le_bytes());
    signed.extend(count(signers.len())?.to_le_bytes());
    signed.extend(count(text.len())?.to_le_bytes());
    signed.extend(text);
    to.write_all(&signed)?;
    for Signer(key) in signers {
        to.write_all(&signature::id_of(key.public_key().as_ref()))?;
        to.write_all(key.sign(&signed).as_ref())?;
    }
    to.write_all(&data)
}

/// The base, and where in it each of its blocks is.
struct Old<'a> {
    bytes: &'a [u8],
    blocks: HashMap<Digest, u64>,
}

impl<'a> Old<'a> {
    fn of(bytes: &'a [u8]) -> Old<'a> {
        let mut blocks = HashMap::new();
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            blocks.entry(Digest::of(block)).or_insert((number * BLOCK) as u64);
        }
        Old { bytes, blocks }
    }

    /// Where these bytes are, as a whole.
    fn find(&self, bytes: &[u8]) -> Option<u64> {
        let from = *self.blocks.get(&Digest::of(bytes.get(..BLOCK)?))?;
        let start = usize::try_from(from).ok()?;
        (self.bytes.get(start..start + bytes.len())? == bytes).then_some(from)
    }

    /// The part of it around this place.
    fn around(&self, at: usize, length: usize) -> (usize, &'a [u8]) {
        let from = at.saturating_sub(AROUND).min(self.bytes.len());
        let to = (at + length + AROUND).min(self.bytes.len());
        (from, self.bytes.get(from..to).unwrap_or_default())
    }
}

fn image(bytes: &[u8], old: Option<&Old<'_>>, data: &mut Vec<u8>) -> io::Result<Image> {
    let mut pieces = Vec::new();
    for (number, content) in bytes.chunks(PIECE).enumerate() {
        let source = if content.iter().all(|byte| *byte == 0) {
            Source::Zeros
        } else if let Some(from) = old.and_then(|old| old.find(content)) {
            Source::Base(from)
        } else {
            let (from, prefix) = old.map_or((0, &[][..]), |old| old.around(number * PIECE, content.len()));
            let packed = pack(content, prefix)?;
            let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
            data.extend(packed);
            let prefix = (!prefix.is_empty()).then_some((from as u64, prefix.len() as u64));
            Source::Data { length, prefix }
        };
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        pieces.push(Piece { length, hash: Digest::of(content), source });
    }
    Ok(Image { size: bytes.len() as u64, pieces })
}

fn pack(content: &[u8], prefix: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), LEVEL, prefix)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.long_distance_matching(!prefix.is_empty())?;
    // The manifest has a hash of every piece.
    encoder.include_checksum(false)?;
    encoder.write_all(content)?;
    encoder.finish()
}
