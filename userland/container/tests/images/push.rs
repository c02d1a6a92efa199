//! Push: what is there is not sent, what is sent is what came, and others read it.

use std::process::Command;

use crate::world::{World, done, response, server};

#[test]
fn what_the_registry_has_is_not_sent_and_keeps_its_digest() {
    let world = World::new();
    let image = world.name("busybox");
    world.done(&["pull", &image]);
    world.done(&["tag", &image, &world.name("busybox:again")]);
    let told = world.done(&["push", &world.name("busybox:again")]);
    assert_eq!(told.matches("Layer already exists").count(), 2, "{told}");
    assert_eq!(world.digest("busybox:again"), world.digest("busybox"));
    assert!(told.contains(&format!("again: digest: {} size: ", world.digest("busybox"))), "{told}");

    world.done(&["tag", &image, &world.name("other/box")]);
    let told = world.done(&["push", &world.name("other/box")]);
    assert_eq!(told.matches("Mounted from busybox").count(), 2, "{told}");
    assert_eq!(world.digest("other/box"), world.digest("busybox"));
    assert_eq!(world.done(&["push", "-q", &world.name("other/box")]), world.name("other/box:latest"));
}

#[test]
fn layers_made_again_are_the_same_archives_and_others_read_them() {
    let (from, to) = (World::new(), World::new());
    let image = from.name("busybox");
    from.done(&["pull", &image]);
    let target = to.name("fresh/box:1");
    from.done(&["tag", &image, &target]);
    let told = from.done(&["push", &target]);
    assert_eq!(told.matches(": Pushed").count(), 2, "{told}");
    // A second push has nothing to do, nor to compress.
    let again = from.done(&["push", &target]);
    assert_eq!(again.matches("Layer already exists").count(), 2, "{again}");

    let config = |world: &World, name: &str| {
        let name = format!("docker://{}", world.name(name));
        world.skopeo(&["inspect", "--config", "--raw", "--tls-verify=false", &name])
    };
    assert_eq!(config(&to, "fresh/box:1"), config(&from, "busybox"), "the image is the same");

    // skopeo copies and checks each digest; umoci checks those of the archives while it unpacks.
    let oci = format!("oci:{}:box", to.path("oci").display());
    to.skopeo(&["copy", "--src-tls-verify=false", &format!("docker://{target}"), &oci]);
    let bundle = to.path("bundle");
    done(Command::new("umoci").args(["unpack", "--image"]).arg(oci.trim_start_matches("oci:")).arg(&bundle));
    assert_eq!(std::fs::read_to_string(bundle.join("rootfs/layer-two")).unwrap(), "two\n");
    assert!(!bundle.join("rootfs/layer-one-only").exists());

    to.done(&["pull", &target]);
    let id = |world: &World, name: &str| world.done(&["images", "-q", name]);
    assert_eq!(id(&to, &target), id(&from, &image));
}

#[test]
fn a_damaged_layer_is_not_pushed() {
    let (from, to) = (World::new(), World::new());
    let image = from.name("busybox");
    from.done(&["pull", &image]);
    for layer in std::fs::read_dir(from.path("store/layers")).unwrap().flatten() {
        let file = layer.path().join("fs/layer-two");
        if file.exists() {
            std::fs::write(file, "twO\n").unwrap();
        }
    }
    from.done(&["tag", &image, &to.name("box")]);
    let why = from.refused(&["push", &to.name("box")]);
    assert!(why.contains("is damaged") && why.contains("pull it again"), "{why}");
    to.refused(&["pull", &to.name("box")]);
}

#[test]
fn a_name_without_an_image_and_a_digest_are_not_pushed() {
    let world = World::new();
    assert!(world.refused(&["push", "nothing"]).contains("No such image: nothing:latest"));
    let pinned = format!("{}@{}", world.name("busybox"), world.digest("busybox"));
    world.done(&["pull", &pinned]);
    assert!(world.refused(&["push", &pinned]).contains("give a tag"));
    assert!(world.refused(&["tag", &pinned, &pinned]).contains("digest"));
}

#[test]
fn credentials_do_not_follow_an_upload_to_another_server() {
    let world = World::new();
    world.done(&["pull", &world.name("busybox")]);
    let (send, thief_saw) = std::sync::mpsc::channel();
    let thief = server(move |request| {
        send.send(request.to_owned()).unwrap();
        response("201 Created", "")
    });
    let (send, registry_saw) = std::sync::mpsc::channel();
    let registry = server(move |request| {
        send.send(request.to_owned()).unwrap();
        if !request.to_ascii_lowercase().contains("authorization:") {
            return response("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n");
        }
        match request.split(' ').next() {
            Some("HEAD") => response("404 Not Found", ""),
            Some("POST") => response("202 Accepted", &format!("Location: http://{thief}/take?a=b\r\n")),
            _ => response("200 OK", ""),
        }
    });
    std::fs::create_dir(world.path("docker")).unwrap();
    let auths = format!(r#"{{"auths":{{"{registry}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#);
    std::fs::write(world.path("docker/config.json"), auths).unwrap();
    let target = format!("{registry}/box");
    world.done(&["tag", &world.name("busybox"), &target]);
    world.done(&["push", &target]);
    let seen: Vec<String> = registry_saw.try_iter().collect();
    assert!(seen.iter().any(|request| request.to_ascii_lowercase().contains("authorization: basic bwu6")));
    let stolen: Vec<String> = thief_saw.try_iter().collect();
    assert!(stolen.iter().any(|request| request.starts_with("PUT /take?a=b&digest=sha256:")), "{stolen:?}");
    assert!(
        !stolen.iter().any(|request| request.to_ascii_lowercase().contains("authorization")),
        "{stolen:?}"
    );
}
