//! What is true of a unit, as properties: from the engine's [`UnitStatus`] to names and values.

use unit::settings::{Amount, CgroupSettings, ExecSettings, ExitSet, Output, ServiceSettings};
use unit::{CommandStatus, Dependency, ExitStatus, JobMode, Pid, Role, Stamp, UnitName, UnitStatus};
use zvariant::Value;

use super::property::{Facts, array, job, strings, structure};

/// wait(2)'s codes, as ExecMainCode tells them.
const CLD_EXITED: i32 = 1;
const CLD_KILLED: i32 = 2;
const CLD_DUMPED: i32 = 3;

/// Everything that the engine knows of a unit.
pub fn of_unit(status: &UnitStatus) -> Facts {
    let unit = &status.definition;
    let mut facts = Facts::from([
        ("Id", Value::from(unit.name.to_string())),
        ("Names", names(&status.names)),
        ("Description", unit.description.clone().into()),
        ("Documentation", strings(unit.documentation.iter().cloned())),
        ("LoadState", status.load.as_str().into()),
        ("ActiveState", status.active.as_str().into()),
        ("SubState", status.sub.into()),
        ("FragmentPath", unit.fragment.clone().unwrap_or_default().into()),
        ("SourcePath", unit.source_path.clone().unwrap_or_default().into()),
        ("DropInPaths", strings(unit.drop_ins.iter().cloned())),
        ("RequiresMountsFor", strings(unit.mounts_for.iter().cloned())),
        ("CanStart", (!unit.refuse_manual_start && status.load == unit::LoadState::Loaded).into()),
        ("CanStop", (!unit.refuse_manual_stop).into()),
        (
            "CanReload",
            unit.service().is_some_and(|service| !service.commands(Role::Reload).is_empty()).into(),
        ),
        ("CanIsolate", unit.allow_isolate.into()),
        ("Job", job(status.job.as_ref().map_or(0, |job| job.id.0))),
        ("StopWhenUnneeded", unit.stop_when_unneeded.into()),
        ("RefuseManualStart", unit.refuse_manual_start.into()),
        ("RefuseManualStop", unit.refuse_manual_stop.into()),
        ("AllowIsolate", unit.allow_isolate.into()),
        ("DefaultDependencies", unit.default_dependencies.into()),
        ("IgnoreOnIsolate", unit.ignore_on_isolate.into()),
        ("OnFailureJobMode", mode(unit.on_failure_mode).into()),
        ("OnSuccessJobMode", mode(unit.on_success_mode).into()),
        ("JobTimeoutUSec", unit.job_timeout.into()),
        ("JobRunningTimeoutUSec", unit.job_running_timeout.into()),
        ("ConditionResult", status.condition_result.into()),
        ("AssertResult", status.assert_result.into()),
        ("StartLimitIntervalUSec", unit.start_limit_interval.into()),
        ("StartLimitBurst", unit.start_limit_burst.into()),
        ("InvocationID", Value::Array(invocation(&status.invocation_id).into())),
        ("LoadError", load_error(status)),
    ]);
    for (dependency, units) in status.dependencies.iter().filter(|(kind, _)| **kind != Dependency::Slice) {
        facts.insert(dependency.as_str(), names(units));
    }
    let stamps = [
        ("StateChangeTimestamp", "StateChangeTimestampMonotonic", status.state_change),
        ("InactiveExitTimestamp", "InactiveExitTimestampMonotonic", status.inactive_exit),
        ("ActiveEnterTimestamp", "ActiveEnterTimestampMonotonic", status.active_enter),
        ("ActiveExitTimestamp", "ActiveExitTimestampMonotonic", status.active_exit),
        ("InactiveEnterTimestamp", "InactiveEnterTimestampMonotonic", status.inactive_enter),
        ("ConditionTimestamp", "ConditionTimestampMonotonic", status.condition_stamp),
        ("AssertTimestamp", "AssertTimestampMonotonic", status.assert_stamp),
        ("ExecMainStartTimestamp", "ExecMainStartTimestampMonotonic", status.main_start),
        ("ExecMainExitTimestamp", "ExecMainExitTimestampMonotonic", status.main_exit),
    ];
    for (realtime, monotonic, Stamp { realtime: at, monotonic: since_boot }) in stamps {
        facts.extend([(realtime, at.into()), (monotonic, since_boot.into())]);
    }
    running(status, &mut facts);
    if let Some(service) = unit.service() {
        of_service(service, &mut facts);
    }
    if let Some(mount) = unit.mount() {
        let (what, kind, options) = status
            .mounted
            .clone()
            .unwrap_or_else(|| (mount.what.clone(), mount.fs_type.clone(), mount.options.clone()));
        facts.extend([
            ("Where", Value::from(mount.place.clone())),
            ("What", what.into()),
            ("Type", kind.into()),
            ("Options", options.into()),
            ("TimeoutUSec", mount.timeout.into()),
            ("DirectoryMode", mount.directory_mode.into()),
            ("SloppyOptions", mount.sloppy_options.into()),
            ("LazyUnmount", mount.lazy_unmount.into()),
            ("ForceUnmount", mount.force_unmount.into()),
            ("ReadWriteOnly", mount.read_write_only.into()),
        ]);
    }
    super::property::of_own_type(status, &mut facts);
    of_resources(&unit.cgroup, &mut facts);
    of_exec(&unit.exec, &mut facts);
    facts.extend([
        ("KillMode", Value::from(unit.kill.mode.as_str())),
        ("KillSignal", unit.kill.signal.into()),
        ("RestartKillSignal", unit.kill.restart_signal.unwrap_or(unit.kill.signal).into()),
        ("FinalKillSignal", unit.kill.final_signal.into()),
        ("WatchdogSignal", unit.kill.watchdog_signal.into()),
        ("SendSIGKILL", unit.kill.send_sigkill.into()),
        ("SendSIGHUP", unit.kill.send_sighup.into()),
    ]);
    facts
}

fn names(names: &[UnitName]) -> Value<'static> {
    strings(names.iter().map(|name| name.as_str()))
}

fn invocation(digits: &str) -> Vec<u8> {
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len() / 2).filter_map(|at| byte(at * 2)).collect()
}

fn load_error(status: &UnitStatus) -> Value<'static> {
    let id = &status.definition.name;
    let (name, text) = match status.load {
        unit::LoadState::Loaded => ("", String::new()),
        unit::LoadState::NotFound => ("org.freedesktop.systemd1.NoSuchUnit", format!("Unit {id} not found.")),
        unit::LoadState::Masked => ("org.freedesktop.systemd1.UnitMasked", format!("Unit {id} is masked.")),
        unit::LoadState::BadSetting | unit::LoadState::Error => {
            ("org.freedesktop.systemd1.BadUnitSetting", status.load_error.clone().unwrap_or_default())
        }
    };
    structure([name.into(), text.into()])
}

fn mode(mode: JobMode) -> &'static str {
    match mode {
        JobMode::Fail => "fail",
        JobMode::Replace => "replace",
        JobMode::ReplaceIrreversibly => "replace-irreversibly",
        JobMode::Isolate => "isolate",
        JobMode::Flush => "flush",
        JobMode::IgnoreDependencies => "ignore-dependencies",
        JobMode::IgnoreRequirements => "ignore-requirements",
    }
}

/// Processes, results and command lines.
fn running(status: &UnitStatus, facts: &mut Facts) {
    let pid = |pid: Option<Pid>| Value::from(pid.map_or(0, |pid| pid.0));
    let main = status.main_status.map_or((0, 0), code);
    // The main process stays known after its end.
    let started = status.commands.iter().filter(|command| command.role == Role::Start);
    let last = started.max_by_key(|command| command.start.monotonic).and_then(|command| command.pid);
    facts.extend([
        ("MainPID", pid(status.main_pid)),
        ("ControlPID", pid(status.control_pid)),
        ("StatusText", status.status_text.clone().unwrap_or_default().into()),
        ("StatusErrno", status.status_errno.into()),
        ("Result", status.result.into()),
        ("NRestarts", status.n_restarts.into()),
        ("ExecMainPID", pid(status.main_pid.or(last))),
        ("ExecMainCode", main.0.into()),
        ("ExecMainStatus", main.1.into()),
    ]);
    let properties = [
        (Role::Condition, "ExecCondition", "ExecConditionEx"),
        (Role::StartPre, "ExecStartPre", "ExecStartPreEx"),
        (Role::Start, "ExecStart", "ExecStartEx"),
        (Role::StartPost, "ExecStartPost", "ExecStartPostEx"),
        (Role::Reload, "ExecReload", "ExecReloadEx"),
        (Role::Stop, "ExecStop", "ExecStopEx"),
        (Role::StopPost, "ExecStopPost", "ExecStopPostEx"),
        (Role::Mount, "ExecMount", ""),
        (Role::Unmount, "ExecUnmount", ""),
        (Role::Remount, "ExecRemount", ""),
        (Role::StopPre, "ExecStopPre", ""),
        (Role::Activate, "ExecActivate", ""),
        (Role::Deactivate, "ExecDeactivate", ""),
    ];
    for (role, plain, extended) in properties {
        let of_role = || status.commands.iter().filter(|command| command.role == role);
        facts.insert(plain, array("(sasbttttuii)", of_role().map(|command| line(command, false))));
        if !extended.is_empty() {
            facts.insert(extended, array("(sasasttttuii)", of_role().map(|command| line(command, true))));
        }
    }
}

fn line(command: &CommandStatus, extended: bool) -> Value<'static> {
    let (code, result) = command.status.map_or((0, 0), code);
    let flags = if extended {
        strings(command.ignore_failure.then_some("ignore-failure"))
    } else {
        command.ignore_failure.into()
    };
    structure([
        command.path.clone().into(),
        strings(command.argv.iter().cloned()),
        flags,
        command.start.realtime.into(),
        command.start.monotonic.into(),
        command.exit.realtime.into(),
        command.exit.monotonic.into(),
        command.pid.map_or(0u32, |pid| pid.0).into(),
        code.into(),
        result.into(),
    ])
}

fn code(status: ExitStatus) -> (i32, i32) {
    match status {
        ExitStatus::Code(code) => (CLD_EXITED, code),
        ExitStatus::Signal { signal, core: false } => (CLD_KILLED, signal),
        ExitStatus::Signal { signal, core: true } => (CLD_DUMPED, signal),
    }
}

fn of_service(service: &ServiceSettings, facts: &mut Facts) {
    facts.extend([
        ("Type", Value::from(service.kind.as_str())),
        ("Restart", service.restart.as_str().into()),
        ("PIDFile", service.pid_file.clone().unwrap_or_default().into()),
        ("NotifyAccess", service.notify_access.as_str().into()),
        ("RestartUSec", service.restart_usec.into()),
        ("TimeoutStartUSec", service.timeout_start.into()),
        ("TimeoutStopUSec", service.timeout_stop.into()),
        ("TimeoutAbortUSec", service.timeout_abort.unwrap_or(service.timeout_stop).into()),
        ("RuntimeMaxUSec", service.runtime_max.into()),
        ("WatchdogUSec", service.watchdog.into()),
        ("RootDirectoryStartOnly", service.root_directory_start_only.into()),
        ("RemainAfterExit", service.remain_after_exit.into()),
        ("GuessMainPID", service.guess_main_pid.into()),
        ("SuccessExitStatus", exit_set(&service.success)),
        ("RestartPreventExitStatus", exit_set(&service.restart_prevent)),
        ("RestartForceExitStatus", exit_set(&service.restart_force)),
        ("FileDescriptorStoreMax", service.descriptor_store_max.into()),
        ("BusName", service.bus_name.clone().unwrap_or_default().into()),
    ]);
}

fn exit_set(set: &ExitSet) -> Value<'static> {
    let numbers =
        |numbers: &std::collections::BTreeSet<i32>| array("i", numbers.iter().map(|number| (*number).into()));
    structure([numbers(&set.codes), numbers(&set.signals)])
}

fn of_resources(settings: &CgroupSettings, facts: &mut Facts) {
    facts.insert("Slice", settings.slice.clone().unwrap_or_default().into());
    facts.insert("Delegate", settings.delegate.into());
    facts.insert("DelegateControllers", strings(settings.delegate_controllers.iter().cloned()));
    let weights = [
        ("CPUWeight", settings.cpu_weight),
        ("CPUQuotaPerSecUSec", settings.cpu_quota_per_second),
        ("IOWeight", settings.io_weight),
    ];
    facts.extend(weights.into_iter().filter_map(|(name, value)| Some((name, value?.into()))));
    let amounts = [
        ("MemoryMin", settings.memory_min),
        ("MemoryLow", settings.memory_low),
        ("MemoryHigh", settings.memory_high),
        ("MemoryMax", settings.memory_max),
        ("MemorySwapMax", settings.memory_swap_max),
        ("TasksMax", settings.tasks_max),
    ];
    for (name, amount) in amounts {
        match amount {
            Some(Amount::Absolute(value)) => _ = facts.insert(name, value.into()),
            Some(Amount::Infinity) => _ = facts.insert(name, u64::MAX.into()),
            // A share of what the machine has: the kernel file tells the number, the default here does not.
            Some(Amount::Share(_)) | None => {}
        }
    }
}

fn of_exec(exec: &ExecSettings, facts: &mut Facts) {
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
        use unit::settings::DirectoryKind::*;
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
