//! `cp`, `diff`, `export`.

use std::os::unix::fs::symlink;
use std::process::Stdio;

use super::{IMAGE, World};

#[test]
fn files_go_in_and_out() {
    let world = World::new();
    let here = world.dir.path().join("here");
    std::fs::create_dir_all(here.join("tree/sub")).unwrap();
    std::fs::write(here.join("tree/sub/file"), "from outside\n").unwrap();
    std::fs::write(here.join("one"), "1\n").unwrap();
    let path = |name: &str| here.join(name).display().to_string();
    world.done(&["volume", "create", "data"]);
    let script = "mkdir /d; ln -s /d /link; echo inside > /d/f; sleep 1000";
    world.done(&[
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        "-v",
        "data:/vol",
        IMAGE,
        "sh",
        "-c",
        script,
    ]);
    world.until("the script has begun", || world.docker(&["exec", "box", "test", "-f", "/d/f"]).0 == 0);
    for running in [true, false] {
        if !running {
            world.done(&["stop", "-t", "0", "box"]);
        }
        let to = if running { "up" } else { "down" };
        world.done(&["cp", &path("tree"), &format!("box:/d/{to}")]);
        world.done(&["cp", &path("one"), &format!("box:/link/{to}.txt")]);
        world.done(&["cp", &path("one"), "box:/vol"]);
        world.done(&["cp", &format!("box:/d/{to}/sub"), &path(&format!("{to}-sub"))]);
        assert_eq!(std::fs::read_to_string(here.join(format!("{to}-sub/file"))).unwrap(), "from outside\n");
        world.done(&["cp", "box:/link/f", &path(&format!("{to}-f"))]);
        assert_eq!(std::fs::read_to_string(here.join(format!("{to}-f"))).unwrap(), "inside\n");
        world.done(&["cp", "box:/d/.", &path(&format!("{to}-all"))]);
        assert!(here.join(format!("{to}-all/{to}.txt")).exists());
        world.done(&["cp", "box:/vol/one", &path(&format!("{to}-one"))]);
        assert!(
            world.refused(&["cp", "box:/nothing", &path("x")]).contains("Could not find the file /nothing")
        );
        assert!(world.refused(&["cp", &path("one"), "box:/no/such/"]).contains("o such"));
        // A directory stays one, and a file does not become one.
        std::fs::create_dir_all(here.join("kinds/tree")).unwrap();
        world.done(&["cp", &path("kinds"), "box:/d"]);
        std::fs::remove_dir(here.join("kinds/tree")).unwrap();
        std::fs::write(here.join("kinds/tree"), "").unwrap();
        let said = world.refused(&["cp", &path("kinds"), "box:/d"]);
        assert!(said.contains("cannot overwrite directory"), "{said}");
        std::fs::remove_dir_all(here.join("kinds")).unwrap();
    }
    world.done(&["start", "box"]);
    assert_eq!(world.done(&["exec", "box", "cat", "/d/down.txt", "/vol/one"]), "1\n1");
    let told = world.done(&["diff", "box"]);
    for line in ["A /d", "A /d/up/sub/file", "A /link"] {
        assert!(told.lines().any(|one| one == line), "{line} is not in {told}");
    }
    world.done(&["exec", "box", "sh", "-c", "rm /layer-two; echo x >> /etc/passwd"]);
    let told = world.done(&["diff", "box"]);
    for line in ["D /layer-two", "C /etc", "C /etc/passwd"] {
        assert!(told.lines().any(|one| one == line), "{line} is not in {told}");
    }
    let tar = path("all.tar");
    world.done(&["export", "-o", &tar, "box"]);
    let listed = std::process::Command::new("tar").args(["-tvf", &tar]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for part in [" d/f\n", " link -> /d\n", " bin/busybox", " proc/\n", " vol/\n"] {
        assert!(listed.contains(part), "{part:?} is not in {listed}");
    }
    assert!(!listed.contains(" proc/1/") && !listed.contains(" vol/one"), "what is mounted is not exported");
}

#[test]
fn no_link_of_a_container_leads_out_of_it() {
    let world = World::new();
    let outside = world.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret\n").unwrap();
    let script = format!(
        "ln -s {0} /away; ln -s /../../../../../..{0}/secret /up; ln -s /proc/1/root/etc /magic; touch /ready; sleep 1000",
        outside.display()
    );
    world.done(&["run", "-d", "--name", "box", "--network", "none", IMAGE, "sh", "-c", &script]);
    world.until("the links are there", || world.docker(&["exec", "box", "test", "-f", "/ready"]).0 == 0);
    let to = world.dir.path().join("to");
    let to_text = to.display().to_string();
    let evil = world.dir.path().join("evil");
    std::fs::create_dir(&evil).unwrap();
    std::fs::write(evil.join("planted"), "planted\n").unwrap();
    for running in [true, false] {
        if !running {
            world.done(&["kill", "box"]);
        }
        for from in
            ["box:/away/secret", "box:/up/", "box:/../../../../../../etc/shadow-", "box:/away/../secret"]
        {
            world.refused(&["cp", from, &to_text]);
            world.refused(&["cp", "-L", from, &to_text]);
            assert!(!to.exists(), "{from}");
        }
        let planted = format!("{}/.", evil.display());
        for to in ["box:/away", "box:/up", "box:/magic/x", "box:/away/../../x"] {
            let _ = world.docker(&["cp", &planted, to]);
            assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "{to}");
            assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "secret\n", "{to}");
        }
    }
    // An archive whose own link leads out: what comes through it stays inside.
    symlink(&outside, evil.join("link")).unwrap();
    let script = format!(
        "cd {0} && tar -cf {1}/bad.tar link && mkdir {1}/x && mkdir {1}/x/link && echo x > {1}/x/link/planted \
         && tar -C {1}/x -rf {1}/bad.tar link/planted",
        evil.display(),
        world.dir.path().display()
    );
    assert!(std::process::Command::new("sh").args(["-c", &script]).status().unwrap().success());
    let bad = std::fs::File::open(world.dir.path().join("bad.tar")).unwrap();
    let mut copy = world.command(&["cp", "-", "box:/tmp"]);
    let _ = copy.stdin(Stdio::from(bad)).output().unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_container_that_may_not_be_written_is_not() {
    let world = World::new();
    world.done(&["run", "-d", "--name", "box", "--read-only", "--network", "none", IMAGE, "sleep", "1000"]);
    let file = world.dir.path().join("f");
    std::fs::write(&file, "x").unwrap();
    let said = world.refused(&["cp", &file.display().to_string(), "box:/f"]);
    assert!(said.contains("marked read-only"), "{said}");
}
