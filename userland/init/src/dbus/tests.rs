//! The face against a made-up world: by Debian's own `systemctl`, and by clients that mean it no good.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use unit::{JobMode, KillWhom, Shutdown, Verb};
use zvariant::Value;

use super::property::Facts;
use super::world::{FileChanges, FileVerb, Job, Listed, Notice, Process, Settings, World};
use super::*;
use crate::dbus::world::Failure;

/// Units as lines, and a record of what was asked.
#[derive(Default)]
pub(crate) struct Fake {
    units: BTreeMap<String, Listed>,
    pub(crate) asked: Vec<String>,
    notices: Vec<Notice>,
    ticket: u64,
}

impl Fake {
    fn new() -> Fake {
        let mut fake = Fake::default();
        for (id, sub) in
            [("hello1.service", "running"), ("multi-user.target", "active"), ("sysinit.target", "active")]
        {
            let (id, description) = (id.to_owned(), format!("Description of {id}"));
            let listed = Listed { id, description, load: "loaded", active: "active", sub, job: None };
            fake.units.insert(listed.id.clone(), listed);
        }
        fake
    }
}

impl Fake {
    /// One with the bus's service up, and no logind.
    pub(crate) fn with_bus() -> Fake {
        let mut fake = Fake::new();
        let up = Listed {
            id: bus::UNIT.into(),
            load: "loaded",
            active: "active",
            sub: "running",
            ..Listed::default()
        };
        fake.units.insert(up.id.clone(), up);
        fake
    }
}

impl World for Fake {
    fn unit(&self, name: &str) -> Option<Listed> {
        self.units.get(name).cloned()
    }
    fn load(&mut self, name: &str) -> Option<Listed> {
        let (load, active, sub) = ("not-found", "inactive", "dead");
        let listed = Listed { id: name.into(), description: name.into(), load, active, sub, job: None };
        self.units.insert(name.into(), listed.clone());
        Some(listed)
    }
    fn units(&self) -> Vec<Listed> {
        self.units.values().cloned().collect()
    }
    fn facts(&self, name: &str) -> Facts {
        let listed = &self.units[name];
        let mut facts = Facts::from([
            ("Id", Value::from(listed.id.clone())),
            ("Description", listed.description.clone().into()),
            ("LoadState", listed.load.into()),
            ("ActiveState", listed.active.into()),
            ("SubState", listed.sub.into()),
            ("MainPID", 1u32.into()),
            ("ControlGroup", "/system.slice/hello1.service".into()),
        ]);
        if name == "multi-user.target" {
            facts.insert("Requires", property::strings(["sysinit.target"]));
        }
        if listed.load == "loaded" {
            facts.insert("FragmentPath", "/etc/hostname".into());
        }
        facts
    }
    fn manager_facts(&self) -> Facts {
        Facts::from([
            ("SystemState", Value::from("running")),
            ("Environment", property::strings(["PATH=/bin"])),
        ])
    }
    fn jobs(&self) -> Vec<Job> {
        vec![Job { id: 7, unit: "hello1.service".into(), kind: "start", state: "running" }]
    }
    fn cancel(&mut self, job: u32) -> bool {
        self.asked.push(format!("cancel {job}"));
        job == 7
    }
    fn submit(&mut self, verb: Verb, name: &str, mode: JobMode) -> u64 {
        self.asked.push(format!("{verb:?} {name} {mode:?}"));
        self.ticket += 1;
        let (job, ticket, unit) = (self.ticket as u32, self.ticket, name.to_owned());
        if self.units.get(name).is_some_and(|unit| unit.load == "loaded") || name.ends_with(".target") {
            self.notices.push(Notice::Queued { job, ticket: Some(ticket), unit: unit.clone() });
            self.notices.push(Notice::Changed(unit.clone()));
            self.notices.push(Notice::Done { job, unit, result: "done" });
        } else {
            self.notices.push(Notice::Refused { ticket, failure: Failure::no_such_unit(name) });
        }
        ticket
    }
    fn kill(&mut self, name: &str, whom: KillWhom, signal: i32) {
        self.asked.push(format!("kill {name} {whom:?} {signal}"));
    }
    fn reset_failed(&mut self, name: Option<&str>) {
        self.asked.push(format!("reset-failed {name:?}"));
    }
    fn unit_of(&self, pid: u32) -> Option<String> {
        (pid == 1).then(|| "hello1.service".into())
    }
    fn processes(&self, _: &str) -> Vec<Process> {
        vec![("/system.slice/hello1.service".into(), 1, "/bin/hello world".into())]
    }
    fn unit_files(&self) -> Vec<(String, &'static str)> {
        vec![
            ("/etc/systemd/system/hello1.service".into(), "enabled"),
            ("/usr/lib/systemd/system/a.mount".into(), "static"),
        ]
    }
    fn unit_file_state(&self, name: &str) -> Option<&'static str> {
        (name == "hello1.service").then_some("enabled")
    }
    fn change_unit_files(
        &mut self,
        verb: FileVerb,
        names: &[String],
        runtime: bool,
        force: bool,
    ) -> Result<FileChanges, Failure> {
        self.asked.push(format!("{verb:?} {names:?} {runtime} {force}"));
        self.notices.push(Notice::UnitFilesChanged);
        let done = vec![("symlink".into(), "/etc/l".into(), "/etc/t".into())];
        Ok(FileChanges { carries_install_info: true, done })
    }
    fn default_target(&self) -> Option<String> {
        Some("multi-user.target".into())
    }
    fn reload(&mut self) {
        self.asked.push("reload".into());
        self.notices.extend([Notice::Reloading(true), Notice::Reloading(false)]);
    }
    fn reexecute(&mut self) {
        self.asked.push("reexecute".into());
    }
    fn power(&mut self, how: Shutdown) {
        self.asked.push(format!("{how:?}"));
    }
    fn set_properties(&mut self, name: &str, runtime: bool, properties: &Settings) -> Result<(), Failure> {
        let text = assign::file(name, "", properties)?;
        self.asked.push(format!("set {name} {runtime} {text:?}"));
        Ok(())
    }
    fn make_transient(&mut self, name: &str, properties: &Settings, _: Vec<OwnedFd>) -> Result<(), Failure> {
        let text = assign::file(name, "", properties)?;
        self.asked.push(format!("make {name} {text:?}"));
        let load =
            Listed { id: name.into(), load: "loaded", active: "inactive", sub: "dead", ..Listed::default() };
        self.units.insert(name.into(), load);
        Ok(())
    }
    fn attach(&mut self, name: &str, below: &str, pids: &[u32]) -> Result<(), Failure> {
        self.asked.push(format!("attach {name} {below} {pids:?}"));
        Ok(())
    }
    fn abandon(&mut self, name: &str) {
        self.asked.push(format!("abandon {name}"));
    }
    fn freeze(&mut self, name: &str, frozen: bool) -> Result<(), Failure> {
        self.asked.push(format!("freeze {name} {frozen}"));
        Ok(())
    }
    fn clean(&mut self, name: &str, kinds: &[String]) -> Result<(), Failure> {
        self.asked.push(format!("clean {name} {kinds:?}"));
        Ok(())
    }
    fn set_default_target(&mut self, name: &str, force: bool) -> Result<FileChanges, Failure> {
        self.asked.push(format!("default {name} {force}"));
        Ok(FileChanges::default())
    }
    fn add_dependency(
        &mut self,
        names: &[String],
        target: &str,
        kind: &str,
        runtime: bool,
    ) -> Result<FileChanges, Failure> {
        self.asked.push(format!("add {names:?} {target}.{kind} {runtime}"));
        Ok(FileChanges::default())
    }
    fn unit_file_links(&self, name: &str, _: bool) -> Result<Vec<String>, Failure> {
        Ok(vec![format!("/etc/systemd/system/multi-user.target.wants/{name}")])
    }
    fn dynamic_users(&self) -> Vec<(u32, String)> {
        vec![(61_184, "hello".into())]
    }
    fn dump(&self) -> String {
        "-> Unit hello1.service:\n".into()
    }
    fn set_show_status(&mut self, show: bool) {
        self.asked.push(format!("show status {show}"));
    }
    fn log_level(&self) -> &'static str {
        "info"
    }
    fn set_log_level(&mut self, level: &str) -> bool {
        self.asked.push(format!("log {level}"));
        level == "debug"
    }
    fn log_target(&self) -> &'static str {
        "journal-or-kmsg"
    }
    fn set_log_target(&mut self, target: &str) -> bool {
        self.asked.push(format!("log to {target}"));
        target == "kmsg"
    }
    fn hold(&mut self, name: &str, holder: &str) {
        self.asked.push(format!("hold {name} {holder}"));
    }
    fn release(&mut self, name: &str, holder: &str) {
        self.asked.push(format!("release {name} {holder}"));
    }
    fn has_holders(&self) -> bool {
        false
    }
    fn unref(&mut self, holder: &str) {
        self.asked.push(format!("unref {holder}"));
    }
    fn environment(&self) -> Vec<String> {
        Vec::new()
    }
    fn change_environment(&mut self, unset: &[String], set: &[String]) {
        self.asked.push(format!("unset {unset:?} set {set:?}"));
    }
}

/// A server on a scratch socket with its world.
pub(crate) struct Stage {
    server: Server,
    pub(crate) world: Fake,
    pub(crate) path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private");
        Stage {
            server: Server::listen(&path, &directory.path().join("bus")).unwrap(),
            world: Fake::new(),
            path,
            _directory: directory,
        }
    }

    /// One turn of the event loop; false: nothing came for a moment.
    pub(crate) fn turn(&mut self) -> bool {
        let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let ready = poll(&mut [PollFd::new(&self.server.fd(), PollFlags::IN)], Some(&wait)).unwrap();
        if ready > 0 {
            self.server.ready(&mut self.world);
            let notices = std::mem::take(&mut self.world.notices);
            self.server.tell(&self.world, &notices);
        }
        ready > 0
    }

    /// What Debian's systemctl says of it, in a mount namespace where it is the manager. `None`: not root here.
    fn systemctl(&mut self, arguments: &[&str]) -> Option<Output> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && touch /run/systemd/private && \
                      mount --bind \"$0\" /run/systemd/private && exec systemctl \"$@\"";
        // The socket's directory must outlive the mount over /run.
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).arg(&self.path).args(arguments);
        let command = command.env("SYSTEMD_PAGER", "").env("SYSTEMD_COLORS", "0");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            self.turn();
        }
        Some(child.wait_with_output().unwrap())
    }

    /// The same, as (exit code, stdout, stderr).
    fn say(&mut self, arguments: &[&str]) -> Option<(i32, String, String)> {
        let output = self.systemctl(arguments)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Some((output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr)))
    }
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

macro_rules! systemctl {
    ($stage:expr, $($argument:expr),*) => {
        match $stage.say(&[$($argument),*]) {
            Some(answer) => answer,
            None => return eprintln!("skipped: needs root for a mount namespace"),
        }
    };
}

/// Runs a call as if it had come by a connection.
pub(crate) fn dispatch(
    message: &Message,
    uid: u32,
    may_load: bool,
    world: &mut Fake,
) -> Result<Answer, Failure> {
    let inhibitors = &mut methods::Inhibitors::default();
    methods::dispatch(&mut Call { message, uid, pid: 1, name: None, may_load, loaded: 0, inhibitors, world })
}

#[test]
fn systemctl_runs_jobs() {
    let mut stage = Stage::new();
    for verb in
        ["start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "try-reload-or-restart"]
    {
        assert_eq!(systemctl!(stage, verb, "hello1.service"), (0, String::new(), String::new()), "{verb}");
    }
    assert_eq!(systemctl!(stage, "--no-block", "start", "hello1").0, 0);
    assert_eq!(systemctl!(stage, "isolate", "multi-user.target").0, 0);
    let asked = std::mem::take(&mut stage.world.asked);
    assert_eq!(
        asked[..3],
        ["Start hello1.service Replace", "Stop hello1.service Replace", "Restart hello1.service Replace"]
    );
    assert!(asked.contains(&"Start multi-user.target Isolate".into()), "{asked:?}");

    let (code, _, complaint) = systemctl!(stage, "start", "nothing.service");
    assert_eq!(
        (code, complaint.as_str()),
        (5, "Failed to start nothing.service: Unit nothing.service not found.\n")
    );
    assert_eq!(systemctl!(stage, "kill", "-s", "USR2", "hello1.service").0, 0);
    assert_eq!(stage.world.asked.last().unwrap(), "kill hello1.service All 12");
    assert_eq!(systemctl!(stage, "reset-failed").0, 0);
    assert_eq!(systemctl!(stage, "reset-failed", "hello1.service").0, 0);
    assert_eq!(systemctl!(stage, "cancel", "7").0, 0);
    assert!(systemctl!(stage, "list-jobs").1.contains("hello1.service start running"));
}

#[test]
fn systemctl_reads() {
    let mut stage = Stage::new();
    let (code, status, _) = systemctl!(stage, "status", "--no-pager", "-n0", "hello1.service");
    assert_eq!(code, 0, "{status}");
    assert!(status.contains("hello1.service - Description of hello1.service"), "{status}");
    assert!(status.contains("Active: active (running)") && status.contains("└─1 "), "{status}");
    assert_eq!(systemctl!(stage, "status", "nothing.service").0, 4);
    assert_eq!(systemctl!(stage, "is-active", "hello1.service"), (0, "active\n".into(), String::new()));
    assert_eq!(systemctl!(stage, "is-active", "nothing.service"), (3, "inactive\n".into(), String::new()));
    assert_eq!(systemctl!(stage, "is-failed", "hello1.service").0, 1);
    assert_eq!(systemctl!(stage, "is-enabled", "hello1.service"), (0, "enabled\n".into(), String::new()));
    assert_eq!(systemctl!(stage, "is-system-running"), (0, "running\n".into(), String::new()));
    assert_eq!(systemctl!(stage, "show", "-p", "SubState", "--value", "hello1.service").1, "running\n");
    let (code, show, complaint) = systemctl!(stage, "show", "hello1.service");
    assert_eq!((code, complaint.as_str()), (0, ""));
    assert!(show.lines().count() > 200 && show.contains("\nTimeoutStartUSec=1min 30s\n"), "{show}");
    let (code, show, complaint) = systemctl!(stage, "show");
    assert_eq!((code, complaint.as_str()), (0, ""));
    assert!(show.contains("SystemState=running"));
    assert_eq!(systemctl!(stage, "show-environment").1, "PATH=/bin\n");
    let (_, units, _) = systemctl!(stage, "list-units", "--no-pager");
    assert!(
        units.contains("hello1.service    loaded active running Description of hello1.service"),
        "{units}"
    );
    assert!(
        systemctl!(stage, "list-units", "multi*", "--plain", "--no-legend")
            .1
            .starts_with("multi-user.target")
    );
    let (_, files, _) = systemctl!(stage, "list-unit-files", "--no-pager");
    assert!(files.contains("hello1.service enabled") && files.contains("2 unit files listed."), "{files}");
    let (_, tree, _) = systemctl!(stage, "list-dependencies", "multi-user.target");
    assert!(tree.contains("└─sysinit.target"), "{tree}");
    assert!(systemctl!(stage, "cat", "hello1.service").1.starts_with("# /etc/hostname\n"));
    assert_eq!(systemctl!(stage, "get-default").1, "multi-user.target\n");
}

#[test]
fn systemctl_changes_files_and_the_machine() {
    let mut stage = Stage::new();
    let (code, _, said) = systemctl!(stage, "enable", "hello1.service");
    assert_eq!((code, said.as_str()), (0, "Created symlink /etc/l → /etc/t.\n"));
    for verb in ["disable", "mask", "unmask", "preset", "daemon-reload"] {
        let (code, _, said) = systemctl!(stage, verb, "hello1.service");
        let expected = i32::from(verb == "daemon-reload");
        assert_eq!(code, expected, "{verb}: {said}");
    }
    assert_eq!(systemctl!(stage, "daemon-reload").0, 0);
    assert_eq!(systemctl!(stage, "set-environment", "A=b").0, 0);
    assert_eq!(stage.world.asked.last().unwrap(), "unset [] set [\"A=b\"]");
    assert_eq!(systemctl!(stage, "poweroff").0, 0);
    assert_eq!(stage.world.asked.last().unwrap(), "Start poweroff.target ReplaceIrreversibly");
    assert_eq!(systemctl!(stage, "reboot", "--force").0, 0);
    assert_eq!(stage.world.asked.last().unwrap(), "Reboot");
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let mut stage = Stage::new();
    let begin = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n".to_vec();
    let mut longest = begin.clone();
    longest.extend([b'l', 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let mut unknown = begin.clone();
    unknown.extend([b'l'; 64]);
    for garbage in [b"GET / HTTP/1.0\r\n\r\n".to_vec(), vec![0; 5000], longest, unknown] {
        let mut client = connect(&stage.path);
        client.write_all(&garbage).unwrap();
        while stage.turn() {}
        // Read to the end: the server has closed it.
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert_eq!(stage.server.clients(), 0);
    }
}

#[test]
fn a_thousand_connections_are_bounded() {
    let mut stage = Stage::new();
    let clients: Vec<UnixStream> = (0..1000)
        .map(|_| {
            let client = connect(&stage.path);
            stage.turn();
            client
        })
        .collect();
    assert!(stage.server.clients() <= MOST_CLIENTS);
    drop(clients);
    while stage.turn() {}
    assert_eq!(stage.server.clients(), 0);
}

#[test]
fn a_client_that_does_not_read_is_made_to_wait() {
    let mut stage = Stage::new();
    let mut client = connect(&stage.path);
    client.set_nonblocking(true).unwrap();
    client.write_all(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n").unwrap();
    let mut call = Message::call(ROOT, "org.freedesktop.systemd1.Manager", "ListUnits");
    call.serial = 1;
    let bytes = call.encode().unwrap();
    // It writes until nobody takes more: the server has stopped reading.
    let mut written = 0usize;
    loop {
        match client.write(&bytes) {
            Ok(length) => written += length,
            Err(_) if stage.turn() => {}
            Err(_) => break,
        }
        assert!(written < 64 << 20, "the server takes everything");
    }
    assert_eq!(stage.server.clients(), 1);
}

#[test]
fn strangers_read_and_change_nothing() {
    let mut world = Fake::new();
    let mut ask = |message: Message| dispatch(&message, 1000, false, &mut world);
    let manager = "org.freedesktop.systemd1.Manager";
    assert!(ask(Message::call(ROOT, manager, "ListUnits")).is_ok());
    assert!(ask(Message::call(ROOT, manager, "GetUnit").with(&"hello1.service").unwrap()).is_ok());
    let start = Message::call(ROOT, manager, "StartUnit").with(&("hello1.service", "replace")).unwrap();
    assert_eq!(ask(start).unwrap_err().name, "org.freedesktop.DBus.Error.AccessDenied");
    assert_eq!(
        ask(Message::call(ROOT, manager, "Reload")).unwrap_err().name,
        "org.freedesktop.DBus.Error.AccessDenied"
    );
    let load = Message::call(ROOT, manager, "LoadUnit").with(&"other.service").unwrap();
    assert_eq!(ask(load).unwrap_err().name, "org.freedesktop.DBus.Error.LimitsExceeded");
    let wrong = Message::call(ROOT, manager, "GetUnit").with(&5u32).unwrap();
    assert_eq!(ask(wrong).unwrap_err().name, "org.freedesktop.DBus.Error.InvalidArgs");
    let bad = Message::call(ROOT, manager, "LoadUnit").with(&"no unit name").unwrap();
    assert_eq!(ask(bad).unwrap_err().name, "org.freedesktop.DBus.Error.InvalidArgs");
    assert_eq!(
        ask(Message::call("/nowhere", manager, "ListUnits")).unwrap_err().name,
        "org.freedesktop.DBus.Error.UnknownObject"
    );
    assert!(world.asked.is_empty());
}

#[test]
fn introspection_names_every_method() {
    let mut world = Fake::new();
    let message = Message::call(ROOT, "org.freedesktop.DBus.Introspectable", "Introspect");
    let Ok(Answer::Now(body)) = dispatch(&message, 0, true, &mut world) else { panic!("no answer") };
    let xml: String = Message::reply(1).with_body(body).unwrap().body().unwrap();
    assert!(xml.contains("<method name=\"ListUnitsByPatterns\">"), "{xml}");
    assert!(xml.contains("<arg type=\"a(ssssssouso)\" direction=\"out\"/>"), "{xml}");
    assert!(xml.contains("<property name=\"SystemState\" type=\"s\" access=\"read\"/>"), "{xml}");
}

/// Methods of systemd 252's manager and units, with what they take and give: what its clients rely on.
const OF_SYSTEMD: &str = "
    org.freedesktop.systemd1.Manager GetUnit s o | GetUnitByPID u o | GetUnitByInvocationID ay o
    | GetUnitByControlGroup s o | LoadUnit s o | StartUnit ss o | StartUnitWithFlags sst o | StartUnitReplace sss o
    | StopUnit ss o | ReloadUnit ss o | RestartUnit ss o | TryRestartUnit ss o | ReloadOrRestartUnit ss o
    | ReloadOrTryRestartUnit ss o | EnqueueUnitJob sss uososa(uosos) | KillUnit ssi - | CleanUnit sas -
    | FreezeUnit s - | ThawUnit s - | ResetFailedUnit s - | SetUnitProperties sba(sv) - | BindMountUnit sssbb -
    | MountImageUnit sssbba(ss) - | RefUnit s - | UnrefUnit s - | StartTransientUnit ssa(sv)a(sa(sv)) o
    | GetUnitProcesses s a(sus) | AttachProcessesToUnit ssau - | AbandonScope s - | GetJob u o
    | GetJobAfter u a(usssoo) | GetJobBefore u a(usssoo) | CancelJob u - | ClearJobs - - | ResetFailed - -
    | SetShowStatus s - | ListUnits - a(ssssssouso) | ListUnitsFiltered as a(ssssssouso)
    | ListUnitsByPatterns asas a(ssssssouso) | ListUnitsByNames as a(ssssssouso) | ListJobs - a(usssoo)
    | Subscribe - - | Unsubscribe - - | Dump - s | DumpUnitsMatchingPatterns as s | DumpByFileDescriptor - h
    | DumpUnitsMatchingPatternsByFileDescriptor as h | Reload - - | Reexecute - - | Exit - - | Reboot - -
    | PowerOff - - | Halt - - | KExec - - | SwitchRoot ss - | SetEnvironment as - | UnsetEnvironment as -
    | UnsetAndSetEnvironment asas - | EnqueueMarkedJobs - ao | ListUnitFiles - a(ss)
    | ListUnitFilesByPatterns asas a(ss) | GetUnitFileState s s | EnableUnitFiles asbb ba(sss)
    | DisableUnitFiles asb a(sss) | EnableUnitFilesWithFlags ast ba(sss) | DisableUnitFilesWithFlags ast a(sss)
    | DisableUnitFilesWithFlagsAndInstallInfo ast ba(sss) | ReenableUnitFiles asbb ba(sss)
    | LinkUnitFiles asbb a(sss) | PresetUnitFiles asbb ba(sss) | PresetUnitFilesWithMode assbb ba(sss)
    | MaskUnitFiles asbb a(sss) | UnmaskUnitFiles asb a(sss) | RevertUnitFiles as a(sss) | SetDefaultTarget sb a(sss)
    | GetDefaultTarget - s | PresetAllUnitFiles sbb a(sss) | AddDependencyUnitFiles asssbb a(sss) | SetExitCode y -
    ; org.freedesktop.systemd1.Unit Start s o | Stop s o | Reload s o | Restart s o | TryRestart s o
    | ReloadOrRestart s o | ReloadOrTryRestart s o | EnqueueJob ss uososa(uosos) | Kill si - | ResetFailed - -
    | SetProperties ba(sv) - | Ref - - | Unref - - | Clean as - | Freeze - - | Thaw - -
    ; org.freedesktop.systemd1.Service BindMount ssbb - | MountImage ssbba(ss) - | GetProcesses - a(sus)
    | AttachProcesses sau -
    ; org.freedesktop.login1.Manager PowerOff b - | PowerOffWithFlags t - | Reboot b - | RebootWithFlags t -
    | Halt b - | HaltWithFlags t - | CanPowerOff - s | CanReboot - s | CanHalt - s | Inhibit ssss h
    | ListInhibitors - a(ssssuu) | ListSessions - a(susso) | ListUsers - a(uso) | SetWallMessage sb -";

#[test]
fn methods_are_called_as_systemds_are() {
    for interface in OF_SYSTEMD.split(';') {
        let (name, methods) = interface.trim().split_once(' ').unwrap();
        let path = match name {
            "org.freedesktop.systemd1.Manager" => ROOT.to_owned(),
            "org.freedesktop.login1.Manager" => path::LOGIN.to_owned(),
            _ => path::of_unit("hello1.service"),
        };
        let ask = Message::call(&path, "org.freedesktop.DBus.Introspectable", "Introspect");
        let Ok(Answer::Now(body)) = dispatch(&ask, 0, true, &mut Fake::new()) else { panic!("no answer") };
        let xml: String = Message::reply(1).with_body(body).unwrap().body().unwrap();
        let own = xml.split(&format!("<interface name=\"{name}\">")).nth(1).unwrap();
        let own = own.split("</interface>").next().unwrap();
        for method in methods.split('|') {
            let words: Vec<&str> = method.split_whitespace().collect();
            let [member, takes, gives] = words[..] else { panic!("{method}") };
            let told = own.split(&format!("<method name=\"{member}\">")).nth(1);
            let told =
                told.unwrap_or_else(|| panic!("{name} has no {member}")).split("</method>").next().unwrap();
            let types = |direction: &str| -> String {
                let arguments = told.lines().filter(|line| line.contains(direction));
                arguments.filter_map(|line| line.split('"').nth(1)).collect()
            };
            let plain = |types: &str| types.replace('-', "");
            assert_eq!((types("\"in\""), types("\"out\"")), (plain(takes), plain(gives)), "{name}.{member}");
        }
    }
}
