//! Whose App Container Images are taken: public keys by the beginning of an image's name.
//!
//! Keys lie in `/etc/rkt/trustedkeys`, and those of the vendor in `/usr/lib/rkt/trustedkeys`: below `root.d` for
//! all images, below `prefix.d/PREFIX` for those whose name is PREFIX or begins with `PREFIX/`. An empty file in
//! `/etc` takes the vendor's key of that name away. Keys are public keys in PEM form (Ed25519, ECDSA P-256), and a
//! signature is a detached one of the file, in `FILE.sig`: OpenPGP is not spoken here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::super::{CliError, show};
use crate::policy::key::Key;
use crate::store::digest::Sha256;
use crate::store::image::Image;

const ADMIN: &str = "/etc/rkt/trustedkeys";
const VENDOR: &str = "/usr/lib/rkt/trustedkeys";
const IMAGE_LIMIT: u64 = 1 << 30;

/// Trust keys to sign images
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Trust a key
    Add {
        /// For images whose name begins so
        #[arg(long, required_unless_present = "root")]
        prefix: Option<String>,
        /// For all images
        #[arg(long, conflicts_with = "prefix")]
        root: bool,
        /// Public keys in PEM form
        #[arg(required = true)]
        key: Vec<PathBuf>,
    },
    /// List the keys that are trusted
    List,
    /// Trust a key no more
    Rm {
        /// For images whose name begins so
        #[arg(long, required_unless_present = "root")]
        prefix: Option<String>,
        /// For all images
        #[arg(long, conflicts_with = "prefix")]
        root: bool,
        /// The key's name, as trust list shows it
        key: String,
    },
}

/// The directory of a prefix, below the one of all keys.
fn place(prefix: Option<&str>) -> Result<PathBuf, CliError> {
    let Some(prefix) = prefix else { return Ok("root.d".into()) };
    let clean =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_whitespace);
    if !prefix.split('/').all(clean) {
        return Err(CliError::Usage(format!("{prefix:?} is not the beginning of a name")));
    }
    Ok(Path::new("prefix.d").join(prefix))
}

impl Verb {
    pub(super) fn run(self) -> Result<u8, CliError> {
        match self {
            Self::Add { prefix, root: _, key } => {
                let dir = Path::new(ADMIN).join(place(prefix.as_deref())?);
                for path in key {
                    let text = fs::read(&path).map_err(|error| CliError::Io("read the key", error))?;
                    Key::from_pem(&text)
                        .map_err(|why| CliError::Usage(format!("{}: {why}", path.display())))?;
                    let name = name_of(&text);
                    fs::create_dir_all(&dir)
                        .and_then(|()| fs::write(dir.join(&name), &text))
                        .map_err(|error| CliError::Io("keep the key", error))?;
                    let whose = prefix
                        .as_ref()
                        .map_or_else(|| "all images".to_owned(), |prefix| format!("prefix {prefix:?}"));
                    show::line(&format!("Added key {name} for {whose}"));
                }
            }
            Self::List => {
                let mut rows = vec![["PREFIX", "KEY"].map(str::to_owned).to_vec()];
                for (prefix, key) in all() {
                    rows.push(vec![if prefix.is_empty() { "(all)".to_owned() } else { prefix }, key.0]);
                }
                show::table(&rows);
            }
            Self::Rm { prefix, root: _, key } => {
                if key.contains('/') || key.starts_with('.') {
                    return Err(CliError::Usage(format!("{key:?} is not the name of a key")));
                }
                let place = place(prefix.as_deref())?;
                let (own, vendor) =
                    (Path::new(ADMIN).join(&place).join(&key), Path::new(VENDOR).join(&place).join(&key));
                let removed = if vendor.exists() {
                    fs::create_dir_all(Path::new(ADMIN).join(&place)).and_then(|()| fs::write(&own, ""))
                } else {
                    fs::remove_file(&own)
                };
                removed.map_err(|error| CliError::Io("remove the key", error))?;
                show::line(&format!("Removed key {key}"));
            }
        }
        Ok(0)
    }
}

fn name_of(pem: &[u8]) -> String {
    Sha256::of(pem).trim_start_matches("sha256:").chars().take(40).collect()
}

type Named = (String, Vec<u8>);

/// All keys with the prefix that they are for, which is empty for all images.
fn all() -> Vec<(String, Named)> {
    let mut found: BTreeMap<(String, String), Vec<u8>> = BTreeMap::new();
    for base in [VENDOR, ADMIN] {
        collect(&Path::new(base).join("root.d"), "", false, &mut found);
        collect(&Path::new(base).join("prefix.d"), "", true, &mut found);
    }
    let found = found.into_iter().filter(|(_, text)| !text.is_empty());
    found.map(|((prefix, name), text)| (prefix, (name, text))).collect()
}

fn collect(dir: &Path, prefix: &str, deep: bool, found: &mut BTreeMap<(String, String), Vec<u8>>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.path().is_dir() {
            if deep {
                let below = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
                collect(&entry.path(), &below, true, found);
            }
        } else if let Ok(text) = fs::read(entry.path()) {
            found.insert((prefix.to_owned(), name), text);
        }
    }
}

/// The bytes of an image in a file that has a signature by some trusted key.
pub(super) fn vouched(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error| CliError::Io("read the image", error);
    if fs::metadata(path).map_err(failed)?.len() > IMAGE_LIMIT {
        return Err(CliError::Usage("a signed image may have 1 GiB at most".to_owned()));
    }
    let bytes = fs::read(path).map_err(failed)?;
    if signers(path, &bytes)?.is_empty() {
        return Err(unsigned(path));
    }
    Ok(bytes)
}

/// Whether a key that signed the image is one for its name, which is known only now.
pub(super) fn covers(image: &Image, bytes: &[u8], path: &Path) -> Result<(), CliError> {
    let name = image.reference.rsplit_once(':').map_or(image.reference.as_str(), |(name, _)| name);
    let fits = |prefix: &String| {
        prefix.is_empty()
            || name == prefix
            || name.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.starts_with('/'))
    };
    if signers(path, bytes)?.iter().any(fits) { Ok(()) } else { Err(unsigned(path)) }
}

/// The prefixes of the keys that signed these bytes.
fn signers(path: &Path, bytes: &[u8]) -> Result<Vec<String>, CliError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    let signature = match fs::read(Path::new(&name)) {
        Ok(signature) => signature,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CliError::Io("read the signature", error)),
    };
    let signed = |text: &[u8]| Key::from_pem(text).is_ok_and(|key| key.signed(bytes, &signature));
    Ok(all().into_iter().filter(|(_, (_, text))| signed(text)).map(|(prefix, _)| prefix).collect())
}

fn unsigned(path: &Path) -> CliError {
    CliError::Usage(format!(
        "{0}: no trusted key for its name signed it in {0}.sig; see rkt trust, or take it with --insecure-options=image",
        path.display()
    ))
}
