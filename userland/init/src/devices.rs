//! Devices: those that sysfs has, and the kernel's word of those that come and go (netlink, kobject uevents).
//!
//! Without udev a device is known by its folder in /sys, its node in /dev, and what the kernel says of it: a
//! partition's label and number (`/dev/disk/by-partlabel/STATE`), a network interface's name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use unit::{Device, Event};

/// NETLINK_KOBJECT_UEVENT, and the kernel's own group.
const UEVENT: i32 = 15;
const KERNEL_GROUP: u32 = 1;
/// The longest message, as in the kernel.
const LONGEST: usize = 8192;
/// What units may wait for; the rest of sysfs would only cost memory.
const SUBSYSTEMS: [&str; 5] = ["block", "net", "tty", "rtc", "virtio-ports"];
/// Messages taken in before others have their turn.
const AT_ONCE: usize = 256;

/// The kernel's messages.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Listens.
    ///
    /// # Errors
    /// The kernel has no netlink, or the process no right.
    pub fn open() -> io::Result<Uevents> {
        let fd = linux::socket::netlink(UEVENT, KERNEL_GROUP)?;
        // many come at once in a boot
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, 16 << 20);
        Ok(Uevents(fd))
    }

    /// Those that were listened to before PID 1 executed itself anew.
    #[must_use]
    pub fn again(fd: OwnedFd) -> Uevents {
        Uevents(fd)
    }

    /// What has come and gone since the last call. `None` within: some messages were lost, look at all again.
    pub fn next(&self) -> Vec<Option<Event>> {
        let mut events = Vec::new();
        let mut buffer = [0; LONGEST];
        for _ in 0..AT_ONCE {
            match rustix::net::recv(&self.0, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    events.extend(message(buffer.get(..length).unwrap_or_default()).map(Some));
                }
                Err(rustix::io::Errno::NOBUFS) => events.push(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        events
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `add@/devices/…`, then `NAME=value`, each ended by a zero byte.
fn message(bytes: &[u8]) -> Option<Event> {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    // udev's own messages begin otherwise
    parts.next()?.split_once('@')?;
    let facts: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
    let sysfs = format!("/sys{}", facts.get("DEVPATH")?);
    match *facts.get("ACTION")? {
        "remove" => Some(Event::DeviceGone { sysfs }),
        "add" | "change" | "online" | "bind" => {
            device(&sysfs, facts.get("SUBSYSTEM")?, &facts).map(|device| Event::DevicesPlugged(vec![device]))
        }
        // a device of another name: who had the old one is gone
        "move" => facts.get("DEVPATH_OLD").map(|old| Event::DeviceGone { sysfs: format!("/sys{old}") }),
        _ => None,
    }
}

/// All that sysfs has now.
#[must_use]
pub fn all(root: &Path) -> Vec<Device> {
    let mut found = Vec::new();
    for subsystem in SUBSYSTEMS {
        for entry in fs::read_dir(root.join("class").join(subsystem)).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // there are 64 virtual consoles: not a look is wasted on them
            if !is_wanted(subsystem, &name) {
                continue;
            }
            let Some(below) = end_of(&entry.path(), &Path::new("class").join(subsystem)) else { continue };
            let text = fs::read_to_string(root.join(&below).join("uevent")).unwrap_or_default();
            let mut facts: BTreeMap<&str, &str> =
                text.lines().filter_map(|line| line.split_once('=')).collect();
            if subsystem == "net" {
                facts.insert("INTERFACE", &name);
            }
            found.extend(device(&format!("/sys/{}", below.display()), subsystem, &facts));
        }
    }
    found
}

/// The folder of a device, from the root of sysfs: where its entry in a class's folder leads. `None`: it is gone.
fn end_of(entry: &Path, class: &Path) -> Option<PathBuf> {
    let target = match fs::read_link(entry) {
        Ok(target) => target,
        // not a link
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Some(class.join(entry.file_name()?));
        }
        Err(_) => return None,
    };
    // sysfs links lead up and down once, through no other link
    let mut folder = class.to_owned();
    for part in target.components() {
        match part {
            Component::ParentDir => _ = folder.pop(),
            Component::Normal(name) => folder.push(name),
            _ => {}
        }
    }
    Some(folder)
}

fn is_wanted(subsystem: &str, name: &str) -> bool {
    SUBSYSTEMS.contains(&subsystem) && (subsystem != "tty" || is_line(name))
}

/// A device that units may wait for.
fn device(sysfs: &str, subsystem: &str, facts: &BTreeMap<&str, &str>) -> Option<Device> {
    let name = sysfs.rsplit('/').next().unwrap_or_default();
    if !is_wanted(subsystem, name) {
        return None;
    }
    let mut paths = vec![sysfs.to_owned()];
    let mut description = String::new();
    if let Some(name) = facts.get("DEVNAME") {
        paths.push(format!("/dev/{}", name.strip_prefix("/dev/").unwrap_or(name)));
        description = format!("/dev/{name}");
    }
    if subsystem == "block" {
        for (fact, link) in [("PARTNAME", "by-partlabel"), ("PARTUUID", "by-partuuid")] {
            if let Some(value) = facts.get(fact).filter(|value| !value.is_empty()) {
                paths.push(format!("/dev/disk/{link}/{}", encode(value)));
            }
        }
    }
    if let Some(name) = facts.get("INTERFACE").filter(|_| subsystem == "net") {
        paths.push(format!("/sys/subsystem/net/devices/{name}"));
        description = format!("/sys/subsystem/net/devices/{name}");
    }
    Some(Device { sysfs: sysfs.to_owned(), paths, description })
}

/// A terminal somebody may sit at from outside: not the virtual consoles, nor the pairs of pty(7).
fn is_line(name: &str) -> bool {
    let serial =
        name.strip_prefix("tty").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()));
    serial || ["hvc", "xvc", "hvsi", "sclp_line"].iter().any(|prefix| name.starts_with(prefix))
}

/// A label as part of a path, in udev's manner: what is no plain character becomes `\x20`.
fn encode(label: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii();
    let one = |c: char| if plain(c) { c.to_string() } else { format!("\\x{:02x}", u32::from(c)) };
    label.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_messages() {
        let text = "add@/devices/pci/block/vda/vda4\0ACTION=add\0DEVPATH=/devices/pci/block/vda/vda4\0\
                    SUBSYSTEM=block\0DEVNAME=vda4\0DEVTYPE=partition\0PARTN=4\0PARTNAME=ROOT A\0SEQNUM=1\0";
        let Some(Event::DevicesPlugged(devices)) = message(text.as_bytes()) else { panic!("no device") };
        assert_eq!(
            devices[0].paths,
            ["/sys/devices/pci/block/vda/vda4", "/dev/vda4", "/dev/disk/by-partlabel/ROOT\\x20A"]
        );
        let text = "add@/devices/x/net/eth0\0ACTION=add\0DEVPATH=/devices/x/net/eth0\0SUBSYSTEM=net\0INTERFACE=eth0\0";
        let Some(Event::DevicesPlugged(devices)) = message(text.as_bytes()) else { panic!("no device") };
        assert!(devices[0].paths.contains(&"/sys/subsystem/net/devices/eth0".to_owned()));
        let gone = message(b"remove@/devices/x\0ACTION=remove\0DEVPATH=/devices/x\0SUBSYSTEM=block\0");
        assert!(matches!(gone, Some(Event::DeviceGone { sysfs }) if sysfs == "/sys/devices/x"));
        for bad in [&b""[..], b"libudev\0\xfe", b"add@x\0ACTION=add\0", b"\xff@\0ACTION=\xff\0DEVPATH=/x\0"] {
            assert!(message(bad).is_none());
        }
    }

    #[test]
    fn serial_lines_are_told_and_virtual_consoles_are_not() {
        let all = ["ttyS0", "ttyAMA0", "hvc0", "tty1", "tty", "ptmx", "console"];
        assert_eq!(all.map(is_line), [true, true, true, false, false, false, false]);
    }

    #[test]
    fn sysfs_has_the_loopback_interface() {
        let all = all(Path::new("/sys"));
        let here = all.iter().any(|d| d.paths.contains(&"/sys/subsystem/net/devices/lo".to_owned()));
        assert!(here || !Path::new("/sys/class/net/lo").exists());
        // each under the folder that the kernel itself names; one may go at any moment
        let real = |d: &Device| fs::canonicalize(&d.sysfs).is_ok_and(|real| real == Path::new(&d.sysfs));
        assert!(all.iter().all(|d| real(d) || !Path::new(&d.sysfs).exists()));
    }
}
