//! A registry with the busybox image, a store, and the command.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// A registry's storage with the image, made once for all tests.
fn storage() -> &'static Path {
    static STORAGE: OnceLock<PathBuf> = OnceLock::new();
    STORAGE.get_or_init(|| {
        let name = format!("images-registry-{}", std::process::id());
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../qemu/fixtures/busybox-image");
        let made = Command::new(script).arg(&dir).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        dir
    })
}

pub struct World {
    pub dir: tempfile::TempDir,
    registry: Child,
    /// `127.0.0.1:PORT`
    pub host: String,
}

impl World {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With more lines in the registry's configuration; `DIR` in them is the world's directory.
    pub fn with(more: &str) -> Self {
        Self::prepared(|_| {}, "", more)
    }

    /// The same, with more words about HTTP, after something was done in its directory.
    pub fn prepared(prepare: impl Fn(&Path), http: &str, more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let own = dir.path().join("registry");
        done(Command::new("cp").arg("-a").arg(storage()).arg(&own));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: 127.0.0.1:{port}{}}}\n\
             storage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n{}",
            http.replace("DIR", &dir.path().display().to_string()),
            own.display(),
            more.replace("DIR", &dir.path().display().to_string())
        );
        std::fs::write(&config, text).unwrap();
        let mut registry = Command::new("docker-registry");
        registry.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = registry.spawn().unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { dir, registry, host: format!("127.0.0.1:{port}") }
    }

    /// The full name of an image of the registry.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.host)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_container-docker"));
        command.arg("--store").arg(self.path("store")).arg("--state").arg(self.path("state"));
        command.env("DOCKER_CONFIG", self.path("docker")).args(args).stdin(Stdio::null());
        command
    }

    /// The command where these are the files of `/etc`, in a mount namespace of its own.
    pub fn docker_with(&self, etc: &[(&str, &str)], args: &[&str]) -> Command {
        let dir = self.path("etc");
        for (name, text) in etc {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let script = "mount -t overlay -o \"lowerdir=$0:/etc\" none /etc && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script]).arg(dir).arg(env!("CARGO_BIN_EXE_container-docker"));
        command.arg("--store").arg(self.path("store")).arg("--state").arg(self.path("state"));
        command.env("DOCKER_CONFIG", self.path("docker")).args(args).stdin(Stdio::null());
        command
    }

    /// The output of a command that must do.
    pub fn done(&self, args: &[&str]) -> String {
        done(&mut self.docker(args))
    }

    /// What a command says on standard error that must not do.
    pub fn refused(&self, args: &[&str]) -> String {
        refused(&mut self.docker(args))
    }

    /// Takes all images away, so that the next pull begins with nothing.
    pub fn forget(&self) {
        self.done(&["image", "prune", "-a"]);
        assert_eq!(self.done(&["images", "-q"]), "");
        for name in ["layers", "blobs/sha256", "tmp"] {
            assert_eq!(std::fs::read_dir(self.path("store").join(name)).unwrap().count(), 0, "{name}");
        }
    }

    pub fn skopeo(&self, args: &[&str]) -> String {
        done(Command::new("skopeo").arg("--insecure-policy").args(args))
    }

    /// The digest of a manifest of the registry.
    pub fn digest(&self, image: &str) -> String {
        let name = format!("docker://{}", self.name(image));
        self.skopeo(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &name])
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.registry.kill();
        let _ = self.registry.wait();
    }
}

pub fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).trim_end().to_owned()
}

pub fn refused(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(!status.success(), "{command:?}: {}", String::from_utf8_lossy(&stdout));
    String::from_utf8_lossy(&stderr).trim_end().to_owned()
}

/// Answers each request with what `answer` makes of its first line and headers.
pub fn server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 8192];
            let read = stream.read(&mut request).unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            let _ = stream.write_all(answer(&text).as_bytes());
            // What is still on its way would reset the connection under the answer.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    host
}

pub fn response(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")
}
