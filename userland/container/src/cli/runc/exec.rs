//! `runc exec`: one more process in a running container.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};

use super::containers::Status;
use super::create::{console, listen_fds, process_of, protect, write_pid};
use super::{Error, World, during, start};
use crate::run::channel::Message;
use crate::run::exec::{Joining, join};
use crate::run::process::Program;
use crate::run::relay::Relay;
use crate::run::scheduling::set_affinity;
use crate::run::{RunError, exit_status};

/// Run a process in a running container
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Return when it runs
    #[arg(short, long)]
    detach: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Send the terminal's master to this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write its number to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Take all from this file: the process of a configuration
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Set a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// User and group
    #[arg(short, long, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, Option<u32>)>,
    /// A further group
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// A further capability
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// Let it gain no privileges
    #[arg(long)]
    no_new_privs: bool,
    /// Pass this many descriptors after the standard streams
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// AppArmor profile
    #[arg(long)]
    apparmor: Option<String>,
    /// SELinux label
    #[arg(long)]
    process_label: Option<String>,
    /// Join a paused container: it goes on with the container
    #[arg(long)]
    ignore_paused: bool,
    /// Cgroups of the container's to be in: [CONTROLLER[,...]:]PATH
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// Here orphans of the container never come to us
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// The container's ID, and the command
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ID [COMMAND] [ARG...]"
    )]
    id_and_command: Vec<String>,
}

impl Exec {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let id = self.id_and_command.first().map_or("", String::as_str);
        let record = world.containers.load(id)?;
        match world.containers.status(&record) {
            Status::Running | Status::Created => {}
            Status::Paused if self.ignore_paused => {}
            status => return Err(Error::State { id: id.to_owned(), is: status.word(), wanted: "running" }),
        }
        protect(world)?;
        let spec = world.containers.config(id)?;
        let process = self.process(&spec)?;
        let terminal = process.terminal() == Some(true);
        if terminal && self.detach && self.console_socket.is_none() {
            return Err(Error::Usage("nobody is there for the terminal: give --console-socket".to_owned()));
        }
        let console = match &self.console_socket {
            Some(path) => Some(during(path.display().to_string(), console(path))?),
            None => None,
        };
        let mut relay = if self.detach { None } else { Some(during("signals", Relay::new())?) };
        let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let (kept, _) = listen_fds(self.preserve_fds);
        let program = during("seccomp", Program::prepare(&process, seccomp))?
            .with(kept, Vec::new())
            .limited_by_parent(false);
        let stopped = || Error::State { id: id.to_owned(), is: Status::Stopped.word(), wanted: "running" };
        let target = record.process().zip(record.pid).ok_or_else(stopped)?;
        let cgroup = Some(during("--cgroup", record.cgroup.below(&self.cgroup))?);
        let cgroup = cgroup.filter(|cgroup| !cgroup.paths().is_empty());
        if let Some(list) = process.exec_cpu_affinity().as_ref().and_then(|both| both.initial().as_ref()) {
            let bits = during("execCPUAffinity", set_affinity(list))?;
            if world.debug {
                eprintln!("runc: initial CPU affinity: {bits:#x}");
            }
        }
        let joining =
            Joining { target, program: &program, spec: &spec, cgroup: cgroup.as_ref(), tied: false };
        let born = join(joining, || Ok(()))?;
        loop {
            match during("channel", born.channel.receive())? {
                Message::Terminal(master) => match (&console, &mut relay) {
                    (Some(console), _) => during("--console-socket", console.send_terminal(&master))?,
                    (None, Some(relay)) => during("terminal", relay.copy_terminal(master, true))?,
                    (None, None) => {}
                },
                Message::Listener(number) => {
                    let mut joined = record.clone();
                    joined.pid = Some(born.child.pid);
                    joined.pid_start =
                        super::containers::life_of(born.child.pid).map_or(0, |(start, _)| start);
                    during("seccomp listener", start::hand_over(&born.channel, number, &joined, &spec))?;
                }
                Message::Started => break,
                Message::Failed(status, text) => {
                    let _ = exit_status(&born.child.pidfd);
                    return Err(RunError::Start { status, text }.into());
                }
                other => return Err(Error::Usage(format!("{other:?} is not for us"))),
            }
        }
        if let Some(path) = &self.pid_file {
            write_pid(path, born.child.pid)?;
        }
        let Some(mut relay) = relay else { return Ok(0) };
        during("wait", relay.until_end(born.child.pidfd.as_fd()))?;
        let status = exit_status(&born.child.pidfd)?;
        relay.drain();
        Ok(u8::try_from(status).unwrap_or(255))
    }

    /// The process to be run: the file's, or the container's own with the options in place of its parts.
    fn process(&self, spec: &Spec) -> Result<Process, Error> {
        if let Some(path) = &self.process {
            let text = during(path.display().to_string(), fs::read(path))?;
            return serde_json::from_slice(&text)
                .map_err(|source| Error::Config { path: path.clone(), source });
        }
        let command = self.id_and_command.get(1..).unwrap_or_default().to_vec();
        if command.is_empty() {
            return Err(Error::Usage("exec needs a command, or --process".to_owned()));
        }
        let mut process = process_of(spec)?;
        process.set_args(Some(command)).set_terminal(Some(self.tty)).set_console_size(None);
        let mut env = process.env().clone().unwrap_or_default();
        for entry in &self.env {
            let name = entry.split('=').next().unwrap_or_default();
            env.retain(|other| other.split('=').next() != Some(name));
            env.push(entry.clone());
        }
        process.set_env(Some(env));
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        if let Some((uid, gid)) = self.user {
            let mut user = process.user().clone();
            let gid = gid.unwrap_or(user.gid());
            user.set_uid(uid).set_gid(gid).set_additional_gids(None);
            process.set_user(user);
        }
        if !self.additional_gids.is_empty() {
            let mut user = process.user().clone();
            user.set_additional_gids(Some(self.additional_gids.clone()));
            process.set_user(user);
        }
        if self.no_new_privs {
            process.set_no_new_privileges(Some(true));
        }
        if self.apparmor.is_some() {
            process.set_apparmor_profile(self.apparmor.clone());
        }
        if self.process_label.is_some() {
            process.set_selinux_label(self.process_label.clone());
        }
        for name in &self.cap {
            let mut sets = process.capabilities().clone().unwrap_or_else(none);
            add(&mut sets, name)?;
            process.set_capabilities(Some(sets));
        }
        Ok(process)
    }
}

/// No capabilities: the library's default has some.
fn none() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(None).set_effective(None).set_inheritable(None).set_permitted(None).set_ambient(None);
    sets
}

fn add(sets: &mut LinuxCapabilities, name: &str) -> Result<(), Error> {
    let upper = name.to_ascii_uppercase();
    let capability: Capability = upper
        .strip_prefix("CAP_")
        .unwrap_or(&upper)
        .parse()
        .map_err(|_| Error::Usage(format!("{name:?} is no capability")))?;
    let with = |set: &Option<oci_spec::runtime::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.insert(capability);
        Some(set)
    };
    let (bounding, effective, permitted) =
        (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    Ok(())
}

/// `UID[:GID]`, numbers alone: nothing of it is looked up anywhere (CVE-2026-30892 began with a text taken for 0).
fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    let id = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u32>().ok().filter(|id| digits && *id != u32::MAX)
    };
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let bad = || format!("{text:?} is not UID[:GID], two numbers");
    let gid = gid.map(|gid| id(gid).ok_or_else(bad)).transpose()?;
    Ok((id(uid).ok_or_else(bad)?, gid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_two_numbers() {
        assert_eq!((user("7"), user("7:8")), (Ok((7, None)), Ok((7, Some(8)))));
        for bad in ["", ":", "7:", ":8", "+7", "-1", "root", "7:8:9", "4294967295", "0x0", " 7"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }
}
