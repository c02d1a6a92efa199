//! `%` in paths and arguments: what stands for what this machine is called, tmpfiles.d(5), "Specifiers".

use std::fs;
use std::path::Path;

/// The text with every specifier replaced.
///
/// # Errors
/// An unknown specifier, or one whose value this machine does not have.
pub fn expand(root: &Path, text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            None => out.push('%'),
            Some(letter) => match value(root, letter) {
                Some(value) => out.push_str(&value),
                None => return Err(format!("%{letter} has no value here")),
            },
        }
    }
    Ok(out)
}

fn value(root: &Path, letter: char) -> Option<String> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned());
    let uname = rustix::system::uname();
    let release = |key: &str| {
        let text = read("etc/os-release").or_else(|| read("usr/lib/os-release")).unwrap_or_default();
        let line =
            text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('=').map(str::to_owned));
        Some(line.unwrap_or_default().trim_matches(['"', '\'']).to_owned())
    };
    Some(match letter {
        '%' => "%".into(),
        'a' => match uname.machine().to_str() {
            Ok("x86_64") => "x86-64".into(),
            Ok("aarch64") => "arm64".into(),
            other => other.ok()?.to_owned(),
        },
        'b' => fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().replace('-', ""),
        'm' => read("etc/machine-id").filter(|id| id.len() == 32)?,
        'H' => uname.nodename().to_string_lossy().into_owned(),
        'l' => uname.nodename().to_string_lossy().split('.').next()?.to_owned(),
        'v' => uname.release().to_string_lossy().into_owned(),
        'o' => release("ID")?,
        'w' => release("VERSION_ID")?,
        'W' => release("VARIANT_ID")?,
        'A' => release("IMAGE_VERSION")?,
        'M' => release("IMAGE_ID")?,
        'B' => release("BUILD_ID")?,
        'u' | 'g' => "root".into(),
        'U' | 'G' => "0".into(),
        'h' => "/root".into(),
        't' => "/run".into(),
        'S' => "/var/lib".into(),
        'C' => "/var/cache".into(),
        'L' => "/var/log".into(),
        'T' => "/tmp".into(),
        'V' => "/var/tmp".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ones_are_replaced() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::write(root.path().join("etc/os-release"), "ID=\"corten\"\n").unwrap();
        let expand = |text: &str| expand(root.path(), text);
        assert_eq!(expand("%t/%m/%o%%").unwrap(), "/run/0123456789abcdef0123456789abcdef/corten%");
        assert!(expand("%z").is_err());
        assert_eq!(expand("100%").unwrap(), "100%");
    }
}
