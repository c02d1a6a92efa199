//! How a layer's archive is made again, byte for byte, from the directory that it was unpacked into.
//!
//! A layer is kept once: unpacked. What its archive holds beside the content of files (headers, padding, and
//! what is no file) is written down while it is unpacked; that is under a hundredth of the layer, where the
//! compressed archive would be a third. To push or to save an image, the archive is put together again from
//! both, and the digest of what comes out is compared with the layer's.
//!
//! ```text
//! zstd( "corten-recipe 1\n"  { 'R' u32 bytes  |  'F' u32 path u64 size }…  'E' )     numbers are big-endian
//! ```

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use crate::store::digest::{BadDigest, Sha256};
use crate::store::{Store, StoreError};

const MAGIC: &[u8] = b"corten-recipe 1\n";
/// Raw bytes are gathered up to here before they are written.
const GATHERED: usize = 64 << 10;
const PATH_LIMIT: usize = 1 << 20;

/// Why an archive cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The layer is not here.
    #[error("layer {0} is not here; pull the image again")]
    NoLayer(String),
    /// It is from before recipes were written, or its archive has a file twice.
    #[error(
        "the archive of layer {0} cannot be made again: it was unpacked by an older version, or names a file twice; \
         remove the image and pull it again, or copy it from registry to registry"
    )]
    NoRecipe(String),
    /// A file of the layer is not what it was.
    #[error("layer {diff_id} is damaged: {source}; remove the image and pull it again")]
    Damaged {
        /// The layer.
        diff_id: String,
        /// Expected and found.
        source: BadDigest,
    },
    /// The layer cannot be read.
    #[error("layer {diff_id}: {source}")]
    Read {
        /// The layer.
        diff_id: String,
        /// What went wrong.
        source: io::Error,
    },
    /// Who wanted the archive does not take it.
    #[error("cannot write the archive of a layer: {0}")]
    Write(#[source] io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes the recipe down while the archive passes by.
pub(super) struct Recorder<'a> {
    out: Option<&'a mut dyn Write>,
    raw: Vec<u8>,
    /// Bytes of a file's content that pass by next.
    content: u64,
    failed: Option<io::Error>,
}

/// The recorder, shared by the reader and the extractor.
pub(super) type Shared<'a> = Rc<RefCell<Recorder<'a>>>;

impl<'a> Recorder<'a> {
    pub(super) fn new(mut out: Option<&'a mut dyn Write>) -> Shared<'a> {
        let failed = out.as_mut().and_then(|out| out.write_all(MAGIC).err());
        Rc::new(RefCell::new(Self { out, raw: Vec::new(), content: 0, failed }))
    }

    /// The next `size` bytes are the content of this file of the layer.
    pub(super) fn file(&mut self, path: &Path, size: u64) {
        if size == 0 {
            return;
        }
        self.content = size;
        self.flush();
        let path = path.as_os_str().as_bytes();
        let mut record = vec![b'F'];
        record.extend(u32::try_from(path.len()).unwrap_or(u32::MAX).to_be_bytes());
        record.extend(path);
        record.extend(size.to_be_bytes());
        self.write(&record);
    }

    /// A file whose content was recorded as being there is there no more: there is no recipe.
    pub(super) fn give_up(&mut self) {
        self.out = None;
    }

    fn pass(&mut self, bytes: &[u8]) {
        let skipped = usize::try_from(self.content).unwrap_or(usize::MAX).min(bytes.len());
        self.content -= skipped as u64;
        if self.out.is_none() {
            return;
        }
        self.raw.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
        if self.raw.len() >= GATHERED {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        for part in raw.chunks(u32::MAX as usize) {
            let mut head = vec![b'R'];
            head.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            self.write(&head);
            self.write(part);
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(error) = self.out.as_mut().and_then(|out| out.write_all(bytes).err()) {
            self.failed.get_or_insert(error);
        }
    }

    /// Ends the recipe, and says whether there is one.
    pub(super) fn finish(&mut self) -> io::Result<bool> {
        self.flush();
        self.write(b"E");
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(self.out.is_some()),
        }
    }
}

/// A reader whose bytes the recorder sees.
pub(super) struct Recorded<'a, R> {
    inner: R,
    recorder: Shared<'a>,
}

impl<'a, R> Recorded<'a, R> {
    pub(super) fn new(inner: R, recorder: Shared<'a>) -> Self {
        Self { inner, recorder }
    }

    pub(super) fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Recorded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.recorder.borrow_mut().pass(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Writes the archive of a layer of the store, as it was when it came.
///
/// # Errors
/// When the layer is missing, has no recipe, or is not what it was. What was written by then is rubbish.
pub fn archive(store: &Store, diff_id: &str, out: impl Write) -> Result<(), RecipeError> {
    let layer = store.layer(diff_id)?.ok_or_else(|| RecipeError::NoLayer(diff_id.to_owned()))?;
    let mut recipe = Recipe::open(store, diff_id)?;
    let mut hashed = Hashing { out, sha256: Sha256::default(), failed: None };
    if let Err(source) = recipe.follow(&layer, &mut hashed) {
        return Err(match hashed.failed {
            Some(error) => RecipeError::Write(error),
            None => RecipeError::Read { diff_id: diff_id.to_owned(), source },
        });
    }
    let found = hashed.sha256.finish();
    if found != diff_id {
        let source = BadDigest { expected: diff_id.to_owned(), found };
        return Err(RecipeError::Damaged { diff_id: diff_id.to_owned(), source });
    }
    Ok(())
}

/// How many bytes the archive of a layer of the store has.
///
/// # Errors
/// When the layer has no recipe, or that is damaged.
pub fn size(store: &Store, diff_id: &str) -> Result<u64, RecipeError> {
    let read = |source| RecipeError::Read { diff_id: diff_id.to_owned(), source };
    let mut recipe = Recipe::open(store, diff_id)?;
    let mut size = 0_u64;
    while let Some(record) = recipe.next().map_err(read)? {
        match record {
            Record::Raw(length) => {
                copy(&mut recipe.0, &mut io::sink(), length).map_err(read)?;
                size = size.saturating_add(length);
            }
            Record::File(_, length) => size = size.saturating_add(length),
        }
    }
    Ok(size)
}

/// What comes next in the archive.
enum Record {
    /// Bytes that follow in the recipe.
    Raw(u64),
    /// Bytes of a file of the layer.
    File(PathBuf, u64),
}

struct Recipe(BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>);

impl Recipe {
    fn open(store: &Store, diff_id: &str) -> Result<Self, RecipeError> {
        let read = |source| RecipeError::Read { diff_id: diff_id.to_owned(), source };
        let file = match File::open(store.recipe(diff_id)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RecipeError::NoRecipe(diff_id.to_owned()));
            }
            other => other.map_err(read)?,
        };
        let mut recipe = BufReader::new(zstd::stream::read::Decoder::new(file).map_err(read)?);
        let mut magic = [0; MAGIC.len()];
        recipe.read_exact(&mut magic).map_err(read)?;
        if magic == MAGIC { Ok(Self(recipe)) } else { Err(read(broken("unknown form"))) }
    }

    fn next(&mut self) -> io::Result<Option<Record>> {
        let mut tag = [0];
        self.0.read_exact(&mut tag)?;
        match tag {
            [b'R'] => Ok(Some(Record::Raw(u64::from(number(&mut self.0)?)))),
            [b'F'] => {
                let length = usize::try_from(number(&mut self.0)?).unwrap_or(usize::MAX);
                if length > PATH_LIMIT {
                    return Err(broken("a path without end"));
                }
                let mut path = vec![0; length];
                self.0.read_exact(&mut path)?;
                let mut size = [0; 8];
                self.0.read_exact(&mut size)?;
                Ok(Some(Record::File(PathBuf::from(OsStr::from_bytes(&path)), u64::from_be_bytes(size))))
            }
            [b'E'] => Ok(None),
            _ => Err(broken("unknown record")),
        }
    }

    fn follow(&mut self, layer: &Path, out: &mut impl Write) -> io::Result<()> {
        let root = open(layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        while let Some(record) = self.next()? {
            match record {
                Record::Raw(length) => copy(&mut self.0, out, length)?,
                Record::File(path, size) => {
                    let file = openat2(&root, &path, flags, Mode::empty(), resolve)
                        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
                    copy(&mut File::from(file), out, size)?;
                }
            }
        }
        Ok(())
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("its recipe is damaged: {why}"))
}

fn number(recipe: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    recipe.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn copy(from: &mut impl Read, to: &mut impl Write, length: u64) -> io::Result<()> {
    if io::copy(&mut from.take(length), to)? == length {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file of it is shorter than it was"))
}

/// A writer that hashes what passes, and remembers that it was the receiver who failed.
struct Hashing<W> {
    out: W,
    sha256: Sha256,
    failed: Option<io::Error>,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.out.write_all(bytes) {
            Ok(()) => {
                self.sha256.update(bytes);
                Ok(bytes.len())
            }
            Err(error) => {
                let told = error.to_string();
                self.failed = Some(error);
                Err(io::Error::other(told))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
