//! What an image and the options of a run become.

use super::limits::Limits;
use super::*;

fn image() -> ImageConfig {
    ImageConfig::read(
        br#"{"config":{"Entrypoint":["/entry"],"Cmd":["a","b"],"Env":["PATH=/only","X=1"],"WorkingDir":"/work","User":"web"},
        "rootfs":{"diff_ids":[]}}"#,
    )
    .unwrap()
}

fn args(options: Options) -> Vec<String> {
    spec(&image(), &options, "0123456789abcdef").unwrap().process().as_ref().unwrap().args().clone().unwrap()
}

#[test]
fn entrypoint_and_command_follow_docker() {
    let command = vec!["c".to_owned()];
    assert_eq!(args(Options::default()), ["/entry", "a", "b"]);
    assert_eq!(args(Options { command: command.clone(), ..Options::default() }), ["/entry", "c"]);
    assert_eq!(args(Options { entrypoint: Some("/x".into()), ..Options::default() }), ["/x"]);
    assert_eq!(args(Options { entrypoint: Some(String::new()), command, ..Options::default() }), ["c"]);
    let empty = ImageConfig::read(br#"{"rootfs":{"diff_ids":[]}}"#).unwrap();
    assert!(matches!(spec(&empty, &Options::default(), "id"), Err(BadOptions::NoCommand)));
}

#[test]
fn the_image_and_then_the_caller_set_the_environment() {
    let options = Options {
        env: vec!["X=2".into(), "=no".into(), "NOT_SET_ANYWHERE_HERE".into()],
        ..Options::default()
    };
    let spec = spec(&image(), &options, "0123456789abcdef").unwrap();
    let process = spec.process().as_ref().unwrap();
    assert_eq!(process.env().as_ref().unwrap(), &["PATH=/only", "HOSTNAME=0123456789ab", "X=2"]);
    assert_eq!(process.cwd(), Path::new("/work"));
    assert_eq!(process.user().username().as_deref(), Some("web"));
    assert_eq!(process.no_new_privileges(), Some(true));
}

#[test]
fn paths_that_climb_are_refused() {
    let workdir = Options { workdir: Some("/a/../../b".into()), ..Options::default() };
    assert!(matches!(spec(&image(), &workdir, "id"), Err(BadOptions::Path { .. })));
    let volume = Volume { source: "/x".into(), target: "relative".into(), read_only: false };
    let volumes = Options { volumes: vec![volume], ..Options::default() };
    assert!(matches!(spec(&image(), &volumes, "id"), Err(BadOptions::Path { .. })));
}

#[test]
fn limits_reach_the_configuration() {
    let limits = Limits { memory: Some(1 << 20), cpus: Some(0.5), pids: Some(7), ..Limits::default() };
    let options = Options { limits, ..Options::default() };
    let spec = spec(&image(), &options, "id").unwrap();
    let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
    assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(1 << 20));
    assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(50_000));
    assert_eq!(resources.pids().as_ref().unwrap().limit(), 7);
}

#[test]
fn only_a_privileged_container_sees_everything() {
    let plain = spec(&image(), &Options::default(), "id").unwrap();
    assert!(
        plain.linux().as_ref().unwrap().masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned())
    );
    let privileged = spec(&image(), &Options { privileged: true, ..Options::default() }, "id").unwrap();
    assert!(privileged.linux().as_ref().unwrap().masked_paths().as_ref().unwrap().is_empty());
}
