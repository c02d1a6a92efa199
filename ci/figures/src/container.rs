//! PID 1 in namespaces of its own, on Debian's root: systemd, or Corten's init in its place. The same root, the same
//! unit files and the same systemctl on both sides.
//!
//! The root is an overlay in memory over the tree of `ci/bench`, which stays as it is. Needs root.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use qemu::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(200);
/// Where Corten's init lies in the root.
const OURS: &str = "/corten/init";
const THEIRS: &str = "/lib/systemd/systemd";

/// Arguments: the tree, an empty folder, the folder of more unit files, what to run as PID 1, Corten's binary.
const SETUP: &str = r#"
set -e
groups=$(mount -t cgroup2 | head -n 1 | cut -d ' ' -f 3)
mkdir "$groups/bench-$$"
echo $$ > "$groups/bench-$$/cgroup.procs"
mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$2"
mkdir "$2/upper" "$2/work" "$2/root"
mount -t overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" none "$2/root"
root=$2/root
rm -f "$root/etc/systemd/system/multi-user.target.wants/report.service"
cp -r "$3/." "$root/etc/systemd/system"
mkdir "$root/corten" "$root/old"
cp "$5" "$root/corten/init"
mount -t tmpfs none "$root/dev"
mount -t tmpfs -o mode=755 none "$root/run"
mkdir "$root/dev/pts" "$root/dev/shm"
touch "$root/dev/console" "$root/dev/kmsg"
ln -s /proc/self/fd "$root/dev/fd"
for node in 'null 3' 'zero 5' 'full 7' 'random 8' 'urandom 9'; do
    mknod -m 666 "$root/dev/${node% *}" c 1 "${node#* }"
done
cd "$root"
exec unshare --cgroup --pid --net --uts --ipc --mount --fork --kill-child sh -c '
    pivot_root . old
    cd /
    exec chroot . sh -c "
        mount -t proc none /proc
        umount -l /old
        mount -t sysfs -o ro none /sys
        mount -t cgroup2 none /sys/fs/cgroup
        export container=other
        exec $0 > /dev/console 2>&1 < /dev/null"' "$4"
"#;

/// Which PID 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Corten's.
    Ours,
    /// Debian's.
    Theirs,
}

/// A running PID 1.
pub struct Container {
    unshare: Child,
    init: u32,
}

impl Container {
    /// Starts one, and returns when multi-user.target is up. `units`: a folder of more unit files.
    pub fn start(side: Side, tree: &Path, binary: &Path, place: &Path, units: &Path) -> Result<Container> {
        fs::create_dir_all(place).map_err(|error| fault(&place.display().to_string(), &error))?;
        let unshare = Command::new("unshare")
            .args(["--mount", "sh", "-c", SETUP, "sh"])
            .args([tree, place, units, Path::new(if side == Side::Ours { OURS } else { THEIRS }), binary])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| fault("unshare", &error))?;
        let mut container = Container { unshare, init: 0 };
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            container.init = container.child().unwrap_or(0);
            if container.init != 0 && container.property("multi-user.target", "ActiveState") == "active" {
                return Ok(container);
            }
            sleep(PAUSE);
        }
        Err(Error::Usage("PID 1 does not come up in a container: is this run as root?".into()))
    }

    /// PID 1, once it is what it is to be.
    fn child(&self) -> Option<u32> {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        let pid: u32 = fs::read_to_string(children).ok()?.trim().parse().ok()?;
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        [OURS, THEIRS].iter().any(|known| program.ends_with(known.trim_start_matches('/'))).then_some(pid)
    }

    /// Runs a command inside.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--all", "--root", "--wd=/"])
            .args(command)
            .output()
            .map_err(|error| fault("nsenter", &error))
    }

    /// A property of a unit; of the manager, if the unit's name is empty.
    pub fn property(&self, unit: &str, property: &str) -> String {
        let mut command = vec!["systemctl", "show", "--value", "-p", property];
        command.extend((!unit.is_empty()).then_some(unit));
        let said = self.run(&command).map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    /// Seconds from the begin of PID 1 to multi-user.target.
    pub fn boot(&self) -> Result<f64> {
        let stamp = |unit, property| {
            let value = self.property(unit, property);
            value.parse::<f64>().map_err(|_| Error::Usage(format!("{property} of {unit:?} is {value:?}")))
        };
        let begin = stamp("", "UserspaceTimestampMonotonic")?;
        Ok((stamp("multi-user.target", "ActiveEnterTimestampMonotonic")? - begin) / 1e6)
    }

    /// Seconds of CPU time that PID 1 has used.
    pub fn cpu(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.init)).unwrap_or_default();
        let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        // user and system time, in the kernel's hundredths of a second (proc(5))
        let ticks =
            |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / 100.0
    }

    /// MiB of PID 1's memory that is its own: what it writes, not the pages of its program.
    pub fn memory(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.init)).unwrap_or_default();
        let row = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        row.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.init != 0 {
            // PID 1 of the namespace takes everything in it along
            let _ = Command::new("kill").args(["-KILL", &self.init.to_string()]).status();
        }
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut places = table.lines().filter(|line| line.contains(" - cgroup2 "));
        if let Some(place) = places.next().and_then(|line| line.split(' ').nth(4)) {
            remove(&Path::new(place).join(format!("bench-{}", self.unshare.id())));
        }
    }
}

/// Removes a cgroup and all below it.
fn remove(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn fault(what: &str, error: &std::io::Error) -> Error {
    Error::Usage(format!("{what}: {error}"))
}
