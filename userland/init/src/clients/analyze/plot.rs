//! `plot`: the boot as a picture: a bar for each unit, from when it began to start.

use std::fmt::Write;

use super::boot::{Boot, Unit};
use crate::cli::time::span;

/// Pixels a second, and a row.
const SECOND: f64 = 100.0;
const ROW: f64 = 20.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 90.0;
/// Room for the name of a unit that begins at the end.
const RIGHT: f64 = 420.0;

const STYLE: &str = "text{font:12px sans-serif}.k{fill:#9bbfd9}.u{fill:#c8dcae}.a{fill:#e0583f}.r{fill:#f3b7ab}\
                     .d{fill:#c9b2d6}.g{stroke:#ddd}.t{stroke:#3a7d34;stroke-width:2}";

/// µs since the kernel began, in pixels from the left.
fn x(at: u64) -> f64 {
    LEFT + at as f64 / 1e6 * SECOND
}

pub(super) fn svg(boot: &Boot, units: &[Unit]) -> String {
    let shown: Vec<&Unit> = units.iter().filter(|unit| unit.activating <= boot.finish).collect();
    let height = TOP + ROW * (shown.len() as f64 + 3.0);
    let width = x(boot.finish) + RIGHT;
    let mut svg = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
         width=\"{width:.0}\" height=\"{height:.0}\">\n<style>{STYLE}</style>\n"
    );
    // Writing to a String does not fail.
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let title = format!(
        "{host}: {} (kernel) + {} (userspace) = {}",
        span(boot.userspace, 1_000),
        span(boot.finish.saturating_sub(boot.userspace), 1_000),
        span(boot.finish, 1_000)
    );
    let _ = writeln!(svg, "<text x=\"20\" y=\"30\">{}</text>", escape(&title));
    let legend =
        [("k", "kernel"), ("u", "userspace"), ("a", "activating"), ("r", "active"), ("d", "deactivating")];
    for (at, (class, word)) in legend.into_iter().enumerate() {
        let place = 20.0 + at as f64 * 120.0;
        let _ = writeln!(svg, "<rect class=\"{class}\" x=\"{place}\" y=\"42\" width=\"12\" height=\"12\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"53\">{word}</text>", place + 18.0);
    }
    for second in 0..=boot.finish.div_ceil(1_000_000) {
        let at = x(second * 1_000_000);
        let _ = writeln!(
            svg,
            "<line class=\"g\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{height:.0}\"/>"
        );
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{}\">{second} s</text>", at + 3.0, TOP - 6.0);
    }
    let mut row = 0.0;
    bar(&mut svg, "k", row, 0, boot.userspace, "kernel");
    row += 1.0;
    bar(&mut svg, "u", row, boot.userspace, boot.finish, "userspace");
    for unit in shown {
        row += 1.0;
        let end = |at: u64, otherwise: u64| if at > 0 { at.min(boot.finish) } else { otherwise };
        let up = end(unit.activated, end(unit.deactivated, unit.activating)).max(unit.activating);
        let down = if unit.deactivating >= up { end(unit.deactivating, boot.finish) } else { boot.finish };
        if unit.activated > 0 && up < down {
            bar(&mut svg, "r", row, up, down, "");
        }
        if unit.deactivating > 0 && unit.deactivated > unit.deactivating {
            bar(&mut svg, "d", row, unit.deactivating, end(unit.deactivated, boot.finish), "");
        }
        let took = unit.took();
        let label =
            if took > 0 { format!("{} ({})", unit.name, span(took, 1_000)) } else { unit.name.clone() };
        bar(&mut svg, "a", row, unit.activating, up, &label);
    }
    if let Some((target, at)) = &boot.target {
        let (at, word) = (x(*at), escape(target));
        let _ = writeln!(
            svg,
            "<line class=\"t\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{height:.0}\"/>"
        );
        let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.0}\">{word}</text>", at + 4.0, height - 6.0);
    }
    svg + "</svg>\n"
}

fn bar(svg: &mut String, class: &str, row: f64, from: u64, to: u64, label: &str) {
    let (left, top) = (x(from), TOP + row * ROW);
    let width = (x(to) - left).max(1.0);
    let _ = writeln!(
        svg,
        "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"{}\"/>",
        top + 2.0,
        ROW - 4.0
    );
    if !label.is_empty() {
        let _ =
            writeln!(svg, "<text x=\"{:.1}\" y=\"{:.0}\">{}</text>", left + 4.0, top + 14.0, escape(label));
    }
}

/// XML's own letters as entities.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_has_its_bar() {
        let boot = Boot {
            userspace: 1_000_000,
            finish: 3_000_000,
            target: Some(("multi-user.target".into(), 2_900_000)),
        };
        let unit = |name: &str, activating, activated| Unit {
            name: name.into(),
            activating,
            activated,
            deactivating: 0,
            deactivated: 0,
        };
        let units = [unit("a<b.service", 1_100_000, 1_600_000), unit("late.service", 9_000_000, 0)];
        let svg = svg(&boot, &units);
        assert!(svg.contains("a&lt;b.service (500ms)") && !svg.contains("late.service"), "{svg}");
        assert!(
            svg.contains("<rect class=\"a\" x=\"190.0\" y=\"132\" width=\"50.0\" height=\"16\"/>"),
            "{svg}"
        );
        assert_eq!(svg.matches("<svg").count(), 1);
        assert!(svg.ends_with("</svg>\n"));
    }
}
