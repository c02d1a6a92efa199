//! The directives that are read and shown but not carried out: the one list, which ARCHITECTURE.md has as a table.
//!
//! A unit that uses one is warned of once. A directive that starts to work leaves the list, and the table with it:
//! `tests/unenforced.rs` compares the two.

/// A directive without effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unenforced {
    /// The manual page that has it, without `systemd.`: `unit`, `service`, `exec`…
    pub page: &'static str,
    /// Its name.
    pub directive: &'static str,
    /// What happens instead.
    pub instead: &'static str,
}

const fn of(page: &'static str, directive: &'static str, instead: &'static str) -> Unenforced {
    Unenforced { page, directive, instead }
}

/// All of them, sorted by page and name.
pub const UNENFORCED: &[Unenforced] = &[
    of("exec", "AppArmorProfile", "no profile is entered"),
    of("exec", "ExtensionDirectories", "nothing is laid over /usr and /opt"),
    of("exec", "ExtensionImages", "nothing is laid over /usr and /opt"),
    of("exec", "LoadCredentialEncrypted", "the unit does not get the credential"),
    of("exec", "LogNamespace", "messages go to the one journal"),
    of("exec", "MountImages", "the images are not mounted"),
    of("exec", "PAMName", "no session is begun"),
    of("exec", "RestrictFileSystems", "every type of file system can be used"),
    of("exec", "RootHash", "there is no image to check"),
    of("exec", "RootHashSignature", "there is no image to check"),
    of("exec", "RootImage", "the unit runs in the host's root"),
    of("exec", "RootImageOptions", "there is no image to mount"),
    of("exec", "RootVerity", "there is no image to check"),
    of("exec", "SELinuxContext", "no context is entered"),
    of("exec", "SetCredentialEncrypted", "the unit does not get the credential"),
    of("exec", "SmackProcessLabel", "no label is set"),
    of("exec", "UtmpIdentifier", "no line in utmp"),
    of("exec", "UtmpMode", "no line in utmp"),
    of("resource-control", "BPFProgram", "the program is not attached"),
    of("resource-control", "IPAccounting", "traffic is not counted"),
    of("resource-control", "IPEgressFilterPath", "the program is not attached"),
    of("resource-control", "IPIngressFilterPath", "the program is not attached"),
    of("resource-control", "ManagedOOMMemoryPressure", "only the kernel kills"),
    of("resource-control", "ManagedOOMMemoryPressureLimit", "only the kernel kills"),
    of("resource-control", "ManagedOOMPreference", "only the kernel kills"),
    of("resource-control", "ManagedOOMSwap", "only the kernel kills"),
    of("resource-control", "RestrictNetworkInterfaces", "every interface can be used"),
    of("resource-control", "SocketBindAllow", "every port can be bound"),
    of("resource-control", "SocketBindDeny", "every port can be bound"),
    of("service", "USBFunctionDescriptors", "no USB gadget is set up"),
    of("service", "USBFunctionStrings", "no USB gadget is set up"),
];

/// The sections in which a page's directives stand.
fn sections(page: &str) -> &'static [&'static str] {
    match page {
        "unit" => &["Unit"],
        "service" => &["Service"],
        "mount" => &["Mount"],
        "socket" => &["Socket"],
        "timer" => &["Timer"],
        "path" => &["Path"],
        "automount" => &["Automount"],
        "swap" => &["Swap"],
        "scope" => &["Scope"],
        "exec" => &["Service", "Socket", "Mount", "Swap"],
        "kill" => &["Service", "Socket", "Mount", "Swap", "Scope"],
        "resource-control" => &["Service", "Socket", "Mount", "Swap", "Scope", "Slice"],
        _ => &[],
    }
}

/// The entry of an assignment.
pub(crate) fn entry(section: &str, key: &str) -> Option<&'static Unenforced> {
    UNENFORCED.iter().find(|entry| entry.directive == key && sections(entry.page).contains(&section))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_every_page_has_a_section() {
        assert!(UNENFORCED.is_sorted_by_key(|entry| (entry.page, entry.directive)));
        assert!(UNENFORCED.iter().all(|entry| !sections(entry.page).is_empty()));
        assert!(
            entry("Service", "USBFunctionStrings").is_some() && entry("Unit", "USBFunctionStrings").is_none()
        );
    }
}
