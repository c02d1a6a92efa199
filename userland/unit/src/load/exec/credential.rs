//! LoadCredential=, SetCredential=.

use super::stream::base64;
use super::{Draft, Outcome, Taken};
use crate::c_escape::unescape;
use crate::settings::{LoadedCredential, SetCredential};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let to = &mut draft.exec.credentials;
    match key {
        "LoadCredential" if value.is_empty() => to.load.clear(),
        "LoadCredentialEncrypted" if value.is_empty() => to.load_encrypted.clear(),
        "SetCredential" if value.is_empty() => to.set.clear(),
        "SetCredentialEncrypted" if value.is_empty() => to.set_encrypted.clear(),
        "LoadCredential" | "LoadCredentialEncrypted" => {
            let (name, path) = value.split_once(':').unwrap_or((value, value));
            let name = checked(context.resolve(name)?)?;
            let path = context.resolve(path)?;
            if !path.starts_with('/') {
                checked(path.clone())?;
            }
            let list = if key == "LoadCredential" { &mut to.load } else { &mut to.load_encrypted };
            list.retain(|known| known.name != name);
            list.push(LoadedCredential { name, path });
        }
        "SetCredential" | "SetCredentialEncrypted" => {
            let (name, text) =
                value.split_once(':').ok_or("SetCredential= takes a name, a colon and a value")?;
            let name = checked(context.resolve(name)?)?;
            let (value, list) = match key {
                "SetCredential" => (unescape(&context.resolve(text)?), &mut to.set),
                _ => (base64(text)?, &mut to.set_encrypted),
            };
            list.retain(|known| known.name != name);
            list.push(SetCredential { name, value });
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

/// A name that is a file's.
fn checked(name: String) -> Result<String, String> {
    let fine = !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| (b' '..0x7f).contains(&byte) && byte != b'/' && byte != b':');
    if fine { Ok(name) } else { Err(format!("\"{name}\" is not a name for a credential")) }
}
