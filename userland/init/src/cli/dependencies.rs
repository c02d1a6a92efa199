//! `list-dependencies`: what a unit needs (`--reverse`: what needs it), as a tree; targets are opened.

use std::collections::BTreeSet;

use super::properties::Properties;
use super::{Outcome, Session, Trouble, colour};

const FORWARD: [&str; 4] = ["Requires", "Requisite", "Wants", "BindsTo"];
const REVERSE: [&str; 4] = ["RequiredBy", "RequisiteOf", "WantedBy", "BoundBy"];
/// Deeper trees are cut: a person reads this.
const DEEPEST: usize = 64;

pub(super) fn list_dependencies(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let units = if units.is_empty() { vec!["default.target".to_owned()] } else { session.expand(units)? };
    for name in units {
        session.say(&name)?;
        let mut branch = BTreeSet::from([name.clone()]);
        let indent = if session.options.plain { "  " } else { "" };
        below(session, &name, &mut branch, indent)?;
    }
    Ok(0)
}

fn below(
    session: &mut Session<'_>,
    name: &str,
    branch: &mut BTreeSet<String>,
    indent: &str,
) -> Result<(), Trouble> {
    let properties = Properties::of_unit(&mut session.client, name)?;
    let kinds = if session.options.reverse { REVERSE } else { FORWARD };
    let children: BTreeSet<String> = kinds.iter().flat_map(|kind| properties.list(kind)).collect();
    let mut children: Vec<String> = children.into_iter().collect();
    // Targets last: what they open is long.
    children.sort_by_cached_key(|name| (name.ends_with(".target"), name.to_lowercase()));
    let count = children.len();
    for (at, child) in children.into_iter().enumerate() {
        let child_properties = Properties::of_unit(&mut session.client, &child)?;
        let mark = match child_properties.text("ActiveState") {
            "active" | "reloading" | "activating" => "●",
            "failed" => "×",
            _ => "○",
        };
        let mark = colour::of_state(mark, child_properties.text("ActiveState"), session.options.colour);
        let (knot, line) = if at + 1 == count { ("└─", "  ") } else { ("├─", "│ ") };
        if session.options.plain {
            session.say(&format!("{indent}{child}"))?;
        } else {
            session.say(&format!("{mark} {indent}{knot}{child}"))?;
        }
        let open = child.ends_with(".target") || session.options.all;
        if open && branch.len() < DEEPEST && branch.insert(child.clone()) {
            let deeper = if session.options.plain { indent.to_owned() } else { format!("{indent}{line}") };
            below(session, &child, branch, &deeper)?;
            branch.remove(&child);
        }
    }
    Ok(())
}
