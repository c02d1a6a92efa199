//! Each class of attack on runtimes, tried.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::bundle::{Bundle, RUNC, finished};

/// Mounts that go where an image put a link (CVE-2026-41579, CVE-2019-19921): an error, and nothing outside changes.
#[test]
fn links_where_the_kernels_file_systems_go() {
    for place in ["dev", "proc", "sys"] {
        let Some(mut bundle) = Bundle::new() else { return };
        let outside = bundle.path("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, bundle.path("rootfs").join(place)).unwrap();
        let (status, out, told) = bundle.script("true").run();
        assert!(status != 0 && out.is_empty() && told.contains(place), "{place}: {told}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{place}");
    }
}

/// Volumes and working directories through links stay within the root (CVE-2021-30465 is this, with a race).
#[test]
fn links_of_the_image_lead_nowhere_outside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = bundle.path("outside");
    std::fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.path("rootfs/link")).unwrap();
    symlink("/proc/self/fd", bundle.path("rootfs/fds")).unwrap();
    bundle.set("/mounts/-", json!({ "destination": "/link/made", "type": "tmpfs", "source": "t" }));
    bundle.set("/process/cwd", json!("/link/dir")).script("true");
    let _ = bundle.run();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    // A device node or mask through a link.
    bundle.set("/linux/devices", json!([{ "path": "/link/node", "type": "c", "major": 1, "minor": 3 }]));
    let _ = bundle.run();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

/// CVE-2021-30465: another process swaps a directory for a link while mounts are made.
#[test]
fn a_link_swapped_in_during_the_mounts() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = bundle.path("outside");
    std::fs::create_dir_all(outside.join("inner")).unwrap();
    let volume = bundle.path("volume");
    std::fs::create_dir_all(volume.join("swap/inner")).unwrap();
    symlink(format!("/../../../../../../../../{}", outside.display()), volume.join("link")).unwrap();
    bundle.set("/mounts/-", json!({ "destination": "/v", "source": volume, "options": ["bind"] }));
    for _ in 0..4 {
        bundle.set(
            "/mounts/-",
            json!({ "destination": "/v/swap/inner", "type": "tmpfs", "source": "hostile" }),
        );
    }
    bundle.script("true");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = {
        let (stop, volume) = (stop.clone(), volume.clone());
        std::thread::spawn(move || {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let at = rustix::fs::CWD;
                let _ = rustix::fs::renameat_with(at, volume.join("link"), at, volume.join("swap"), flags);
            }
        })
    };
    for _ in 0..15 {
        bundle.run();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains("hostile"), "{mounts}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 1);
}

/// CVE-2024-21626: a working directory that is a descriptor of the runtime's.
#[test]
fn a_working_directory_that_leads_out() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("sleep 100");
    bundle.create();
    bundle.must(&["start", &bundle.id]);
    for number in 3..16 {
        let dir = format!("/proc/self/fd/{number}");
        let Some(mut other) = Bundle::new() else { return };
        other.set("/process/cwd", json!(dir));
        let (status, out, _) = other.script("cat ../../../../etc/hostname; pwd").run();
        assert!(status != 0 && out.is_empty(), "{dir}: {out}");
        let (status, out, _) = bundle.output(&[
            "exec",
            "--cwd",
            &dir,
            &bundle.id,
            "sh",
            "-c",
            "cat ../../../../etc/hostname; pwd",
        ]);
        assert!(status != 0 && out.is_empty(), "{dir}: {out}");
    }
}

/// CVE-2019-5736: the container executes the runtime, holds it open, and writes it later.
#[test]
fn the_runtimes_own_program_cannot_be_written() {
    let Some(mut bundle) = Bundle::new() else { return };
    let copy = bundle.path("runc");
    std::fs::copy(RUNC, &copy).unwrap();
    bundle.runtime = copy.clone();
    let before = std::fs::read(&copy).unwrap();
    // The program is a script whose interpreter is /proc/self/exe: the runtime, as a process of the container's.
    std::fs::write(bundle.path("rootfs/evil"), "#!/proc/self/exe\n").unwrap();
    finished(std::process::Command::new("chmod").arg("755").arg(bundle.path("rootfs/evil")));
    bundle.script("while true; do for p in /proc/[0-9]*; do case $(readlink $p/exe) in *busybox) ;; *) : >> $p/exe; echo tried;; esac; done 2>/dev/null; done");
    bundle.create();
    bundle.must(&["start", &bundle.id]);
    for _ in 0..10 {
        let _ = bundle.output(&["exec", &bundle.id, "/evil"]);
        let _ = bundle.output(&["exec", &bundle.id, "/proc/self/exe", "features"]);
    }
    let (_, told, _) = bundle.output(&["exec", &bundle.id, "/proc/self/exe", "--version"]);
    if told.contains("runc version") {
        // It ran there: then from a file that nobody can write, and no path leads to.
        let script = "exec 3< /proc/self/exe; : >> /proc/self/fd/3";
        assert_ne!(bundle.output(&["exec", &bundle.id, "sh", "-c", script]).0, 0);
    }
    bundle.must(&["delete", "-f", &bundle.id]);
    assert!(std::fs::read(&copy).unwrap() == before, "the runtime was overwritten");
}

/// CVE-2025-31133 and CVE-2025-52565: what covers masked paths, and the console, is checked by descriptor.
#[test]
fn masks_and_console_do_not_follow_the_image() {
    let Some(mut bundle) = Bundle::new() else { return };
    // The image's /dev/null is a link to something it wants to write.
    std::fs::create_dir(bundle.path("rootfs/dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", bundle.path("rootfs/dev/null")).unwrap();
    bundle.set("/linux/maskedPaths", json!(["/etc/group"]));
    assert_eq!(
        bundle.says(
            "wc -c < /etc/group; stat -c %t:%T /etc/group; chmod 600 /etc/group 2>&1 | grep -c Read-only"
        ),
        "0\n1:3\n1"
    );
    // Without a /dev of its own the image's link is in the way, and stays one.
    let mut mounts = bundle.config["mounts"].as_array().unwrap().clone();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    bundle.set("/mounts", json!(mounts));
    let (status, _, told) = bundle.run();
    assert!(status != 0 && told.contains("/dev/null"), "{told}");
}

/// CVE-2025-52881: a write to /proc that the image leads elsewhere. Ours go through the machine's own /proc.
#[test]
fn kernel_parameters_are_not_led_elsewhere() {
    let Some(mut bundle) = Bundle::new() else { return };
    let panic = std::fs::read_to_string("/proc/sys/kernel/panic").unwrap();
    std::fs::create_dir_all(bundle.path("rootfs/fake/sys/net/ipv4")).unwrap();
    symlink("/proc/sys/kernel/panic", bundle.path("rootfs/fake/sys/net/ipv4/ip_forward")).unwrap();
    bundle.set(
        "/mounts/0",
        json!({ "destination": "/proc", "source": bundle.path("rootfs/fake"), "options": ["bind"] }),
    );
    bundle
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "77" }))
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]));
    let _ = bundle.script("true").run();
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/panic").unwrap(), panic);
    for whole in ["kernel.panic", "vm.swappiness", "net/../kernel/panic"] {
        bundle.set("/linux/sysctl", json!({ whole: "1" }));
        assert_ne!(bundle.run().0, 0, "{whole}");
    }
}

/// Nothing of the runtime's stays open: in the first process, before it is the program too, and in those that join.
#[test]
fn no_descriptor_is_left_open() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("ls /proc/1/fd; readlink /proc/1/cwd; readlink /proc/1/root; sleep 100");
    bundle.create();
    bundle.must(&["start", &bundle.id]);
    crate::bundle::wait_until(|| bundle.said().matches('/').count() == 2);
    assert_eq!(bundle.said(), "0\n1\n2\n/\n/");
    assert_eq!(
        bundle.must(&["exec", &bundle.id, "ls", "/proc/self/fd"]),
        "0\n1\n2\n3",
        "3 is the directory that ls reads"
    );
    assert!(Path::new("/proc/self").exists());
}
