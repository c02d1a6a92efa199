//! One QEMU process and the person in front of it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::accel::Accel;
use crate::error::At;
use crate::keys::Key;
use crate::{Boot, Config, Console, Error, Firmware, Output, Result, Ssh, command, qmp};

/// How often the console and the SSH port are looked at.
const POLL: Duration = Duration::from_millis(50);

/// A machine that was switched on. It is switched off when it is dropped, unless it was detached.
#[derive(Debug)]
pub struct Machine {
    directory: PathBuf,
    process: Option<Child>,
    console: Console,
    ssh: Ssh,
}

/// Where the guest's serial line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serial {
    /// To a socket in the machine's directory, and its log.
    Socket,
    /// To this terminal, and its log.
    Terminal,
}

impl Machine {
    /// Switches a machine on. Its files (console log, sockets, firmware variables) are in `directory`.
    ///
    /// # Errors
    /// When QEMU or its firmware is missing, or a file cannot be made.
    pub fn start(directory: &Path, config: &Config, key: &Key) -> Result<Machine> {
        Machine::start_on(directory, config, key, Serial::Socket)
    }

    /// As [`Machine::start`], with the serial line where the caller wants it.
    ///
    /// # Errors
    /// As [`Machine::start`].
    pub fn start_on(directory: &Path, config: &Config, key: &Key, serial: Serial) -> Result<Machine> {
        fs::create_dir_all(directory).at("create", directory)?;
        let ssh = Ssh {
            port: free_port()?,
            key: key.private().to_owned(),
            known_hosts: directory.join("known_hosts"),
        };
        let console = Console::new(directory);
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(arguments(directory, config, key, &ssh, &console, serial)?);
        if serial == Serial::Socket {
            let log = directory.join("qemu.log");
            let file = fs::File::create(&log).at("create", &log)?;
            // Its own group: Ctrl-C in this terminal is not meant for the guest.
            qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).process_group(0);
        }
        let process = qemu.spawn().map_err(|error| command::cannot_start("qemu-system-x86_64", &error))?;
        for (name, value) in [("pid", process.id().to_string()), ("ssh_port", ssh.port.to_string())] {
            let path = directory.join(name);
            fs::write(&path, value).at("write", &path)?;
        }
        Ok(Machine { directory: directory.to_owned(), process: Some(process), console, ssh })
    }

    /// The machine's files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The serial line.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Types a line on the serial line.
    ///
    /// # Errors
    /// When QEMU does not listen on the console's socket.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.console.type_line(line)
    }

    /// The operator's door.
    pub fn door(&self) -> &Ssh {
        &self.ssh
    }

    /// Waits until the console has printed `text` after all that was waited for before.
    ///
    /// # Errors
    /// When it does not come in time, or QEMU ends.
    pub fn wait_for_text(&mut self, text: &str, within: Duration) -> Result<()> {
        self.wait_for(&format!("{text:?} on the console"), within, |machine| machine.console.take(text))
    }

    /// Waits until an SSH login works.
    ///
    /// # Errors
    /// When it does not in time, or QEMU ends.
    pub fn wait_for_ssh(&mut self, within: Duration) -> Result<()> {
        self.wait_for("an SSH login", within, |machine| {
            machine.ssh.greets() && machine.ssh.run("true").is_ok_and(|output| output.code == 0)
        })
    }

    /// Waits until a command line in the guest exits with 0.
    ///
    /// # Errors
    /// When it does not in time, or QEMU ends.
    pub fn wait_for_success(&mut self, line: &str, within: Duration) -> Result<()> {
        self.wait_for(&format!("success of {line:?}"), within, |machine| {
            machine.ssh.run(line).is_ok_and(|output| output.code == 0)
        })
    }

    /// Polls until `happened`.
    ///
    /// # Errors
    /// When it does not in time, or QEMU ends.
    pub fn wait_for(
        &mut self,
        what: &str,
        within: Duration,
        mut happened: impl FnMut(&mut Machine) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            if happened(self) {
                return Ok(());
            }
            if let Some(status) = self.ended()? {
                return Err(Error::Ended {
                    what: what.to_owned(),
                    status: status.to_string(),
                    log: self.console.log().to_owned(),
                    tail: self.console.tail(),
                });
            }
            if Instant::now() >= deadline {
                return Err(self.console.timeout(what, within));
            }
            thread::sleep(POLL);
        }
    }

    /// Runs a command line in the guest as `core`, whatever its exit code.
    ///
    /// # Errors
    /// When ssh cannot be started here.
    pub fn ssh(&self, line: &str) -> Result<Output> {
        self.ssh.run(line)
    }

    /// Runs a command line in the guest that must exit with 0, and gives what it printed.
    ///
    /// # Errors
    /// When it exits with another code: with what it said.
    pub fn run(&self, line: &str) -> Result<String> {
        let output = self.ssh.run(line)?;
        if output.code == 0 {
            return Ok(output.stdout);
        }
        Err(Error::Failed {
            program: format!("`{line}` in the guest"),
            status: format!("exit code {}", output.code),
            output: format!("{}{}", output.stdout, output.stderr),
        })
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// When QEMU's control socket does not answer.
    pub fn press_power_button(&self) -> Result<()> {
        qmp::execute(&self.directory.join("qmp.sock"), "system_powerdown")
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// When QEMU's control socket does not answer.
    pub fn press_reset_button(&self) -> Result<()> {
        qmp::execute(&self.directory.join("qmp.sock"), "system_reset")
    }

    /// Waits until the machine has switched itself off.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for_end(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(self.console.timeout("power off", within));
            }
            thread::sleep(POLL);
        }
    }

    /// Waits for as long as the machine runs.
    ///
    /// # Errors
    /// When QEMU cannot be waited for.
    pub fn wait(mut self) -> Result<Option<ExitStatus>> {
        match self.process.take() {
            Some(mut process) => process.wait().map(Some).at("wait for QEMU in", &self.directory),
            None => Ok(None),
        }
    }

    /// Cuts the power: the process is killed where it stands.
    ///
    /// # Errors
    /// When it cannot be reaped.
    pub fn cut_power(mut self) -> Result<()> {
        self.kill();
        Ok(())
    }

    /// Leaves the machine running when this handle goes.
    pub fn detach(mut self) {
        self.process = None;
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.process {
            Some(process) => process.try_wait().at("wait for QEMU in", &self.directory),
            None => Ok(None),
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port of the loopback that nobody listens on.
fn free_port() -> Result<u16> {
    let path = Path::new("a port of 127.0.0.1");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).at("bind", path)?;
    Ok(listener.local_addr().at("bind", path)?.port())
}

fn arguments(
    directory: &Path,
    config: &Config,
    key: &Key,
    ssh: &Ssh,
    console: &Console,
    serial: Serial,
) -> Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| all.extend(words.iter().map(|word| (*word).to_owned()));
    let file = |name: &str| directory.join(name).display().to_string();

    add(&["-machine", "q35", "-display", "none", "-nodefaults", "-name", "corten"]);
    let accel = if config.code_log.is_some() { Accel::Tcg } else { Accel::of_this_host() };
    add(&accel.arguments());
    if let Some((addresses, log)) = &config.code_log {
        let filter = format!("{:#x}..{:#x}", addresses.start, addresses.end);
        add(&["-d", "in_asm", "-dfilter", &filter, "-D", &log.display().to_string()]);
    }
    add(&["-m", &config.memory.to_string(), "-smp", &config.cpus.to_string()]);
    add(&["-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset"]);

    let mut network = format!("user,id=net,hostfwd=tcp:127.0.0.1:{}-:22", ssh.port);
    for forward in &config.forwards {
        network += &format!(",hostfwd=tcp:127.0.0.1:{}-:{}", forward.host, forward.guest);
    }
    add(&["-netdev", &network, "-device", "virtio-net-pci,netdev=net,romfile="]);

    if let Some(plug) = &config.plug {
        let (switch, port) = (plug.switch, plug.port);
        let network = format!("socket,id=cluster,udp=127.0.0.1:{switch},localaddr=127.0.0.1:{port}");
        let card = format!("virtio-net-pci,netdev=cluster,romfile=,mac={}", plug.hardware_address());
        add(&["-netdev", &network, "-device", &card]);
    }

    add(&["-qmp", &format!("unix:{},server=on,wait=off", file("qmp.sock"))]);
    let log = console.log().display();
    let line = match serial {
        Serial::Socket => {
            format!(
                "socket,id=console,path={},server=on,wait=off,logfile={log},logappend=on",
                console.socket().display()
            )
        }
        Serial::Terminal => format!("stdio,id=console,mux=on,signal=off,logfile={log},logappend=on"),
    };
    add(&["-chardev", &line, "-serial", "chardev:console"]);
    if serial == Serial::Terminal {
        add(&["-mon", "chardev=console"]);
    }

    let public = key.public().display().to_string();
    let credential = "opt/com.coreos/authorized-keys";
    add(&["-fw_cfg", &format!("name={credential},file={public}")]);
    if let Some(plug) = &config.plug {
        let path = directory.join("environment");
        fs::write(&path, format!("COREOS_PRIVATE_IPV4={}\n", plug.address())).at("write", &path)?;
        add(&["-fw_cfg", &format!("name=opt/com.coreos/environment,file={}", path.display())]);
    }
    if let Some(text) = &config.cloud_config {
        let path = directory.join("cloud-config");
        fs::write(&path, text).at("write", &path)?;
        add(&["-fw_cfg", &format!("name=opt/com.coreos/config,file={}", path.display())]);
    }

    if config.firmware == Firmware::Uefi {
        for line in uefi_flash(directory)? {
            add(&["-drive", &line]);
        }
    }
    let disk = match &config.boot {
        Boot::Disk(disk) => Some(disk),
        Boot::Kernel { kernel, initrd, disk, command_line } => {
            add(&["-kernel", &kernel.display().to_string(), "-append", command_line]);
            if let Some(initrd) = initrd {
                add(&["-initrd", &initrd.display().to_string()]);
            }
            disk.as_ref()
        }
    };
    if let Some(disk) = disk {
        let drive = format!("if=none,id=disk,format={},file={}", disk.format(), disk.path().display());
        add(&["-drive", &drive, "-device", "virtio-blk-pci,drive=disk,bootindex=1"]);
    }
    Ok(all)
}

/// OVMF's code, and the machine's own copy of its variables.
fn uefi_flash(directory: &Path) -> Result<[String; 2]> {
    const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
    for path in [CODE, VARIABLES] {
        if !Path::new(path).exists() {
            return Err(Error::Missing { program: path.to_owned(), package: "ovmf" });
        }
    }
    let own = directory.join("efi-variables.fd");
    if !own.exists() {
        fs::copy(VARIABLES, &own).at("create", &own)?;
    }
    Ok([
        format!("if=pflash,format=raw,readonly=on,file={CODE}"),
        format!("if=pflash,format=raw,file={}", own.display()),
    ])
}
