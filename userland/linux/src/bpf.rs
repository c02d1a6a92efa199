//! Programs that decide for a cgroup: bpf(2).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const ALLOW_MULTI: u32 = 2;

/// What a program decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Which device may be used: `BPF_PROG_TYPE_CGROUP_DEVICE`.
    Device,
    /// Which packet may come in.
    Ingress,
    /// Which packet may go out.
    Egress,
}

impl Kind {
    /// Every kind, with a word for it.
    pub const ALL: [(&str, Kind); 3] =
        [("device", Kind::Device), ("ingress", Kind::Ingress), ("egress", Kind::Egress)];

    fn program_type(self) -> u32 {
        match self {
            Kind::Device => 15,
            Kind::Ingress | Kind::Egress => 8,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Kind::Ingress => 0,
            Kind::Egress => 1,
            Kind::Device => 6,
        }
    }
}

/// The head of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The head of `union bpf_attr` for BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// A program in the kernel; it stays attached when this is dropped.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    kind: Kind,
}

impl Program {
    /// Has the kernel check and take a program: instructions of eBPF, one a word.
    ///
    /// # Errors
    /// `EACCES` or `EINVAL`: the program is not safe; `EPERM`: the caller may not; `ENOSYS`: no BPF.
    pub fn load(kind: Kind, instructions: &[u64]) -> io::Result<Program> {
        let license = c"GPL";
        let attributes = Load {
            prog_type: kind.program_type(),
            insn_cnt: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
            insns: instructions.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
            prog_name: *b"corten\0\0\0\0\0\0\0\0\0\0",
            prog_ifindex: 0,
            expected_attach_type: kind.attach_type(),
        };
        // SAFETY: the attributes, and the instructions and licence that they point to, live through the call; the
        // kernel reads as many instructions as told.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const attributes, size_of::<Load>()) };
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the kernel has just made this descriptor; nobody else owns it.
        Ok(Program { fd: unsafe { OwnedFd::from_raw_fd(fd) }, kind })
    }

    /// One that was loaded before, by this program or by the one that executed it.
    #[must_use]
    pub fn again(kind: Kind, fd: OwnedFd) -> Program {
        Program { fd, kind }
    }

    /// What it decides.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Attaches it to a cgroup (a descriptor of its folder), beside what is there.
    ///
    /// # Errors
    /// What bpf(2) says.
    pub fn attach(&self, cgroup: impl AsFd) -> io::Result<()> {
        self.change(cgroup, PROG_ATTACH, ALLOW_MULTI)
    }

    /// Takes it off again.
    ///
    /// # Errors
    /// It is not attached there.
    pub fn detach(&self, cgroup: impl AsFd) -> io::Result<()> {
        self.change(cgroup, PROG_DETACH, 0)
    }

    fn change(&self, cgroup: impl AsFd, command: libc::c_long, attach_flags: u32) -> io::Result<()> {
        let number = |fd: &dyn AsRawFd| u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX);
        let attributes = Attach {
            target_fd: number(&cgroup.as_fd()),
            attach_bpf_fd: number(&self.fd),
            attach_type: self.kind.attach_type(),
            attach_flags,
            replace_bpf_fd: 0,
        };
        // SAFETY: the attributes live through the call and name descriptors that are open.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attributes, size_of::<Attach>()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_refused() {
        assert!(Program::load(Kind::Device, &[0xb7]).is_err());
    }
}
