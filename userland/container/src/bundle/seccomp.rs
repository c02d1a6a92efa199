//! Docker's default filter of system calls, as a part of the configuration.
//!
//! An allow list: what is not in it fails with EPERM. It admits what Docker's default profile admits with
//! the default capabilities; groups of calls that only make sense with a further capability are added
//! with it. `clone3` answers ENOSYS, since a filter cannot look into its arguments: libraries then use
//! `clone`, whose flags it can see. Calls in another mode of the processor (32 bit) end the process.
//! Source: Docker's documentation of its default profile.

use oci_spec::runtime::{Capabilities, Capability};
use serde_json::{Value, json};

/// Files, memory, time, signals, processes, sockets, IPC: what programs are made of.
const ALWAYS: &str = "
    accept accept4 access alarm arch_prctl bind brk capget capset chdir chmod chown clock_adjtime
    clock_getres clock_gettime clock_nanosleep clone3 close close_range connect copy_file_range creat dup
    dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2
    execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod
    fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr
    fsetxattr fstat fstatfs fsync ftruncate futex futex_waitv futimesat get_robust_list get_thread_area
    getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname
    getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_setup io_submit ioctl ioprio_get ioprio_set kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen
    listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise membarrier memfd_create memfd_secret
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap modify_ldt mprotect mq_getsetattr
    mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget msgrcv msgsnd msync
    munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2
    prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2
    read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr rename
    renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
    seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority
    setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr shmat shmctl shmdt
    shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask
    uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid write writev
";

/// Calls that come with a capability.
const WITH: &[(Capability, &str)] = &[
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr \
         move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns \
         syslog umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module init_module finit_module"),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise"),
    (Capability::SysRawio, "iopl ioperm"),
    (Capability::SysTime, "settimeofday adjtimex clock_settime"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy migrate_pages move_pages"),
    (Capability::Syslog, "syslog"),
    (Capability::Bpf, "bpf"),
    (Capability::Perfmon, "perf_event_open"),
];

/// Flags of clone(2) that make namespaces.
const NEW_NAMESPACES: u64 = 0x7E02_0000;
/// Execution domains that are harmless: Linux, also with a 32-bit uname or old addresses; and asking.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];
const AF_VSOCK: u64 = 40;

/// The `linux.seccomp` of a container with these capabilities.
#[must_use]
pub fn default_for(capabilities: &Capabilities) -> Value {
    let admin = capabilities.contains(&Capability::SysAdmin);
    let mut allowed: Vec<&str> = ALWAYS.split_whitespace().collect();
    for (capability, calls) in WITH {
        if capabilities.contains(capability) {
            allowed.extend(calls.split_whitespace());
        }
    }
    if !admin {
        allowed.retain(|call| *call != "clone3");
    }
    let allow =
        |names: Value, args: Value| json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": args });
    let when =
        |op: &str, value: u64, two: u64| json!([{ "index": 0, "value": value, "valueTwo": two, "op": op }]);
    let mut calls = vec![
        allow(json!(allowed), json!([])),
        allow(json!(["clone"]), when("SCMP_CMP_MASKED_EQ", NEW_NAMESPACES, 0)),
        allow(json!(["socket"]), when("SCMP_CMP_NE", AF_VSOCK, 0)),
    ];
    calls.extend(PERSONALITIES.map(|value| allow(json!(["personality"]), when("SCMP_CMP_EQ", value, 0))));
    if !admin {
        // ENOSYS
        calls.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }));
    }
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls": calls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_reach_the_kernels_insides_are_not_in_the_list() {
        let always: Vec<_> = ALWAYS.split_whitespace().collect();
        for dangerous in [
            "mount",
            "bpf",
            "kexec_load",
            "init_module",
            "unshare",
            "setns",
            "keyctl",
            "add_key",
            "request_key",
            "userfaultfd",
            "io_uring_setup",
            "open_by_handle_at",
            "perf_event_open",
            "pivot_root",
            "swapon",
            "reboot",
        ] {
            assert!(!always.contains(&dangerous), "{dangerous}");
        }
    }

    #[test]
    fn every_name_is_a_call_and_the_result_a_configuration() {
        let with = WITH.iter().flat_map(|(_, calls)| calls.split_whitespace());
        for name in ALWAYS.split_whitespace().chain(with) {
            assert!(linux::syscall::number(name).is_some(), "{name}");
        }
        let profile = default_for(&Capabilities::new());
        let parsed: oci_spec::runtime::LinuxSeccomp = serde_json::from_value(profile).unwrap();
        assert_eq!(parsed.default_errno_ret(), Some(1));
    }
}
