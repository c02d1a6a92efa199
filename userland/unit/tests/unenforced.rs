//! What is read but not carried out: the list in the code is the table in the documentation, and a unit that uses a
//! directive of it is warned of once.

// a test may panic
#![allow(clippy::unwrap_used)]

mod world;

use unit::unenforced::UNENFORCED;
use unit::{Action, Event, Level, UnitName};
use world::{Files, Machine};

#[test]
fn the_documentation_has_the_same_table() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## Directives without effect\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| systemd.")).collect();
    let expected: Vec<String> = UNENFORCED
        .iter()
        .map(|entry| format!("| systemd.{} | `{}=` | {} |", entry.page, entry.directive, entry.instead))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn a_unit_that_uses_one_is_warned_of_once() {
    let text = "[Unit]\nDescription=a\n\
                [Service]\nExecStart=/bin/a\nPAMName=a\nUSBFunctionStrings=\nUSBFunctionStrings=/a\n";
    let mut machine = Machine::new(Files([("a.service".to_string(), text.to_string())].into()));
    machine.handle(Event::Load { unit: UnitName::parse("a.service").unwrap() });
    let said: Vec<&String> = machine
        .seen
        .iter()
        .filter_map(|action| match action {
            Action::Log { level: Level::Warning, message, .. } => Some(message),
            _ => None,
        })
        .filter(|message| message.contains("without effect"))
        .collect();
    assert_eq!(said, ["a.service: without effect here: PAMName=, USBFunctionStrings=."]);
}
