//! The journal beside systemd's: lines a second taken in, and `journalctl -u` on a million entries.
//!
//! Both daemons run in mount namespaces of their own, on a tmpfs, with the same configuration; what is
//! timed is from the first line sent until the file's header counts the last. Both clients read the same directory,
//! which Debian's daemon has written. Needs root, and Debian's packages systemd and util-linux.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use qemu::{Error, Result};

use crate::median::Figures;

const PEER: &str = "/lib/systemd/systemd-journald";
/// Messages of a run.
const MESSAGES: usize = 200_000;
/// Entries to look in.
const ENTRIES: usize = 1_000_000;
/// One in so many is of the unit that is looked for.
const RARE: usize = 100;
/// Longer than any run takes.
const PATIENCE: Duration = Duration::from_secs(300);

const SETUP: &str = "\
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log
touch /run/systemd/journal/flushed
mount -t tmpfs -o size=4g tmpfs /var/log
mkdir -p /var/log/journal/$(cat /etc/machine-id)
mkdir -p /etc/systemd
mount -t tmpfs tmpfs /etc/systemd
cat > /etc/systemd/journald.conf <<END
[Journal]
Storage=persistent
RateLimitIntervalSec=0
RateLimitBurst=0
ReadKMsg=no
SystemMaxUse=3G
SystemMaxFileSize=256M
MaxFileSec=0
END
exec \"$1\"
";

/// A daemon in namespaces of its own.
struct Daemon {
    unshare: Child,
    root: PathBuf,
}

impl Daemon {
    fn start(program: &Path) -> Result<Daemon> {
        let unshare = Command::new("unshare")
            .args(["--mount", "--fork", "--kill-child", "sh", "-c", SETUP, "sh"])
            .arg(program)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| fault("unshare", &error))?;
        let children = format!("/proc/{0}/task/{0}/children", unshare.id());
        let mut daemon = Daemon { unshare, root: PathBuf::new() };
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let child = std::fs::read_to_string(&children).unwrap_or_default();
            if let Some(pid) = child.split_whitespace().next() {
                daemon.root = PathBuf::from(format!("/proc/{pid}/root"));
                if daemon.socket("stdout").exists() && daemon.count() > 0 {
                    return Ok(daemon);
                }
            }
            sleep(Duration::from_millis(20));
        }
        Err(Error::Usage(format!("{} does not start: is this run as root?", program.display())))
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.root.join("run/systemd/journal").join(name)
    }

    fn directory(&self) -> PathBuf {
        self.root.join("var/log/journal")
    }

    /// Entries of all files, by their headers.
    fn count(&self) -> u64 {
        let list = |path: &Path| {
            let items = std::fs::read_dir(path).into_iter().flatten().flatten();
            items.map(|item| item.path()).collect::<Vec<_>>()
        };
        let files = list(&self.directory()).into_iter().flat_map(|directory| list(&directory));
        files.filter_map(|path| entries(&path)).sum()
    }

    fn wait_for(&self, count: u64) -> Result<()> {
        let began = Instant::now();
        while self.count() < count {
            if began.elapsed() > PATIENCE {
                return Err(Error::Usage(format!("{} of {count} messages have come", self.count())));
            }
            sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn stream(&self, unit: &str) -> Result<UnixStream> {
        let socket = self.socket("stdout");
        let mut stream = UnixStream::connect(&socket).map_err(|error| fault("stdout", &error))?;
        let header = format!("bench\n{unit}\n6\n1\n0\n0\n0\n");
        stream.write_all(header.as_bytes()).map_err(|error| fault("stdout", &error))?;
        Ok(stream)
    }

    /// Messages a second from one stream.
    fn stream_rate(&self) -> Result<f64> {
        let mut text = Vec::new();
        for number in 0..MESSAGES {
            text.extend(format!("request {number} took {} ms, all is well\n", number % 977).bytes());
        }
        self.rate(|| self.stream("common.service")?.write_all(&text).map_err(|error| fault("stdout", &error)))
    }

    /// Messages a second in datagrams.
    fn native_rate(&self) -> Result<f64> {
        let sender = UnixDatagram::unbound().map_err(|error| fault("socket", &error))?;
        sender.connect(self.socket("socket")).map_err(|error| fault("socket", &error))?;
        self.rate(|| {
            for number in 0..MESSAGES {
                let text = format!(
                    "MESSAGE=request {number} is done\nPRIORITY=6\nSYSLOG_IDENTIFIER=bench\nCODE_LINE={}\n",
                    number % 13
                );
                sender.send(text.as_bytes()).map_err(|error| fault("socket", &error))?;
            }
            Ok(())
        })
    }

    fn rate(&self, send: impl FnOnce() -> Result<()>) -> Result<f64> {
        let before = self.count();
        let began = Instant::now();
        send()?;
        self.wait_for(before + MESSAGES as u64)?;
        Ok(MESSAGES as f64 / began.elapsed().as_secs_f64())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // With unshare its children go too.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

fn fault(what: &str, error: &std::io::Error) -> Error {
    Error::Usage(format!("{what}: {error}"))
}

/// The entries that the header of a journal file counts.
fn entries(path: &Path) -> Option<u64> {
    const ENTRIES_AT: u64 = 152;
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(ENTRIES_AT)).ok()?;
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

fn row(what: &str, ours: &Figures, theirs: &Figures) {
    let ratio = ours.median() / theirs.median();
    println!("{what:<36} {:>28} {:>28} {ratio:>8.2}", ours.to_string(), theirs.to_string());
}

fn head(what: &str) {
    println!("{what:<36} {:>28} {:>28} {:>8}", "Corten", "Debian, systemd", "ratio");
}

/// Messages a second, from a stream and in datagrams; more is better.
pub fn intake(programs: &Path, runs: u32) -> Result<()> {
    let sides = [programs.join("systemd-journald"), PathBuf::from(PEER)];
    let mut figures: [[Figures; 2]; 2] = Default::default();
    for _ in 0..runs {
        for (program, [stream, native]) in sides.iter().zip(&mut figures) {
            stream.add(Daemon::start(program)?.stream_rate()?);
            native.add(Daemon::start(program)?.native_rate()?);
        }
    }
    let [ours, theirs] = &figures;
    head("journal-intake, messages/s");
    row("lines of one service's output", &ours[0], &theirs[0]);
    row("native datagrams", &ours[1], &theirs[1]);
    println!();
    Ok(())
}

/// Seconds that journalctl takes among a million entries; less is better.
pub fn unit_query(programs: &Path, runs: u32) -> Result<()> {
    let daemon = Daemon::start(Path::new(PEER))?;
    let (mut common, mut rare) = (daemon.stream("common.service")?, daemon.stream("rare.service")?);
    let before = daemon.count();
    for number in 0..ENTRIES {
        let stream = if number % RARE == 0 { &mut rare } else { &mut common };
        writeln!(stream, "request {number} took {} ms", number % 977)
            .map_err(|error| fault("stdout", &error))?;
    }
    daemon.wait_for(before + ENTRIES as u64)?;
    let ours = programs.join("journalctl");
    head("journal-unit-query, s");
    for (what, args) in [
        ("-u rare (1 in 100)", &["-u", "rare"][..]),
        ("-u rare -o json", &["-u", "rare", "-o", "json"]),
        ("-u common (99 in 100)", &["-u", "common"]),
        ("-u rare -n 10", &["-u", "rare", "-n", "10"]),
        ("-u common -g 'took 500'", &["-u", "common", "-g", "took 500"]),
    ] {
        let mut figures: [Figures; 2] = Default::default();
        for _ in 0..runs {
            for (program, figures) in [&ours, &PathBuf::from("journalctl")].iter().zip(&mut figures) {
                let began = Instant::now();
                let status = Command::new(program)
                    .arg("-D")
                    .arg(daemon.directory())
                    .args(["-q", "--no-pager"])
                    .args(args)
                    .stdout(Stdio::null())
                    .status()
                    .map_err(|error| fault("journalctl", &error))?;
                if !status.success() {
                    return Err(Error::Usage(format!("{} {args:?} fails", program.display())));
                }
                figures.add(began.elapsed().as_secs_f64());
            }
        }
        row(what, &figures[0], &figures[1]);
    }
    println!();
    Ok(())
}
