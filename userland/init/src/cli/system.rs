//! Verbs about the manager itself: reload, environment, default target.

use super::properties::Properties;
use super::{Outcome, Session};

pub(super) fn daemon_reload(session: &mut Session<'_>, _: &[String]) -> Outcome {
    session.client.manager::<_, ()>("Reload", &())?;
    Ok(0)
}

pub(super) fn daemon_reexec(session: &mut Session<'_>, _: &[String]) -> Outcome {
    session.client.manager::<_, ()>("Reexecute", &())?;
    Ok(0)
}

pub(super) fn get_default(session: &mut Session<'_>, _: &[String]) -> Outcome {
    let target: String = session.client.manager("GetDefaultTarget", &())?;
    session.say(&target)?;
    Ok(0)
}

pub(super) fn show_environment(session: &mut Session<'_>, _: &[String]) -> Outcome {
    let properties = Properties::of_manager(&mut session.client)?;
    for assignment in properties.list("Environment") {
        session.say(&assignment)?;
    }
    Ok(0)
}

pub(super) fn set_environment(session: &mut Session<'_>, assignments: &[String]) -> Outcome {
    session.client.manager::<_, ()>("SetEnvironment", &assignments)?;
    Ok(0)
}

pub(super) fn unset_environment(session: &mut Session<'_>, names: &[String]) -> Outcome {
    session.client.manager::<_, ()>("UnsetEnvironment", &names)?;
    Ok(0)
}
