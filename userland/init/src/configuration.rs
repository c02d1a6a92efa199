//! What the operator says of PID 1 itself and of all units: /etc/systemd/system.conf and its drop-ins
//! (systemd-system.conf(5)).
//!
//! It is read in the boot, and anew with the unit files. What has changed since takes effect then; what a client has
//! set in between, stays.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use unit::settings::Defaults;
use unit::{Level, load, text, timespan};

use crate::log;
use crate::manager::Manager;

const MAIN: &str = "etc/systemd/system.conf";
/// Of drop-ins of one name the first one counts.
const FOLDERS: [&str; 5] = [
    "etc/systemd/system.conf.d",
    "run/systemd/system.conf.d",
    "usr/local/lib/systemd/system.conf.d",
    "usr/lib/systemd/system.conf.d",
    "lib/systemd/system.conf.d",
];
/// A file longer than this is not read on, in bytes.
const LONGEST: usize = 1 << 20;
/// So long may the hardware watchdog be left alone, unless something else is said: it is on wherever there is one.
const WATCHDOG: u64 = 60_000_000;

/// Keys of systemd's that have no effect here. Whoever uses one is told.
const WITHOUT_EFFECT: &[&str] = &[
    "CPUAffinity",
    "CapabilityBoundingSet",
    "ConfirmSpawn",
    "CrashAction",
    "CrashChangeVT",
    "CrashChVT",
    "CrashShell",
    "CtrlAltDelBurstAction",
    "DumpCore",
    "LogColor",
    "LogLocation",
    "LogTime",
    "NUMAMask",
    "NUMAPolicy",
    "NoNewPrivileges",
    "ProtectSystem",
    "ReloadLimitBurst",
    "ReloadLimitIntervalSec",
    "RuntimeWatchdogPreGovernor",
    "RuntimeWatchdogPreSec",
    "StatusUnitFormat",
    "SystemCallArchitectures",
    "TimerSlackNSec",
];

/// What is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// What units have that say nothing else.
    pub defaults: Defaults,
    /// LogLevel=
    pub log_level: Option<String>,
    /// LogTarget=
    pub log_target: Option<String>,
    /// ShowStatus=
    pub show_status: Option<bool>,
    /// CrashReboot=: when PID 1 cannot go on, the machine restarts, else it stands still
    pub crash_reboot: bool,
    /// ManagerEnvironment=
    pub manager_environment: Vec<(String, String)>,
    /// The hardware watchdog.
    pub watchdog: WatchdogSettings,
    /// What cannot be used, a line each.
    pub warnings: Vec<String>,
}

/// How the hardware watchdog is used. Times in µs; zero: it is off then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchdogSettings {
    /// WatchdogDevice=
    pub device: PathBuf,
    /// RuntimeWatchdogSec=
    pub runtime: u64,
    /// RebootWatchdogSec=; `None`: as while the system runs
    pub reboot: Option<u64>,
    /// KExecWatchdogSec=; `None`: as while the system runs
    pub kexec: Option<u64>,
}

impl Default for Configuration {
    fn default() -> Self {
        Configuration {
            defaults: Defaults::default(),
            log_level: None,
            log_target: None,
            show_status: None,
            crash_reboot: true,
            manager_environment: Vec::new(),
            watchdog: WatchdogSettings {
                device: PathBuf::from("/dev/watchdog"),
                runtime: WATCHDOG,
                reboot: None,
                kexec: None,
            },
            warnings: Vec::new(),
        }
    }
}

/// Reads what a root has.
#[must_use]
pub fn read(root: &Path) -> Configuration {
    let mut found = Configuration::default();
    for path in files(root) {
        let Ok(bytes) = fs::read(&path) else { continue };
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        found.file(&format!("/{shown}"), &String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(&bytes)));
    }
    found
}

/// The main file, and then the drop-ins by their names.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut drop_ins: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "conf") {
                drop_ins.entry(entry.file_name()).or_insert_with(|| entry.path());
            }
        }
    }
    std::iter::once(root.join(MAIN)).chain(drop_ins.into_values()).collect()
}

impl Configuration {
    fn file(&mut self, path: &str, text: &str) {
        let found = text::parse(text);
        for assignment in found.all.iter().filter(|assignment| assignment.section == "Manager") {
            if let Err(why) = self.set(&assignment.key, &assignment.value) {
                self.warnings.push(format!("{path}:{}: {}={why}", assignment.line, assignment.key));
            }
        }
        self.warnings.extend(found.broken.map(|error| format!("{path}:{error}")));
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(outcome) = load::manager::set(&mut self.defaults, key, value) {
            return outcome.map_err(|why| format!("{value}: {why}"));
        }
        let wrong = |what: &str| format!("{value}: it is not {what}");
        match key {
            "LogLevel" if log::is_level(value) => self.log_level = Some(value.to_owned()),
            "LogLevel" => return Err(wrong("a level of syslog(3)")),
            "LogTarget" if log::is_target(value) => self.log_target = Some(value.to_owned()),
            "LogTarget" => return Err(wrong("journal, journal-or-kmsg, kmsg, console or null")),
            // what is said only when something fails, is said where it fails
            "ShowStatus" if matches!(value, "auto" | "error") => self.show_status = Some(true),
            "ShowStatus" => self.show_status = Some(truth(value).ok_or_else(|| wrong("yes, no or auto"))?),
            "CrashReboot" => self.crash_reboot = truth(value).ok_or_else(|| wrong("yes or no"))?,
            "ManagerEnvironment" => {
                let mut all =
                    Defaults { environment: self.manager_environment.clone(), ..Defaults::default() };
                load::manager::set(&mut all, "DefaultEnvironment", value).unwrap_or(Ok(()))?;
                self.manager_environment = all.environment;
            }
            "WatchdogDevice" if value.starts_with('/') => self.watchdog.device = PathBuf::from(value),
            "WatchdogDevice" => return Err(wrong("an absolute path")),
            "RuntimeWatchdogSec" => {
                self.watchdog.runtime = time(value).ok_or_else(|| wrong("a time"))?.unwrap_or(WATCHDOG);
            }
            "RebootWatchdogSec" | "ShutdownWatchdogSec" => {
                self.watchdog.reboot = time(value).ok_or_else(|| wrong("a time"))?;
            }
            "KExecWatchdogSec" => self.watchdog.kexec = time(value).ok_or_else(|| wrong("a time"))?,
            _ if WITHOUT_EFFECT.contains(&key) && !value.is_empty() => {
                return Err(format!("{value}: this has no effect here"));
            }
            _ if WITHOUT_EFFECT.contains(&key) => {}
            _ => return Err(format!("{value}: there is no such setting")),
        }
        Ok(())
    }
}

impl Manager {
    /// Takes a configuration in: what differs from the one before takes effect.
    pub(crate) fn configure(&mut self, new: Configuration) {
        for warning in &new.warnings {
            log::say(Level::Warning, None, warning);
        }
        let old = std::mem::replace(&mut self.configuration, new);
        let new = &self.configuration;
        self.host.defaults = new.defaults.clone();
        self.engine.set_defaults(new.defaults.clone());
        if new.log_level != old.log_level {
            log::set_level(new.log_level.as_deref().unwrap_or("info"));
        }
        if new.log_target != old.log_target {
            log::set_target(new.log_target.as_deref().unwrap_or("auto"));
        }
        if new.show_status != old.show_status {
            self.show_status = new.show_status.unwrap_or(true);
        }
        for (name, value) in &old.defaults.environment {
            if self.environment.get(name) == Some(value) {
                self.environment.remove(name);
            }
        }
        for (name, value) in &self.host.environment {
            self.environment.entry(name.clone()).or_insert_with(|| value.clone());
        }
        self.environment.extend(self.host.defaults.environment.iter().cloned());
        self.share_environment();
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

/// A watchdog's time; inside, `None`: what there is without a word.
fn time(text: &str) -> Option<Option<u64>> {
    match text {
        "" | "default" => Some(None),
        "off" | "infinity" => Some(Some(0)),
        text => timespan::parse(text).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_come_after_the_file_and_the_first_of_a_name_counts() {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            (
                "etc/systemd/system.conf",
                "[Manager]\nLogLevel=debug\nDefaultTimeoutStartSec=5\nShowStatus=no\n",
            ),
            ("etc/systemd/system.conf.d/20-b.conf", "[Manager]\nDefaultTimeoutStartSec=7\n"),
            (
                "usr/lib/systemd/system.conf.d/10-a.conf",
                "[Manager]\nDefaultTimeoutStartSec=6\nCrashReboot=no\n",
            ),
            ("usr/lib/systemd/system.conf.d/20-b.conf", "[Manager]\nDefaultTimeoutStartSec=8\n"),
            ("usr/lib/systemd/system.conf.d/no", "[Manager]\nLogLevel=crit\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let want = Configuration {
            defaults: Defaults { timeout_start: 7_000_000, ..Defaults::default() },
            log_level: Some("debug".into()),
            show_status: Some(false),
            crash_reboot: false,
            ..Configuration::default()
        };
        assert_eq!(read(root.path()), want);
        assert_eq!(read(&root.path().join("nothing")), Configuration::default());
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        let mut found = Configuration::default();
        found.file(
            "/x",
            "[Manager]\nLogLevel=loud\nRuntimeWatchdogSec=off\nRebootWatchdogSec=2min\nKExecWatchdogSec=x\nCrashShell=yes\n\
             Colour=red\nManagerEnvironment=A=1 B=2\nDefaultLimitNOFILE=2:1\n[Other]\nLogLevel=debug\n",
        );
        let told: Vec<&str> =
            found.warnings.iter().map(|line| line.split('=').next().unwrap_or_default()).collect();
        let want = ["/x:2: LogLevel", "/x:5: KExecWatchdogSec", "/x:6: CrashShell", "/x:7: Colour"];
        assert_eq!(told, [&want[..], &["/x:9: DefaultLimitNOFILE"]].concat());
        assert_eq!((found.watchdog.runtime, found.watchdog.reboot), (0, Some(120_000_000)));
        assert_eq!(found.manager_environment.len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "(\\[Manager\\]\n)?([A-Za-z]{1,20}=[ -~]{0,20}\n|\\PC{0,20}\n){0,8}") {
            Configuration::default().file("/x", &text);
        }
    }
}
