//! What is made from what: every step takes its inputs from the ones before it and leaves a finished artifact.
//!
//! Slow steps whose inputs have not changed are taken from the cache, which is keyed by the hash of the inputs and
//! checked when used. `CORTEN_NO_IMAGE_CACHE=1` makes everything anew.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use clap::ValueEnum;
use ring::digest::{Context, SHA256};
use update_engine::verity::hex;

use crate::artifacts::{self, publish, sha256};
use crate::boot_partition;
use crate::disk;
use crate::error::{At, Error, Result};
use crate::kernel;
use crate::live;
use crate::manifest::{self, Manifest};
use crate::root::Root;
use crate::scan;
use crate::tool::Tool;
use crate::tree;
use crate::userland;

/// What the largest build leaves and needs on the way, in MB.
const ROOM: u64 = 600;

/// What to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Target {
    /// bin/: the static binary and its links
    Userland,
    /// vmlinuz: the kernel
    Kernel,
    /// root.img: the verified root file system
    Root,
    /// corten.img: the disk
    Disk,
    /// vmlinuz and initrd: to boot from memory
    Live,
    /// corten.img.zst and corten.qcow2: the disk to give away
    Release,
    /// Everything
    All,
    /// Nothing new: scan the root tree for programs that are not ours
    Check,
}

/// A build.
#[derive(Debug)]
pub struct Builder {
    manifest: Manifest,
    version: String,
    checkout: PathBuf,
    output: PathBuf,
    cache: Option<PathBuf>,
    binary: Option<PathBuf>,
    kernel: Option<PathBuf>,
    root: Option<Root>,
    work: tempfile::TempDir,
    _lock: File,
}

impl Builder {
    /// A build of this checkout into this folder. Waits for another build into the same folder.
    ///
    /// # Errors
    /// The manifest is wrong, the version is not one, or the folder is not writable or too full.
    pub fn new(checkout: &Path, output: &Path, version: Option<&str>) -> Result<Builder> {
        let manifest_path = checkout.join("image/image.toml");
        let manifest = Manifest::read(&manifest_path)?;
        let version = version.unwrap_or(&manifest.version).to_owned();
        manifest::check_version(&version)
            .map_err(|message| Error::Input { path: "--version".into(), message })?;
        fs::create_dir_all(output).at("create", output)?;
        let output = output.canonicalize().at("find", output)?;
        enough_room(&output)?;
        let lock_path = output.join(".lock");
        let lock = File::create(&lock_path).at("create", &lock_path)?;
        lock.lock().at("lock", &lock_path)?;
        let work = tempfile::Builder::new()
            .prefix(".work-")
            .tempdir_in(&output)
            .at("create a folder in", &output)?;
        Ok(Builder {
            manifest,
            version,
            checkout: checkout.to_owned(),
            output,
            cache: cache_folder(),
            binary: None,
            kernel: None,
            root: None,
            work,
            _lock: lock,
        })
    }

    /// Takes this binary instead of compiling one.
    pub fn use_binary(&mut self, path: PathBuf) {
        self.binary = Some(path);
    }

    /// Takes this kernel instead of building one.
    pub fn use_kernel(&mut self, path: PathBuf) {
        self.kernel = Some(path);
    }

    /// Takes nothing from the cache and puts nothing there.
    pub fn use_no_cache(&mut self) {
        self.cache = None;
    }

    /// Makes what is asked for and what that needs, then the list of all artifacts.
    ///
    /// # Errors
    /// The first step that fails.
    pub fn make(&mut self, targets: &[Target]) -> Result<Vec<artifacts::Entry>> {
        let wants =
            |these: &[Target]| targets.iter().any(|target| these.contains(target) || *target == Target::All);
        if wants(&[Target::Disk, Target::Live, Target::Release]) && self.kernel.is_none() {
            self.compile()?;
        }
        if wants(&[Target::Userland]) {
            self.userland()?;
        }
        if wants(&[Target::Kernel, Target::Live]) {
            self.kernel()?;
        }
        if wants(&[Target::Root, Target::Check]) {
            self.root()?;
        }
        if wants(&[Target::Disk, Target::Release]) {
            self.disk()?;
        }
        if wants(&[Target::Live]) {
            self.live()?;
        }
        if wants(&[Target::Release]) {
            self.release()?;
        }
        artifacts::write_list(&self.output, &self.version)
    }

    /// Compiles kernel and userland side by side: to link the userland takes minutes, and one processor.
    fn compile(&mut self) -> Result<()> {
        let checkout = self.checkout.clone();
        let kernel = thread::spawn(move || kernel::build(&checkout));
        let userland = self.userland();
        if let Err(error) = &userland
            && !kernel.is_finished()
        {
            say(&format!("{error}; waiting for the kernel, which is kept for the next build"));
        }
        let kernel = kernel.join().unwrap_or_else(|_| kernel::build(&self.checkout));
        userland?;
        self.kernel = Some(kernel?);
        Ok(())
    }

    fn userland(&mut self) -> Result<PathBuf> {
        let folder = self.work.path().join("bin");
        let binary = folder.join("corten");
        let symbols = self.output.join(artifacts::SYMBOLS);
        match &self.binary {
            Some(path) if path.starts_with(&self.output) => return Ok(path.clone()),
            Some(path) => {
                fs::create_dir(&folder).at("create", &folder)?;
                fs::copy(path, &binary).at("copy", path)?;
                let _ = fs::remove_file(&symbols);
            }
            None => {
                say("compiling the userland");
                let built = userland::compile(&self.checkout, self.manifest.time)?;
                fs::create_dir(&folder).at("create", &folder)?;
                userland::strip(&built, &binary)?;
                let new = self.work.path().join("symbols");
                fs::copy(&built, &new).at("copy", &built)?;
                publish(&new, &symbols)?;
            }
        }
        for applet in userland::applets(&binary)? {
            let link = folder.join(applet);
            symlink("corten", &link).at("create the link", &link)?;
        }
        // The whole folder changes at once, for an applet that is gone must not stay.
        let (bin, old) = (self.output.join("bin"), self.work.path().join("bin.old"));
        if bin.exists() {
            fs::rename(&bin, &old).at("rename", &bin)?;
        }
        fs::rename(&folder, &bin).at("rename", &folder)?;
        let binary = bin.join("corten");
        self.binary = Some(binary.clone());
        Ok(binary)
    }

    fn kernel(&mut self) -> Result<PathBuf> {
        let built = match &self.kernel {
            Some(path) if path.starts_with(&self.output) => return Ok(path.clone()),
            Some(path) => path.clone(),
            None => kernel::build(&self.checkout)?,
        };
        let new = self.work.path().join("vmlinuz");
        fs::copy(&built, &new).at("copy", &built)?;
        let kernel = self.output.join("vmlinuz");
        publish(&new, &kernel)?;
        self.kernel = Some(kernel.clone());
        Ok(kernel)
    }

    fn root(&mut self) -> Result<Root> {
        if let Some(root) = &self.root {
            return Ok(root.clone());
        }
        let binary = self.userland()?;
        let applets = userland::applets(&binary)?;
        let folder = self.work.path().join("root");
        fs::create_dir(&folder).at("create", &folder)?;
        let inputs = tree::Inputs {
            manifest: &self.manifest,
            version: &self.version,
            checkout: &self.checkout,
            binary: &binary,
            applets: &applets,
        };
        tree::lay_out(&inputs, &folder)?;
        let seen = scan::scan(&folder)?;
        say(&format!(
            "the root tree has {} entries, one program, {} names for it",
            seen.entries, seen.applets
        ));
        let new = self.work.path().join("root.img");
        let identity = format!("{} {}", self.manifest.name, self.version);
        let mut root = Root::make(&folder, &new, &identity, self.manifest.time)?;
        root.path = self.output.join("root.img");
        publish(&new, &root.path)?;
        say(&format!("root hash {}", hex(&root.root_hash)));
        self.root = Some(root.clone());
        Ok(root)
    }

    fn disk(&mut self) -> Result<()> {
        let (root, kernel) = (self.root()?, self.kernel()?);
        let boot = self.work.path().join("boot.img");
        let inputs = boot_partition::Inputs {
            grub_cfg: &self.checkout.join("image/grub/grub.cfg"),
            kernel: &kernel,
            root: &root,
            kernel_arguments: &self.manifest.kernel_arguments,
            size: self.manifest.partitions.efi_system,
            time: self.manifest.time,
        };
        boot_partition::make(&inputs, self.work.path(), &boot)?;
        let new = self.work.path().join("corten.img");
        disk::make(&self.manifest, &root, &boot, self.work.path(), &new)?;
        publish(&new, &self.output.join("corten.img"))
    }

    fn live(&mut self) -> Result<()> {
        let (root, binary) = (self.root()?, self.userland()?);
        let time = self.manifest.time;
        let inputs = [sha256(&binary)?, sha256(&root.path)?, format!("initramfs 1 {time}")];
        self.cached("initrd", &inputs, |work, path| live::make(&binary, &root, time, work, path))
    }

    fn release(&mut self) -> Result<()> {
        let disk = self.output.join("corten.img");
        let inputs = [sha256(&disk)?];
        let time = self.manifest.time;
        self.cached("corten.img.zst", &inputs, |_, path| live::compress(&disk, path, time))?;
        self.cached("corten.qcow2", &inputs, |_, path| {
            Tool::new("qemu-img", time)
                .args(["convert", "-q", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "-m", "1"])
                .args([&disk, path])
                .run()
        })
    }

    /// Takes an artifact from the cache, or makes it and puts it there.
    fn cached(
        &self,
        name: &str,
        inputs: &[String],
        make: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<()> {
        let mut context = Context::new(&SHA256);
        for input in inputs {
            context.update(input.as_bytes());
            context.update(b"\n");
        }
        let new = self.work.path().join(name);
        let kept =
            self.cache.as_ref().map(|cache| cache.join(format!("{name}-{}", hex(context.finish().as_ref()))));
        if !kept.as_ref().is_some_and(|kept| take(kept, &new)) {
            say(&format!("making {name}"));
            make(self.work.path(), &new)?;
            if let Some(kept) = &kept {
                keep(&new, kept)?;
            }
        }
        publish(&new, &self.output.join(name))
    }
}

/// Copies a kept artifact if it is there and undamaged.
fn take(kept: &Path, new: &Path) -> bool {
    let Ok(expected) = fs::read_to_string(sum_of(kept)) else { return false };
    if !kept.is_file() || fs::copy(kept, new).is_err() {
        return false;
    }
    let whole = sha256(new).is_ok_and(|sum| sum == expected);
    if !whole {
        say(&format!("{} is damaged: making it again", kept.display()));
    }
    whole
}

fn keep(new: &Path, kept: &Path) -> Result<()> {
    let folder = kept.parent().unwrap_or(kept);
    fs::create_dir_all(folder).at("create", folder)?;
    let part = tempfile::NamedTempFile::new_in(folder).at("create a file in", folder)?;
    fs::copy(new, part.path()).at("copy", new)?;
    let sum = sum_of(kept);
    fs::write(&sum, sha256(new)?).at("write", &sum)?;
    part.persist(kept).map_err(|error| error.error).at("write", kept)?;
    Ok(())
}

fn sum_of(kept: &Path) -> PathBuf {
    let mut name = kept.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

fn cache_folder() -> Option<PathBuf> {
    if std::env::var_os("CORTEN_NO_IMAGE_CACHE").is_some_and(|value| !value.is_empty()) {
        return None;
    }
    let root = std::env::var_os("CORTEN_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cache/corten")))?;
    Some(root.join("image"))
}

fn enough_room(folder: &Path) -> Result<()> {
    let space = rustix::fs::statvfs(folder).map_err(std::io::Error::from).at("read", folder)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize) >> 20;
    if free < ROOM {
        return Err(Error::NoSpace { path: folder.to_owned(), free, needed: ROOM });
    }
    Ok(())
}

fn say(message: &str) {
    eprintln!("image: {message}");
}
