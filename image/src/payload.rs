//! The payload of a release: what its machines update from, whole or as the difference from an older release.

use std::fs;
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use update_engine::payload::{Release, Signer, Terms, make};

use crate::artifacts::{publish, version};
use crate::error::{At, Error, Result};
use crate::manifest::Manifest;
use crate::root::Root;

/// Makes the payload of the release in a folder of artifacts (root.img, vmlinuz, artifacts.json), signed by each of the
/// keys. Returns its length in bytes.
///
/// # Errors
/// An artifact is missing or damaged, a key is none, or the payload cannot be written.
pub fn payload(
    manifest: &Manifest,
    of: &Path,
    from: Option<&Path>,
    terms: &Terms,
    keys: &[impl AsRef<Path>],
    output: &Path,
) -> Result<u64> {
    let signers = keys.iter().map(|path| signer(path.as_ref())).collect::<Result<Vec<_>>>()?;
    let release = release(manifest, of)?;
    let base = from.map(|from| self::release(manifest, from)).transpose()?;
    let folder = output.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder).at("create a file in", folder)?;
    make(&release, base.as_ref(), terms, &signers, BufWriter::new(new.as_file_mut())).at("write", output)?;
    fs::set_permissions(new.path(), fs::Permissions::from_mode(0o644)).at("open to all", new.path())?;
    publish(new.path(), output)?;
    Ok(fs::metadata(output).at("read", output)?.len())
}

fn signer(path: &Path) -> Result<Signer> {
    let text = fs::read_to_string(path).at("read", path)?;
    Signer::read(&text).ok_or_else(|| Error::Input {
        path: path.to_owned(),
        message: "is no private key: make one by `openssl genpkey -algorithm ed25519`".to_owned(),
    })
}

fn release(manifest: &Manifest, folder: &Path) -> Result<Release> {
    let version = version(folder)?;
    let root = Root::open(&folder.join("root.img"), &format!("{} {version}", manifest.name))?;
    let kernel = folder.join("vmlinuz");
    Ok(Release {
        version,
        root: root.data()?,
        root_hash: root.root_hash,
        salt: root.salt,
        kernel: fs::read(&kernel).at("read", &kernel)?,
        kernel_arguments: manifest.kernel_arguments.clone(),
    })
}
