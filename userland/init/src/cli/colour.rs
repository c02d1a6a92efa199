//! Colours for people: on a terminal only, and as the environment says (`SYSTEMD_COLORS`, `NO_COLOR`, `TERM=dumb`).

use std::io::IsTerminal;

const GREEN: &str = "\x1b[0;1;32m";
const RED: &str = "\x1b[0;1;31m";
const PLAIN: &str = "\x1b[0m";

/// Whether the output is to have colours.
pub(super) fn wanted() -> bool {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match variable("SYSTEMD_COLORS").as_deref() {
        Some("0" | "no" | "false") => false,
        Some(_) => true,
        None => {
            let refused = variable("NO_COLOR").is_some() || variable("TERM").as_deref() == Some("dumb");
            !refused && std::io::stdout().is_terminal()
        }
    }
}

/// A text in the colour of an active state: green for what is up, red for what failed.
pub(super) fn of_state(text: &str, active: &str, colour: bool) -> String {
    let tone = match active {
        "active" | "reloading" | "activating" | "deactivating" => GREEN,
        "failed" => RED,
        _ => return text.to_owned(),
    };
    if colour && !text.trim().is_empty() { format!("{tone}{text}{PLAIN}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_states_that_matter_have_a_colour() {
        assert_eq!(of_state("up", "active", true), "\x1b[0;1;32mup\x1b[0m");
        assert_eq!(of_state("down", "failed", true), "\x1b[0;1;31mdown\x1b[0m");
        assert_eq!(of_state("off", "inactive", true), "off");
        assert_eq!(of_state("up", "active", false), "up");
    }
}
