//! journald.conf and its drop-ins: `/etc/systemd/journald.conf`, or else that of /run or /usr/lib, then the files of
//! `journald.conf.d` in these three directories, by name; one of the same name in an earlier directory hides the
//! others, and /dev/null hides it too. What cannot be understood is said and left out. Source: journald.conf(5).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::intake::limit::Rate;
use crate::place::Place;
use crate::query::time::{parse_size, parse_span};

/// Where messages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In memory, below /run.
    Volatile,
    /// On the disk, in memory until that can be written.
    Persistent,
    /// On the disk if /var/log/journal is there.
    Auto,
    /// Nowhere; they are only forwarded.
    None,
}

/// How much one directory may take. What is not said follows from the size of the file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all files.
    pub max_use: Option<u64>,
    /// Bytes of the file system that are left to others.
    pub keep_free: Option<u64>,
    /// Bytes of one file.
    pub max_file_size: Option<u64>,
    /// Files that are no longer written.
    pub max_files: Option<u64>,
}

/// Where messages go besides the journal, and the worst-first priority up to which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Whether they go there at all.
    pub enabled: bool,
    /// The last priority that goes there.
    pub max_level: u8,
}

/// All that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where messages are kept.
    pub storage: Storage,
    /// Payloads of this many bytes are compressed.
    pub compress: Option<usize>,
    /// Whether the messages of each user have files of their own, which that user may read.
    pub split_users: bool,
    /// Microseconds after which the disk has what was said.
    pub sync_interval: u64,
    /// The messages that a unit may send, and in how long; 0 is any number.
    pub rate: Rate,
    /// Below /var/log/journal.
    pub system: Bounds,
    /// Below /run/log/journal.
    pub runtime: Bounds,
    /// Microseconds for which messages are kept; 0 is for ever.
    pub max_retention: u64,
    /// Microseconds after which a new file is begun; 0 is never.
    pub max_file_age: u64,
    /// To /run/systemd/journal/syslog.
    pub to_syslog: Forward,
    /// To the kernel's log.
    pub to_kmsg: Forward,
    /// To `tty_path`.
    pub to_console: Forward,
    /// To all terminals that somebody has logged in on.
    pub to_wall: Forward,
    /// The console.
    pub tty_path: PathBuf,
    /// The last priority that is kept.
    pub max_level_store: u8,
    /// Longer lines of a stream are broken.
    pub line_max: usize,
    /// Whether the kernel's messages are read.
    pub read_kmsg: bool,
}

impl Default for Config {
    fn default() -> Config {
        let forward = |enabled, max_level| Forward { enabled, max_level };
        Config {
            storage: Storage::Auto,
            compress: Some(512),
            split_users: true,
            sync_interval: 5 * 60_000_000,
            rate: Rate { interval: 30_000_000, burst: 10_000 },
            system: Bounds::default(),
            runtime: Bounds::default(),
            max_retention: 0,
            max_file_age: 30 * 86_400_000_000,
            to_syslog: forward(false, 7),
            to_kmsg: forward(false, 5),
            to_console: forward(false, 6),
            to_wall: forward(true, 0),
            tty_path: PathBuf::from("/dev/console"),
            max_level_store: 7,
            line_max: 48 << 10,
            read_kmsg: true,
        }
    }
}

/// Less would break every line; systemd's bound.
const LINE_MAX_LEAST: usize = 79;

impl Config {
    /// Reads the configuration below a root and, on the running system, the kernel's command line. The second part
    /// says what of it was not understood.
    #[must_use]
    pub fn read(place: &Place) -> (Config, Vec<String>) {
        let mut config = Config::default();
        let mut remarks = Vec::new();
        for path in files(place) {
            match fs::read(&path) {
                Ok(bytes) => config.apply(&String::from_utf8_lossy(&bytes), &path, &mut remarks),
                Err(error) => remarks.push(format!("{}: {error}", path.display())),
            }
        }
        if let Ok(words) = fs::read_to_string(place.path("/proc/cmdline")) {
            config.apply_command_line(&words, &mut remarks);
        }
        (config, remarks)
    }

    fn apply(&mut self, text: &str, path: &Path, remarks: &mut Vec<String>) {
        let mut section = String::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                name.clone_into(&mut section);
                continue;
            }
            let understood = match line.split_once('=') {
                Some((key, value)) if section == "Journal" => self.set(key.trim(), value.trim()),
                _ => Err("expected a setting in the section [Journal]"),
            };
            if let Err(what) = understood {
                remarks.push(format!("{}:{}: {what}, ignored: {line}", path.display(), number + 1));
            }
        }
    }

    /// `systemd.journald.forward_to_console` and the like.
    fn apply_command_line(&mut self, words: &str, remarks: &mut Vec<String>) {
        for word in words.split_whitespace() {
            let Some(setting) = word.strip_prefix("systemd.journald.") else { continue };
            let (key, value) = setting.split_once('=').unwrap_or((setting, "yes"));
            let known = [
                ("forward_to_syslog", "ForwardToSyslog"),
                ("forward_to_kmsg", "ForwardToKMsg"),
                ("forward_to_console", "ForwardToConsole"),
                ("forward_to_wall", "ForwardToWall"),
                ("max_level_store", "MaxLevelStore"),
                ("max_level_syslog", "MaxLevelSyslog"),
                ("max_level_kmsg", "MaxLevelKMsg"),
                ("max_level_console", "MaxLevelConsole"),
                ("max_level_wall", "MaxLevelWall"),
            ];
            let set = known.iter().find(|(name, _)| *name == key).map(|(_, name)| self.set(name, value));
            if !matches!(set, Some(Ok(()))) {
                remarks.push(format!("kernel command line: not understood, ignored: {word}"));
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        let default = Config::default();
        // An empty value gives the default back.
        macro_rules! set {
            ($($field:ident).+, $parse:expr) => {
                self.$($field).+ =
                    if value.is_empty() { default.$($field).+ } else { $parse(value).ok_or("not a value of this setting")? }
            };
        }
        let some_size = |text: &str| parse_size(text).map(Some);
        match key {
            "Storage" => set!(storage, |text| Some(match text {
                "volatile" => Storage::Volatile,
                "persistent" => Storage::Persistent,
                "auto" => Storage::Auto,
                "none" => Storage::None,
                _ => return None,
            })),
            "Compress" => set!(compress, |text: &str| match (parse_bool(text), parse_size(text)) {
                // A number is a number of bytes; systemd takes 1 for yes all the same.
                (Some(yes), _) => Some(yes.then_some(512)),
                (None, Some(size)) => Some(Some(usize::try_from(size.max(8)).unwrap_or(usize::MAX))),
                (None, None) => None,
            }),
            "SplitMode" => set!(split_users, |text| match text {
                "uid" | "login" => Some(true),
                "none" => Some(false),
                _ => None,
            }),
            "SyncIntervalSec" => set!(sync_interval, parse_span),
            "RateLimitIntervalSec" | "RateLimitInterval" => set!(rate.interval, parse_span),
            "RateLimitBurst" => set!(rate.burst, |text: &str| text.parse().ok()),
            "SystemMaxUse" => set!(system.max_use, some_size),
            "SystemKeepFree" => set!(system.keep_free, some_size),
            "SystemMaxFileSize" => set!(system.max_file_size, some_size),
            "SystemMaxFiles" => set!(system.max_files, |text: &str| text.parse().ok().map(Some)),
            "RuntimeMaxUse" => set!(runtime.max_use, some_size),
            "RuntimeKeepFree" => set!(runtime.keep_free, some_size),
            "RuntimeMaxFileSize" => set!(runtime.max_file_size, some_size),
            "RuntimeMaxFiles" => set!(runtime.max_files, |text: &str| text.parse().ok().map(Some)),
            "MaxRetentionSec" => set!(max_retention, parse_endless),
            "MaxFileSec" => set!(max_file_age, parse_endless),
            "ForwardToSyslog" => set!(to_syslog.enabled, parse_bool),
            "ForwardToKMsg" => set!(to_kmsg.enabled, parse_bool),
            "ForwardToConsole" => set!(to_console.enabled, parse_bool),
            "ForwardToWall" => set!(to_wall.enabled, parse_bool),
            "TTYPath" => set!(tty_path, |text: &str| text.starts_with('/').then(|| PathBuf::from(text))),
            "MaxLevelStore" => set!(max_level_store, parse_level),
            "MaxLevelSyslog" => set!(to_syslog.max_level, parse_level),
            "MaxLevelKMsg" => set!(to_kmsg.max_level, parse_level),
            "MaxLevelConsole" => set!(to_console.max_level, parse_level),
            "MaxLevelWall" => set!(to_wall.max_level, parse_level),
            "LineMax" => set!(line_max, |text| Some(
                usize::try_from(parse_size(text)?).ok()?.clamp(LINE_MAX_LEAST, 64 << 20)
            )),
            "ReadKMsg" => set!(read_kmsg, parse_bool),
            // There are no seals and no audit here; whoever turns them on is told.
            "Seal" | "Audit" => match parse_bool(value) {
                Some(false) => {}
                _ if value.is_empty() || (key == "Seal" && value == "yes") => {}
                _ => return Err("not supported"),
            },
            _ => return Err("unknown setting"),
        }
        Ok(())
    }
}

/// The files to read, the most general first.
fn files(place: &Place) -> Vec<PathBuf> {
    let places = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];
    let mut list: Vec<PathBuf> = places
        .iter()
        .map(|directory| place.path(directory).join("journald.conf"))
        .find(|path| path.exists())
        .into_iter()
        .collect();
    let mut drop_ins: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    for directory in places {
        let directory = place.path(directory).join("journald.conf.d");
        for item in fs::read_dir(directory).into_iter().flatten().flatten() {
            if Path::new(&item.file_name()).extension().is_some_and(|kind| kind == "conf") {
                drop_ins.entry(item.file_name()).or_insert_with(|| item.path());
            }
        }
    }
    list.extend(drop_ins.into_values());
    list
}

/// A boolean as systemd reads it.
#[must_use]
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

fn parse_endless(text: &str) -> Option<u64> {
    if text == "infinity" { Some(0) } else { parse_span(text) }
}

fn parse_level(text: &str) -> Option<u8> {
    let names = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let named = names.iter().position(|name| *name == text).and_then(|level| u8::try_from(level).ok());
    named.or_else(|| text.parse().ok().filter(|level| *level < 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_drop_ins() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("usr/lib/systemd/journald.conf", "[Journal]\nStorage=none\n");
        write(
            "etc/systemd/journald.conf",
            "# main\n[Journal]\nStorage=volatile\nSystemMaxUse=1G\nCompress=1K\nLineMax=1\nFoo=1\n",
        );
        write("usr/lib/systemd/journald.conf.d/10.conf", "[Journal]\nMaxFileSec=1day\nStorage=persistent\n");
        write("etc/systemd/journald.conf.d/10.conf", "[Journal]\nMaxFileSec=2h\n");
        write(
            "run/systemd/journald.conf.d/20.conf",
            "[Journal]\nSystemMaxUse=\nRateLimitBurst=5\nForwardToConsole=yes\n",
        );
        write("run/systemd/journald.conf.d/30.conf~", "[Journal]\nRateLimitBurst=6\n");
        write("proc/cmdline", "quiet systemd.journald.max_level_console=debug systemd.journald.x\n");
        let (config, remarks) = Config::read(&Place::new(root.path()));
        assert_eq!(config.storage, Storage::Volatile, "the drop-in of /usr/lib is hidden by that of /etc");
        assert_eq!(config.max_file_age, 2 * 3_600_000_000);
        assert_eq!(config.system, Bounds::default(), "an empty value is the default");
        assert_eq!(config.compress, Some(1024));
        assert_eq!(config.line_max, LINE_MAX_LEAST);
        assert_eq!(config.rate, Rate { interval: 30_000_000, burst: 5 });
        assert_eq!(config.to_console, Forward { enabled: true, max_level: 7 });
        assert_eq!(remarks.len(), 2, "{remarks:?}");
        assert!(remarks[0].contains("journald.conf:7: unknown setting"), "{remarks:?}");
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(text: String, key in "[A-Za-z]{0,20}", value: String) {
            let mut config = Config::default();
            config.apply(&text, Path::new("x"), &mut Vec::new());
            let _ = config.set(&key, &value);
        }
    }
}
