//! KeyringMode=: the keys that the child can reach (keyrings(7)).

use std::io;

use linux::keyring::{join_fresh_session, link_user};
use unit::settings::{ExecSettings, KeyringMode};

use super::{Failure, status};

/// Leaves PID 1's keys behind, unless they are to be inherited.
pub fn renew(exec: &ExecSettings) -> Result<(), Failure> {
    match exec.keyring.unwrap_or(KeyringMode::Private) {
        KeyringMode::Inherit => Ok(()),
        KeyringMode::Private => lenient(join_fresh_session()),
        KeyringMode::Shared => lenient(join_fresh_session()).and_then(|()| lenient(link_user())),
    }
}

/// A kernel without keys, or a container without access to them, keeps none from anybody.
fn lenient(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
                || error.kind() == io::ErrorKind::QuotaExceeded =>
        {
            Ok(())
        }
        result => result.map_err(|error| Failure::new(status::KEYRING, "cannot set up the keyring", error)),
    }
}
