//! What a boot costs PID 1, without a boot: the engine and the unit directories of an image, fifty devices that come
//! one by one, and processes that do at once what is expected of them. For `strace -c` and `valgrind --tool=callgrind`:
//! `boot-cost FOLDER [TARGET]`, FOLDER with unit files, as `image/units`.

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;

use init::catalog::Directories;
use unit::settings::ServiceType;
use unit::{
    Action, Catalog, Device, Engine, Event, ExitStatus, Host, JobMode, MountEntry, Notify, Pid, Probe,
    RequestId, UnitFileState, UnitName, Verb, World,
};

/// As many as a small virtual machine has.
const DEVICES: usize = 50;
const MOUNTS: [&str; 12] = [
    "/",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/proc",
    "/sys",
    "/sys/fs/cgroup",
    "/run",
    "/tmp",
    "/usr",
    "/var",
    "/sys/kernel/debug",
];

/// Everything is there.
struct Willing;

impl Probe for Willing {
    fn path_exists(&self, _: &str) -> bool {
        true
    }
}

struct Boot {
    engine: Engine,
    catalog: Directories,
    now: u64,
    last: u32,
    done: usize,
}

impl Boot {
    /// One turn of the event loop: an event and all that comes of it.
    fn turn(&mut self, event: Event) {
        self.catalog.look_again();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.now += 1;
            let world = World { now: self.now, realtime: self.now, catalog: &self.catalog, probe: &Willing };
            for action in self.engine.handle(event, &world) {
                match action {
                    Action::Spawn(spawn) => {
                        self.last += 1;
                        let (unit, token, pid) = (spawn.unit, spawn.token, Pid(self.last + 100));
                        events.push_front(Event::Spawned { unit: unit.clone(), token, outcome: Ok(pid) });
                        events.push_back(Event::Executed { unit: unit.clone(), token });
                        let status = self.engine.status(&unit);
                        let kind = status.and_then(|status| status.definition.service().map(|it| it.kind));
                        let message = Notify { ready: true, ..Notify::default() };
                        match kind {
                            Some(ServiceType::Oneshot) | None => {
                                events.push_back(Event::Exited { pid, status: ExitStatus::Code(0) });
                            }
                            _ => events.push_back(Event::Notified { pid, unit: Some(unit), message }),
                        }
                    }
                    Action::OpenSockets { unit } => {
                        let unit = unit.name.clone();
                        events.push_front(Event::SocketsOpened { unit, outcome: Ok(()) });
                    }
                    Action::JobDone { .. } => self.done += 1,
                    _ => {}
                }
            }
        }
        let _ = self.engine.deadline();
    }
}

fn device(number: usize) -> Device {
    let sysfs = format!("/sys/devices/pci0000:00/0000:00:{number:02x}.0/virtio{number}/block/vd{number}");
    let paths = vec![sysfs.clone(), format!("/dev/vd{number}")];
    Device { sysfs, paths, description: String::new() }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let Some(folder) = args.next() else {
        eprintln!("boot-cost FOLDER [TARGET]: say which folder of unit files to boot, as image/units.");
        return ExitCode::from(2);
    };
    let target = args.next().unwrap_or_else(|| "multi-user.target".into());
    let Ok(target) = UnitName::parse(&target) else { return ExitCode::from(2) };
    let root = std::env::temp_dir().join(format!("boot-cost-{}", std::process::id()));
    let units = root.join("usr/lib/systemd");
    let made = std::fs::create_dir_all(&units)
        .and_then(|()| std::fs::canonicalize(&folder))
        .and_then(|folder| std::os::unix::fs::symlink(folder, units.join("system")));
    let made = made.and_then(|()| enable(&root));
    if let Err(error) = made {
        eprintln!("boot-cost: cannot make a root of {folder}: {error}");
        return ExitCode::FAILURE;
    }
    let cost = boot(&root, target);
    let _ = std::fs::remove_dir_all(&root);
    println!("{cost}");
    ExitCode::SUCCESS
}

/// Every unit that can be enabled is.
fn enable(root: &Path) -> std::io::Result<()> {
    let catalog = Directories::below(root);
    let wants = root.join("etc/systemd/system/multi-user.target.wants");
    std::fs::create_dir_all(&wants)?;
    for (name, state) in catalog.list() {
        if state == UnitFileState::Disabled {
            let file = Path::new("/usr/lib/systemd/system").join(name.as_str());
            std::os::unix::fs::symlink(file, wants.join(name.as_str()))?;
        }
    }
    Ok(())
}

fn boot(root: &Path, target: UnitName) -> String {
    let engine = Engine::new(Host::default());
    let mut boot = Boot { engine, catalog: Directories::below(root), now: 0, last: 0, done: 0 };
    let mount = |place: &&str| MountEntry {
        what: "none".into(),
        place: (*place).into(),
        fs_type: "tmpfs".into(),
        options: "rw".into(),
    };
    boot.turn(Event::MountsChanged { mounted: MOUNTS.iter().map(mount).collect() });
    let (early, late) = (0..DEVICES / 2, DEVICES / 2..DEVICES);
    boot.turn(Event::DevicesPlugged(early.map(device).collect()));
    boot.turn(Event::Request { id: RequestId(1), verb: Verb::Start, unit: target, mode: JobMode::Isolate });
    for number in late {
        boot.turn(Event::DevicesPlugged(vec![device(number)]));
    }
    format!("{} units, {} jobs done", boot.engine.units().len(), boot.done)
}
