//! LoadCredential=, SetCredential=: secrets for one unit.

/// A credential's value comes from a file, a directory or a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedCredential {
    /// What the unit knows it by.
    pub name: String,
    /// Absolute, or the name of a credential that the system itself was given.
    pub path: String,
}

/// A credential's value stands in the unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetCredential {
    /// What the unit knows it by.
    pub name: String,
    /// Its bytes.
    pub value: Vec<u8>,
}

/// The credentials of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// LoadCredential=
    pub load: Vec<LoadedCredential>,
    /// LoadCredentialEncrypted=
    pub load_encrypted: Vec<LoadedCredential>,
    /// SetCredential=: used where LoadCredential= finds nothing of this name.
    pub set: Vec<SetCredential>,
    /// SetCredentialEncrypted=
    pub set_encrypted: Vec<SetCredential>,
}

impl Credentials {
    /// Whether the unit asks for any.
    pub fn is_empty(&self) -> bool {
        let Credentials { load, load_encrypted, set, set_encrypted } = self;
        load.is_empty() && load_encrypted.is_empty() && set.is_empty() && set_encrypted.is_empty()
    }
}
