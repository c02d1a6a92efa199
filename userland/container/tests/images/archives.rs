//! Images in files: what docker, skopeo and umoci write is read, and they read what is written here.

use std::process::{Command, Stdio};

use crate::world::{World, done, refused};

fn arg(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_saved_is_read_by_others_and_comes_back() {
    let world = World::new();
    let image = world.name("busybox");
    world.done(&["pull", &image]);
    world.done(&["tag", &image, "mine:1"]);
    let id = world.done(&["images", "-q", "mine"]);
    for ending in ["tar", "tar.gz", "tar.zst"] {
        let file = world.path(&format!("saved.{ending}"));
        world.done(&["save", "-o", arg(&file), "mine:1", &image]);
    }
    // skopeo reads it as Docker's and as OCI's, and checks every digest.
    let (docker, oci) = (world.path("as-docker"), world.path("as-oci"));
    let saved = world.path("saved.tar");
    world.skopeo(&[
        "copy",
        &format!("docker-archive:{}:mine:1", arg(&saved)),
        &format!("dir:{}", arg(&docker)),
    ]);
    world.skopeo(&["copy", &format!("oci-archive:{}:1", arg(&saved)), &format!("oci:{}:x", arg(&oci))]);
    let bundle = world.path("bundle");
    done(Command::new("umoci").args(["unpack", "--image", &format!("{}:x", arg(&oci))]).arg(&bundle));
    assert!(bundle.join("rootfs/layer-two").exists() && !bundle.join("rootfs/layer-one-only").exists());

    for ending in ["tar", "tar.gz", "tar.zst"] {
        world.forget();
        let told = world.done(&["load", "-i", arg(&world.path(&format!("saved.{ending}")))]);
        assert!(
            told.contains("Loaded image: mine:1") && told.contains(&format!("Loaded image: {image}")),
            "{told}"
        );
        assert_eq!(world.done(&["images", "-q", "mine"]), id, "{ending}");
    }
    // The same again, through a pipe.
    let file = world.path("again.tar");
    let mut save = world.docker(&["save", "mine:1"]).stdout(Stdio::piped()).spawn().unwrap();
    done(world.docker(&["load"]).stdin(save.stdout.take().unwrap()));
    assert!(save.wait().unwrap().success());
    world.done(&["save", "-o", arg(&file), "mine:1", &image]);
    assert!(std::fs::read(file).unwrap() == std::fs::read(saved).unwrap(), "always the same bytes");
    assert_eq!(world.done(&["run", "--rm", "--network", "none", "mine:1", "cat", "/layer-two"]), "two");
}

#[test]
fn what_others_write_is_read() {
    let world = World::new();
    let image = format!("docker://{}", world.name("busybox"));
    let copy = |to: &str| {
        world.skopeo(&["copy", "--src-tls-verify=false", &image, to]);
    };
    let file = |name: &str| world.path(name);
    copy(&format!("docker-archive:{}:theirs:docker", arg(&file("docker.tar"))));
    copy(&format!("oci-archive:{}:theirs:oci", arg(&file("oci.tar"))));
    copy(&format!("oci:{}:theirs:dir", arg(&file("layout"))));
    for (from, name) in [("docker.tar", "theirs:docker"), ("oci.tar", "theirs:oci"), ("layout", "theirs:dir")]
    {
        world.forget();
        let told = world.done(&["load", "-i", arg(&file(from))]);
        assert_eq!(told, format!("Loaded image: {name}"));
        let said = world.done(&["run", "--rm", "--network", "none", name, "cat", "/layer-two"]);
        assert_eq!(said, "two", "{from}");
    }
    // A layout of ours, in a directory that is there.
    std::fs::create_dir(file("ours")).unwrap();
    world.done(&["save", "-o", arg(&file("ours")), "theirs:dir"]);
    world.skopeo(&[
        "copy",
        &format!("oci:{}:dir", arg(&file("ours"))),
        &format!("dir:{}", arg(&file("check"))),
    ]);
}

#[test]
fn what_is_torn_or_forged_leaves_nothing() {
    let world = World::new();
    let image = world.name("busybox");
    world.done(&["pull", &image]);
    let saved = world.path("saved.tar");
    world.done(&["save", "-o", arg(&saved), &image]);
    let whole = std::fs::read(&saved).unwrap();
    let load = |bytes: &[u8]| {
        world.forget();
        std::fs::write(&saved, bytes).unwrap();
        let why = refused(&mut world.docker(&["load", "-i", arg(&saved)]));
        assert_eq!(world.done(&["images", "-q"]), "", "{why}");
        let tmp = std::fs::read_dir(world.path("store/tmp")).unwrap().count();
        assert_eq!(tmp, 0, "{why}");
        why
    };
    for part in [3, 5, 9] {
        load(&whole[..whole.len() * part / 10]);
    }
    // One byte of busybox itself, somewhere in the first layer.
    let mut forged = whole.clone();
    forged[200_000] ^= 1;
    assert!(load(&forged).contains("is not what its digest says"));
    assert!(load(b"").contains("manifest.json") || load(b"").contains("index.json"));
    load(&b"rubbish ".repeat(1000));
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 64 << 20), &mut bomb).unwrap();
    load(&bomb.finish().unwrap());
}

#[test]
fn a_killed_load_leaves_nothing_half() {
    let world = World::new();
    let image = world.name("busybox");
    world.done(&["pull", &image]);
    let saved = world.path("saved.tar");
    world.done(&["save", "-o", arg(&saved), &image]);
    for delay in [1, 5, 10, 20, 40, 80, 160] {
        world.forget();
        let mut load = world.docker(&["load", "-i", arg(&saved)]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = load.kill();
        load.wait().unwrap();
        // Whatever has a name is whole: it can be made into the same archive again.
        world.done(&["gc"]);
        if !world.done(&["images", "-q"]).is_empty() {
            let again = world.path("again.tar");
            world.done(&["save", "-o", arg(&again), &image]);
            assert!(std::fs::read(&again).unwrap() == std::fs::read(&saved).unwrap());
        }
        assert_eq!(std::fs::read_dir(world.path("store/tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_root_file_system_becomes_an_image_and_changes_another() {
    let world = World::new();
    let root = world.path("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::create_dir(root.join("old")).unwrap();
    std::fs::write(root.join("old/file"), "old").unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/sh")).unwrap();
    let tar = world.path("root.tar.gz");
    done(Command::new("tar").arg("czf").arg(&tar).arg("-C").arg(&root).arg("."));
    let change = "CMD [\"sh\", \"-c\", \"echo $GREETING\"]";
    let id =
        world.done(&["import", "-c", change, "-c", "ENV GREETING=hello", "-m", "mine", arg(&tar), "made:1"]);
    assert!(id.starts_with("sha256:"));
    assert_eq!(world.done(&["run", "--rm", "--network", "none", "made:1"]), "hello");
    assert!(world.refused(&["import", "-c", "RUN true", arg(&tar)]).contains("RUN true"));

    let script = "rm -r /old && mkdir /old && echo new >/old/new && echo x >/added && rm /bin/nothing; \
                  chmod 4711 /added; ln /added /linked; rm -f /gone-anyway; true";
    world.done(&["run", "--name", "c", "--network", "none", "made:1", "sh", "-c", script]);
    world.done(&["commit", "-a", "me", "-m", "changed", "-c", "ENV GREETING=bye", "c", "made:2"]);
    world.done(&["rm", "c"]);
    assert_eq!(world.done(&["run", "--rm", "--network", "none", "made:2"]), "bye");
    let list = ["run", "--rm", "--network", "none", "made:2", "sh", "-c", "echo /old/*; cat /linked"];
    assert_eq!(world.done(&list), "/old/new\nx");
    let history = world.done(&["history", "made:2"]);
    assert!(history.contains("changed") && history.contains("mine"), "{history}");

    // And all of it is what others understand.
    world.done(&["tag", "made:2", &world.name("made")]);
    world.done(&["push", &world.name("made")]);
    let (oci, bundle) = (format!("oci:{}:x", arg(&world.path("oci"))), world.path("bundle"));
    world.skopeo(&["copy", "--src-tls-verify=false", &format!("docker://{}", world.name("made")), &oci]);
    done(Command::new("umoci").args(["unpack", "--image", oci.trim_start_matches("oci:")]).arg(&bundle));
    assert!(!bundle.join("rootfs/old/file").exists() && bundle.join("rootfs/old/new").exists());
    use std::os::unix::fs::MetadataExt;
    let added = std::fs::metadata(bundle.join("rootfs/added")).unwrap();
    assert_eq!((added.mode() & 0o7777, added.nlink()), (0o4711, 2));
}
