//! Thousands of units at once are work, not a circle: the limit of steps does not stop them half way.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use unit::{
    Action, ActiveState, Engine, Event, ExitStatus, Host, InMemory, JobMode, Level, Nowhere, Pid, RequestId,
    UnitName, Verb, World,
};

const COUNT: u32 = 6000;

/// `all.target` wants so many services, each of which comes after some targets.
fn text(name: &str) -> Option<String> {
    let wants = || (0..COUNT).map(|number| format!("Wants=n{number}.service\n")).collect::<String>();
    Some(match name {
        "all.target" => format!("[Unit]\n{}", wants()),
        "sysinit.target" | "basic.target" => "[Unit]\n".into(),
        name if name.starts_with('n') && name.ends_with(".service") => {
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n".into()
        }
        _ => return None,
    })
}

#[test]
fn thousands_of_units_start_at_once() {
    let mut engine = Engine::new(Host::default());
    let world = World { now: 1, realtime: 1, catalog: &InMemory(text), probe: &Nowhere };
    let all = UnitName::parse("all.target").unwrap();
    let begin =
        Event::Request { id: RequestId(1), verb: Verb::Start, unit: all.clone(), mode: JobMode::Replace };
    let mut events = vec![begin];
    let mut spawned = 0;
    while let Some(event) = events.pop() {
        for action in engine.handle(event, &world) {
            match action {
                Action::Spawn(spawn) => {
                    spawned += 1;
                    let pid = Pid(spawned + 100);
                    // the engine's rule: of every process first that it is there
                    events.insert(0, Event::Exited { pid, status: ExitStatus::Code(0) });
                    events.push(Event::Spawned { unit: spawn.unit, token: spawn.token, outcome: Ok(pid) });
                }
                Action::Log { level: Level::Critical, message, .. } => panic!("{message}"),
                _ => {}
            }
        }
    }
    assert_eq!(spawned, COUNT);
    assert_eq!(engine.active_state(&all), Some(ActiveState::Active));
    assert!(!engine.is_busy());
}
