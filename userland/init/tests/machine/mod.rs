//! A machine for tests: PID 1 in namespaces of its own, on a root made of Debian's /usr and the unit files of the
//! scenario, and Debian's clients talk to it. The root is in memory: no disk is looked at.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a test may stop at the first surprise; not every test uses all"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub mod debian;
pub mod program;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// PID 1 in its namespaces.
pub struct Machine {
    _folder: tempfile::TempDir,
    unshare: std::cell::RefCell<Child>,
    init: u32,
}

impl Machine {
    /// Boots into multi-user.target of these unit files, with the test's own program as init.
    pub fn start(unit_files: &[(&str, &str)]) -> Machine {
        Machine::with_programs(unit_files, &[])
    }

    /// The same; the test's own program is in /programs too, under other names.
    pub fn with_programs(unit_files: &[(&str, &str)], programs: &[&str]) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for path in ["dev", "proc", "sys", "run", "tmp", "var", "etc", "usr", "out"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(name), root.join(name)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\ncore:x:500:501::/home/core:/bin/sh\n")
            .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\ncore:x:501:\ndocker:x:233:\n").unwrap();
        let units = folder.path().join("units");
        fs::create_dir(&units).unwrap();
        for (name, text) in unit_files {
            fs::write(units.join(name), text).unwrap();
        }
        symlink("multi-user.target", units.join("default.target")).unwrap();
        fs::copy(std::env::current_exe().unwrap(), root.join("init")).unwrap();
        fs::create_dir(root.join("programs")).unwrap();
        for program in programs {
            symlink("/init", root.join("programs").join(program)).unwrap();
        }
        let root = format!(
            "R={root}; mkdir $R.memory; mount -t tmpfs -o mode=755 none $R.memory; cp -a $R/. $R.memory; R=$R.memory
             mount --rbind -o ro /usr $R/usr
             mount --bind {units} $R/usr/lib/systemd/system",
            root = root.display(),
            units = units.display()
        );
        Machine::boot(folder, &root)
    }

    /// Boots a distribution's whole root tree, which stays as it is: what is written is in memory. `files` are laid
    /// over it, paths from the root and texts; a file without text is one that is not to be there for PID 1.
    pub fn of_tree(tree: &Path, files: &[(&str, &str)]) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let over = folder.path().join("over");
        for (path, text) in files {
            let path = over.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if text.is_empty() {
                symlink("/dev/null", path).unwrap();
            } else {
                fs::write(path, text).unwrap();
            }
        }
        fs::copy(std::env::current_exe().unwrap(), over.join("init")).unwrap();
        let root = format!(
            "M={memory}; mkdir $M; mount -t tmpfs -o mode=755 none $M; mkdir $M/upper $M/work $M/root
             cp -r {over}/. $M/upper
             mount -t overlay -o lowerdir={tree},upperdir=$M/upper,workdir=$M/work none $M/root; R=$M/root",
            memory = folder.path().join("memory").display(),
            over = over.display(),
            tree = tree.display()
        );
        Machine::boot(folder, &root)
    }

    /// Runs `/init` as PID 1 of a root that a script makes and leaves in `$R`.
    fn boot(folder: tempfile::TempDir, make_root: &str) -> Machine {
        let script = format!(
            "set -e
             G=$(mount -t cgroup2 | head -1 | cut -d' ' -f3); mkdir -p $G/corten-$$; echo $$ > $G/corten-$$/cgroup.procs
             mount --make-rprivate /
             {make_root}
             mount -t tmpfs none $R/dev; mkdir $R/dev/pts $R/dev/shm; touch $R/dev/console $R/dev/kmsg
             n() {{ mknod -m 666 $R/dev/$1 c $2 $3; }}
             n null 1 3; n zero 1 5; n full 1 7; n random 1 8; n urandom 1 9; n tty 5 0; ln -s pts/ptmx $R/dev/ptmx
             mkdir $R/old; cd $R
             exec unshare --cgroup --pid --net --uts --ipc --mount --fork --kill-child \
               sh -c 'pivot_root . old; exec chroot . sh -c \"mount -t proc none /proc; umount -l /old; umount /proc; rmdir /old; exec /init\"'"
        );
        let unshare = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare is part of Debian's util-linux");
        let started = Instant::now();
        let init = loop {
            let children = format!("/proc/{0}/task/{0}/children", unshare.id());
            let text = fs::read_to_string(children).unwrap_or_default();
            let child: Option<u32> = text.trim().parse().ok();
            if let Some(child) = child
                && fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe.ends_with("init"))
            {
                break child;
            }
            assert!(started.elapsed() < PATIENCE, "init did not start");
            sleep(PAUSE);
        };
        Machine { _folder: folder, unshare: unshare.into(), init }
    }

    /// Runs a command inside, as root.
    pub fn run(&self, command: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--all", "--root", "--wdns=/"])
            .args(command)
            .output()
            .expect("nsenter is part of Debian's util-linux")
    }

    /// Runs Debian's systemctl inside.
    pub fn systemctl(&self, args: &[&str]) -> Output {
        let mut command = vec!["systemctl"];
        command.extend(args);
        self.run(&command)
    }

    /// Whether systemctl says just that.
    pub fn says(&self, args: &[&str], want: &str) -> bool {
        let said = self.systemctl(args);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        if said.trim() != want {
            eprintln!("systemctl {args:?}: {}", said.trim());
        }
        said.trim() == want
    }

    /// A property's value.
    pub fn show(&self, unit: &str, property: &str) -> String {
        let out = self.systemctl(&["show", "--value", "-p", property, unit]);
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Whether a property has that value.
    pub fn shows(&self, unit: &str, property: &str, want: &str) -> bool {
        let value = self.show(unit, property);
        if value != want {
            eprintln!("{unit}: {property}={value}, wanted {want}");
        }
        value == want
    }

    /// The text of a file inside.
    pub fn file(&self, path: &str) -> String {
        fs::read_to_string(format!("/proc/{}/root/{path}", self.init)).unwrap_or_default()
    }

    /// Where the machine's root is for the test.
    pub fn root(&self) -> String {
        format!("/proc/{}/root", self.init)
    }

    /// Waits until it holds.
    pub fn until(&self, what: &str, holds: impl Fn(&Machine) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.console());
            sleep(PAUSE);
        }
    }

    /// What PID 1 wrote to the console and the kernel's log.
    pub fn console(&self) -> String {
        let read = |name: &str| {
            let path = format!("/proc/{}/root/dev/{name}", self.init);
            fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        };
        format!("console:\n{}\nkernel log:\n{}", read("console"), read("kmsg"))
    }

    /// Waits until the machine is off.
    pub fn gone(&self) {
        let started = Instant::now();
        while self.unshare.borrow_mut().try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "not off within {PATIENCE:?}\n{}", self.console());
            sleep(PAUSE);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // PID 1 of the namespace takes everything in it along.
        if self.unshare.borrow_mut().try_wait().is_ok_and(|status| status.is_none()) {
            eprintln!("{}", self.console());
            let _ = Command::new("kill").args(["-KILL", &self.init.to_string()]).status();
            let _ = self.unshare.borrow_mut().wait();
        }
        let groups = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if let Some(place) =
            groups.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4))
        {
            remove_groups(&Path::new(place).join(format!("corten-{}", self.unshare.borrow().id())));
        }
    }
}

/// Removes a cgroup and all below it.
fn remove_groups(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
