//! From a payload to a slot that is booted next.
//!
//! The order is what keeps a machine from harm, wherever the power goes: the slot is taken from the boot loader; its
//! partition and its files are written, brought to the disk, read back and compared with the signed manifest; only then
//! one sector of the boot loader's block gives it its tries. The slot that runs is never written to. A run that was
//! cut off leaves nothing but pieces on the partition: the next one keeps those that are right.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use rustix::fs::{Advice, fadvise};

use crate::boot::{BootError, BootPartition};
use crate::payload::{Data, Image, Manifest, PayloadError, update_image, write_image};
use crate::slots::{Slot, Slots};
use crate::verity::{BLOCK, Tree, boot_cfg};

/// Boots that a new release has to prove itself.
const TRIES: u8 = 3;
const KERNEL: &str = "vmlinuz";
const BOOT_CFG: &str = "boot.cfg";

/// Why a slot was not filled. It cannot be booted then; the running one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The payload is not taken.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The boot loader's partition fails.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The release is larger than the slot.
    #[error(
        "the release takes {needed} bytes, slot {slot} has {room}: this machine needs a larger disk layout"
    )]
    TooLarge {
        /// Which.
        slot: Slot,
        /// With its hash tree.
        needed: u64,
        /// In bytes.
        room: u64,
    },
    /// The slot is the one to go back to.
    #[error(
        "slot {0} is the last that was good, and the running one has yet to prove itself: wait until \
         update-engine-mark-good.service has run"
    )]
    LastGood(Slot),
    /// What was written is not what is there.
    #[error("slot {0} does not give back what was written to it: its disk is broken")]
    ReadBack(Slot),
    /// The partition of the slot fails.
    #[error("cannot {what} slot {slot}: {source}")]
    Io {
        /// The verb.
        what: &'static str,
        /// Which.
        slot: Slot,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Where a release goes.
#[derive(Debug)]
pub struct Target<'a> {
    /// The slot; not the one that runs.
    pub slot: Slot,
    /// Its partition, open to be read and written.
    pub partition: &'a File,
    /// The partition's length in bytes.
    pub room: u64,
    /// The partition's GUID, as `PARTUUID=` takes it.
    pub uuid: &'a str,
    /// The boot loader's partition, to be written.
    pub boot: &'a BootPartition,
}

/// What a difference begins from: the root partition and the kernel of the slot that runs.
#[derive(Debug)]
pub struct Old {
    /// Its root.
    pub root: File,
    /// Its kernel.
    pub kernel: File,
}

/// A slot that holds a whole release, which the boot loader does not know of yet.
#[derive(Debug)]
#[must_use = "the release is not booted before it is put on trial"]
pub struct Filled<'a>(&'a Target<'a>);

impl Filled<'_> {
    /// The release is booted next: one sector of the boot loader's block says so.
    ///
    /// # Errors
    /// The boot loader's partition fails.
    pub fn put_on_trial(self) -> Result<(), ApplyError> {
        Ok(self.0.boot.change(|slots| slots.put_on_trial(self.0.slot, TRIES))?)
    }
}

impl Target<'_> {
    /// Writes a release whose manifest has been read; `data` is the rest of the payload.
    ///
    /// # Errors
    /// As [`ApplyError`] says.
    pub fn fill(
        &self,
        manifest: &Manifest,
        mut data: impl Data,
        old: Option<&Old>,
    ) -> Result<Filled<'_>, ApplyError> {
        let blocks = manifest.root.size / BLOCK as u64;
        let needed = manifest.root.size.saturating_add(Tree::length(blocks));
        if needed > self.room {
            return Err(ApplyError::TooLarge { slot: self.slot, needed, room: self.room });
        }
        if Slots::read(&self.boot.read()?).last_good == self.slot {
            return Err(ApplyError::LastGood(self.slot));
        }
        self.boot.change(|slots| slots.retire(self.slot))?;

        update_image(&manifest.root, &mut data, old.map(|old| &old.root), self.partition)?;
        self.settle()?;
        self.partition_at(0)?;
        let written = io::BufReader::with_capacity(1 << 20, self.partition.take(manifest.root.size));
        let tree = Tree::build(written, &manifest.salt.0).map_err(self.failed("read"))?;
        if tree.root_hash != manifest.root_hash.0 {
            return Err(ApplyError::ReadBack(self.slot));
        }
        self.partition_at(manifest.root.size)?;
        let mut partition = self.partition;
        partition.write_all(&tree.bytes).map_err(self.failed("write"))?;
        self.settle()?;
        self.partition_at(manifest.root.size)?;
        let mut read = vec![0; tree.bytes.len()];
        partition.read_exact(&mut read).map_err(self.failed("read"))?;
        if read != tree.bytes {
            return Err(ApplyError::ReadBack(self.slot));
        }

        self.boot.replace(self.slot, KERNEL, |mut file| {
            write_image(&manifest.kernel, &mut data, old.map(|old| &old.kernel), &mut file)
                .map_err(ApplyError::from)
        })?;
        self.compare_kernel(&manifest.kernel)?;
        let text =
            boot_cfg(&manifest.kernel_arguments, self.uuid, blocks, &manifest.root_hash.0, &manifest.salt.0);
        self.boot.replace(self.slot, BOOT_CFG, |mut file| {
            file.write_all(text.as_bytes()).map_err(self.failed("write"))
        })?;
        Ok(Filled(self))
    }

    /// Reads the kernel again, piece by piece.
    fn compare_kernel(&self, image: &Image) -> Result<(), ApplyError> {
        let path = self.boot.file(self.slot, KERNEL);
        let mut file = File::open(path).map_err(self.failed("read the kernel of"))?;
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        for piece in &image.pieces {
            let mut bytes = vec![0; piece.length as usize];
            file.read_exact(&mut bytes).map_err(self.failed("read the kernel of"))?;
            if crate::payload::Digest::of(&bytes) != piece.hash {
                return Err(ApplyError::ReadBack(self.slot));
            }
        }
        Ok(())
    }

    fn partition_at(&self, offset: u64) -> Result<(), ApplyError> {
        let mut partition = self.partition;
        partition.seek(SeekFrom::Start(offset)).map(drop).map_err(self.failed("seek in"))
    }

    /// Brings what was written to the disk, and forgets it, so that it is read from there.
    fn settle(&self) -> Result<(), ApplyError> {
        self.partition.sync_all().map_err(self.failed("write"))?;
        fadvise(self.partition, 0, None, Advice::DontNeed).map_err(|error| self.failed("read")(error.into()))
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> ApplyError {
        let slot = self.slot;
        move |source| ApplyError::Io { what, slot, source }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::grubenv::Block;
    use crate::payload::{Digest, Piece, Source};

    /// A machine that runs slot A, as files: the partition of slot B and the boot loader's.
    struct Machine {
        folder: tempfile::TempDir,
        partition: File,
        boot: BootPartition,
    }

    impl Machine {
        fn new() -> Machine {
            let folder = tempfile::tempdir().unwrap();
            let boot = BootPartition::in_folder(folder.path());
            fs::create_dir(folder.path().join("grub")).unwrap();
            let mut block = Block::default();
            // A release from before is in the slot, and would be booted.
            Slots::new_disk().put_on_trial(Slot::B, 2).write(&mut block).unwrap();
            fs::write(folder.path().join("grub/grubenv"), block.to_bytes().unwrap()).unwrap();
            let partition = tempfile::tempfile().unwrap();
            partition.set_len(1 << 20).unwrap();
            Machine { folder, partition, boot }
        }

        fn fill(&self, manifest: &Manifest, data: impl Data) -> Result<(), ApplyError> {
            let room = self.partition.metadata().unwrap().len();
            let target =
                Target { slot: Slot::B, partition: &self.partition, room, uuid: "UUID", boot: &self.boot };
            target.fill(manifest, data, None)?.put_on_trial()
        }

        fn slots(&self) -> Slots {
            Slots::read(&self.boot.read().unwrap())
        }
    }

    /// A release of two blocks and a kernel, with the data of its payload.
    fn release() -> (Manifest, Vec<u8>, Vec<u8>) {
        let root: Vec<u8> = (0..2 * BLOCK).map(|at| (at / 7) as u8).collect();
        let kernel = b"a kernel".to_vec();
        let mut data = Vec::new();
        let mut image = |content: &[u8]| {
            let packed = zstd::encode_all(content, 1).unwrap();
            let source = Source::Data { length: packed.len() as u32, prefix: None };
            data.extend(packed);
            let piece = Piece { length: content.len() as u32, hash: Digest::of(content), source };
            Image { size: content.len() as u64, pieces: vec![piece] }
        };
        let (root_image, kernel_image) = (image(&root), image(&kernel));
        let tree = Tree::build(root.as_slice(), &[5; 32]).unwrap();
        let manifest = Manifest {
            product: "corten".to_owned(),
            architecture: "x86_64".to_owned(),
            version: "2".to_owned(),
            minimum: None,
            expires: None,
            root_hash: Digest(tree.root_hash),
            salt: Digest([5; 32]),
            kernel_arguments: vec!["console=tty0".to_owned(), "panic=5".to_owned()],
            base: None,
            root: root_image,
            kernel: kernel_image,
        };
        (manifest, data, [root, tree.bytes].concat())
    }

    #[test]
    fn the_slot_holds_the_release_and_is_booted_next() {
        let machine = Machine::new();
        let (manifest, data, expected) = release();
        machine.fill(&manifest, data.as_slice()).unwrap();
        let mut slot = vec![0; expected.len()];
        machine.partition.read_exact_at(&mut slot, 0).unwrap();
        assert!(slot == expected);
        assert_eq!(fs::read(machine.boot.file(Slot::B, "vmlinuz")).unwrap(), b"a kernel");
        let told = fs::read_to_string(machine.boot.file(Slot::B, "boot.cfg")).unwrap();
        assert!(told.starts_with("set arguments=\"console=tty0 panic=5\"\n"), "{told}");
        assert!(
            told.contains("vroot,,,ro,0 16 verity 1 PARTUUID=UUID PARTUUID=UUID 4096 4096 2 2 sha256"),
            "{told}"
        );
        let slots = machine.slots();
        assert_eq!((slots.choose(), slots.b.tries, slots.b.ok), (Slot::B, 3, false));
        assert_eq!(fs::read_dir(machine.folder.path().join("corten/b")).unwrap().count(), 2);
    }

    /// Wherever it ends, by bad data or by the power, the machine goes on with the slot it has.
    #[test]
    fn a_slot_that_is_not_whole_is_not_booted() {
        let (manifest, data, _) = release();
        for end in (0..data.len()).step_by(37) {
            let machine = Machine::new();
            assert!(machine.fill(&manifest, &data[..end]).is_err(), "{end} bytes of data");
            assert_eq!((machine.slots().choose(), machine.slots().b), (Slot::A, Default::default()));
            // And the next run is as good as the first.
            machine.fill(&manifest, data.as_slice()).unwrap();
            assert_eq!(machine.slots().choose(), Slot::B);
        }
        let machine = Machine::new();
        let lies = Manifest { root_hash: Digest([1; 32]), ..manifest.clone() };
        assert!(matches!(machine.fill(&lies, data.as_slice()), Err(ApplyError::ReadBack(Slot::B))));
        assert_eq!(machine.slots().choose(), Slot::A);
        let machine = Machine::new();
        machine.partition.set_len(2 * BLOCK as u64).unwrap();
        assert!(matches!(machine.fill(&manifest, data.as_slice()), Err(ApplyError::TooLarge { .. })));
        assert_eq!(machine.slots().choose(), Slot::B, "nothing was touched");
    }

    /// A source that counts what is fetched of it.
    struct Counted<'a>(&'a [u8], &'a std::cell::Cell<usize>);

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read(buffer)?;
            self.1.set(self.1.get() + count);
            Ok(count)
        }
    }

    impl Data for Counted<'_> {
        fn pass(&mut self, bytes: u64) -> io::Result<()> {
            self.0.pass(bytes)
        }
    }

    #[test]
    fn a_run_that_was_cut_off_is_gone_on_with() {
        let machine = Machine::new();
        let (manifest, data, expected) = release();
        let Source::Data { length, .. } = manifest.root.pieces[0].source else { panic!("a piece of data") };
        // The root is whole, the kernel is not.
        assert!(machine.fill(&manifest, &data[..length as usize + 1]).is_err());
        assert_eq!(machine.slots().choose(), Slot::A);
        let fetched = std::cell::Cell::new(0);
        machine.fill(&manifest, Counted(&data, &fetched)).unwrap();
        assert_eq!(fetched.get(), data.len() - length as usize, "nothing of the root is fetched again");
        // A byte that changed meanwhile is no piece that is there.
        machine.partition.write_all_at(&[expected[5] ^ 1], 5).unwrap();
        fetched.set(0);
        machine.fill(&manifest, Counted(&data, &fetched)).unwrap();
        let mut slot = vec![0; expected.len()];
        machine.partition.read_exact_at(&mut slot, 0).unwrap();
        assert!(slot == expected && fetched.get() == data.len());
    }

    /// Every bit of a whole payload, one after the other: it is refused, and the machine goes on with what it has. A
    /// few bits of compressed data make no difference to what comes out: then the slot has to hold the very release.
    #[test]
    fn a_bit_that_is_turned_anywhere_activates_nothing() {
        use crate::payload::tests::{PUBLIC, keys, signer};
        let (manifest, _, expected) = release();
        let release = crate::payload::Release {
            version: "2".to_owned(),
            root: expected[..2 * BLOCK].to_vec(),
            root_hash: manifest.root_hash.0,
            salt: manifest.salt.0,
            kernel: b"a kernel".to_vec(),
            kernel_arguments: vec!["panic=5".to_owned()],
        };
        let mut payload = Vec::new();
        crate::payload::make(&release, None, &Default::default(), &[signer()], &mut payload).unwrap();
        let keys = keys(PUBLIC).unwrap();
        let machine = Machine::new();
        let install = |bytes: &[u8]| {
            let mut rest = bytes;
            let manifest = crate::payload::open(&mut rest, &keys).map_err(ApplyError::from)?;
            machine.fill(&manifest, rest)
        };
        install(&payload).unwrap();
        assert_eq!(machine.slots().choose(), Slot::B);
        let begin = || {
            machine.boot.change(|slots| slots.retire(Slot::B)).unwrap();
            machine.partition.write_all_at(&vec![0; 2 * BLOCK], 0).unwrap();
        };
        let mut unread = 0;
        for at in 0..payload.len() {
            for bit in 0..8 {
                payload[at] ^= 1 << bit;
                begin();
                let installed = install(&payload).is_ok();
                if installed {
                    let mut slot = vec![0; expected.len()];
                    machine.partition.read_exact_at(&mut slot, 0).unwrap();
                    assert!(slot == expected, "bit {bit} of byte {at} of {} is turned", payload.len());
                    assert_eq!(fs::read(machine.boot.file(Slot::B, KERNEL)).unwrap(), b"a kernel");
                    unread += 1;
                }
                assert_eq!(machine.slots().choose() == Slot::B, installed);
                payload[at] ^= 1 << bit;
            }
        }
        assert!(unread * 100 < payload.len() * 8, "{unread} bits make no difference");
        begin();
        install(&payload).unwrap();
        assert_eq!(machine.slots().choose(), Slot::B);
    }

    #[test]
    fn the_slot_to_go_back_to_is_left_alone() {
        let machine = Machine::new();
        let mut block = machine.boot.read().unwrap();
        Slots::read(&block).mark_good(Slot::B).write(&mut block).unwrap();
        machine.boot.write(&block).unwrap();
        let (manifest, data, _) = release();
        assert!(matches!(machine.fill(&manifest, data.as_slice()), Err(ApplyError::LastGood(Slot::B))));
        assert!(machine.slots().b.ok);
    }
}
