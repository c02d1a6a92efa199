//! A container's root directory, seen from outside.
//!
//! Of a running one it is its first process's root, with all that is mounted there. That of another is mounted by a
//! process that is there for nothing else, in a mount namespace of its own, for as long as it is looked at; meanwhile
//! the container has an owner, and does not start.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Stdio};

use linux::namespace::{Namespaces, unshare};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};

use super::super::Api;
use super::super::answer::Failure;
use super::super::settings::Settings;
use crate::cli::{CliError, Places};
use crate::state::Status;

/// What the process says when all is mounted.
const READY: &str = "ready";

/// The root directory, for as long as this is held.
#[derive(Debug)]
pub struct View {
    root: OwnedFd,
    holder: Option<Child>,
}

impl View {
    /// Looks at a container.
    ///
    /// # Errors
    /// When there is none, or it cannot be mounted.
    pub fn of(api: &Api, name: &str) -> Result<Self, Failure> {
        let container = api.containers().find(name)?;
        if container.status == Status::Running {
            let gone = || Failure::conflict(format!("container {} is not running", container.record.id));
            // Held while its number is used.
            let process = container.state.process().ok_or_else(gone)?;
            let root = open_root(Path::new(&format!("/proc/{}/root", container.state.pid.unwrap_or(0))))?;
            drop(process);
            return Ok(Self { root, holder: None });
        }
        let mut command = super::super::launch::ourselves(api, &["view", &container.record.id]);
        let mut holder =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut told = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut told)?;
        }
        let target = api.containers().dir(&container.record.id).join("rootfs");
        let root = match told.trim_end() {
            READY => {
                let inside = target.strip_prefix("/").unwrap_or(&target);
                open_root(&Path::new(&format!("/proc/{}/root", holder.id())).join(inside))
            }
            _ => {
                let mut why = String::new();
                let _ = holder.stderr.take().map(|mut stderr| stderr.read_to_string(&mut why));
                Err(io::Error::other(why.trim_end().to_owned()))
            }
        };
        match root {
            Ok(root) => Ok(Self { root, holder: Some(holder) }),
            Err(error) => {
                let _ = holder.kill().and_then(|()| holder.wait());
                Err(error.into())
            }
        }
    }
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

impl AsFd for View {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.holder {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// The process that mounts a container's root: says that it has, and stays until nobody listens.
///
/// # Errors
/// When it runs, or cannot be mounted.
pub fn hold(places: &Places, id: &str) -> Result<u8, CliError> {
    let failed = |what: &'static str| move |error: io::Error| CliError::Io(what, error);
    let containers = places.containers();
    let record = containers.find(id)?.record;
    let _owner = containers.own(&record.id)?;
    unshare(Namespaces::MOUNT).map_err(failed("mount namespace"))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|error| failed("mount namespace")(error.into()))?;
    let root =
        containers.rootfs(&record, false).mount().map_err(|error| failed("root")(io::Error::other(error)))?;
    for mount in Settings::of(&containers, &record).mounts {
        let text = |name: &str| mount.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        show(&root, Path::new(text("Source")), text("Destination"));
    }
    let mut stdout = io::stdout();
    stdout
        .write_all(format!("{READY}\n").as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(failed("tell"))?;
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    Ok(0)
}

/// What has no place in the image is seen only while the container runs.
fn show(root: &OwnedFd, source: &Path, target: &str) {
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if let Ok(place) = openat2(root, target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how) {
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let _ = mount_bind_recursive(source, path.as_str());
    }
}
