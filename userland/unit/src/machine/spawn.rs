//! From a command line to a `Spawn`: the environment is put together and the variables are put in.

use std::sync::Arc;

use super::Stage;
use crate::environment::{self, set};
use crate::exec::CommandLine;
use crate::settings::ExecSettings;
use crate::{Action, Dependency, Passed, Role, Spawn, SpawnToken};

const NOTIFY_SOCKET: &str = "/run/systemd/notify";

impl Stage<'_> {
    /// Asks for a process. An error if a file of its environment is missing.
    pub(crate) fn spawn(
        &mut self,
        role: Role,
        line: &CommandLine,
        own: &[(&str, String)],
        notify: bool,
        passed: Vec<Passed>,
    ) -> Result<SpawnToken, String> {
        let unit = Arc::clone(&self.base.unit);
        let mut exec = Arc::clone(&unit.exec);
        let start_only = unit.service().is_some_and(|service| service.root_directory_start_only);
        if start_only && role != Role::Start {
            Arc::make_mut(&mut exec).root_directory = None;
        }
        let mut environment = self.environment(&exec, own, notify)?;
        environment.retain(|(name, value)| {
            !exec.unset_environment.iter().any(|unset| unset == name || *unset == format!("{name}={value}"))
        });
        let argv = if line.flags.no_substitution {
            line.argv.clone()
        } else {
            environment::substitute(&line.argv, &environment)
        };
        let token = self.token();
        self.base.has_cgroup = true;
        self.fx.actions.push(Action::Spawn(Box::new(Spawn {
            unit: unit.name.clone(),
            token,
            role,
            path: line.path.clone(),
            argv,
            flags: line.flags,
            environment,
            exec,
            cgroup: self.cgroup(),
            resources: Arc::clone(&unit.cgroup),
            control_cgroup: unit.cgroup.delegate && !matches!(role, Role::Start),
            passed,
            joins: self.graph.of(&unit.name, &[Dependency::JoinsNamespaceOf]),
            mount_point: unit
                .mount()
                .filter(|_| role == Role::Mount)
                .map(|mount| (mount.place.clone(), mount.directory_mode)),
        })));
        Ok(token)
    }

    /// What comes later wins.
    fn environment(
        &self,
        exec: &ExecSettings,
        own: &[(&str, String)],
        notify: bool,
    ) -> Result<Vec<(String, String)>, String> {
        let mut found = self.host.environment.clone();
        if let Some(user) = exec.user.as_deref().and_then(|user| self.world.probe.user(user)) {
            for (name, value) in
                [("HOME", &user.home), ("LOGNAME", &user.name), ("USER", &user.name), ("SHELL", &user.shell)]
            {
                set(&mut found, name, value);
            }
        }
        set(&mut found, "INVOCATION_ID", &self.base.invocation_id);
        if notify {
            set(&mut found, "NOTIFY_SOCKET", NOTIFY_SOCKET);
        }
        for directories in exec.directories.iter().filter(|set| !set.names.is_empty()) {
            let paths: Vec<String> = directories
                .names
                .iter()
                .map(|name| format!("{}/{name}", directories.kind.parent()))
                .collect();
            set(&mut found, directories.kind.variable(), &paths.join(":"));
        }
        for (name, value) in own {
            set(&mut found, name, value);
        }
        for (name, value) in &exec.environment {
            set(&mut found, name, value);
        }
        for (pattern, optional) in &exec.environment_files {
            match self.world.probe.environment_files(pattern) {
                Ok(texts) => {
                    for (name, value) in texts.iter().flat_map(|text| environment::parse_file(text)) {
                        set(&mut found, &name, &value);
                    }
                }
                Err(_) if *optional => {}
                Err(why) => return Err(format!("Failed to load environment file {pattern}: {why}")),
            }
        }
        Ok(found)
    }
}
