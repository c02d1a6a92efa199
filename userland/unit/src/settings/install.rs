//! The [Install] section: what `systemctl enable` does.

/// The [Install] section, specifiers unresolved in an uninstantiated template.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Install {
    /// Alias=
    pub alias: Vec<String>,
    /// WantedBy=
    pub wanted_by: Vec<String>,
    /// RequiredBy=
    pub required_by: Vec<String>,
    /// Also=
    pub also: Vec<String>,
    /// DefaultInstance=
    pub default_instance: Option<String>,
}
