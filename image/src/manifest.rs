//! `image/image.toml`, the one manifest: what is in the image and how large its parts are. Unknown keys are errors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{At, Error, Result};

/// The manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The system's identifier: `ID=` of os-release.
    pub name: String,
    /// `NAME=` of os-release.
    pub title: String,
    /// The version unless another is asked for.
    pub version: String,
    /// The time of every file, in seconds since 1970.
    pub time: u64,
    /// The kernel's arguments on a disk boot, without those of verity and slot.
    pub kernel_arguments: Vec<String>,
    /// The partitions of the disk.
    pub partitions: Partitions,
    /// Unit files of `image/units` in the image.
    pub units: BTreeSet<String>,
    /// Units that are enabled: their [Install] section makes links in `/etc/systemd/system`.
    #[serde(default)]
    pub enable: BTreeSet<String>,
    /// Links in `/usr/lib/systemd/system` that no operator changes: alias and unit.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// Static dependencies in `/usr/lib/systemd/system/KEY.wants`.
    #[serde(default)]
    pub wants: BTreeMap<String, BTreeSet<String>>,
    /// Users; a group of the same name and number is made for each.
    #[serde(default)]
    pub users: Vec<User>,
    /// Further groups.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Folders with the mode 0755 unless said otherwise.
    #[serde(default)]
    pub folders: Vec<Folder>,
    /// Files with the mode 0644 unless said otherwise.
    #[serde(default)]
    pub files: Vec<File>,
    /// Symbolic links: where, to what.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
}

/// Sizes in MiB. The order on the disk is that of the fields, ROOT twice.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partitions {
    /// BIOS-BOOT: GRUB's core image.
    pub bios_boot: u64,
    /// EFI-SYSTEM: GRUB's files and the kernels.
    pub efi_system: u64,
    /// ROOT-A and ROOT-B, each.
    pub root: u64,
    /// STATE before it grows.
    pub state: u64,
}

/// A user of `/etc/passwd`. None has a password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The number of the user and its group.
    pub id: u32,
    /// Who or what it is.
    #[serde(default)]
    pub comment: String,
    /// The home folder.
    pub home: String,
    /// The login shell.
    pub shell: String,
    /// Further groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A group of `/etc/group`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
}

/// A folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Where in the image.
    pub path: String,
    /// Permission bits in octal digits.
    #[serde(default)]
    pub mode: Option<String>,
}

/// A file: exactly one of `text`, `from` and `join` says what is in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where in the image.
    pub path: String,
    /// Permission bits in octal digits.
    #[serde(default)]
    pub mode: Option<String>,
    /// Its content.
    #[serde(default)]
    pub text: Option<String>,
    /// A file to copy: of the checkout if relative, of the build machine if absolute.
    #[serde(default)]
    pub from: Option<PathBuf>,
    /// A folder whose files are joined, sorted by name.
    #[serde(default)]
    pub join: Option<PathBuf>,
    /// The Debian package that `from` or `join` is in.
    #[serde(default)]
    pub package: Option<String>,
}

impl Manifest {
    /// Reads and checks it.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, has an unknown key, or contradicts itself.
    pub fn read(path: &Path) -> Result<Manifest> {
        let text = fs::read_to_string(path).at("read", path)?;
        Manifest::parse(&text).map_err(|message| Error::Manifest { path: path.to_owned(), message })
    }

    /// Parses the text.
    ///
    /// # Errors
    /// The message names line and key.
    pub fn parse(text: &str) -> std::result::Result<Manifest, String> {
        let manifest: Manifest =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> std::result::Result<(), String> {
        check_version(&self.version)?;
        for unit in self.enable.iter().chain(self.aliases.values()).chain(self.wants.values().flatten()) {
            if !self.units.contains(unit) {
                return Err(format!("{unit} is enabled, wanted or aliased, but not in `units`"));
            }
        }
        let paths = (self.folders.iter().map(|folder| &folder.path))
            .chain(self.files.iter().map(|file| &file.path))
            .chain(self.links.keys());
        let mut seen = BTreeSet::new();
        for path in paths {
            if !path.starts_with('/')
                || path.ends_with('/')
                || path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."))
            {
                return Err(format!("`{path}` is not an absolute path without `.` and `..`"));
            }
            if !seen.insert(path) {
                return Err(format!("`{path}` is in the manifest twice"));
            }
        }
        for mode in
            (self.folders.iter().map(|folder| &folder.mode)).chain(self.files.iter().map(|file| &file.mode))
        {
            parse_mode(mode.as_deref(), 0)?;
        }
        for file in &self.files {
            let sources = [file.text.is_some(), file.from.is_some(), file.join.is_some()];
            if sources.iter().filter(|given| **given).count() != 1 {
                return Err(format!("`{}` needs exactly one of `text`, `from` and `join`", file.path));
            }
        }
        let known: BTreeSet<&str> = self.group_names().collect();
        for user in &self.users {
            if let Some(group) = user.groups.iter().find(|group| !known.contains(group.as_str())) {
                return Err(format!("user `{}` is in group `{group}`, which is not in `groups`", user.name));
            }
            if [&user.name, &user.comment, &user.home, &user.shell]
                .iter()
                .any(|text| text.contains([':', '\n']))
            {
                return Err(format!("user `{}` has a colon or a line end in a field", user.name));
            }
        }
        if let Some(word) =
            self.kernel_arguments.iter().find(|word| word.contains(['"', '\'', '\\', '$', '\n', ' ']))
        {
            return Err(format!(
                "the kernel argument `{word}` has a character that the boot loader would take apart"
            ));
        }
        Ok(())
    }

    fn group_names(&self) -> impl Iterator<Item = &str> {
        let own = self.users.iter().map(|user| user.name.as_str());
        own.chain(self.groups.iter().map(|group| group.name.as_str()))
    }
}

/// Is it a version that os-release and file names can hold?
///
/// # Errors
/// It is empty or has other characters than letters, digits and `.+~_-`.
pub fn check_version(version: &str) -> std::result::Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".+~_-".contains(c);
    if version.is_empty() || version.len() > 64 || !version.chars().all(allowed) {
        return Err(format!("the version {version:?} must be 1 to 64 letters, digits and .+~_-"));
    }
    Ok(())
}

/// Permission bits from octal digits.
///
/// # Errors
/// They are no octal number up to 7777.
pub fn parse_mode(mode: Option<&str>, default: u32) -> std::result::Result<u32, String> {
    let Some(text) = mode else { return Ok(default) };
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(format!("the mode {text:?} is not an octal number up to 7777")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"
name = "corten"
title = "Corten"
version = "1"
time = 0
kernel_arguments = ["ro"]
units = ["a.service"]
enable = ["a.service"]
partitions = { bios_boot = 1, efi_system = 64, root = 64, state = 64 }
"#;

    fn message(extra: &str) -> String {
        Manifest::parse(&format!("{SMALL}{extra}")).expect_err("an error")
    }

    #[test]
    fn the_shipped_manifest_is_whole() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = Manifest::read(&folder.join("image.toml")).unwrap();
        for unit in &manifest.units {
            assert!(
                folder.join("units").join(unit).is_file(),
                "{unit} is in the manifest, not in image/units"
            );
        }
    }

    #[test]
    fn says_line_and_key_of_what_it_does_not_understand() {
        assert!(Manifest::parse(SMALL).is_ok());
        let unknown = message("colour = 3\n");
        assert!(unknown.contains("line 10") && unknown.contains("colour"), "{unknown}");
        let wrong = message("users = [{ name = \"x\", id = \"y\", home = \"/\", shell = \"/\" }]\n");
        assert!(wrong.contains("line 10") && wrong.contains("id"), "{wrong}");
        let broken = message("folders = [\n");
        assert!(broken.contains("line 1"), "{broken}");
        assert!(Manifest::parse("").unwrap_err().contains("name"));
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        assert!(message("wants = { \"x.target\" = [\"b.service\"] }").contains("b.service"));
        assert!(message("folders = [{ path = \"/a/../b\" }]").contains("/a/../b"));
        assert!(message("folders = [{ path = \"/a\" }]\nlinks = { \"/a\" = \"b\" }").contains("twice"));
        assert!(message("files = [{ path = \"/a\" }]").contains("exactly one"));
        assert!(message("files = [{ path = \"/a\", text = \"\", mode = \"9\" }]").contains("octal"));
        assert!(
            message("users = [{ name = \"x\", id = 1, home = \"/\", shell = \"/\", groups = [\"g\"] }]")
                .contains("`g`")
        );
        assert!(check_version("1.2 3").is_err());
    }
}
