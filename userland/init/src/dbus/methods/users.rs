//! Methods about the users of DynamicUser=, who are in no file: nss-systemd and people ask for them.

use super::{Call, Method, reads, values};
use crate::dbus::world::Failure;

pub(super) const MANAGER: &[Method] = &[
    reads("GetDynamicUsers", "", "a(us)", |call, _| values(&call.world.dynamic_users())),
    reads("LookupDynamicUserByName", "s", "u", |call, _| {
        let wanted: String = call.message.body()?;
        let uid = find(call, |(_, name)| *name == wanted).map(|(uid, _)| uid);
        values(&uid.ok_or_else(|| unknown(&format!("Dynamic user {wanted} does not exist.")))?)
    }),
    reads("LookupDynamicUserByUID", "u", "s", |call, _| {
        let wanted: u32 = call.message.body()?;
        let name = find(call, |(uid, _)| *uid == wanted).map(|(_, name)| name);
        values(&name.ok_or_else(|| unknown(&format!("Dynamic user ID {wanted} does not exist.")))?)
    }),
];

fn find(call: &Call<'_>, is_meant: impl Fn(&(u32, String)) -> bool) -> Option<(u32, String)> {
    call.world.dynamic_users().into_iter().find(is_meant)
}

fn unknown(text: &str) -> Failure {
    Failure::new("org.freedesktop.systemd1.NoSuchDynamicUser", text)
}
