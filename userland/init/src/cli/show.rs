//! `show`: properties as `Name=value`, for programs to read.

use super::properties::Properties;
use super::{Outcome, Session};
use crate::dbus::property::text::lines;

pub(super) fn show(session: &mut Session<'_>, units: &[String]) -> Outcome {
    if units.is_empty() {
        let properties = Properties::of_manager(&mut session.client)?;
        return print(session, &properties);
    }
    for (at, name) in session.expand(units)?.iter().enumerate() {
        if at > 0 {
            session.say("")?;
        }
        let properties = Properties::of_unit(&mut session.client, name)?;
        print(session, &properties)?;
    }
    Ok(0)
}

fn print(session: &mut Session<'_>, properties: &Properties) -> Outcome {
    let mut wanted = session.options.property.clone();
    wanted.extend(session.options.property_value.iter().cloned());
    let bare = session.options.value || !session.options.property_value.is_empty();
    let all = session.options.all || !wanted.is_empty();
    for (name, value) in &properties.0 {
        if !wanted.is_empty() && !wanted.contains(name) {
            continue;
        }
        let lines = lines(name, value);
        let lines = if lines.is_empty() && all { vec![String::new()] } else { lines };
        for line in lines.into_iter().filter(|line| all || !line.is_empty()) {
            session.say(&if bare { line } else { format!("{name}={line}") })?;
        }
    }
    Ok(0)
}
