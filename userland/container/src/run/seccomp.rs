//! The system calls that a container may make.
//!
//! An allow list: what is not in it fails with EPERM. It admits what Docker's default profile admits with
//! the default capabilities; groups of calls that only make sense with a further capability are added
//! with it. `clone3` answers ENOSYS, since a filter cannot look into its arguments: libraries then use
//! `clone`, whose flags it can see. Calls in another mode of the processor (32 bit) end the process.
//! Sources: seccomp(2), Docker's documentation of its default profile.

use std::collections::BTreeMap;
use std::io;

use libc as c;
use oci_spec::runtime::{Capabilities, Capability};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Files, memory, time, signals, processes, sockets, IPC: what programs are made of.
const ALWAYS: &[c::c_long] = &[
    c::SYS_accept,
    c::SYS_accept4,
    c::SYS_access,
    c::SYS_alarm,
    c::SYS_arch_prctl,
    c::SYS_bind,
    c::SYS_brk,
    c::SYS_capget,
    c::SYS_capset,
    c::SYS_chdir,
    c::SYS_chmod,
    c::SYS_chown,
    c::SYS_clock_adjtime,
    c::SYS_clock_getres,
    c::SYS_clock_gettime,
    c::SYS_clock_nanosleep,
    c::SYS_clone3,
    c::SYS_close,
    c::SYS_close_range,
    c::SYS_connect,
    c::SYS_copy_file_range,
    c::SYS_creat,
    c::SYS_dup,
    c::SYS_dup2,
    c::SYS_dup3,
    c::SYS_epoll_create,
    c::SYS_epoll_create1,
    c::SYS_epoll_ctl,
    c::SYS_epoll_pwait,
    c::SYS_epoll_pwait2,
    c::SYS_epoll_wait,
    c::SYS_eventfd,
    c::SYS_eventfd2,
    c::SYS_execve,
    c::SYS_execveat,
    c::SYS_exit,
    c::SYS_exit_group,
    c::SYS_faccessat,
    c::SYS_faccessat2,
    c::SYS_fadvise64,
    c::SYS_fallocate,
    c::SYS_fanotify_mark,
    c::SYS_fchdir,
    c::SYS_fchmod,
    c::SYS_fchmodat,
    c::SYS_fchmodat2,
    c::SYS_fchown,
    c::SYS_fchownat,
    c::SYS_fcntl,
    c::SYS_fdatasync,
    c::SYS_fgetxattr,
    c::SYS_flistxattr,
    c::SYS_flock,
    c::SYS_fork,
    c::SYS_fremovexattr,
    c::SYS_fsetxattr,
    c::SYS_fstat,
    c::SYS_fstatfs,
    c::SYS_fsync,
    c::SYS_ftruncate,
    c::SYS_futex,
    c::SYS_futex_waitv,
    c::SYS_futimesat,
    c::SYS_get_robust_list,
    c::SYS_get_thread_area,
    c::SYS_getcpu,
    c::SYS_getcwd,
    c::SYS_getdents,
    c::SYS_getdents64,
    c::SYS_getegid,
    c::SYS_geteuid,
    c::SYS_getgid,
    c::SYS_getgroups,
    c::SYS_getitimer,
    c::SYS_getpeername,
    c::SYS_getpgid,
    c::SYS_getpgrp,
    c::SYS_getpid,
    c::SYS_getppid,
    c::SYS_getpriority,
    c::SYS_getrandom,
    c::SYS_getresgid,
    c::SYS_getresuid,
    c::SYS_getrlimit,
    c::SYS_getrusage,
    c::SYS_getsid,
    c::SYS_getsockname,
    c::SYS_getsockopt,
    c::SYS_gettid,
    c::SYS_gettimeofday,
    c::SYS_getuid,
    c::SYS_getxattr,
    c::SYS_inotify_add_watch,
    c::SYS_inotify_init,
    c::SYS_inotify_init1,
    c::SYS_inotify_rm_watch,
    c::SYS_io_cancel,
    c::SYS_io_destroy,
    c::SYS_io_getevents,
    c::SYS_io_setup,
    c::SYS_io_submit,
    c::SYS_ioctl,
    c::SYS_ioprio_get,
    c::SYS_ioprio_set,
    c::SYS_kill,
    c::SYS_landlock_add_rule,
    c::SYS_landlock_create_ruleset,
    c::SYS_landlock_restrict_self,
    c::SYS_lchown,
    c::SYS_lgetxattr,
    c::SYS_link,
    c::SYS_linkat,
    c::SYS_listen,
    c::SYS_listxattr,
    c::SYS_llistxattr,
    c::SYS_lremovexattr,
    c::SYS_lseek,
    c::SYS_lsetxattr,
    c::SYS_lstat,
    c::SYS_madvise,
    c::SYS_membarrier,
    c::SYS_memfd_create,
    c::SYS_memfd_secret,
    c::SYS_mincore,
    c::SYS_mkdir,
    c::SYS_mkdirat,
    c::SYS_mknod,
    c::SYS_mknodat,
    c::SYS_mlock,
    c::SYS_mlock2,
    c::SYS_mlockall,
    c::SYS_mmap,
    c::SYS_modify_ldt,
    c::SYS_mprotect,
    c::SYS_mq_getsetattr,
    c::SYS_mq_notify,
    c::SYS_mq_open,
    c::SYS_mq_timedreceive,
    c::SYS_mq_timedsend,
    c::SYS_mq_unlink,
    c::SYS_mremap,
    c::SYS_msgctl,
    c::SYS_msgget,
    c::SYS_msgrcv,
    c::SYS_msgsnd,
    c::SYS_msync,
    c::SYS_munlock,
    c::SYS_munlockall,
    c::SYS_munmap,
    c::SYS_name_to_handle_at,
    c::SYS_nanosleep,
    c::SYS_newfstatat,
    c::SYS_open,
    c::SYS_openat,
    c::SYS_openat2,
    c::SYS_pause,
    c::SYS_pidfd_open,
    c::SYS_pidfd_send_signal,
    c::SYS_pipe,
    c::SYS_pipe2,
    c::SYS_pkey_alloc,
    c::SYS_pkey_free,
    c::SYS_pkey_mprotect,
    c::SYS_poll,
    c::SYS_ppoll,
    c::SYS_prctl,
    c::SYS_pread64,
    c::SYS_preadv,
    c::SYS_preadv2,
    c::SYS_prlimit64,
    c::SYS_process_mrelease,
    c::SYS_process_vm_readv,
    c::SYS_process_vm_writev,
    c::SYS_pselect6,
    c::SYS_ptrace,
    c::SYS_pwrite64,
    c::SYS_pwritev,
    c::SYS_pwritev2,
    c::SYS_read,
    c::SYS_readahead,
    c::SYS_readlink,
    c::SYS_readlinkat,
    c::SYS_readv,
    c::SYS_recvfrom,
    c::SYS_recvmmsg,
    c::SYS_recvmsg,
    c::SYS_remap_file_pages,
    c::SYS_removexattr,
    c::SYS_rename,
    c::SYS_renameat,
    c::SYS_renameat2,
    c::SYS_restart_syscall,
    c::SYS_rmdir,
    c::SYS_rseq,
    c::SYS_rt_sigaction,
    c::SYS_rt_sigpending,
    c::SYS_rt_sigprocmask,
    c::SYS_rt_sigqueueinfo,
    c::SYS_rt_sigreturn,
    c::SYS_rt_sigsuspend,
    c::SYS_rt_sigtimedwait,
    c::SYS_rt_tgsigqueueinfo,
    c::SYS_sched_get_priority_max,
    c::SYS_sched_get_priority_min,
    c::SYS_sched_getaffinity,
    c::SYS_sched_getattr,
    c::SYS_sched_getparam,
    c::SYS_sched_getscheduler,
    c::SYS_sched_rr_get_interval,
    c::SYS_sched_setaffinity,
    c::SYS_sched_setattr,
    c::SYS_sched_setparam,
    c::SYS_sched_setscheduler,
    c::SYS_sched_yield,
    c::SYS_seccomp,
    c::SYS_select,
    c::SYS_semctl,
    c::SYS_semget,
    c::SYS_semop,
    c::SYS_semtimedop,
    c::SYS_sendfile,
    c::SYS_sendmmsg,
    c::SYS_sendmsg,
    c::SYS_sendto,
    c::SYS_set_robust_list,
    c::SYS_set_thread_area,
    c::SYS_set_tid_address,
    c::SYS_setfsgid,
    c::SYS_setfsuid,
    c::SYS_setgid,
    c::SYS_setgroups,
    c::SYS_setitimer,
    c::SYS_setpgid,
    c::SYS_setpriority,
    c::SYS_setregid,
    c::SYS_setresgid,
    c::SYS_setresuid,
    c::SYS_setreuid,
    c::SYS_setrlimit,
    c::SYS_setsid,
    c::SYS_setsockopt,
    c::SYS_setuid,
    c::SYS_setxattr,
    c::SYS_shmat,
    c::SYS_shmctl,
    c::SYS_shmdt,
    c::SYS_shmget,
    c::SYS_shutdown,
    c::SYS_sigaltstack,
    c::SYS_signalfd,
    c::SYS_signalfd4,
    c::SYS_socketpair,
    c::SYS_splice,
    c::SYS_stat,
    c::SYS_statfs,
    c::SYS_statx,
    c::SYS_symlink,
    c::SYS_symlinkat,
    c::SYS_sync,
    c::SYS_sync_file_range,
    c::SYS_syncfs,
    c::SYS_sysinfo,
    c::SYS_tee,
    c::SYS_tgkill,
    c::SYS_time,
    c::SYS_timer_create,
    c::SYS_timer_delete,
    c::SYS_timer_getoverrun,
    c::SYS_timer_gettime,
    c::SYS_timer_settime,
    c::SYS_timerfd_create,
    c::SYS_timerfd_gettime,
    c::SYS_timerfd_settime,
    c::SYS_times,
    c::SYS_tkill,
    c::SYS_truncate,
    c::SYS_umask,
    c::SYS_uname,
    c::SYS_unlink,
    c::SYS_unlinkat,
    c::SYS_utime,
    c::SYS_utimensat,
    c::SYS_utimes,
    c::SYS_vfork,
    c::SYS_vmsplice,
    c::SYS_wait4,
    c::SYS_waitid,
    c::SYS_write,
    c::SYS_writev,
];

/// Calls that come with a capability.
const WITH: &[(Capability, &[c::c_long])] = &[
    (Capability::DacReadSearch, &[c::SYS_open_by_handle_at]),
    (
        Capability::SysAdmin,
        &[
            c::SYS_bpf,
            c::SYS_clone,
            c::SYS_fanotify_init,
            c::SYS_fsconfig,
            c::SYS_fsmount,
            c::SYS_fsopen,
            c::SYS_fspick,
            c::SYS_lookup_dcookie,
            c::SYS_mount,
            c::SYS_mount_setattr,
            c::SYS_move_mount,
            c::SYS_open_tree,
            c::SYS_perf_event_open,
            c::SYS_quotactl,
            c::SYS_quotactl_fd,
            c::SYS_setdomainname,
            c::SYS_sethostname,
            c::SYS_setns,
            c::SYS_syslog,
            c::SYS_umount2,
            c::SYS_unshare,
        ],
    ),
    (Capability::SysBoot, &[c::SYS_reboot]),
    (Capability::SysChroot, &[c::SYS_chroot]),
    (Capability::SysModule, &[c::SYS_delete_module, c::SYS_init_module, c::SYS_finit_module]),
    (Capability::SysPacct, &[c::SYS_acct]),
    (Capability::SysPtrace, &[c::SYS_kcmp, c::SYS_pidfd_getfd, c::SYS_process_madvise]),
    (Capability::SysRawio, &[c::SYS_iopl, c::SYS_ioperm]),
    (Capability::SysTime, &[c::SYS_settimeofday, c::SYS_adjtimex, c::SYS_clock_settime]),
    (Capability::SysTtyConfig, &[c::SYS_vhangup]),
    (
        Capability::SysNice,
        &[c::SYS_get_mempolicy, c::SYS_mbind, c::SYS_set_mempolicy, c::SYS_migrate_pages, c::SYS_move_pages],
    ),
    (Capability::Syslog, &[c::SYS_syslog]),
    (Capability::Bpf, &[c::SYS_bpf]),
    (Capability::Perfmon, &[c::SYS_perf_event_open]),
];

/// Flags of clone(2) that make namespaces.
const NEW_NAMESPACES: u64 = 0x7E02_0000;
/// Execution domains that are harmless: Linux, also with a 32-bit uname or old addresses; and asking.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF];
const AF_VSOCK: u64 = 40;

/// The compiled filters, ready to be applied.
pub struct Filters(Vec<BpfProgram>);

impl Filters {
    /// The filters for a container with these capabilities.
    ///
    /// # Errors
    /// When they cannot be compiled, which no input can cause.
    pub fn compile(capabilities: &Capabilities) -> io::Result<Self> {
        let failed = io::Error::other::<seccompiler::BackendError>;
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
        let when_first = |op, value| -> io::Result<SeccompRule> {
            let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value).map_err(failed)?;
            SeccompRule::new(vec![condition]).map_err(failed)
        };
        rules.insert(c::SYS_clone, vec![when_first(SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?]);
        rules.insert(c::SYS_socket, vec![when_first(SeccompCmpOp::Ne, AF_VSOCK)?]);
        let personalities: io::Result<Vec<_>> =
            PERSONALITIES.iter().map(|value| when_first(SeccompCmpOp::Eq, *value)).collect();
        rules.insert(c::SYS_personality, personalities?);
        for (capability, calls) in WITH {
            if capabilities.contains(capability) {
                rules.extend(calls.iter().map(|call| (*call, Vec::new())));
            }
        }
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
        let refused = SeccompAction::Errno(c::EPERM.unsigned_abs());
        let allow = SeccompFilter::new(rules, refused, SeccompAction::Allow, arch).map_err(failed)?;
        let mut filters = vec![allow.try_into().map_err(failed)?];
        if !capabilities.contains(&Capability::SysAdmin) {
            let absent = SeccompAction::Errno(c::ENOSYS.unsigned_abs());
            let clone3 = [(c::SYS_clone3, Vec::new())].into_iter().collect();
            let filter = SeccompFilter::new(clone3, SeccompAction::Allow, absent, arch).map_err(failed)?;
            filters.push(filter.try_into().map_err(failed)?);
        }
        Ok(Self(filters))
    }

    /// Binds the calling thread to them, for good. Sets `no_new_privs` too.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn apply(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|filter| seccompiler::apply_filter(filter)).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::capability;

    #[test]
    fn the_default_compiles_to_two_filters() {
        let default = capability::choose(&[], &[], false).unwrap();
        assert_eq!(Filters::compile(&default).unwrap().0.len(), 2);
        let admin = capability::choose(&["SYS_ADMIN".to_owned()], &[], false).unwrap();
        assert_eq!(Filters::compile(&admin).unwrap().0.len(), 1);
    }

    #[test]
    fn calls_that_reach_the_kernels_insides_are_not_in_the_list() {
        for dangerous in [
            c::SYS_mount,
            c::SYS_bpf,
            c::SYS_kexec_load,
            c::SYS_init_module,
            c::SYS_unshare,
            c::SYS_setns,
            c::SYS_keyctl,
            c::SYS_add_key,
            c::SYS_request_key,
            c::SYS_userfaultfd,
            c::SYS_io_uring_setup,
            c::SYS_open_by_handle_at,
            c::SYS_perf_event_open,
            c::SYS_pivot_root,
            c::SYS_swapon,
            c::SYS_reboot,
        ] {
            assert!(!ALWAYS.contains(&dangerous), "{dangerous}");
        }
    }
}
