//! KVM where it works, else TCG.
//!
//! `/dev/kvm` that opens proves little: under nested virtualisation its guests may hang. So KVM
//! is taken only when the CPU says vmx or svm and a guest of one sector runs to its end.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How guests are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// The host's virtualisation.
    Kvm,
    /// Software emulation.
    Tcg,
}

impl Accel {
    /// The accelerator of this host, probed once a process. `$CORTEN_ACCEL` (`kvm` or `tcg`) decides instead.
    pub fn of_this_host() -> Accel {
        static PROBED: OnceLock<Accel> = OnceLock::new();
        *PROBED.get_or_init(|| match std::env::var("CORTEN_ACCEL").as_deref() {
            Ok("kvm") => Accel::Kvm,
            Ok("tcg") => Accel::Tcg,
            _ if cpu_can_virtualise() && kvm_opens() && probe_guest_ends() => Accel::Kvm,
            _ => Accel::Tcg,
        })
    }

    /// QEMU's arguments for it.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accel::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max"],
        }
    }
}

fn cpu_can_virtualise() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| flags_virtualise(&text))
}

/// Whether the flags in a cpuinfo text hold Intel's or AMD's virtualisation.
fn flags_virtualise(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

fn kvm_opens() -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok()
}

/// Boots one sector that leaves through QEMU's debug-exit port.
fn probe_guest_ends() -> bool {
    /// mov al, 0x10; out 0xf4, al; hlt
    const CODE: [u8; 5] = [0xb0, 0x10, 0xe6, 0xf4, 0xf4];
    /// QEMU's exit status for the value 0x10.
    const LEFT: i32 = (0x10 << 1) | 1;
    let mut sector = [0; 512];
    sector[..CODE.len()].copy_from_slice(&CODE);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let path = std::env::temp_dir().join(format!("corten-kvm-probe-{}", std::process::id()));
    if fs::write(&path, sector).is_err() {
        return false;
    }
    let ended = run_probe(&path, Duration::from_secs(10)) == Some(LEFT);
    let _ = fs::remove_file(&path);
    ended
}

fn run_probe(sector: &Path, within: Duration) -> Option<i32> {
    let mut guest = Command::new("qemu-system-x86_64")
        .args(["-accel", "kvm", "-cpu", "host", "-m", "16", "-display", "none", "-nodefaults"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive"])
        .arg(format!("if=ide,format=raw,readonly=on,snapshot=on,file={}", sector.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + within;
    loop {
        match guest.try_wait() {
            Ok(Some(status)) => return status.code(),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            _ => {
                let _ = guest.kill();
                let _ = guest.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtualisation_is_a_whole_word_among_the_flags() {
        assert!(flags_virtualise("processor : 0\nflags\t\t: fpu vmx sse\n"));
        assert!(flags_virtualise("flags : svm\n"));
        assert!(!flags_virtualise("flags : fpu svmx novmx\nmodel name : vmx\n"));
        assert!(!flags_virtualise(""));
    }
}
