//! RemoveIPC=: System V and POSIX objects of a user go with the unit (sysvipc(7), shm_overview(7), mq_overview(7)).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use linux::sysv::{Kind, remove};

/// Tables of /proc/sysvipc: the kind, and in which columns identifier, user and group stand.
const TABLES: [(&str, Kind, usize, usize, usize); 3] = [
    ("/proc/sysvipc/shm", Kind::Memory, 1, 7, 8),
    ("/proc/sysvipc/msg", Kind::Queue, 1, 7, 8),
    ("/proc/sysvipc/sem", Kind::Semaphores, 1, 4, 5),
];
const FOLDERS: [&str; 2] = ["/dev/shm", "/dev/mqueue"];

/// Removes what belongs to this user and group; root's objects stay.
pub fn remove_of(uid: u32, gid: u32) {
    if uid == 0 {
        return;
    }
    for (table, kind, id, user, group) in TABLES {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok());
            let owned = number(user) == Some(uid) || (gid != 0 && number(group) == Some(gid));
            if owned && let Some(id) = number(id).and_then(|id| i32::try_from(id).ok()) {
                let _ = remove(kind, id);
            }
        }
    }
    for folder in FOLDERS {
        sweep(Path::new(folder), uid, gid, 0);
    }
}

fn sweep(folder: &Path, uid: u32, gid: u32, depth: u32) {
    const DEEPEST: u32 = 16;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(data) = entry.metadata() else { continue };
        if data.is_dir() && depth < DEEPEST {
            sweep(&entry.path(), uid, gid, depth + 1);
        }
        if data.uid() == uid || (gid != 0 && data.gid() == gid) {
            let _ = if data.is_dir() { fs::remove_dir(entry.path()) } else { fs::remove_file(entry.path()) };
        }
    }
}
