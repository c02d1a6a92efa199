//! The whole image, from a small stand-in for the binary and the kernel: the real tools find nothing wrong with its
//! parts, and two builds in different folders are the same bytes.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail as tests do")]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Builder, Target};

/// A static ELF program that prints the names of two applets; made by the C compiler, for the scan wants a real one.
fn stand_in(folder: &Path) -> PathBuf {
    let (source, binary) = (folder.join("stand-in.c"), folder.join("stand-in"));
    fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"init\"); puts(\"ls\"); return 0; }\n")
        .unwrap();
    let status = Command::new("gcc").args(["-static", "-s", "-o"]).args([&binary, &source]).status().unwrap();
    assert!(status.success());
    binary
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn build(binary: &Path, kernel: &Path, output: &Path, version: &str) -> Vec<(String, String)> {
    let mut builder = Builder::new(checkout(), output, Some(version)).unwrap();
    builder.use_binary(binary.to_owned());
    builder.use_kernel(kernel.to_owned());
    builder.use_no_cache();
    let made = builder.make(&[Target::Disk, Target::Live]).unwrap();
    made.into_iter().map(|entry| (entry.name, entry.sha256)).collect()
}

fn output_of(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{tool} {args:?}: {text}");
    text
}

/// Copies a partition, by its number, out of the disk.
fn partition(disk: &Path, number: u32, to: &Path) -> String {
    let info = output_of("/usr/sbin/sgdisk", &[&format!("--info={number}"), disk.to_str().unwrap()]);
    let value = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
    let sector = |key: &str| value(key).split_whitespace().next().unwrap().parse::<u64>().unwrap();
    let (first, last) = (sector("First sector: "), sector("Last sector: "));
    let input = format!("if={}", disk.display());
    let output = format!("of={}", to.display());
    output_of(
        "dd",
        &[
            &input,
            &output,
            "bs=512",
            "conv=sparse",
            &format!("skip={first}"),
            &format!("count={}", last - first + 1),
        ],
    );
    value("Partition unique GUID: ").to_lowercase()
}

#[test]
fn the_real_tools_find_nothing_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("kernel");
    fs::write(&kernel, vec![7; 100_000]).unwrap();
    let output = folder.path().join("out");
    build(&stand_in(folder.path()), &kernel, &output, "1");

    let disk = output.join("corten.img");
    let disk_name = disk.to_str().unwrap();
    assert!(output_of("/usr/sbin/sgdisk", &["--verify", disk_name]).contains("No problems found"));
    let path = |name: &str| folder.path().join(name);

    // EFI-SYSTEM
    let esp = path("esp");
    partition(&disk, 2, &esp);
    output_of("/usr/sbin/fsck.vfat", &["-n", esp.to_str().unwrap()]);
    let read = |name: &str| output_of("mtype", &["-i", esp.to_str().unwrap(), &format!("::{name}")]);
    fs::write(path("grubenv"), read("grub/grubenv")).unwrap();
    let variables = output_of("grub-editenv", &[path("grubenv").to_str().unwrap(), "list"]);
    assert!(variables.contains("a_ok=1") && variables.contains("b_prio=0"), "{variables}");
    let boot = read("corten/a/boot.cfg");
    output_of("grub-script-check", &[checkout().join("image/grub/grub.cfg").to_str().unwrap()]);

    // ROOT-A
    let root = path("root");
    let guid = partition(&disk, 3, &root);
    output_of("fsck.erofs", &[root.to_str().unwrap()]);
    let words: Vec<&str> = boot.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "sha256").expect("a verity table");
    let (blocks, root_hash, salt) = (words[at - 2], words[at + 1], words[at + 2]);
    assert!(guid.replace('-', "") == root_hash[..32] && boot.contains(&format!("PARTUUID={guid}")), "{boot}");
    let offset = (blocks.parse::<u64>().unwrap() * 4096).to_string();
    let root_name = root.to_str().unwrap();
    let verify = |hash: &str| {
        Command::new("/usr/sbin/veritysetup")
            .args([
                "verify",
                "--no-superblock",
                "--hash=sha256",
                "--data-block-size=4096",
                "--hash-block-size=4096",
            ])
            .args([
                &format!("--hash-offset={offset}"),
                &format!("--data-blocks={blocks}"),
                &format!("--salt={salt}"),
            ])
            .args([root_name, root_name, hash])
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(verify(root_hash));
    assert!(!verify(&"0".repeat(64)));

    // STATE
    let state = path("state");
    partition(&disk, 5, &state);
    output_of("/usr/sbin/e2fsck", &["-fn", state.to_str().unwrap()]);
}

#[test]
fn two_builds_are_the_same_and_two_versions_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let binary = stand_in(folder.path());
    let kernel = folder.path().join("kernel");
    fs::write(&kernel, vec![7; 100_000]).unwrap();
    // Another folder, another umask's modes on the inputs, another order of time.
    let first = build(&binary, &kernel, &folder.path().join("one"), "1");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o700)).unwrap();
    File::options().write(true).open(&kernel).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let second = build(&binary, &kernel, &folder.path().join("two/deep"), "1");
    assert_eq!(first, second);
    assert!(
        first.iter().any(|(name, _)| name == "corten.img") && first.iter().any(|(name, _)| name == "initrd")
    );

    let other = build(&binary, &kernel, &folder.path().join("three"), "2");
    let of =
        |list: &[(String, String)], name: &str| list.iter().find(|(have, _)| have == name).unwrap().1.clone();
    assert_ne!(of(&first, "root.img"), of(&other, "root.img"));
    assert_eq!(of(&first, "vmlinuz"), of(&other, "vmlinuz"));
}

#[test]
fn what_is_too_large_leaves_no_image_behind() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = folder.path().join("kernel");
    File::create(&kernel).unwrap().set_len(200 << 20).unwrap();
    let output = folder.path().join("out");
    let mut builder = Builder::new(checkout(), &output, None).unwrap();
    builder.use_binary(stand_in(folder.path()));
    builder.use_kernel(kernel);
    let error = builder.make(&[Target::Disk]).unwrap_err().to_string();
    assert!(error.contains("EFI-SYSTEM needs") && error.contains("image/image.toml"), "{error}");
    assert!(!output.join("corten.img").exists() && !output.join("artifacts.json").exists());
}

/// Both payloads of a release give the slot as the image has it, hash tree and all, and need the key that signed them.
#[test]
fn a_release_is_written_again_from_its_payload() {
    use update_engine::payload::{Keys, Terms, open, write_image};
    use update_engine::verity::Tree;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let kernel = path("kernel");
    fs::write(&kernel, vec![7; 100_000]).unwrap();
    let binary = stand_in(folder.path());
    for version in ["1", "2"] {
        build(&binary, &kernel, &path(version), version);
    }
    let key = path("key.pem");
    output_of("openssl", &["genpkey", "-algorithm", "ed25519", "-out", key.to_str().unwrap()]);
    fs::create_dir(path("keys")).unwrap();
    let public = path("keys/one.pem");
    output_of(
        "openssl",
        &["pkey", "-in", key.to_str().unwrap(), "-pubout", "-out", public.to_str().unwrap()],
    );
    let keys = Keys::read(&[&path("keys")]).unwrap();
    let manifest = image::manifest::Manifest::read(&checkout().join("image/image.toml")).unwrap();

    let full = path("full.payload");
    let terms = Terms { minimum: Some("1".to_owned()), expires: Some(2_000_000_000) };
    image::payload::payload(&manifest, &path("2"), None, &terms, &[&key], &full).unwrap();
    let difference = path("difference.payload");
    let bytes =
        image::payload::payload(&manifest, &path("2"), Some(&path("1")), &terms, &[&key], &difference);
    assert!(
        bytes.unwrap() < fs::metadata(&full).unwrap().len() / 10,
        "two versions of one tree differ by little"
    );

    let (old_root, old_kernel) = (path("1/root.img"), path("1/vmlinuz"));
    for (payload, base) in [(&full, false), (&difference, true)] {
        let mut data = File::open(payload).unwrap();
        let manifest = open(&mut data, &keys).unwrap();
        assert_eq!((manifest.version.as_str(), manifest.minimum.as_deref()), ("2", Some("1")));
        let base = |path: &PathBuf| base.then(|| File::open(path).unwrap());
        let (mut root, mut kernel) = (Vec::new(), Vec::new());
        write_image(&manifest.root, &mut data, base(&old_root).as_ref(), &mut root).unwrap();
        write_image(&manifest.kernel, &mut data, base(&old_kernel).as_ref(), &mut kernel).unwrap();
        let tree = Tree::build(root.as_slice(), &manifest.salt.0).unwrap();
        assert_eq!(tree.root_hash, manifest.root_hash.0);
        root.extend(tree.bytes);
        assert!(root == fs::read(path("2/root.img")).unwrap(), "the slot is the image's");
        assert!(kernel == fs::read(path("2/vmlinuz")).unwrap());
    }

    // What is not what it was is not made a payload of.
    let mut root = fs::read(path("2/root.img")).unwrap();
    root[70_000] ^= 1;
    fs::write(path("2/root.img"), root).unwrap();
    let error = image::payload::payload(&manifest, &path("2"), None, &terms, &[&key], &full).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    let error = image::payload::payload(&manifest, &path("1"), None, &terms, &[&public], &full).unwrap_err();
    assert!(error.to_string().contains("private key"), "{error}");
}
