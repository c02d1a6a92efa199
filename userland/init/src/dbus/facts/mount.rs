//! A mount's settings, or what is mounted, as properties: systemd.mount(5).

use unit::UnitStatus;
use unit::settings::MountSettings;
use zvariant::Value;

use crate::dbus::property::Facts;

pub(super) fn tell(mount: &MountSettings, status: &UnitStatus, facts: &mut Facts) {
    let (what, kind, options) = status
        .mounted
        .clone()
        .unwrap_or_else(|| (mount.what.clone(), mount.fs_type.clone(), mount.options.clone()));
    facts.extend([
        ("Where", Value::from(mount.place.clone())),
        ("What", what.into()),
        ("Type", kind.into()),
        ("Options", options.into()),
        ("TimeoutUSec", mount.timeout.into()),
        ("DirectoryMode", mount.directory_mode.into()),
        ("SloppyOptions", mount.sloppy_options.into()),
        ("LazyUnmount", mount.lazy_unmount.into()),
        ("ForceUnmount", mount.force_unmount.into()),
        ("ReadWriteOnly", mount.read_write_only.into()),
    ]);
}
