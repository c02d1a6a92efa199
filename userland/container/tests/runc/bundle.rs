//! A bundle whose root file system is busybox.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub const RUNC: &str = env!("CARGO_BIN_EXE_container-runc");
const APPLETS: &str = "sh true false sleep cat ls id echo mount grep test touch ps hostname stat readlink head env kill \
    mknod chmod pwd date dd wc sed cut tr mkdir rm ln umount unshare ionice ip tty stty";

/// A bundle of its own, with a state directory of its own.
pub struct Bundle {
    dir: tempfile::TempDir,
    /// The configuration, written anew before each create.
    pub config: Value,
    /// The container's name.
    pub id: String,
    /// The runtime to be asked.
    pub runtime: PathBuf,
}

impl Bundle {
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            eprintln!("skipped: needs root and busybox-static");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        make_rootfs(&dir.path().join("rootfs"));
        // A user of the container's has to get through.
        std::os::unix::fs::PermissionsExt::set_mode(
            &mut std::fs::metadata(dir.path()).unwrap().permissions(),
            0o755,
        );
        let id = format!("corten-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(RUNC).args(["spec", "-b"]).arg(dir.path()).status().unwrap();
        assert!(made.success());
        let text = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        let mut bundle =
            Self { dir, config: serde_json::from_str(&text).unwrap(), id: id.clone(), runtime: RUNC.into() };
        bundle.set("/process/terminal", json!(false));
        bundle.set("/root/readonly", json!(false));
        bundle.set("/linux/cgroupsPath", json!(format!("/{id}")));
        Some(bundle)
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Sets a part of the configuration; its parent is there.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = self.config.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(list) if name == "-" => list.push(value),
            Value::Array(list) => list[name.parse::<usize>().unwrap()] = value,
            parent => parent[name] = value,
        }
        self
    }

    /// The program is a shell script.
    pub fn script(&mut self, text: &str) -> &mut Self {
        self.set("/process/args", json!(["sh", "-c", text]))
    }

    pub fn write(&self) {
        std::fs::write(self.path("config.json"), self.config.to_string()).unwrap();
    }

    pub fn runc(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.path("state")).args(args).stdin(Stdio::null());
        command
    }

    pub fn output(&self, args: &[&str]) -> (i32, String, String) {
        finished(&mut self.runc(args))
    }

    /// Runs the container to its end: exit status, what it said, what the runtime said.
    pub fn run(&self) -> (i32, String, String) {
        self.write();
        self.output(&["run", "-b", self.dir.path().to_str().unwrap(), &self.id])
    }

    /// What a script says in a container of this configuration.
    pub fn says(&mut self, script: &str) -> String {
        let (status, out, err) = self.script(script).run();
        format!("{out}{}{err}", if status == 0 { String::new() } else { format!("[{status}]") })
    }

    /// Creates the container; its output goes to the file `out`.
    pub fn create(&self) {
        self.write();
        let out = std::fs::File::create(self.path("out")).unwrap();
        let mut command = self.runc(&["create", "-b", self.dir.path().to_str().unwrap(), &self.id]);
        let status = command.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
        assert!(status.success(), "{}", self.said());
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(self.path("out")).unwrap_or_default().trim_end().to_owned()
    }

    /// A verb that must succeed; what it prints.
    pub fn must(&self, args: &[&str]) -> String {
        let (status, out, err) = self.output(args);
        assert_eq!(status, 0, "{args:?}: {out}{err}");
        out
    }

    pub fn status(&self) -> String {
        let (status, out, _) = self.output(&["state", &self.id]);
        if status != 0 {
            return "none".to_owned();
        }
        serde_json::from_str::<Value>(&out).unwrap()["status"].as_str().unwrap().to_owned()
    }

    pub fn wait_for(&self, status: &str) {
        wait_until(|| self.status() == status);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.output(&["delete", "--force", &self.id]);
    }
}

pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn finished(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

pub fn make_rootfs(rootfs: &Path) {
    std::fs::create_dir_all(rootfs.join("bin")).unwrap();
    std::fs::create_dir_all(rootfs.join("etc")).unwrap();
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
    for applet in APPLETS.split_whitespace() {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    std::fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n")
        .unwrap();
    std::fs::write(rootfs.join("etc/group"), "root:x:0:\n").unwrap();
}
