//! Peers that scenarios need outside the guest.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::At;
use crate::{Error, Result, command};

/// Debian's docker-registry on the loopback, seen by a guest as 10.0.2.2.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    /// A registry that serves `busybox`, made from Debian's busybox-static.
    ///
    /// # Errors
    /// When the image cannot be made or the registry does not come up.
    pub fn with_busybox(directory: &Path) -> Result<Registry> {
        fs::create_dir_all(directory).at("create", directory)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/busybox-image");
        command::run(&script.display().to_string(), [directory])?;
        let port = {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).at("bind", directory)?;
            listener.local_addr().at("bind", directory)?.port()
        };
        let config = directory.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            directory.display()
        );
        fs::write(&config, text).at("write", &config)?;
        let log = directory.join("registry.log");
        let output = fs::File::create(&log).at("create", &log)?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().at("open", &log)?)
            .stderr(output)
            .spawn()
            .map_err(|error| command::cannot_start("docker-registry", &error))?;
        let registry = Registry { process, port };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > deadline {
                return Err(Error::Usage(format!("docker-registry does not answer; see {}", log.display())));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }

    /// Its port on the loopback.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
