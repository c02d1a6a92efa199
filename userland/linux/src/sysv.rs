//! System V objects that outlive their makers: shmctl(2), msgctl(2), semctl(2).

use std::io;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shared memory.
    Memory,
    /// Message queues.
    Queue,
    /// Sets of semaphores.
    Semaphores,
}

/// Removes an object.
///
/// # Errors
/// It is not there, or another's.
pub fn remove(kind: Kind, id: i32) -> io::Result<()> {
    let nothing = std::ptr::null_mut();
    // SAFETY: IPC_RMID takes the identifier only; the other argument is ignored.
    let result = unsafe {
        match kind {
            Kind::Memory => libc::shmctl(id, libc::IPC_RMID, nothing),
            Kind::Queue => libc::msgctl(id, libc::IPC_RMID, std::ptr::null_mut()),
            Kind::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
        }
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_of_such_a_number() {
        assert!(super::remove(super::Kind::Queue, -1).is_err());
    }
}
