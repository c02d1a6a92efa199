//! The operator's door: OpenSSH's client with the checkout's key.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Result, command};

/// What a command in the guest gave.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; 255 is ssh's own.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// How to reach the SSH server of one machine.
#[derive(Clone, Debug)]
pub struct Ssh {
    /// The port on the host's loopback.
    pub port: u16,
    /// The private key.
    pub key: PathBuf,
    /// Where the machine's host keys are remembered.
    pub known_hosts: PathBuf,
}

impl Ssh {
    /// Whether an SSH server greets on the port.
    pub fn greets(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(2)) else {
            return false;
        };
        let mut greeting = [0; 4];
        stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && stream.read_exact(&mut greeting).is_ok()
            && &greeting == b"SSH-"
    }

    /// The client's options, for ssh (`-p`) and scp or sftp (`-P`).
    fn options(&self, port_flag: &str) -> Vec<String> {
        let mut options =
            vec![port_flag.to_owned(), self.port.to_string(), "-i".into(), self.key.display().to_string()];
        for option in [
            "StrictHostKeyChecking=accept-new",
            &format!("UserKnownHostsFile={}", self.known_hosts.display()),
            "IdentitiesOnly=yes",
            "PasswordAuthentication=no",
            "ConnectTimeout=20",
            "LogLevel=ERROR",
        ] {
            options.extend(["-o".to_owned(), option.to_owned()]);
        }
        options
    }

    /// The ssh command for `user` (with further options before the destination).
    pub fn command(&self, user: &str, options: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.options("-p")).args(options).arg(format!("{user}@127.0.0.1"));
        command
    }

    /// Runs a command line in the guest as `core`.
    ///
    /// # Errors
    /// When ssh cannot be started here; what it says of the guest is in the output.
    pub fn run(&self, line: &str) -> Result<Output> {
        let output = self
            .command("core", &["-n", "-o", "BatchMode=yes"])
            .arg(line)
            .output()
            .map_err(|error| command::cannot_start("ssh", &error))?;
        Ok(Output {
            code: output.status.code().unwrap_or(255),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Copies a file or a folder into the guest.
    ///
    /// # Errors
    /// When scp fails.
    pub fn copy_to(&self, from: &Path, to: &str) -> Result<()> {
        self.scp(&from.display().to_string(), &format!("core@127.0.0.1:{to}"))
    }

    /// Copies a file out of the guest.
    ///
    /// # Errors
    /// When scp fails.
    pub fn copy_from(&self, from: &str, to: &Path) -> Result<()> {
        self.scp(&format!("core@127.0.0.1:{from}"), &to.display().to_string())
    }

    fn scp(&self, from: &str, to: &str) -> Result<()> {
        let mut arguments = self.options("-P");
        arguments.extend(["-q".into(), "-r".into(), from.to_owned(), to.to_owned()]);
        command::run("scp", arguments).map(drop)
    }
}
