//! Honest and hostile archives, unpacked into a scratch directory. Some need root (device nodes, trusted
//! attributes) and are skipped without.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;

struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// An entry under any name at all, which the builder itself would refuse to write.
    fn entry(mut self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        header.set_mtime(1_000_000_000);
        let root = rustix::process::geteuid();
        header.set_uid(u64::from(root.as_raw()));
        header.set_gid(u64::from(rustix::process::getegid().as_raw()));
        if matches!(kind, EntryType::Block | EntryType::Char) {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", content)
    }

    fn dir(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, b"")
    }

    fn attribute(mut self, key: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(key, value)]).unwrap();
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn unpack_into(dir: &Path, bytes: &[u8], limits: Limits) -> Result<(), LayerError> {
    let expected = Expected { blob: None, diff_id: Some(Sha256::of(bytes)), compression: Compression::None };
    unpack(bytes, &expected, limits, File::open(dir).unwrap(), None).map(drop)
}

/// A directory `layer` to unpack in, beside a file `outside` that must stay as it is.
fn unpacked(tar: Tar) -> (tempfile::TempDir, Result<(), LayerError>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("outside"), "untouched").unwrap();
    fs::create_dir(dir.path().join("layer")).unwrap();
    let result = unpack_into(&dir.path().join("layer"), &tar.bytes(), Limits::default());
    assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"untouched");
    let beside: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(beside.len(), 2, "something was written outside: {beside:?}");
    (dir, result)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn files_links_and_attributes_arrive() {
    let tar = Tar::new()
        .dir("./")
        .dir("dir/")
        .file("dir/file", b"content")
        .entry(EntryType::Link, "hard", "dir/file", b"")
        .link("soft", "/anywhere")
        .file("no/parent/entry", b"x")
        .file("twice", b"first")
        .file("twice", b"second");
    let (dir, result) = unpacked(tar);
    result.unwrap();
    let layer = dir.path().join("layer");
    let file = fs::metadata(layer.join("dir/file")).unwrap();
    assert_eq!((file.permissions().mode() & 0o7777, file.mtime(), file.nlink()), (0o640, 1_000_000_000, 2));
    assert_eq!(fs::metadata(layer.join("dir")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::read_link(layer.join("soft")).unwrap(), Path::new("/anywhere"));
    assert_eq!(fs::read(layer.join("no/parent/entry")).unwrap(), b"x");
    assert_eq!(fs::read(layer.join("twice")).unwrap(), b"second");
}

#[test]
fn a_file_of_zeroes_takes_no_room() {
    let mut content = vec![0; 4 << 20];
    content.push(1);
    let (dir, result) = unpacked(Tar::new().file("sparse", &content));
    result.unwrap();
    let path = dir.path().join("layer/sparse");
    assert_eq!(fs::read(&path).unwrap(), content);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn whiteouts_become_overlays() {
    if !is_root() {
        return;
    }
    let tar = Tar::new()
        .dir("dir/")
        .file("dir/.wh..wh..opq", b"")
        .file(".wh.gone", b"")
        .file("kept", b"")
        .file(".wh.kept", b"");
    let (dir, result) = unpacked(tar);
    result.unwrap();
    let layer = dir.path().join("layer");
    let gone = fs::symlink_metadata(layer.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device());
    assert_eq!(gone.rdev(), 0);
    let mut value = [0; 4];
    let length = rustix::fs::getxattr(layer.join("dir"), "trusted.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    assert!(fs::metadata(layer.join("kept")).unwrap().is_file());
}

#[test]
fn nothing_gets_out() {
    for name in ["../evil", "a/../../evil", "/../evil"] {
        let (_dir, result) = unpacked(Tar::new().file(name, b"evil"));
        assert!(matches!(result, Err(LayerError::Extract { source: ExtractError::Path(_), .. })), "{name}");
    }
    // Absolute names and links are taken as seen from the layer's root.
    let (dir, result) = unpacked(Tar::new().file("/absolute", b"x"));
    result.unwrap();
    assert!(dir.path().join("layer/absolute").exists());
    for target in ["..", "../..", "/..", "/"] {
        let (_dir, result) = unpacked(Tar::new().link("link", target).file("link/outside", b"evil"));
        result.unwrap();
    }
    // A link that is replaced by the file, not followed to another one.
    let (dir, result) = unpacked(Tar::new().link("file", "../outside").file("file", b"evil"));
    result.unwrap();
    assert!(fs::symlink_metadata(dir.path().join("layer/file")).unwrap().is_file());
    // A directory entry over a link replaces it as well.
    let (dir, result) = unpacked(Tar::new().link("dir", "..").dir("dir/").file("dir/outside", b"evil"));
    result.unwrap();
    assert!(dir.path().join("layer/dir/outside").exists());
}

#[test]
fn hard_links_stay_inside() {
    for target in ["../outside", "/../outside"] {
        let (_dir, result) = unpacked(Tar::new().entry(EntryType::Link, "hard", target, b""));
        assert!(result.is_err(), "{target}");
    }
    // Through a link of the archive's own.
    let tar = Tar::new().link("up", "..").entry(EntryType::Link, "hard", "up/outside", b"");
    assert!(unpacked(tar).1.is_err());
    // To a link: the link itself, not what it points to.
    let tar = Tar::new()
        .link("soft", "../outside")
        .entry(EntryType::Link, "hard", "soft", b"")
        .file("hard", b"evil");
    unpacked(tar).1.unwrap();
}

#[test]
fn attributes_that_steer_the_file_system_are_dropped() {
    if !is_root() {
        return;
    }
    let tar = Tar::new()
        .attribute("SCHILY.xattr.trusted.overlay.redirect", b"/etc")
        .dir("dir/")
        .attribute("SCHILY.xattr.user.overlay.opaque", b"y")
        .dir("other/");
    let (dir, result) = unpacked(tar);
    result.unwrap();
    for (name, attribute) in [("dir", "trusted.overlay.redirect"), ("other", "user.overlay.opaque")] {
        let mut value = [0; 16];
        let found = rustix::fs::getxattr(dir.path().join("layer").join(name), attribute, &mut value);
        assert!(found.is_err(), "{attribute}");
    }
}

#[test]
fn device_nodes_are_what_they_say() {
    if !is_root() {
        return;
    }
    let (dir, result) =
        unpacked(Tar::new().entry(EntryType::Char, "null", "", b"").entry(EntryType::Fifo, "fifo", "", b""));
    result.unwrap();
    let node = fs::symlink_metadata(dir.path().join("layer/null")).unwrap();
    assert!(node.file_type().is_char_device());
    assert_eq!(rustix::fs::major(node.rdev()), 1);
    assert!(fs::symlink_metadata(dir.path().join("layer/fifo")).unwrap().file_type().is_fifo());
}

#[test]
fn bombs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 1000, entries: 3 };
    let large = Tar::new().file("a", &[1; 600]).file("b", &[1; 600]).bytes();
    let refused = unpack_into(dir.path(), &large, limits).unwrap_err();
    assert!(refused.to_string().contains("1000 bytes"), "{refused}");
    let many = Tar::new().dir("a").dir("b").dir("c").dir("d").bytes();
    assert!(unpack_into(dir.path(), &many, limits).unwrap_err().to_string().contains("3 entries"));
    // A header that says its file is enormous.
    let mut header = Header::new_gnu();
    header.set_path("x").unwrap();
    header.set_size(1 << 50);
    header.set_cksum();
    assert!(unpack_into(dir.path(), header.as_bytes(), Limits::default()).is_err());
}

#[test]
fn a_long_name_without_end_takes_no_memory() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    header.set_size(60 << 30);
    header.set_cksum();
    let endless = header.as_bytes().as_slice().chain(io::repeat(b'a').take(60 << 30));
    let dir = tempfile::tempdir().unwrap();
    let expected =
        Expected { blob: None, diff_id: Some("sha256:0".to_owned()), compression: Compression::None };
    let refused =
        unpack(endless, &expected, Limits::default(), File::open(dir.path()).unwrap(), None).unwrap_err();
    assert!(refused.to_string().contains("2 MiB"), "{refused}");
}

#[test]
fn both_digests_must_be_right() {
    let tar = Tar::new().file("file", b"content").bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gzip, &tar).unwrap();
    let packed = gzip.finish().unwrap();
    let zstd = zstd::encode_all(tar.as_slice(), 1).unwrap();
    let right = |packed: &[u8], compression| Expected {
        blob: Some(Sha256::of(packed)),
        diff_id: Some(Sha256::of(&tar)),
        compression,
    };
    let take = |packed: &[u8], expected: &Expected| {
        let dir = tempfile::tempdir().unwrap();
        unpack(packed, expected, Limits::default(), File::open(dir.path()).unwrap(), None).map(drop)
    };
    take(&packed, &right(&packed, Compression::Gzip)).unwrap();
    take(&zstd, &right(&zstd, Compression::Zstd)).unwrap();
    let gzip = right(&packed, Compression::Gzip);
    let wrong_blob = Expected { blob: Some(Sha256::of(b"other")), ..gzip.clone() };
    assert!(matches!(take(&packed, &wrong_blob), Err(LayerError::Digest { .. })));
    let wrong_diff = Expected { diff_id: Some(Sha256::of(b"other")), ..gzip.clone() };
    assert!(matches!(take(&packed, &wrong_diff), Err(LayerError::Digest { .. })));
    assert!(take(&packed[..packed.len() / 2], &gzip).is_err(), "torn");
    assert!(take(&[&packed[..], b"more"].concat(), &gzip).is_err(), "rubbish after the end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn rubbish_makes_nothing_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let dir = tempfile::tempdir().unwrap();
        let _ = unpack_into(dir.path(), &bytes, Limits { bytes: 1 << 20, entries: 100 });
        let _ = unpack_into(dir.path(), &Tar::new().file("x", b"y").bytes().iter().zip(bytes.iter().cycle())
            .map(|(a, b)| if *b == 0 { a ^ 1 } else { *a }).collect::<Vec<_>>(), Limits::default());
    }
}

/// Unpacks into a store and makes the archive again.
fn made_again(bytes: &[u8]) -> Result<Vec<u8>, recipe::RecipeError> {
    let dir = tempfile::tempdir().unwrap();
    let store = crate::store::Store::open(dir.path()).unwrap();
    let expected = Expected { blob: None, diff_id: None, compression: Compression::None };
    let (staging, unpacked) = take::take(&store, bytes, &expected, Limits::default()).unwrap();
    assert_eq!((&unpacked.diff_id, unpacked.size), (&Sha256::of(bytes), bytes.len() as u64));
    store.commit(staging, &unpacked.diff_id).unwrap();
    let mut again = Vec::new();
    recipe::archive(&store, &unpacked.diff_id, &mut again)?;
    assert_eq!(recipe::size(&store, &unpacked.diff_id)?, unpacked.size);
    Ok(again)
}

#[test]
fn an_archive_is_made_again_byte_for_byte() {
    if !is_root() {
        return;
    }
    let long = "d/".repeat(80);
    let sparse = [vec![0; 1 << 20], b"end".to_vec()].concat();
    let tar = Tar::new()
        .dir("usr/")
        .dir("usr/lib/")
        .link("lib", "usr/lib")
        .file("lib/through-a-link", b"content")
        .file("empty", b"")
        .file("usr/block", &[7; 512])
        .file("usr/large", &[9; 700_001])
        .file("usr/sparse", &sparse)
        .attribute("path", format!("{long}named").as_bytes())
        .file("x", b"by an extended header")
        .attribute("SCHILY.xattr.user.a", b"b")
        .file("with-attribute", b"c")
        .entry(EntryType::Link, "hard", "usr/block", b"")
        .entry(EntryType::Fifo, "fifo", "", b"")
        .file("usr/.wh.gone", b"")
        .file("usr/.wh..wh..opq", b"")
        .file(".wh..wh.plnk", b"bookkeeping has content")
        .file(".wh.back", b"")
        .file("back", b"hidden below, there again")
        .bytes();
    let padded = [&tar[..], &[0; 10_240]].concat();
    for bytes in [&tar, &padded, &tar[..tar.len() - 1024].to_vec()] {
        assert!(made_again(bytes).unwrap() == *bytes, "not the same");
    }
}

#[test]
fn an_archive_with_a_file_twice_has_no_recipe() {
    let tar = Tar::new().file("a", b"first").file("a", b"second").bytes();
    assert!(matches!(made_again(&tar), Err(recipe::RecipeError::NoRecipe(_))));
}

#[test]
fn what_overlayfs_wrote_becomes_a_layer_and_the_same_directory_again() {
    use rustix::fs::{XattrFlags, makedev, mknodat, setxattr};
    if !is_root() {
        return;
    }
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| from.path().join(name);
    fs::create_dir_all(at("dir/sub")).unwrap();
    fs::create_dir(at("opaque")).unwrap();
    setxattr(at("opaque"), extract::OVERLAY_OPAQUE, b"y", XattrFlags::empty()).unwrap();
    let long = format!("dir/{}", "n".repeat(200));
    for name in ["dir/file", "opaque/new", &long] {
        fs::write(at(name), name).unwrap();
    }
    fs::write(at("empty"), "").unwrap();
    fs::set_permissions(at("dir/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(at("dir/file"), Some(3_000_000), Some(7)).unwrap();
    fs::set_permissions(at("dir/file"), fs::Permissions::from_mode(0o4755)).unwrap();
    setxattr(at("dir/file"), "user.a", b"b\0c", XattrFlags::empty()).unwrap();
    fs::hard_link(at("dir/file"), at("dir/sub/link")).unwrap();
    std::os::unix::fs::symlink("t".repeat(150), at("symlink")).unwrap();
    let root = File::open(from.path()).unwrap();
    mknodat(&root, "gone", rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty(), 0).unwrap();
    let null = makedev(1, 3);
    mknodat(&root, "null", rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::RUSR, null).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

    let bytes = pack::pack(&root, Vec::new()).unwrap();
    assert_eq!(pack::pack(&root, Vec::new()).unwrap(), bytes, "always the same");
    unpack_into(to.path(), &bytes, Limits::default()).unwrap();
    let made = File::open(to.path()).unwrap();
    assert_eq!(pack::pack(&made, Vec::new()).unwrap(), bytes, "and back");
    let there = |name: &str| fs::symlink_metadata(to.path().join(name)).unwrap();
    assert_eq!((there("dir/file").uid(), there("dir/file").mode() & 0o7777), (3_000_000, 0o4755));
    assert_eq!(there("dir/file").ino(), there("dir/sub/link").ino());
    assert!(there("gone").file_type().is_char_device() && there("gone").rdev() == 0);
    assert!(!to.path().join("socket").exists());

    // Another program's idea of the archive.
    let path = from.path().with_extension("tar");
    fs::write(&path, &bytes).unwrap();
    let listed = std::process::Command::new("tar").arg("tf").arg(&path).output().unwrap();
    fs::remove_file(&path).unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in [".wh.gone", "opaque/.wh..wh..opq", &long, "dir/sub/link"] {
        assert!(listed.lines().any(|line| line == name), "no {name} in {listed}");
    }
    assert!(!listed.contains("socket"));
}
