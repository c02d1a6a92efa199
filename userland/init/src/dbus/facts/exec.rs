//! How a unit's processes are set up, as properties: systemd.exec(5).

use unit::settings::{DirectoryKind, ExecSettings, Output};

use crate::dbus::property::{Facts, array, strings, structure};

pub(super) fn tell(exec: &ExecSettings, facts: &mut Facts) {
    let assignments = exec.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let files = exec
        .environment_files
        .iter()
        .map(|(path, optional)| structure([path.clone().into(), (*optional).into()]));
    facts.extend([
        ("Environment", strings(assignments)),
        ("EnvironmentFiles", array("(sb)", files)),
        ("PassEnvironment", strings(exec.pass_environment.iter().cloned())),
        ("UnsetEnvironment", strings(exec.unset_environment.iter().cloned())),
        ("User", exec.user.clone().unwrap_or_default().into()),
        ("Group", exec.group.clone().unwrap_or_default().into()),
        ("SupplementaryGroups", strings(exec.supplementary_groups.iter().cloned())),
        ("RootDirectory", exec.root_directory.clone().unwrap_or_default().into()),
        ("UMask", exec.umask.unwrap_or(0o022).into()),
        ("Nice", exec.nice.unwrap_or(0).into()),
        ("OOMScoreAdjust", exec.oom_score_adjust.unwrap_or(0).into()),
        ("StandardOutput", output(&exec.stdout()).into()),
        ("StandardError", output(&exec.stderr()).into()),
        ("TTYPath", exec.tty_path.clone().unwrap_or_default().into()),
        ("SyslogIdentifier", exec.syslog_identifier.clone().unwrap_or_default().into()),
        ("NoNewPrivileges", exec.no_new_privileges.into()),
        ("CapabilityBoundingSet", exec.capability_bounding_set.unwrap_or(u64::MAX).into()),
        ("AmbientCapabilities", exec.ambient_capabilities.into()),
        ("IgnoreSIGPIPE", (!exec.keep_sigpipe).into()),
    ]);
    if let Some(directory) = &exec.working_directory {
        let mark = if directory.missing_ok { "!" } else { "" };
        let path = directory.path.clone().unwrap_or_else(|| "~".into());
        facts.insert("WorkingDirectory", format!("{mark}{path}").into());
    }
    for directories in &exec.directories {
        use DirectoryKind::*;
        let (names, mode) = match directories.kind {
            Runtime => ("RuntimeDirectory", "RuntimeDirectoryMode"),
            State => ("StateDirectory", "StateDirectoryMode"),
            Cache => ("CacheDirectory", "CacheDirectoryMode"),
            Logs => ("LogsDirectory", "LogsDirectoryMode"),
            Configuration => ("ConfigurationDirectory", "ConfigurationDirectoryMode"),
        };
        facts.insert(names, strings(directories.names.iter().cloned()));
        facts.insert(mode, directories.mode.into());
    }
}

fn output(output: &Output) -> String {
    match output {
        Output::Inherit => "inherit".into(),
        Output::Null => "null".into(),
        Output::Tty => "tty".into(),
        Output::Journal => "journal".into(),
        Output::JournalConsole => "journal+console".into(),
        Output::Kmsg => "kmsg".into(),
        Output::KmsgConsole => "kmsg+console".into(),
        Output::Socket => "socket".into(),
        Output::File(path) => format!("file:{path}"),
        Output::Append(path) => format!("append:{path}"),
        Output::Truncate(path) => format!("truncate:{path}"),
    }
}
