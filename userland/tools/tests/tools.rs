//! The tools as a person calls them: by their names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn applets() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples/tools_applets")
}

/// Runs a tool through a link of its name.
fn run(name: &str, args: &[&str]) -> Output {
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join(name);
    symlink(applets(), &link).unwrap();
    Command::new(&link).args(args).env("LANG", "C.UTF-8").env("HOME", links.path()).output().unwrap()
}

fn stdout(name: &str, args: &[&str]) -> String {
    let output = run(name, args);
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_shell_runs_commands_scripts_and_pipes() {
    let loops = "for i in 1 2 3; do echo $i; done | wc -l; echo $0 $1";
    assert_eq!(stdout("sh", &["-c", loops, "a", "b"]).trim(), "3\na b");
    assert_eq!(run("sh", &["-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(run("sh", &["-c", "no-such-command-here"]).status.code(), Some(127));
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), "if [ $# = 2 ]; then echo two $2; fi\n").unwrap();
    assert_eq!(stdout("bash", &[script.path().to_str().unwrap(), "x", "y"]), "two y\n");
}

#[test]
fn messages_are_words_and_not_their_names() {
    let missing = run("ls", &["/no/such/file"]);
    let message = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(message, "ls: cannot access '/no/such/file': No such file or directory\n");
    assert_eq!(missing.status.code(), Some(2));
    assert!(stdout("ls", &["--help"]).contains("List directory contents"));
}

#[test]
fn files_are_copied_found_searched_and_changed() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("one"), "alpha\nbeta\n").unwrap();
    stdout("cp", &[&at("one"), &at("two")]);
    assert_eq!(stdout("cat", &[&at("two")]), "alpha\nbeta\n");
    assert_eq!(stdout("grep", &["-n", "bet", &at("two")]), "2:beta\n");
    assert_eq!(run("grep", &["gamma", &at("two")]).status.code(), Some(1));
    assert_eq!(stdout("sed", &["s/a$/A/", &at("two")]), "alphA\nbetA\n");
    assert_eq!(stdout("find", &[scratch.path().to_str().unwrap(), "-name", "t*"]).trim(), at("two"));
    assert!(run("[", &["1", "=", "1", "]"]).status.success());
}

#[test]
fn grep_colours_a_terminal_only_when_asked() {
    let links = tempfile::tempdir().unwrap();
    symlink(applets(), links.path().join("grep")).unwrap();
    let on_a_terminal = |options: &str| {
        let line = format!("echo alpha | {}/grep {options} lph", links.path().display());
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(on_a_terminal(""), "alpha\r\n");
    assert!(on_a_terminal("--color=auto").contains("\x1b["));
}

#[test]
fn names_of_users_are_shown() {
    assert!(stdout("id", &[]).starts_with("uid=0(root) gid=0(root)"));
    assert!(stdout("ls", &["-l", "/etc/passwd"]).contains(" root root "));
}

/// As PID 1 keeps them. Of the machine's own /run nothing is changed.
#[test]
fn users_that_are_there_while_a_service_runs_are_shown() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("not root: the users of DynamicUser= were not looked for");
    }
    let links = tempfile::tempdir().unwrap();
    for name in ["id", "ls", "ps", "stat"] {
        symlink(applets(), links.path().join(name)).unwrap();
    }
    let script = "set -e; mount -t tmpfs tmpfs /run; d=/run/systemd/dynamic-uid; mkdir -p $d; cd /run; \
                  ln -s 61234 $d/direct:web; ln -s web $d/direct:61234; touch f; chown 61234:61234 f; \
                  $T/ls -l f | tr -s ' ' | cut -d' ' -f3,4; $T/stat -c '%u %U %G' f; $T/id web; \
                  setpriv --reuid=61234 --regid=61234 --clear-groups sleep 60 & \
                  sleep 0.5; $T/ps -o user= -p $!; kill $!";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .env("T", links.path())
        .env("LANG", "C.UTF-8")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let id = "uid=61234(web) gid=61234(web) groups=61234(web)";
    let wanted = ["web web", "61234 web web", id, "web"];
    assert_eq!(lines, wanted, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn processes_memory_and_uptime_are_shown() {
    let own = std::process::id().to_string();
    let all = stdout("ps", &["aux"]);
    assert!(
        all.starts_with("USER ")
            && all.lines().any(|line| line.split_whitespace().nth(1) == Some(own.as_str()))
    );
    assert!(stdout("ps", &["-ef"]).starts_with("UID "));
    assert_eq!(stdout("ps", &["-p", &own, "-o", "pid="]).trim(), own);
    assert_eq!(run("ps", &["-p", "4194305"]).status.code(), Some(1));
    assert_eq!(run("ps", &["-o", "bogus"]).status.code(), Some(1));
    let free = stdout("free", &["-m"]);
    assert!(free.lines().nth(1).unwrap().split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() > 0);
    assert!(stdout("uptime", &[]).contains("load average:"));
}

/// A swap area as mkswap makes it: a page with what swapon(2) looks for, and pages to use.
fn swap_area(path: &Path) {
    const PAGE: usize = 4096;
    const PAGES: u32 = 256;
    let mut bytes = vec![0; PAGE * PAGES as usize];
    bytes[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    bytes[1028..1032].copy_from_slice(&(PAGES - 1).to_le_bytes());
    bytes[PAGE - 10..PAGE].copy_from_slice(b"SWAPSPACE2");
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn swap_goes_on_and_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swap file");
    let name = path.to_str().unwrap();
    swap_area(&path);
    let on = run("swapon", &["-p", "3", name]);
    if !on.status.success() {
        println!("no swap here: {}", String::from_utf8_lossy(&on.stderr));
        return;
    }
    let shown = stdout("swapon", &["--show"]);
    let again = run("swapon", &[name]);
    let off = run("swapoff", &[name]);
    assert!(off.status.success(), "{}", String::from_utf8_lossy(&off.stderr));
    let line = shown.lines().find(|line| line.contains(name)).unwrap();
    assert!(line.contains("file") && line.trim_end().ends_with('3'), "{line}");
    assert!(!again.status.success(), "it is in use");
    assert!(!fs::read_to_string("/proc/swaps").unwrap().contains("swap\\040file"));
    assert!(!run("swapoff", &[name]).status.success(), "it is not in use");
    // the same by a unit's options; what is not there may be missing where that is said
    assert!(run("swapon", &["-o", "pri=3,nofail", "/no/such/swap"]).status.success());
    assert!(!run("swapon", &["/no/such/swap"]).status.success());
}

/// In a mount namespace of its own, so that the machine's mounts stay as they are.
#[test]
fn file_systems_go_on_and_off() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["mount", "umount"] {
        symlink(applets(), scratch.path().join(name)).unwrap();
    }
    fs::create_dir(scratch.path().join("on")).unwrap();
    let script = "set -e; cd \"$1\"; ./mount tmpfs on -t tmpfs -o size=1M,nosuid,noatime
        ./mount -t tmpfs | grep \"$1/on type tmpfs (rw,nosuid,noatime\"
        ./mount -o remount,ro on; grep \"$1/on tmpfs ro,nosuid,noatime\" /proc/mounts
        ./mount -o remount,rw on; mkdir two; ./mount --bind on two; ./umount two; ./umount \"$1/on\"
        ! ./umount on; ! ./mount PARTLABEL=none on";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(scratch.path())
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}{errors}", String::from_utf8_lossy(&output.stdout));
    assert!(
        errors.contains("umount: on: not mounted") && errors.contains("PARTLABEL=none: no such device"),
        "{errors}"
    );
}
