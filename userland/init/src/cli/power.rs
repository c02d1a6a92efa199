//! `poweroff`, `reboot`, `halt`: the target of that name, and with `--force` at once.

use zvariant::OwnedObjectPath;

use super::{Outcome, Session};

pub(super) fn poweroff(session: &mut Session<'_>, _: &[String]) -> Outcome {
    go_down(session, "poweroff.target", "PowerOff")
}

pub(super) fn reboot(session: &mut Session<'_>, _: &[String]) -> Outcome {
    go_down(session, "reboot.target", "Reboot")
}

pub(super) fn halt(session: &mut Session<'_>, _: &[String]) -> Outcome {
    go_down(session, "halt.target", "Halt")
}

/// Does not wait: the caller is stopped along with the rest.
fn go_down(session: &mut Session<'_>, target: &str, method: &str) -> Outcome {
    if session.options.force > 0 {
        session.client.manager::<_, ()>(method, &())?;
    } else {
        session.client.manager::<_, OwnedObjectPath>("StartUnit", &(target, "replace-irreversibly"))?;
    }
    Ok(0)
}
