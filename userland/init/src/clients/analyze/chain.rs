//! `critical-chain`: of all that a unit was ordered after, what was there last, and so on.

use std::collections::BTreeSet;

use super::Failed;
use super::boot::{Boot, Unit};
use crate::cli::Client;
use crate::cli::properties::Properties;
use crate::cli::time::span;

const MILLISECOND: u64 = 1_000;
/// Deeper chains are cut.
const DEEPEST: usize = 64;

pub(super) fn text(client: &mut Client, units: &[String], fuzz: u64) -> Result<String, Failed> {
    let boot = Boot::read(client)?;
    let mut text = String::from(
        "The time when unit became active or started is printed after the \"@\" character.\n\
         The time the unit took to start is printed after the \"+\" character.\n\n",
    );
    let default: String = client.manager("GetDefaultTarget", &())?;
    let roots = if units.is_empty() {
        vec![default]
    } else {
        units.iter().map(|name| crate::cli::mangle(name)).collect()
    };
    for root in roots {
        let properties = Properties::of_unit(client, &root)?;
        text.push_str(&line(&Unit::of(&root, &properties), &boot));
        let mut seen = BTreeSet::from([root.clone()]);
        below(client, &properties, &boot, fuzz, "", &mut seen, &mut text)?;
    }
    Ok(text)
}

/// A unit with its times, since userspace began.
fn line(unit: &Unit, boot: &Boot) -> String {
    let since = |at: u64| span(at.saturating_sub(boot.userspace), MILLISECOND);
    let took = unit.took();
    match (unit.activated, took) {
        (0, _) => format!("{}\n", unit.name),
        (at, 0) => format!("{} @{}\n", unit.name, since(at)),
        (_, took) => format!("{} @{} +{}\n", unit.name, since(unit.activating), span(took, MILLISECOND)),
    }
}

fn below(
    client: &mut Client,
    properties: &Properties,
    boot: &Boot,
    fuzz: u64,
    indent: &str,
    seen: &mut BTreeSet<String>,
    text: &mut String,
) -> Result<(), Failed> {
    if seen.len() > DEEPEST {
        return Ok(());
    }
    let mut before = Vec::new();
    for name in properties.list("After") {
        let properties = Properties::of_unit(client, &name)?;
        let unit = Unit::of(&name, &properties);
        if unit.activated > 0 && unit.activated <= boot.finish {
            before.push((unit, properties));
        }
    }
    let last = before.iter().map(|(unit, _)| unit.activated).max().unwrap_or(0);
    before.retain(|(unit, _)| last - unit.activated <= fuzz && !seen.contains(&unit.name));
    before.sort_by_key(|(unit, _)| std::cmp::Reverse(unit.activated));
    let count = before.len();
    for (at, (unit, properties)) in before.into_iter().enumerate() {
        let (knot, branch) = if at + 1 == count { ("└─", "  ") } else { ("├─", "│ ") };
        text.push_str(&format!("{indent}{knot}{}", line(&unit, boot)));
        seen.insert(unit.name.clone());
        below(client, &properties, boot, fuzz, &format!("{indent}{branch}"), seen, text)?;
    }
    Ok(())
}
