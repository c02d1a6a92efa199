//! Modes and owners, extended attributes, access lists: what a file has besides its content.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{
    AtFlags, FileType, Gid, IFlags, OFlags, Uid, XattrFlags, chownat, fstat, ioctl_getflags, ioctl_setflags,
    setxattr,
};

use super::line::{Item, Mode};
use super::root::{Place, Root};

/// Gives what is at a place the mode and the owner of a line. `new`: the line has just made it.
pub fn apply(place: &Place, item: &Item, new: bool) -> io::Result<()> {
    let file = place.open(OFlags::PATH, 0)?;
    apply_to(&file, item, new)
}

fn apply_to(file: &OwnedFd, item: &Item, new: bool) -> io::Result<()> {
    let data = fstat(file)?;
    let kind = FileType::from_raw_mode(data.st_mode);
    let wanted = |given: Option<super::line::Given<u32>>| given.filter(|given| new || !given.only_new);
    let user = wanted(item.user).map(|given| given.value).filter(|uid| *uid != data.st_uid);
    let group = wanted(item.group).map(|given| given.value).filter(|gid| *gid != data.st_gid);
    if user.is_some() || group.is_some() {
        chownat(file, "", user.map(Uid::from_raw), group.map(Gid::from_raw), AtFlags::EMPTY_PATH)?;
    }
    if let Some(mode) = item.mode.filter(|mode| new || !mode.only_new)
        && kind != FileType::Symlink
    {
        let have = data.st_mode & 0o7777;
        let bits = if mode.value.masked { mask(mode.value, have, kind) } else { mode.value.bits };
        // A change of owner takes set-id bits away, so the mode comes last and always then.
        if bits != have || user.is_some() || group.is_some() {
            fs::set_permissions(Root::of_descriptor(file), fs::Permissions::from_mode(bits))?;
        }
    }
    Ok(())
}

/// `~`: no reading, writing or executing that nobody had before.
fn mask(mode: Mode, have: u32, kind: FileType) -> u32 {
    let mut bits = mode.bits;
    for class in [0o444, 0o222, 0o111] {
        if have & class == 0 {
            bits &= !class;
        }
    }
    if kind != FileType::Directory {
        bits &= !0o7000 | (have & 0o7000);
    }
    bits
}

/// Sets extended attributes: `name=value` words.
pub fn set_attributes(place: &Place, item: &Item) -> io::Result<()> {
    let file = place.open(OFlags::PATH, 0)?;
    let text = item.text().unwrap_or_default();
    for word in unit::exec::words(&text).map_err(io::Error::other)? {
        let (name, value) = word.split_once('=').ok_or(io::ErrorKind::InvalidInput)?;
        setxattr(Root::of_descriptor(&file), name, value.as_bytes(), XattrFlags::empty())?;
    }
    Ok(())
}

/// Sets or clears the attributes of chattr(1): `+C`, `-i`, `=ad`.
pub fn set_flags(place: &Place, item: &Item) -> io::Result<()> {
    let kind = place.stat()?.map(|data| FileType::from_raw_mode(data.st_mode));
    if !matches!(kind, Some(FileType::RegularFile | FileType::Directory)) {
        return Ok(());
    }
    let text = item.text().unwrap_or_default();
    let (sign, letters) = match text.chars().next() {
        Some(sign @ ('+' | '-' | '=')) => (sign, text.get(1..).unwrap_or_default()),
        _ => ('+', text.as_str()),
    };
    let mut wanted = IFlags::empty();
    for letter in letters.chars() {
        wanted |= flag(letter).ok_or(io::ErrorKind::InvalidInput)?;
    }
    let file = place.open(OFlags::RDONLY | OFlags::NONBLOCK, 0)?;
    let have = match ioctl_getflags(&file) {
        // This file system has none: nothing to keep the machine from running for.
        Err(rustix::io::Errno::NOTTY | rustix::io::Errno::OPNOTSUPP) => return Ok(()),
        flags => flags?,
    };
    let flags = match sign {
        '-' => have & !wanted,
        '=' => wanted | (have & !all()),
        _ => have | wanted,
    };
    match ioctl_setflags(&file, flags) {
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        result => Ok(result?),
    }
}

fn flag(letter: char) -> Option<IFlags> {
    Some(match letter {
        'A' => IFlags::NOATIME,
        'S' => IFlags::SYNC,
        'D' => IFlags::DIRSYNC,
        'a' => IFlags::APPEND,
        'c' => IFlags::COMPRESSED,
        'd' => IFlags::NODUMP,
        'i' => IFlags::IMMUTABLE,
        'j' => IFlags::JOURNALING,
        's' => IFlags::SECURE_REMOVAL,
        'u' => IFlags::UNRM,
        't' => IFlags::NOTAIL,
        'T' => IFlags::TOPDIR,
        'C' => IFlags::NOCOW,
        'P' => IFlags::PROJECT_INHERIT,
        _ => return None,
    })
}

fn all() -> IFlags {
    "ASDacdijsutTCP".chars().filter_map(flag).fold(IFlags::empty(), |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_gives_nothing_new() {
        let mode = Mode { bits: 0o2775, masked: true };
        assert_eq!(mask(mode, 0o644, FileType::RegularFile), 0o664);
        assert_eq!(mask(mode, 0o755, FileType::Directory), 0o2775);
        assert_eq!(mask(mode, 0o444, FileType::RegularFile), 0o444);
    }
}
