//! The same bundle with Debian's runc: both see the same. Where it is not installed, that is said.

use std::path::Path;

use crate::bundle::Bundle;

#[test]
fn debians_runc_sees_the_same() {
    let peer = Path::new("/usr/sbin/runc");
    if !peer.exists() {
        eprintln!("skipped: needs Debian's runc");
        return;
    }
    let scripts = [
        "id; pwd; env; hostname; umask",
        "grep -E 'Cap|NoNewPrivs|Seccomp:|Umask' /proc/self/status",
        "ls /dev; ls /dev/pts; stat -c '%n %a %t:%T' /dev/*",
        "cut -d' ' -f2-4 /proc/self/mounts | sed 's/,nr_inodes.*//; s/,inode64//' | grep -v -E '^/(sys/fs/cgroup[^ ]*|sys/firmware|proc/(keys|timer_list|sched_debug|scsi|acpi|latency_stats)) ' ",
        "ls /sys/fs/cgroup | grep -v -E 'unified|misc|rdma|net_|hugetlb|perf'",
        "ulimit -a",
        "cut -d' ' -f6,7 /proc/self/stat; ls /proc/self/fd; cat /proc/sys/kernel/domainname",
    ];
    for script in scripts {
        let Some(mut bundle) = Bundle::new() else { return };
        let ours = bundle.says(script);
        bundle.runtime = peer.to_owned();
        let theirs = bundle.says(script);
        assert_eq!(ours, theirs, "{script}");
    }
}
