//! What may stand where a name of some kind is asked for.

use crate::encoding::is_base64;

/// A host name: hostname(7), at most the kernel's 64 bytes.
pub fn check_hostname(name: &str) -> Result<(), &'static str> {
    let label_is_fine = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if name.len() <= 64 && name.split('.').all(label_is_fine) {
        Ok(())
    } else {
        Err("must be letters, digits, hyphens and dots, at most 64")
    }
}

/// The name of a user or group: as useradd(8) takes it.
pub fn check_login(name: &str) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    let first_is_fine = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest_is_fine = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if first_is_fine && rest_is_fine && name.len() <= 32 {
        Ok(())
    } else {
        Err("must be 1 to 32 letters, digits, '_', '-' and '.', and begin with a letter or '_'")
    }
}

/// A line of authorized_keys(5): perhaps options, then a type, then the key.
pub fn check_public_key(line: &str) -> Result<(), &'static str> {
    const TYPES: [&str; 4] = ["ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-"];
    if line.contains(['\n', '\r', '\0']) {
        return Err("a public key is one line");
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_key = words.windows(2).any(|pair| match pair {
        [kind, key] => TYPES.iter().any(|t| kind.starts_with(t)) && is_base64(key),
        _ => false,
    });
    if is_key { Ok(()) } else { Err("not an OpenSSH public key") }
}

/// An absolute path that leads only downwards.
pub fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && path.len() <= 4096
        && !path.ends_with('/')
        && !path.contains('\0')
        && path.split('/').all(|part| part != "..")
}

/// The name of a unit, or of a file of systemd-networkd.
pub fn check_unit(name: &str) -> Result<(), &'static str> {
    const TYPES: [&str; 12] = [
        "service",
        "socket",
        "target",
        "mount",
        "automount",
        "timer",
        "path",
        "slice",
        "swap",
        "network",
        "netdev",
        "link",
    ];
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    match name.rsplit_once('.') {
        Some((stem, kind))
            if !stem.is_empty() && name.len() <= 255 && name.bytes().all(fine) && TYPES.contains(&kind) =>
        {
            Ok(())
        }
        _ => Err("must be a unit's name like app.service"),
    }
}

/// A drop-in's file name.
pub fn check_drop_in(name: &str) -> Result<(), &'static str> {
    let fine = name.ends_with(".conf") && name.len() > 5 && name.len() <= 255 && !name.starts_with('.');
    if fine && !name.contains(['/', '\0', '\n']) {
        Ok(())
    } else {
        Err("must be a file name that ends in .conf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(check_hostname("core-1.example.org").is_ok());
        for bad in ["", "-a", "a..b", "a b", "ä", &"a".repeat(65)] {
            assert!(check_hostname(bad).is_err(), "{bad}");
        }
        assert!(check_login("_apt-1.x").is_ok());
        for bad in ["", "1a", "a:b", "a/b", "-x", "../x", "a\nb"] {
            assert!(check_login(bad).is_err(), "{bad}");
        }
        assert!(check_unit("a@b.service").is_ok() && check_unit("10-static.network").is_ok());
        for bad in ["", ".service", "a/b.service", "../x.service", "a.conf", "a"] {
            assert!(check_unit(bad).is_err(), "{bad}");
        }
        assert!(check_drop_in("10-a.conf").is_ok());
        for bad in [".conf", "a", "../a.conf", ".a.conf"] {
            assert!(check_drop_in(bad).is_err(), "{bad}");
        }
        assert!(is_plain_path("/etc/x") && !is_plain_path("etc") && !is_plain_path("/a/../b"));
        assert!(!is_plain_path("/") && !is_plain_path("/a/"));
    }

    #[test]
    fn public_keys() {
        assert!(check_public_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== core@x").is_ok());
        assert!(check_public_key("no-pty,command=\"a b\" ssh-rsa AAAAB3Nz").is_ok());
        for bad in ["", "ssh-rsa", "hello world", "ssh-rsa $$$$", "ssh-rsa AAAA\nssh-rsa AAAA"] {
            assert!(check_public_key(bad).is_err(), "{bad}");
        }
    }
}
