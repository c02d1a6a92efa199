//! What a container sees of the cgroup tree: a mount of type `cgroup` in its configuration.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use oci_spec::runtime::Mount;
use rustix::fs::{Mode, OFlags, mkdirat, open, openat, symlinkat};

use super::{Cgroup, ROOT, is_v2};
use crate::run::mount_options::MountOptions;
use crate::run::mounts::{MountError, attach, copy_of, failed, make_target, new_mount};

/// Mounts it beneath `root`. `own_namespace`: what is mounted anew begins at the container's own cgroup.
pub(in crate::run) fn mount(
    root: BorrowedFd<'_>,
    wanted: &Mount,
    cgroup: Option<&Cgroup>,
    own_namespace: bool,
) -> Result<(), MountError> {
    let path = wanted.destination();
    let refused = |error: io::Error| failed("mount cgroups on", path, error);
    let options = MountOptions::parse(wanted.options().as_deref().unwrap_or_default());
    let target = make_target(root, path, true, true)?;
    if is_v2() {
        let mounted = match new_mount(
            "cgroup2",
            Some(Path::new("cgroup")),
            &MountOptions { data: Vec::new(), ..options },
        ) {
            Ok(mounted) => mounted,
            // Another user namespace's: a part of the machine's is shown.
            Err(_) => {
                let path = cgroup
                    .and_then(|cgroup| cgroup.paths().get(""))
                    .map_or(Path::new(ROOT), |path| path.as_path());
                part(path, wanted).map_err(refused)?
            }
        };
        return attach(&mounted, &target).map_err(|error| refused(error.into()));
    }
    let attributes = ["nosuid", "nodev", "noexec", "mode=755"];
    let home =
        new_mount("tmpfs", Some(Path::new("tmpfs")), &MountOptions::parse(&attributes)).map_err(refused)?;
    attach(&home, &target).map_err(|error| refused(error.into()))?;
    for hierarchy in super::v1::hierarchies().map_err(refused)? {
        let Some(name) = hierarchy.directory.file_name() else { continue };
        let made = mkdirat(&home, name, Mode::from_raw_mode(0o755))
            .and_then(|()| openat(&home, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
            .map_err(|error| refused(error.into()))?;
        let first = hierarchy.controllers.first().map_or("", String::as_str);
        let mounted = if own_namespace {
            let mut data: Vec<_> = hierarchy.controllers.iter().map(|name| (name.clone(), None)).collect();
            let kind = if first.is_empty() { "cgroup2" } else { "cgroup" };
            if first.is_empty() {
                data.clear();
            } else if name == "systemd" {
                data = vec![("none".to_owned(), None), ("name".to_owned(), Some(first.to_owned()))];
            }
            let options = MountOptions { data, set: options.set, ..MountOptions::default() };
            new_mount(kind, Some(Path::new("cgroup")), &options)
        } else {
            let own = cgroup.and_then(|cgroup| cgroup.paths().get(first)).unwrap_or(&hierarchy.directory);
            part(own, wanted)
        };
        // A hierarchy that this container may not see is left empty.
        if let Ok(mounted) = mounted {
            attach(&mounted, &made).map_err(|error| refused(error.into()))?;
        }
        for controller in hierarchy.controllers.iter().filter(|_| hierarchy.controllers.len() > 1) {
            let _ = symlinkat(name, &home, controller.as_str());
        }
    }
    let read_only = options.set.without(MountAttributes::READ_ONLY) != options.set;
    if read_only {
        let how = MountAttributes::READ_ONLY;
        set_mount_attributes(&home, how, MountAttributes::NONE, Propagation::Unchanged, false)
            .map_err(refused)?;
    }
    Ok(())
}

/// A copy of a part of the machine's tree, with the attributes asked for.
fn part(path: &Path, wanted: &Mount) -> io::Result<std::os::fd::OwnedFd> {
    let options = MountOptions::parse(wanted.options().as_deref().unwrap_or_default());
    let directory = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let copy = copy_of(directory.as_fd(), false)?;
    set_mount_attributes(&copy, options.set, MountAttributes::NONE, Propagation::Private, false)?;
    Ok(copy)
}
