//! The [Mount] section, systemd.mount(5).

use super::value::{absolute, boolean, mode, timeout};
use super::{Draft, Outcome, Taken};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let mount = &mut draft.mount;
    match key {
        "What" => mount.what = context.resolve(value)?,
        "Where" if value.is_empty() => mount.place.clear(),
        "Where" => mount.place = absolute(&context.resolve(value)?)?,
        "Type" => mount.fs_type = context.resolve(value)?,
        "Options" => mount.options = context.resolve(value)?,
        "SloppyOptions" => mount.sloppy_options = boolean(value)?,
        "LazyUnmount" => mount.lazy_unmount = boolean(value)?,
        "ForceUnmount" => mount.force_unmount = boolean(value)?,
        "ReadWriteOnly" => mount.read_write_only = boolean(value)?,
        "DirectoryMode" => mount.directory_mode = mode(value)?,
        "TimeoutSec" => mount.timeout = timeout(value)?,
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}
