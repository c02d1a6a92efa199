//! Who the processes are: users, groups, capabilities, keys.

use super::super::value::{boolean, capabilities};
use super::{Draft, Outcome, Taken, names};
use crate::settings::KeyringMode;

const ALL_CAPABILITIES: u64 = (1 << 41) - 1;
/// prctl(2)'s secure bits by systemd's names.
const SECURE_BITS: [(&str, u32); 6] = [
    ("keep-caps", 1 << 4),
    ("keep-caps-locked", 1 << 5),
    ("no-setuid-fixup", 1 << 2),
    ("no-setuid-fixup-locked", 1 << 3),
    ("noroot", 1 << 0),
    ("noroot-locked", 1 << 1),
];
const ARCHITECTURES: [&str; 9] =
    ["x86", "x86-64", "ppc", "ppc-le", "ppc64", "ppc64-le", "s390", "s390x", "arm64"];

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let exec = &mut draft.exec;
    let name = || match context.resolve(value)? {
        empty if empty.is_empty() => Ok(None),
        name if is_name(&name) => Ok(Some(name)),
        name => Err(format!("\"{name}\" is not the name or number of a user or group")),
    };
    match key {
        "User" => exec.user = name()?,
        "Group" => exec.group = name()?,
        "SupplementaryGroups" => names(&mut exec.supplementary_groups, &context.resolve(value)?),
        "DynamicUser" => exec.dynamic_user = boolean(value)?,
        "RemoveIPC" => exec.remove_ipc = boolean(value)?,
        "PAMName" => exec.pam_name = Some(context.resolve(value)?).filter(|name| !name.is_empty()),
        "CapabilityBoundingSet" => {
            let set = capabilities(value, exec.capability_bounding_set, ALL_CAPABILITIES)?;
            exec.capability_bounding_set = Some(set);
        }
        "AmbientCapabilities" => {
            let current = Some(exec.ambient_capabilities).filter(|set| *set != 0);
            exec.ambient_capabilities = capabilities(value, current, ALL_CAPABILITIES)?;
        }
        "SecureBits" if value.is_empty() => exec.secure_bits = 0,
        "SecureBits" => {
            for word in value.split_whitespace() {
                let known = SECURE_BITS.iter().find(|(name, _)| *name == word);
                let (_, bit) = known.ok_or_else(|| format!("\"{word}\" is not a secure bit"))?;
                exec.secure_bits |= bit;
            }
        }
        "KeyringMode" => {
            let mode = KeyringMode::parse(value);
            exec.keyring =
                Some(mode.ok_or_else(|| format!("\"{value}\" is not inherit, private or shared"))?);
        }
        "Personality" if value.is_empty() => exec.personality = None,
        "Personality" if ARCHITECTURES.contains(&value) => exec.personality = Some(value.into()),
        "Personality" => return Err(format!("\"{value}\" is not an architecture with a personality")),
        "SELinuxContext" | "AppArmorProfile" | "SmackProcessLabel" => {
            let index = match key {
                "SELinuxContext" => 0,
                "AppArmorProfile" => 1,
                _ => 2,
            };
            let text = context.resolve(value)?;
            let may_fail = text.starts_with('-');
            let label = text.trim_start_matches('-').to_string();
            exec.labels[index] = if label.is_empty() { None } else { Some((may_fail, label)) };
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

/// systemd's relaxed rule: what cannot be mistaken for something else in a file of users.
fn is_name(text: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/');
    !text.is_empty() && text != "." && text != ".." && !text.starts_with('-') && !text.contains(bad)
}
