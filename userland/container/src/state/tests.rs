//! What is kept of containers, and what is lost with them.

use super::*;

fn record(name: &str) -> Record {
    Record {
        id: new_id().unwrap(),
        name: name.to_owned(),
        image: "busybox".to_owned(),
        image_id: "sha256:0".to_owned(),
        layers: Vec::new(),
        command: vec!["sh".to_owned()],
        created: now(),
        tty: false,
        init: false,
        auto_remove: false,
        stop_signal: None,
        network: "none".to_owned(),
        labels: std::collections::BTreeMap::new(),
    }
}

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    containers: Containers,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let containers = Containers::new(&dir.path().join("store"), &dir.path().join("run"));
        Self { _dir: dir, store, containers }
    }

    fn create(&self, record: Record) -> Result<(Record, Owner), StateError> {
        self.containers.create(&self.store, record, &oci_spec::runtime::Spec::default())
    }
}

#[test]
fn a_name_is_given_once() {
    let world = World::new();
    let (first, _owner) = world.create(record("one")).unwrap();
    assert!(matches!(world.create(record("one")), Err(StateError::NameTaken { id, .. }) if id == first.id));
    assert!(matches!(world.create(record("../x")), Err(StateError::BadName(_))));
    let (unnamed, _owner) = world.create(record("")).unwrap();
    assert_eq!(unnamed.name, unnamed.id[..12]);
    assert_eq!(world.containers.find(&unnamed.id[..20]).unwrap().record.id, unnamed.id);
    assert!(matches!(world.containers.find("two"), Err(StateError::Missing(_))));
}

#[test]
fn death_shows_when_the_owner_is_gone() {
    let world = World::new();
    let (made, owner) = world.create(record("one")).unwrap();
    assert_eq!(world.containers.find("one").unwrap().status, Status::Created);
    let me = std::process::id();
    let state =
        State { pid: Some(me), pid_start: start_of(me).unwrap(), started: Some(now()), ..State::default() };
    world.containers.set_state(&made.id, &state).unwrap();
    let running = world.containers.find("one").unwrap();
    assert_eq!(running.status, Status::Running);
    assert!(running.state.process().is_some());
    assert!(matches!(world.containers.remove(&running), Err(StateError::Running(_))));
    assert!(!world.containers.wait_for_end(&made.id, Duration::ZERO).unwrap());
    drop(owner);
    assert!(world.containers.wait_for_end(&made.id, Duration::ZERO).unwrap());
    assert_eq!(world.containers.find("one").unwrap().status, Status::Exited(137));
}

#[test]
fn a_number_that_passed_to_another_process_is_not_the_container() {
    let state = State { pid: Some(std::process::id()), pid_start: 1, ..State::default() };
    assert!(state.process().is_none());
}

#[test]
fn a_container_survives_a_reboot_as_ended() {
    let world = World::new();
    let (made, owner) = world.create(record("one")).unwrap();
    drop(owner);
    fs::remove_dir_all(&world.containers.run).unwrap();
    let found = world.containers.find("one").unwrap();
    assert_eq!(found.status, Status::Exited(UNSEEN));
    world.containers.remove(&found).unwrap();
    assert!(!world.containers.dir(&made.id).exists());
}

#[test]
fn clearing_removes_what_was_to_be_removed_and_what_is_torn() {
    let world = World::new();
    let (kept, owner) = world.create(record("kept")).unwrap();
    drop(owner);
    let (_, owner) = world.create(Record { auto_remove: true, ..record("gone") }).unwrap();
    drop(owner);
    let (_, running) = world.create(Record { auto_remove: true, ..record("running") }).unwrap();
    fs::create_dir_all(world.containers.dir("torn").join("upper")).unwrap();
    assert_eq!(world.containers.clear().unwrap(), 2);
    let names: Vec<_> = world.containers.list().unwrap().into_iter().map(|one| one.record.name).collect();
    assert!(names.contains(&"kept".to_owned()) && names.contains(&"running".to_owned()) && names.len() == 2);
    assert!(world.containers.dir(&kept.id).exists());
    drop(running);
}
