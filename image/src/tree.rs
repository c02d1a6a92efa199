//! The root tree: a folder that looks like `/` of the image, from the manifest and the binary.
//!
//! Owners do not matter here: everything in the image belongs to root, who else needs files has them on STATE.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::{At, Error, Result};
use crate::manifest::{self, File, Manifest};

const UNITS: &str = "/usr/lib/systemd/system";
const ENABLED: &str = "/etc/systemd/system";

/// What a tree is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The version that os-release tells.
    pub version: &'a str,
    /// The root of the checkout.
    pub checkout: &'a Path,
    /// The static binary.
    pub binary: &'a Path,
    /// The names of its applets.
    pub applets: &'a BTreeSet<String>,
}

/// Lays the tree out in an empty folder.
///
/// # Errors
/// A source is missing, or the folder cannot be written.
pub fn lay_out(inputs: &Inputs<'_>, folder: &Path) -> Result<()> {
    let tree = Tree { folder };
    let manifest = inputs.manifest;
    for entry in &manifest.folders {
        tree.folder(&entry.path, mode(entry.mode.as_deref(), 0o755, inputs)?)?;
    }
    tree.file("/usr/bin/corten", &fs::read(inputs.binary).at("read", inputs.binary)?, 0o755)?;
    for applet in inputs.applets.iter().filter(|applet| *applet != "corten") {
        tree.link(&format!("/usr/bin/{applet}"), "corten")?;
    }
    for file in &manifest.files {
        let content = content(file, inputs.checkout)?;
        tree.file(&file.path, &content, mode(file.mode.as_deref(), 0o644, inputs)?)?;
    }
    for (path, target) in &manifest.links {
        tree.link(path, target)?;
    }
    units(inputs, &tree)?;
    tree.file("/etc/passwd", passwd(manifest).as_bytes(), 0o644)?;
    tree.file("/etc/group", group(manifest).as_bytes(), 0o644)?;
    tree.file("/etc/shadow", shadow(manifest).as_bytes(), 0o600)?;
    tree.file("/usr/lib/os-release", os_release(manifest, inputs.version).as_bytes(), 0o644)?;
    tree.link("/etc/os-release", "../usr/lib/os-release")
}

struct Tree<'a> {
    folder: &'a Path,
}

impl Tree<'_> {
    fn place(&self, path: &str) -> Result<PathBuf> {
        let place = self.folder.join(path.trim_start_matches('/'));
        if let Some(parent) = place.parent() {
            // The modes must not depend on the builder's umask.
            let mut missing: Vec<_> = parent.ancestors().take_while(|folder| !folder.exists()).collect();
            while let Some(folder) = missing.pop() {
                fs::create_dir(folder).at("create", folder)?;
                fs::set_permissions(folder, Permissions::from_mode(0o755)).at("set the mode of", folder)?;
            }
        }
        Ok(place)
    }

    fn folder(&self, path: &str, mode: u32) -> Result<()> {
        let place = self.place(path)?;
        fs::create_dir_all(&place).at("create", &place)?;
        fs::set_permissions(&place, Permissions::from_mode(mode)).at("set the mode of", &place)
    }

    fn file(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let place = self.place(path)?;
        fs::write(&place, content).at("write", &place)?;
        fs::set_permissions(&place, Permissions::from_mode(mode)).at("set the mode of", &place)
    }

    fn link(&self, path: &str, target: &str) -> Result<()> {
        let place = self.place(path)?;
        symlink(target, &place).at("create the link", &place)
    }
}

fn mode(text: Option<&str>, default: u32, inputs: &Inputs<'_>) -> Result<u32> {
    manifest::parse_mode(text, default)
        .map_err(|message| Error::Manifest { path: inputs.checkout.join("image/image.toml"), message })
}

fn content(file: &File, checkout: &Path) -> Result<Vec<u8>> {
    if let Some(text) = &file.text {
        return Ok(text.clone().into_bytes());
    }
    let path =
        checkout.join(file.from.as_ref().or(file.join.as_ref()).map_or(Path::new(""), PathBuf::as_path));
    if let (Some(package), false) = (&file.package, path.exists()) {
        return Err(Error::MissingFile { path, package: package.clone() });
    }
    if file.join.is_none() {
        return fs::read(&path).at("read", &path);
    }
    let mut parts: Vec<PathBuf> = fs::read_dir(&path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .at("list", &path)?;
    parts.sort();
    let mut content = Vec::new();
    for part in parts {
        content.extend(fs::read(&part).at("read", &part)?);
    }
    Ok(content)
}

fn units(inputs: &Inputs<'_>, tree: &Tree<'_>) -> Result<()> {
    let source = inputs.checkout.join("image/units");
    for unit in &inputs.manifest.units {
        let path = source.join(unit);
        let text = fs::read_to_string(&path).at("read", &path)?;
        tree.file(&format!("{UNITS}/{unit}"), text.as_bytes(), 0o644)?;
        if inputs.manifest.enable.contains(unit) {
            let links = install_links(unit, &text);
            if links.is_empty() {
                let message =
                    "is enabled in image/image.toml, but its [Install] section names no unit".to_owned();
                return Err(Error::Input { path, message });
            }
            for link in links {
                tree.link(&format!("{ENABLED}/{link}"), &format!("{UNITS}/{unit}"))?;
            }
        }
    }
    for (alias, unit) in &inputs.manifest.aliases {
        tree.link(&format!("{UNITS}/{alias}"), unit)?;
    }
    for (target, wanted) in &inputs.manifest.wants {
        for unit in wanted {
            tree.link(&format!("{UNITS}/{target}.wants/{unit}"), &format!("../{unit}"))?;
        }
    }
    Ok(())
}

/// The links that `systemctl enable` would make, below `/etc/systemd/system`.
fn install_links(unit: &str, text: &str) -> Vec<String> {
    let mut in_section = false;
    let mut links = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_section = line == "[Install]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| in_section) else { continue };
        for name in value.split_whitespace() {
            match key.trim() {
                "WantedBy" => links.push(format!("{name}.wants/{unit}")),
                "RequiredBy" => links.push(format!("{name}.requires/{unit}")),
                "Alias" => links.push(name.to_owned()),
                _ => {}
            }
        }
    }
    links
}

fn passwd(manifest: &Manifest) -> String {
    manifest.users.iter().fold(String::new(), |mut text, user| {
        let _ = writeln!(
            text,
            "{0}:x:{1}:{1}:{2}:{3}:{4}",
            user.name, user.id, user.comment, user.home, user.shell
        );
        text
    })
}

/// No password opens an account; `*` leaves the other ways in open.
fn shadow(manifest: &Manifest) -> String {
    manifest.users.iter().map(|user| format!("{}:*:::::::\n", user.name)).collect()
}

fn group(manifest: &Manifest) -> String {
    let own = manifest.users.iter().map(|user| (&user.name, user.id));
    let mut groups: Vec<_> = own.chain(manifest.groups.iter().map(|group| (&group.name, group.id))).collect();
    groups.sort_by_key(|(name, id)| (*id, *name));
    groups.into_iter().fold(String::new(), |mut text, (name, id)| {
        let members: Vec<&str> = (manifest.users.iter())
            .filter(|user| user.groups.contains(name))
            .map(|user| user.name.as_str())
            .collect();
        let _ = writeln!(text, "{name}:x:{id}:{}", members.join(","));
        text
    })
}

fn os_release(manifest: &Manifest, version: &str) -> String {
    let Manifest { name, title, .. } = manifest;
    format!(
        "NAME=\"{title}\"\nID={name}\nVERSION=\"{version}\"\nVERSION_ID=\"{version}\"\n\
         PRETTY_NAME=\"{title} {version}\"\nIMAGE_ID={name}\nIMAGE_VERSION=\"{version}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enables_as_systemctl_does() {
        let text =
            "[Unit]\nWantedBy=no\n[Install]\nWantedBy=multi-user.target x.target\nAlias=dbus-a.service\n";
        assert_eq!(
            install_links("a.service", text),
            ["multi-user.target.wants/a.service", "x.target.wants/a.service", "dbus-a.service"]
        );
        assert!(install_links("a.service", "[Install]\n").is_empty());
    }
}
